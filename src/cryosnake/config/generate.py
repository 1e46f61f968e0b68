"""Write everything that follows from the typed model: `python -m cryosnake.config.generate`.

With `--check` nothing is written; the files that differ are named, and the exit code is 1.
"""

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

from cryosnake import columns
from cryosnake.config.describe import LEVELS, sections, settings
from cryosnake.config.model import Config
from cryosnake.files import write_text

ROOT = Path(__file__).resolve().parents[3]
WIDTH = 99


def yaml_value(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, str):
        plain = yaml.safe_dump(value, width=10**6).removesuffix("\n...\n").strip()
        return plain if value else '""'
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n...\n").strip()


def _comment(text: str, indent: str) -> list[str]:
    prefix = f"{indent}# "
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


def config_yaml() -> str:
    """The default configuration with every key, documented by comments."""
    lines = [
        "# The default configuration of a session, generated from src/cryosnake/config/model.py by",
        "# `python -m cryosnake.config.generate`: do not edit. A session's own file and the",
        "# templates beside this one hold just what differs, and are layered over it.",
        "#",
        "# Expert levels:",
        *[f"#   {level}  {meaning}" for level, meaning in LEVELS.items()],
    ]
    rows = settings()
    for section, description in sections().items():
        lines += ["", "", f"# {'-' * (WIDTH - 2)}", *_comment(description, ""), f"{section}:"]
        level = None
        for row in (r for r in rows if r.section == section):
            if row.expert != level:
                level = row.expert
                lines += ["", f"  # --- level {level}: {LEVELS[level]} ---"]
            facts = f"{row.unit}: {row.allowed}" if row.unit else row.allowed
            lines += ["", *_comment(f"{row.help} [{facts}]", "  ")]
            lines.append(f"  {row.key}: {yaml_value(row.default)}")
    return "\n".join(lines) + "\n"


def config_schema() -> str:
    """The JSON schema (draft 2020-12) of the configuration."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= Config.model_json_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def config_markdown() -> str:
    """The reference page of the configuration."""
    lines = [
        "# Configuration",
        "",
        "Generated from `src/cryosnake/config/model.py` by `python -m cryosnake.config.generate`.",
        "",
        "A session needs few of these keys: `cryosnake init` writes them, and reads what it can",
        "from the microscope's metadata. Everything else has a default. Unknown keys and values",
        "out of range are refused before any job runs, in one line that names the key, the value",
        "and what is allowed.",
        "",
        "The unit of a setting is the end of its name. Expert levels: "
        + "; ".join(f"**{level}** {meaning}" for level, meaning in LEVELS.items())
        + ".",
        "",
        "Templates in `config/templates` hold groups of settings for a kind of session, and are",
        "layered over the defaults with `--configfile`; the session's file comes last and wins:",
        "",
        "    snakemake --configfile config/templates/simple-tilted.yaml DIR/config.yaml \\",
        "              --directory DIR --profile profiles/local",
        "",
    ]
    rows = settings()
    for section, description in sections().items():
        lines += [f"## `{section}`", "", description, ""]
        lines += [
            "| key | default | unit | allowed | level | meaning |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| `{row.key}` | `{yaml_value(row.default)}` | {row.unit or '-'} |"
            f" {_cell(row.allowed)} | {row.expert} | {_cell(row.help)} |"
            for row in rows
            if row.section == section
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def generated() -> dict[str, str]:
    """Path below the repository -> content, of every generated file."""
    return {
        "config/config.yaml": config_yaml(),
        "workflow/schemas/config.schema.json": config_schema(),
        "docs/config.md": config_markdown(),
        "docs/columns.md": columns.as_markdown(),
    }


def stale(root: Path = ROOT) -> list[str]:
    """Generated files below `root` that are missing or differ from what the model gives."""
    return [
        name
        for name, text in generated().items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with `--check` only compare; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    differing = stale()
    if parser.parse_args(arguments).check:
        for name in differing:
            print(f"{name} differs from the model: run python -m cryosnake.config.generate")
        return 1 if differing else 0
    for name in differing:
        write_text(ROOT / name, generated()[name])
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
