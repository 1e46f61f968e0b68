"""`results/session/relion`: a folder that RELION opens, with the newest of what was found.

Tables are those of the session without its own columns; images and maps are relative links, so that
the results can be moved as a whole. Paths in the tables lead to files from inside the folder.
"""

import os
from pathlib import Path

import pandas as pd

from cryosnake import layout
from cryosnake.errors import BadInputError
from cryosnake.files import write_text
from cryosnake.images import read_mrc
from cryosnake.tables import read_star, write_star

#: Columns that hold a path, some of them behind the number of an image.
_PATHS = (
    "rlnImageName",
    "rlnMicrographName",
    "rlnMicrographMovieName",
    "rlnMicrographMetadata",
    "rlnReferenceImage",
)
#: What each file of a refinement is called by RELION.
_MAPS = {
    "half1.mrc": "run_half1_class001_unfil.mrc",
    "half2.mrc": "run_half2_class001_unfil.mrc",
    "map.mrc": "run_class001.mrc",
    "mask.mrc": "mask.mrc",
}
_AVERAGES = "class_averages.mrcs"
_POSTPROCESS = "PostProcess"


def write_relion_folder(session: Path) -> list[str]:
    """Write the folder from what there is; returns the names of the files in it.

    The particles are those of the last refinement, else those kept in the last 2D round; the
    micrographs are the accepted ones. What was there before and is not any more is removed.

    Raises
    ------
    BadInputError : a table is damaged, or names a file with a blank, which RELION cannot read.
    """
    session = Path(session)
    folder = session / layout.RELION
    folder.mkdir(parents=True, exist_ok=True)
    made: list[str] = []
    maps, averages = _maps(session), _averages(session)
    for name, source in {**maps, _AVERAGES: averages}.items():
        (folder / name).unlink(missing_ok=True)
        if source is not None:
            _link(folder / name, session / source)
            made.append(name)
    flags = ""
    for name, blocks in (
        ("particles.star", _particles(session)),
        ("micrographs.star", _micrographs(session)),
    ):
        (folder / name).unlink(missing_ok=True)
        if blocks is not None:
            if int(blocks["optics"].get("csnPhaseFlipped", pd.Series([0])).max()) == 1:
                flags = " --ctf_phase_flipped"
            _write_table(session, folder, name, blocks)
            made.append(name)
    pixel_size_angst = 0.0
    if half_maps := [name for name in made if "half1" in name]:
        _, pixel_size_angst = read_mrc(folder / half_maps[0])
        (folder / _POSTPROCESS).mkdir(exist_ok=True)  # RELION does not make it
    write_text(folder / "README.txt", _readme(made, flags, pixel_size_angst))
    return [*made, "README.txt"]


def _newest(session: Path, folder: str, name: str) -> str | None:
    """The file of a name of the largest round that has it."""
    found = [p for p in (session / folder).glob(f"*/{name}") if p.parent.name.isdigit()]
    if not found:
        return None
    return str(max(found, key=lambda p: int(p.parent.name)).relative_to(session))


def _maps(session: Path) -> dict[str, str | None]:
    """The files of the last refinement that has both half maps, by their names for RELION."""
    half = _newest(session, layout.REFINE, "half2.mrc")
    sources = {ours: None if half is None else f"{Path(half).parent}/{ours}" for ours in _MAPS}
    return {
        theirs: sources[ours] if sources[ours] and (session / sources[ours]).exists() else None
        for ours, theirs in _MAPS.items()
    }


def _averages(session: Path) -> str | None:
    return _newest(session, layout.CLASS2D, "classes.mrcs")


def _particles(session: Path) -> dict[str, pd.DataFrame] | None:
    for folder, name in ((layout.REFINE, "particles.star"), (layout.CLASS2D, "selected.star")):
        path = _newest(session, folder, name)
        if path is None:
            continue
        blocks = read_star(session / path)
        # a round that failed has neither
        if "optics" in blocks and len(blocks["particles"]):
            return {"optics": blocks["optics"], "particles": blocks["particles"]}
    return None


def _micrographs(session: Path) -> dict[str, pd.DataFrame] | None:
    if not (session / layout.MICROGRAPHS).exists():
        return None
    blocks = read_star(session / layout.MICROGRAPHS)
    table = blocks["micrographs"]
    accepted = table[table["csnAccepted"] == 1]
    if accepted.empty:
        return None
    # a micrograph that was given has no motion
    if (accepted.get("rlnMicrographMetadata", pd.Series(["-"])) == "-").any():
        accepted = accepted.drop(columns="rlnMicrographMetadata", errors="ignore")
    return {"optics": blocks["optics"], "micrographs": accepted}


def _write_table(
    session: Path, folder: Path, name: str, blocks: dict[str, pd.DataFrame | dict]
) -> None:
    """Write a table without the project's own columns, and link to what its paths begin with."""
    written = {}
    for block, table in blocks.items():
        table = pd.DataFrame([table]) if isinstance(table, dict) else table
        written[block] = table.drop(columns=[c for c in table if c.startswith("csn")])
        for column in (c for c in _PATHS if c in table):
            paths = table[column].astype(str).str.rpartition("@")[2]
            blank = paths[paths.str.contains(" ")]
            if len(blank):
                raise BadInputError(blank.iloc[0], "has a blank in its name", "a name without one")
            for first in _beginnings(paths):
                if (session / first).exists():
                    _link(folder / first, session / first)
    write_star(folder / name, written)


def _beginnings(paths: pd.Series) -> list[str]:
    """The first folder of relative paths; of those below the results, the first one in there."""
    found = set()
    for path in paths.unique():
        parts = Path(path).parts
        if path != "-" and not path.startswith("/") and ".." not in parts:
            found.add("/".join(parts[:2] if parts[0] == layout.RESULTS else parts[:1]))
    return sorted(found)


def _link(place: Path, target: Path) -> None:
    """A relative link, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, place.parent))
    os.replace(temporary, place)


def _readme(made: list[str], flags: str, pixel_size_angst: float) -> str:
    lines = ["This folder is for RELION 3.1 or later: start it in here.", ""]
    told = {
        "particles.star": "the particles of the last refinement, else those kept in 2D",
        "micrographs.star": "the accepted micrographs",
        "run_half1_class001_unfil.mrc": "half map, not filtered (the other one beside it)",
        "run_class001.mrc": "the refined map",
        "mask.mrc": "its mask",
        _AVERAGES: "averages of the last 2D round",
    }
    lines += [f"  {name}: {words}" for name, words in told.items() if name in made]
    commands = []
    if "particles.star" in made:
        commands.append(
            "relion_star_handler --i particles.star --o underfocus.star --select rlnDefocusU "
            "--minval 0 --maxval 20000"
        )
    if "particles.star" in made and "run_class001.mrc" in made:
        commands.append(
            f"relion_reconstruct --i particles.star --o reconstruction.mrc --ctf{flags}"
        )
    if {"run_half1_class001_unfil.mrc", "mask.mrc"} <= set(made):
        commands.append(
            "relion_postprocess --i run_half1_class001_unfil.mrc --mask mask.mrc "
            f"--o {_POSTPROCESS}/postprocess --angpix {pixel_size_angst:g}"
        )
    if commands:
        lines += ["", "To begin with:", "", *(f"  {command}" for command in commands)]
    return "\n".join(lines) + "\n"
