"""Starting a session: make its config.yaml from its input, asking nothing that can be read."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from cryosnake.acquisition import Facts, find_metadata
from cryosnake.config.describe import Setting, plain, settings
from cryosnake.config.generate import yaml_value
from cryosnake.config.init_input import SessionInput, find_input
from cryosnake.config.load import layered, load_config, read_template
from cryosnake.config.model import Config
from cryosnake.config.naming import looks_like_gain
from cryosnake.errors import BadInputError
from cryosnake.files import write_text

#: EER: these change with how frames are grouped and rendered, so a number written down now would be
#: wrong as soon as an operator changes that.
_OF_THE_RENDERING = ("pixel_size_angst", "dose_e_per_angst2_per_frame")

_GAIN_SUFFIXES = (".mrc", ".tif", ".tiff", ".gain")
_MOVIES_TRIED = 5  # the first movie of a session is often a failed one


@dataclass(frozen=True)
class NewSession:
    """What `init_session` made.

    Parameters
    ----------
    config_path : the file written.
    facts : acquisition key -> value in the file (`None`: not known).
    sources : acquisition key -> where the value is from; only of keys that have one.
    missing : keys that neither the caller nor the metadata gave, dotted names.
    kind : what the session starts from.
    """

    config_path: Path
    facts: dict
    sources: dict[str, str]
    missing: list[str]
    kind: str = "movies"


def init_session(
    input: str | os.PathLike,
    session_dir: str | os.PathLike,
    *,
    pixel_size_angst: float | None = None,
    voltage_kv: float | None = None,
    cs_mm: float | None = None,
    amplitude_contrast: float | None = None,
    dose_e_per_angst2_per_frame: float | None = None,
    gain: str | os.PathLike | None = None,
    template: str = "3d",
    kind: str | None = None,
    ctf: bool = True,
    known_map: str | os.PathLike | None = None,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> NewSession:
    """Write `session_dir/config.yaml` for movies, micrographs or particles.

    The file holds what an operator chooses (level 0), the facts of the acquisition, and what the
    template changes. Values given here win over the metadata of the first movie that can be read.
    An empty folder is fine: the microscope has not begun.

    Parameters
    ----------
    input : folder or glob of movies (or micrographs), or a STAR file of micrographs or particles,
        whose own facts are left to it.
    gain : gain reference; else the one that the metadata names, or the only candidate beside the
        movies.
    template : name of a template (`config/templates`).
    kind : `movies` or `micrographs`: what a folder or glob holds; None: movies, or what the STAR
        file holds.
    ctf : False: images are taken as they are (`ctf.fit: false`).
    known_map : MRC file of a map that the result is compared with (`validation.known_map`).
    force : replace a config.yaml that exists.
    say : told, line by line, what was found and from where, and which keys are missing.

    Raises
    ------
    BadInputError : no such folder, a table that cannot be used, a fact that does not apply to the
        input, a value out of range, an unknown template, or a config.yaml that exists already.
    """
    session_dir = Path(session_dir)
    config_path = session_dir / "config.yaml"
    if config_path.exists() and not force:
        raise BadInputError(config_path, "exists already", "a new session, or --force")
    start = find_input(input, kind, ctf=ctf)
    pattern = start.path

    given = {
        "pixel_size_angst": pixel_size_angst,
        "voltage_kv": voltage_kv,
        "cs_mm": cs_mm,
        "amplitude_contrast": amplitude_contrast,
        "dose_e_per_angst2_per_frame": dose_e_per_angst2_per_frame,
        "gain": None if gain is None else os.path.abspath(gain),
    }
    if gain is not None and not Path(gain).is_file():
        raise BadInputError(gain, "no such file", "a gain reference")
    if known_map is not None and not Path(known_map).is_file():
        raise BadInputError(known_map, "no such file", "a map (MRC)")
    facts = {key: value for key, value in given.items() if value is not None}
    _check_facts(facts, start)
    sources = dict.fromkeys(facts, "given")
    say(start.words)

    found, movie = _first_facts([] if start.kind == "particles" else start.files, say)
    rendered: list[str] = []
    for key in given:
        told = start.told.get(key)
        if told is not None and key not in facts:
            if key == "amplitude_contrast":  # the configuration always has one, and it wins
                facts[key], sources[key] = told, "the table"
                continue
            rendered.append(key)
            say(f"  acquisition.{key} is left to the table ({told:g} for its first micrograph)")
            continue
        value = getattr(found, key, None) if found is not None else None
        if value is None or key in facts or key in ("gain", *_unused(start)):
            continue
        if movie.suffix.lower() == ".eer" and key in _OF_THE_RENDERING:
            rendered.append(key)
            say(f"  acquisition.{key} is left to the metadata of each movie ({value:g} here)")
            continue
        facts[key] = float(f"{value:.6g}")  # headers hold 32-bit floats
        sources[key] = _short(found.source.get(key, movie), pattern)
    if "gain" not in facts and start.kind == "movies":
        named = found.gain if found is not None else None
        _find_gain(named, movie, pattern, facts, sources, say)

    content = layered(
        read_template(template),
        {
            "input": {"kind": start.kind, "path": pattern},
            "acquisition": facts,
            "ctf": {} if ctf else {"fit": False},
            "validation": {} if known_map is None else {"known_map": os.path.abspath(known_map)},
            "report": {"title": session_dir.resolve().name or Config().report.title},
        },
    )
    config = load_config(content)
    missing = [f"acquisition.{key}" for key in start.needed if key not in [*facts, *rendered]]
    write_text(config_path, _as_yaml(config, content, sources, missing, template))
    for key, value in facts.items():
        shown = f"{value:g}" if isinstance(value, float) else value
        say(f"  acquisition.{key} = {shown}   ({sources[key]})")
    for name in missing:
        setting = next(s for s in settings() if s.name == name)
        say(f"  {name} is missing: {setting.help} ({setting.allowed.removesuffix(', or null')})")
    say(f"wrote {config_path}")
    if missing:
        say(
            "add the missing keys to it, unless the microscope's metadata will come with the movies"
        )
    return NewSession(config_path, {k: facts.get(k) for k in given}, sources, missing, start.kind)


def _unused(start: SessionInput) -> tuple[str, ...]:
    """Facts that mean nothing for this input."""
    if start.kind == "movies":
        return ()
    of_movies = ("dose_e_per_angst2_per_frame", "gain")
    if start.kind == "micrographs":
        return of_movies
    return ("pixel_size_angst", "voltage_kv", "cs_mm", "amplitude_contrast", *of_movies)


def _check_facts(facts: dict, start: SessionInput) -> None:
    """Refuse what would be ignored."""
    for key in _unused(start):
        if key in facts:
            raise BadInputError(
                None,
                f"{key} = {facts[key]} is given",
                f"nothing, as the session starts from {start.kind}",
            )


def _first_facts(
    movies: list[Path], say: Callable[[str], None]
) -> tuple[Facts | None, Path | None]:
    """What is known of the first movie that can be opened (its number of frames is then known)."""
    for movie in movies[:_MOVIES_TRIED]:
        found = find_metadata(movie)
        for problem in found.problems:
            say(f"  {problem}")
        if found.frames is not None:
            return found, movie
        say(f"  {movie} cannot be read as a movie: passed over")
    return None, None


def _find_gain(
    named: str | None,
    movie: Path | None,
    pattern: str,
    facts: dict,
    sources: dict[str, str],
    say: Callable[[str], None],
) -> None:
    """Take the gain reference that the metadata names, else the only candidate near the movies."""
    root = Path(pattern)
    folder = movie.parent if movie is not None else root
    if named:
        beside = folder / PureWindowsPath(named).name
        readable = beside.suffix.lower() in _GAIN_SUFFIXES
        if beside.is_file() and readable:
            facts["gain"], sources["gain"] = str(beside), "named by the metadata"
            return
        problem = "is not there" if readable else f"is not one of {', '.join(_GAIN_SUFFIXES)}"
        say(f"  the metadata names the gain reference {beside.name}, which {problem}")
    # From the first movie's folder up to the input folder, and not beyond: a gain reference
    # that lies higher may belong to another session.
    places = {folder, *(parent for parent in folder.parents if parent.is_relative_to(root))}
    candidates = sorted(
        {
            path
            for place in places
            if place.is_dir()
            for path in place.iterdir()
            if path.suffix.lower() in _GAIN_SUFFIXES and looks_like_gain(path)
        }
    )
    if len(candidates) == 1:
        facts["gain"], sources["gain"] = str(candidates[0]), "the only candidate by the movies"
    elif candidates:
        names = ", ".join(str(path) for path in candidates)
        say(f"  acquisition.gain left open, because there are {len(candidates)}: {names}")


def _short(source: object, pattern: str) -> str:
    """A source below the movie folder without the folder's path, for a comment."""
    return str(source).removeprefix(pattern.rstrip("/") + "/")


