"""What a session is to start from: movies, micrographs or particles, found out from the input."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryosnake.acquisition.facts import REQUIRED, REQUIRED_OF_MICROGRAPHS
from cryosnake.config.model import Config
from cryosnake.config.naming import looks_like_gain
from cryosnake.errors import BadInputError
from cryosnake.given import is_table, read_given_particles, read_micrographs, table_kind

KINDS = ("movies", "micrographs", "particles")
_WANTED = "a folder or glob of movies or micrographs, or a STAR file of micrographs or particles"


@dataclass(frozen=True)
class SessionInput:
    """The input of a new session.

    Parameters
    ----------
    kind : one of `KINDS`.
    path : absolute; a folder, a glob or a STAR file.
    files : movies or micrographs, in order of their names or of the table.
    needed : keys of `acquisition` without which nothing can be processed.
    told : facts that the STAR file tells of its first micrograph; they are left to it.
    words : what was found.
    """

    kind: str
    path: str
    files: list[Path]
    needed: Sequence[str]
    words: str
    told: dict[str, float] = field(default_factory=dict)


def find_input(input: str | os.PathLike, kind: str | None, *, ctf: bool) -> SessionInput:
    """Look at what a session is to start from.

    Parameters
    ----------
    kind : what a folder or glob holds; None: movies, or what a STAR file turns out to hold.
    ctf : False: images are taken as they are.

    Raises
    ------
    BadInputError : nothing is there, a table that cannot be used, or one of another kind.
    """
    text = os.path.abspath(os.path.expanduser(os.fspath(input)))
    if kind not in (None, *KINDS):
        raise BadInputError(None, f"kind = {kind}", f"one of {', '.join(KINDS)}")
    if is_table(text):
        return _table(text, kind, ctf=ctf)
    if kind == "particles":
        raise BadInputError(text, "is no STAR file", "a STAR file of particles")
    _check_folder(text)
    if kind == "micrographs":
        files = _files(text, [".mrc"])
        return SessionInput(kind, text, files, _needed(ctf), _in_words(text, len(files), kind))
    files = _files(text, Config().input.suffixes)
    return SessionInput("movies", text, files, REQUIRED, _in_words(text, len(files), "movies"))


def _needed(ctf: bool) -> Sequence[str]:
    """Without a CTF, the spherical aberration does not matter."""
    return REQUIRED_OF_MICROGRAPHS if ctf else REQUIRED_OF_MICROGRAPHS[:-1]


def _table(path: str, kind: str | None, *, ctf: bool) -> SessionInput:
    found = table_kind(Path(path))
    if kind not in (None, found):
        raise BadInputError(path, f"is a table of {found}", f"a table of {kind}")
    if found == "micrographs":
        given = read_micrographs(Path(path))
        first = next(iter(given.values()))
        fitted = sum(one.ctf is not None for one in given.values())
        words = f"{len(given)} micrographs in {path}, {fitted} of them with a CTF"
        files = [Path(name) for name in given]
        return SessionInput(found, path, files, _needed(ctf), words, first.facts)
    given = read_given_particles(Path(path), ctf=ctf)
    optics = given.optics.iloc[0]
    words = (
        f"{len(given.particles)} particles of {optics.rlnImageSize:g} px, "
        f"{optics.rlnImagePixelSize:g} A/px, in {len(given.stacks)} stacks"
    )
    return SessionInput(found, path, [], (), words)


def _check_folder(text: str) -> None:
    if glob.has_magic(text) and not Path(text).exists():
        fixed = Path(text)
        while glob.has_magic(str(fixed)):
            fixed = fixed.parent
        if not fixed.is_dir():
            raise BadInputError(fixed, "no such folder", _WANTED)
    elif not Path(text).exists():
        raise BadInputError(text, "no such folder", _WANTED)


def _files(pattern: str, suffixes: list[str]) -> list[Path]:
    """Files in order of their names; what looks like a gain reference is left out."""
    path = Path(pattern)
    if path.is_dir():
        names = (os.path.join(folder, name) for folder, _, files in os.walk(path) for name in files)
    elif path.exists():
        names = [pattern]
    else:
        names = glob.glob(pattern, recursive=True)
    endings = tuple(suffixes)
    return sorted(
        Path(name)
        for name in names
        if name.lower().endswith(endings)
        and not os.path.basename(name).startswith(".")
        and not looks_like_gain(name)
    )


def _in_words(pattern: str, number: int, kind: str) -> str:
    if number:
        return f"{number} {kind if number > 1 else kind[:-1]} in {pattern}"
    return f"no {kind} yet in {pattern}: the session can start, and waits for them"
