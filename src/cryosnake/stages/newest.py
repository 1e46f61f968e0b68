"""The newest round's files beside the folders of the rounds, where people look first."""

from collections.abc import Iterable
from pathlib import Path

from cryosnake.files import copied


def publish(session: Path, folder: str, particles: int, names: Iterable[str], done: str) -> None:
    """Copy files of `<folder>/<particles>` to `<folder>`, unless a later round is finished.

    Parameters
    ----------
    names : of the files; those that are not there are removed from `<folder>`, too.
    done : a file that says that a round is finished.
    """
    top = Path(session) / folder
    rounds = [int(path.parent.name) for path in top.glob(f"*/{done}") if path.parent.name.isdigit()]
    if any(number > particles for number in rounds):
        return
    for name in names:
        source = top / str(particles) / name
        if source.exists():
            copied(source, top / name)
        else:
            (top / name).unlink(missing_ok=True)