def _as_yaml(
    config: Config, content: dict, sources: dict[str, str], missing: list[str], template: str
) -> str:
    lines = [
        "# A session's configuration, made by `cryosnake init` from the template"
        f" {template}. It holds what",
        "# an operator chooses and what differs from the defaults; config/config.yaml documents all"
        " keys.",
    ]
    if missing:
        lines += [
            "#",
            "# Not known yet, and needed unless the metadata that comes with the movies says it:",
            *[f"#   {name}" for name in missing],
        ]
    rows: dict[str, list[Setting]] = {}
    for setting in settings():
        values = content.get(setting.section, {})
        value = plain(getattr(getattr(config, setting.section), setting.key))
        differs = value != setting.default
        if setting.expert == 0 or (setting.key in values and differs):
            rows.setdefault(setting.section, []).append(setting)
    for section, chosen in rows.items():
        lines += ["", f"{section}:"]
        for setting in chosen:
            value = plain(getattr(getattr(config, section), setting.key))
            note = _note(setting, sources, missing)
            lines.append(f"  {setting.key}: {yaml_value(value)}  # {note}")
    return "\n".join(lines) + "\n"


def _note(setting: Setting, sources: dict[str, str], missing: list[str]) -> str:
    text = f"{setting.unit}: {setting.help}" if setting.unit else setting.help
    if setting.name in missing:
        return f"MISSING. {text}"
    if setting.section == "acquisition" and setting.key in sources:
        # a file name must not end the comment
        source = "".join(c if c.isprintable() else "?" for c in sources[setting.key])
        return f"{text} ({source})"
    return text
