"""Pretrained weights that ship inside the `topaz-em` package, read without running its code.

`topaz-em` (GPL-3) is a source of numbers here and nothing else: its files are found through the
metadata of the installed package and read as plain tensors; nothing of it is imported.
"""

import pickle
from importlib import metadata
from pathlib import Path

import torch

from cryosnake.errors import BadInputError, SessionStopError

DISTRIBUTION = "topaz-em"
#: Without its dependencies, which bring in a torchvision that breaks a CPU build of PyTorch.
INSTALL_COMMAND = "pip install --no-deps topaz-em==0.3.20"

#: Name here -> file inside the package. `u32`, `u64`: channels of the first layer.
FILES = {
    "resnet8_u32": "topaz/pretrained/detector/resnet8_u32.sav",
    "resnet8_u64": "topaz/pretrained/detector/resnet8_u64.sav",
    "resnet16_u32": "topaz/pretrained/detector/resnet16_u32.sav",
    "resnet16_u64": "topaz/pretrained/detector/resnet16_u64.sav",
    "unet": "topaz/pretrained/denoise/unet_L2_v0.2.2.sav",
    "unet_small": "topaz/pretrained/denoise/unet_small_L1_v0.2.2.sav",
}


def pretrained_version() -> str | None:
    """Version of the installed `topaz-em`, None where it is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def pretrained_path(name: str) -> Path:
    """Where the file of the weights `name` (a key of `FILES`) lies.

    Raises
    ------
    SessionStopError : `topaz-em` is not installed; the message has the command that installs it.
    BadInputError : it is installed and has no such file.
    """
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise SessionStopError(
            f"the pretrained weights {name!r} are part of the package {DISTRIBUTION}, which is not"
            f" installed; install it with: {INSTALL_COMMAND}"
        ) from None
    path = Path(str(distribution.locate_file(FILES[name])))
    if not path.is_file():
        raise BadInputError(
            path,
            f"missing in {DISTRIBUTION} {distribution.version}",
            f"the files of {INSTALL_COMMAND.rpartition(' ')[2]}",
        )
    return path


def pretrained(name: str) -> dict[str, torch.Tensor]:
    """The tensors of the pretrained weights `name` (a key of `FILES`) on the CPU, by their names.

    Only tensors and plain containers are unpickled; a file that holds anything else is refused.

    Raises
    ------
    SessionStopError : `topaz-em` is not installed.
    BadInputError : the file is missing, damaged, or holds anything but tensors.
    """
    path = pretrained_path(name)
    expected = "a dictionary of tensors"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BadInputError(path, f"cannot be read ({error})", expected) from error
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise BadInputError(path, f"holds a {type(state).__name__}", expected)
    return dict(state)
