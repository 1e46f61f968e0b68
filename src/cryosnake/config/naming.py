"""What a file is, by its name alone."""

import os
import re
from pathlib import Path


def looks_like_gain(path: str | os.PathLike) -> bool:
    """Whether a file is a gain reference: `.gain`, or `gain` at the beginning of a word."""
    path = Path(path)
    return path.suffix.lower() == ".gain" or bool(re.search(r"(?<![a-z])gain", path.stem.lower()))
