"""Writing files whole or not at all: a temporary name in the same folder, then a rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is renamed to `path`, on error removed.

    The temporary name begins with a dot and keeps the suffix, so that writers that look at the
    suffix work and no glob of the results finds it. Missing parent folders are made.

    Examples
    --------
    >>> with written_whole("results/micrographs.star") as temporary:
    ...     temporary.write_text("...")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem[:80]}-", suffix=path.suffix, dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())  # a full disk or a lost mount must show here, not later
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def copied(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Make `target` a copy of a finished file, whole or not at all; a hard link where that can be.

    Files are replaced, never changed in place: the link stays what it was when the source is
    written anew.
    """
    with written_whole(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temporary)
