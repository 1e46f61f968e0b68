"""Files of tensors and plain values: written whole or not at all, read without running code."""

import pickle
import zipfile
from pathlib import Path

import torch

from cryosnake.errors import BadInputError
from cryosnake.files import written_whole

_VERSION = 1


def write(path, kind: str, content: dict) -> None:
    """Write tensors and plain values under the name of what they are."""
    with written_whole(path) as temporary:
        torch.save({"kind": kind, "version": _VERSION, "content": content}, temporary)


def read(path, kind: str) -> dict:
    """Read what `write` left, on the CPU.

    Raises
    ------
    BadInputError : missing, damaged, of another kind or version.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the check sums
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"check sum of {damaged} does not match")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError(path, f"cannot be read ({reason})", f"a {kind}") from error
    named = (found.get("kind"), found.get("version")) if isinstance(found, dict) else (None, None)
    if named != (kind, _VERSION):
        raise BadInputError(
            path, f"holds {named[0]!r}, version {named[1]}", f"{kind!r}, version {_VERSION}"
        )
    return found["content"]
