"""Reading and checking a configuration: a wrong value is answered in one line."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cryosnake.config.describe import sections, settings
from cryosnake.config.model import Config
from cryosnake.errors import BadInputError

TEMPLATES_FOLDER = Path(__file__).resolve().parents[3] / "config" / "templates"


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice (the last would win silently)."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            line = key_node.start_mark.line + 1
            raise yaml.constructor.ConstructorError(problem=f"key {key} twice, at line {line}")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Raises
    ------
    BadInputError : missing, not YAML, a key twice, or not a mapping.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(path, f"cannot be read ({error})", "a YAML file") from error
    except yaml.YAMLError as error:
        raise BadInputError(path, " ".join(str(error).split()), "valid YAML") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInputError(path, f"holds {_shown(content)}", "sections with keys")
    return content


def layered(*layers: Mapping) -> dict:
    """Lay mappings over one another, section by section; the later one wins, key by key.

    It is what Snakemake does with several `--configfile` arguments.
    """
    result: dict = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
                result[key] = layered(result[key], value)
            else:
                result[key] = layered(value) if isinstance(value, Mapping) else value
    return result


def template_names() -> list[str]:
    """Names of the templates that exist."""
    return sorted(path.stem for path in TEMPLATES_FOLDER.glob("*.yaml"))


def read_template(name: str) -> dict:
    """The content of a template of `config/templates`.

    Raises
    ------
    BadInputError : there is no template of that name.
    """
    if name not in template_names():
        raise BadInputError(None, f"template = {name}", f"one of {', '.join(template_names())}")
    return read_yaml(TEMPLATES_FOLDER / f"{name}.yaml")


def load_config(source: Mapping | str | Path) -> Config:
    """Check a configuration, given as a mapping or as the path of a YAML file.

    Keys that are not given take their defaults; a section without a value counts as empty.

    Raises
    ------
    BadInputError : one line that names the (first) wrong key, its value and what is allowed; for
        an unknown key, the known one that is nearest.
    """
    if isinstance(source, Mapping):
        path, content = None, source
    else:
        path, content = Path(source), read_yaml(source)
    content = {key: {} if value is None else value for key, value in content.items()}
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        # A value that matches no member of a union is reported once per member: count keys.
        errors = {tuple(e["loc"][:2]): e for e in reversed(error.errors())}
        first = errors[tuple(error.errors()[0]["loc"][:2])]
        problem, expected = _one_line(first, content)
        more = len(errors) - 1
        if more:
            expected += f" (and {more} more wrong value{'s' if more > 1 else ''})"
        raise BadInputError(path, problem, expected) from error


def _shown(value: Any) -> str:
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(error: dict, content: Mapping) -> tuple[str, str]:
    location = [str(part) for part in error["loc"]]
    if error["type"] == "does_not_fit":
        location += error["ctx"]["key"].split(".")
    section, key = (location + [""])[:2]
    if error["type"] == "extra_forbidden" and len(location) <= 2:
        return _unknown_key(section, key, error["input"])
    if not key:
        return f"{section} = {_shown(content.get(section))}", "a section with keys"
    known = next(s for s in settings() if (s.section, s.key) == (section, key))
    given = content.get(section, {})
    value = given.get(key, known.default) if isinstance(given, Mapping) else known.default
    expected = error["ctx"]["expected"] if error["type"] == "does_not_fit" else known.allowed
    return f"{known.name} = {_shown(value)}", expected


def _unknown_key(section: str, key: str, value: Any) -> tuple[str, str]:
    known = {s.name: s.key for s in settings()}
    written = f"{section}.{key}" if key else section
    what = "section" if not key else "key"
    if not key:  # a key without its section, or a section misspelt
        candidates = {**{name: name for name in sections()}, **known}
    else:
        candidates = {n: k for n, k in known.items() if n.startswith(f"{section}.")} | known
    wanted = key or section
    near = difflib.get_close_matches(wanted, candidates.values(), n=1, cutoff=0.55)
    if not near:
        near = [k for k in candidates.values() if k.startswith(wanted) or wanted.startswith(k)][:1]
    problem = f"{written} = {_shown(value)} is not a known {what}"
    if near:
        names = [name for name, k in candidates.items() if k == near[0]]
        same = [name for name in names if name.startswith(f"{section}.")]
        return problem, f"{(same or names)[0]}, perhaps"
    keys = sorted(k for n, k in known.items() if n.startswith(f"{section}."))
    return problem, "one of " + ", ".join(keys or sections())
