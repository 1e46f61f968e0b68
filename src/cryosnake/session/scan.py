"""Looking for movies or micrographs: one pass over the folders, and no file is touched."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryosnake.config.model import Config
from cryosnake.config.naming import looks_like_gain
from cryosnake.errors import BadInputError
from cryosnake.given import given_micrographs, is_table
from cryosnake.layout import RESULTS


@dataclass
class Listing:
    """Paths of movies as they stand in tables, files that look like gain references, and folders
    that could not be searched."""

    movies: list[str] = field(default_factory=list)
    gains: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def input_root(session: Path, config: Config) -> Path:
    """The folder of the input: `input.path`, the fixed part of its glob, or where its STAR file
    is."""
    path = Path(config.input.path)
    if is_table(path):
        return session / path.parent
    if _is_pattern(session, config.input.path):
        fixed = []
        for part in path.parts:
            if glob.has_magic(part):
                break
            fixed.append(part)
        path = Path(*fixed)
    return session / path


def check_input(session: Path, config: Config) -> None:
    """Refuse a session whose input is not named or not there.

    Raises
    ------
    BadInputError : with the key, the value and what is wanted.
    """
    if is_table(config.input.path):
        if not (session / config.input.path).is_file():
            raise BadInputError(
                None,
                f"input.path = {config.input.path}, and there is no such file",
                f"a STAR file of {config.input.kind}",
            )
        if config.input.kind == "movies":
            raise BadInputError(
                None,
                f"input.path = {config.input.path} and input.kind = movies",
                "input.kind = micrographs or particles, with a STAR file",
            )
        return
    root = input_root(session, config)
    if not config.input.path or not root.exists():
        raise BadInputError(
            None,
            f"input.path = {config.input.path or 'empty'}, and there is no such folder",
            f"a folder or glob of {config.input.kind}",
        )


def list_movies(session: Path, config: Config) -> Listing:
    """All movie (or micrograph) files there are, whatever their state, sorted by path; those of a
    STAR file in its order.

    Folders are searched with their subfolders; hidden files and folders, the session's own
    results, the gain reference and the defect file are passed over; other files that look like
    gain references are listed apart.
    """
    listing = Listing()
    pattern = config.input.path
    if not pattern:
        return listing
    if is_table(pattern):
        listing.movies = list(given_micrographs(session, config))
        return listing
    own = {os.path.realpath(session / RESULTS), os.path.realpath(session / ".snakemake")}
    facts = config.acquisition
    references = {os.path.realpath(session / f) for f in (facts.gain, facts.defects) if f}
    names = {os.path.basename(f) for f in references}
    if _is_pattern(session, pattern):
        found = glob.glob(pattern, root_dir=session, recursive=True)
        found = [p for p in found if not _below(os.path.realpath(session / p), own)]
        found = [p for p in found if not os.path.isdir(session / p)]
    else:
        suffixes = tuple(s.lower() for s in input_suffixes(config))
        found = [
            p
            for p in _walk(session, os.path.normpath(pattern), own, listing.unreadable)
            if p.lower().endswith(suffixes)
        ]
    for path in sorted(found):
        if os.path.basename(path) in names and os.path.realpath(session / path) in references:
            continue
        (listing.gains if looks_like_gain(path) else listing.movies).append(path)
    return listing


def input_suffixes(config: Config) -> list[str]:
    """Endings of the files that a folder is searched for; micrographs are MRC."""
    return [".mrc"] if config.input.kind == "micrographs" else config.input.suffixes


def _is_pattern(session: Path, path: str) -> bool:
    """Whether a path is a glob; a folder whose name holds brackets is a folder."""
    return glob.has_magic(path) and not (session / path).is_dir()


def _below(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def _walk(
    session: Path, top: str, own: set[str], unreadable: list[tuple[str, str]]
) -> Iterator[str]:
    stack, visited = [top], set()
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(os.path.join(session, folder)) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    path = os.path.join(folder, entry.name)
                    if entry.is_dir():
                        real = os.path.realpath(entry.path)
                        if real not in own and real not in visited:
                            visited.add(real)  # a link back up must not be followed for ever
                            stack.append(path)
                    else:
                        yield path
        except OSError as error:
            unreadable.append((folder, f"folder cannot be searched ({error.strerror})"))
