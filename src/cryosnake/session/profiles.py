"""Making a profile known to Snakemake by a name, for everything that its user runs."""

import os
from pathlib import Path

from snakemake.common import get_appdirs

from cryosnake.errors import BadInputError

#: What tells a checkout of this project: a profile of it lies in its folder `profiles`.
_CHECKOUT = ("workflow/Snakefile", "src/cryosnake/__init__.py")


def profile_folder() -> Path:
    """Where Snakemake looks for this user's profiles."""
    return Path(get_appdirs().user_config_dir)


def install_profile(profile: Path, name: str | None = None, folder: Path | None = None) -> str:
    """Link a profile into Snakemake's folder of profiles; returns what was done, in words.

    Only links to profiles of this project (this checkout or another one) are ever replaced.

    Parameters
    ----------
    profile : its folder, with a config.yaml.
    name : what `snakemake --profile` is to find it by; by default the folder's name.
    folder : where Snakemake looks; by default that of this user.

    Raises
    ------
    BadInputError : something else has that name there, or the folder cannot be written.
    """
    profile = Path(profile).resolve()
    folder = profile_folder() if folder is None else Path(folder)
    link = folder / (name or profile.name)
    if link.parent != folder:
        raise BadInputError(None, f"name = {name}", "a name without slashes")
    before = link.resolve() if link.is_symlink() else None
    if before == profile:
        return f"{link} is linked to {profile} already"
    if os.path.lexists(link) and not (before and _of_this_project(before, profile)):
        what = f"is a link to {before}" if before else "is there already"
        raise BadInputError(link, what, "nothing of that name: remove it, or choose a --name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f".{link.name}.{os.getpid()}"
        new.symlink_to(profile, target_is_directory=True)
        new.replace(link)
    except OSError as error:
        raise BadInputError(link, f"cannot be made ({error})", "a folder to write to") from error
    return f"linked {link} to {profile}" + (f", no longer to {before}" if before else "")


def _of_this_project(linked: Path, profile: Path) -> bool:
    """Whether a link leads to a profile of a checkout, or to what was the same profile of one that
    is gone."""
    if linked.is_dir():
        return all((linked.parent.parent / file).is_file() for file in _CHECKOUT)
    return linked.parts[-2:] == ("profiles", profile.name)
