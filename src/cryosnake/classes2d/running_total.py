"""The sums of batches, kept together: a thousand of them are not read anew for each new one."""

from collections.abc import Sequence
from pathlib import Path

from cryosnake.classes2d import saved
from cryosnake.classes2d.contribution import Contribution, added, load_contribution
from cryosnake.errors import BadInputError

_KIND = "running total of contributions"


def running_total(path: Path, files: Sequence[Path]) -> Contribution:
    """The sum of the contributions in `files`, in double precision.

    What was summed the last time lies in `path`: only files that are new are read. If one of those
    has changed since, or is gone, all are read again.

    Raises
    ------
    BadInputError : a contribution is damaged, or was scored against other references.
    """
    written_ns = {file.name: file.stat().st_mtime_ns for file in files}
    known, so_far = _kept(path)
    if so_far is None or not known.items() <= written_ns.items():
        known, so_far = {}, None
    new = [file for file in files if file.name not in known]
    if so_far is None:
        so_far, new = load_contribution(new[0]), new[1:]
    elif not new:
        return so_far
    newest = added(so_far, (load_contribution(file) for file in new))
    saved.write(path, _KIND, {"written_ns": written_ns, "sum": newest.content()})
    return newest


def _kept(path: Path) -> tuple[dict[str, int], Contribution | None]:
    """What the file holds; nothing where it is missing or damaged, since it can be made again."""
    try:
        content = saved.read(path, _KIND)
    except BadInputError:
        return {}, None
    return content["written_ns"], Contribution.from_content(content["sum"])
