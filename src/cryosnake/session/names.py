"""Names of micrographs: safe for every program and shell, and no two alike in a session."""

import re
import unicodedata
from pathlib import PurePath

#: Files of a batch's folder that are not a movie's.
_RESERVED = ("micrographs", "decisions", "movies")
#: What is added to a movie's name to name its other images.
_DERIVED = ("_noDW",)


def safe_stem(path: str) -> str:
    """The file's name without ending, in `A-Z a-z 0-9 . _ -`.

    Accents are dropped (NFKD); everything else that is not allowed becomes `_`. A leading dot or
    dash, which hides a file or looks like an option, becomes `_` too.
    """
    name = PurePath(path).name
    stem = name[: name.rfind(".")] if "." in name[1:] else name
    decomposed = unicodedata.normalize("NFKD", stem.encode("utf-8", "replace").decode())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", plain)[:150]
    return re.sub(r"^[.-]+", "_", safe) or "_"


class UniqueNames:
    """Gives every movie a name of its own; names that differ only in case count as alike."""

    def __init__(self, taken=()):
        self._taken = {name.casefold() for name in _RESERVED}
        for name in taken:
            self.reserve(name)

    def reserve(self, name: str) -> None:
        """Mark a name, and what is derived from it, as taken."""
        self._taken.update((name + suffix).casefold() for suffix in ("", *_DERIVED))

    def give(self, path: str) -> str:
        """A free name for a movie: its safe stem, else that with `_2`, `_3`, ..."""
        stem = safe_stem(path)
        name, number = stem, 1
        while any((name + suffix).casefold() in self._taken for suffix in ("", *_DERIVED)):
            number += 1
            name = f"{stem}_{number}"
        self.reserve(name)
        return name


def star_can_hold(path: str) -> bool:
    """Whether a path can stand in a STAR value: valid UTF-8 without quotes, hashes, control
    characters, or white space other than single blanks inside."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not re.search("[\"'#\x00-\x1f\x7f]|[^\\S ]| {2}|^ | $", path)
