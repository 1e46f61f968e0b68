"""What RELION is given, checked before hours are spent on it."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd

from cryosnake.errors import BadInputError
from cryosnake.images import read_mrc, write_volume
from cryosnake.particles.table import read_particles, stack_path, write_particles
from cryosnake.tables import write_star

_NEEDED = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_ONE_IMAGE = ("rlnImagePixelSize", "rlnImageSize", "csnPhaseFlipped")


@dataclass(frozen=True)
class GivenParticles:
    """What was written for RELION.

    Parameters
    ----------
    names : rlnImageName of the particles given, with the index of the input table.
    index : of the whole input table.
    box_px, pixel_size_angst : of the images.
    phase_flipped : the images were multiplied by the sign of their CTF.
    """

    names: pd.Series
    index: pd.Index
    box_px: int
    pixel_size_angst: float
    phase_flipped: bool

    @property
    def box_angst(self) -> float:
        """Side of the images."""
        return self.box_px * self.pixel_size_angst


def write_input(
    particles_star: Path,
    path: Path,
    *,
    work_dir: Path,
    least: int,
    half_precision: bool,
    without: Collection[str] = (),
) -> GivenParticles:
    """Write the particles that RELION can use, without the project's own columns.

    Left out are images that hold NaN, which end RELION with "zero sum of weights", and constant
    ones.

    Parameters
    ----------
    least : so many usable particles are needed.
    half_precision : this RELION reads 16-bit stacks (MRC mode 12).
    without : columns that RELION is not to see.

    Raises
    ------
    BadInputError : images of different sizes, 16-bit stacks for a RELION that cannot read them,
        missing stacks or columns, or too few usable particles.
    """
    optics, particles = read_particles(particles_star)
    kinds = optics[[c for c in _ONE_IMAGE if c in optics]].drop_duplicates()
    if len(kinds) != 1:
        raise BadInputError(
            particles_star, f"optics groups of {kinds.to_dict('list')}", "one kind of image"
        )
    for name in _NEEDED:
        if name not in particles or not np.isfinite(particles[name].astype(float)).all():
            raise BadInputError(
                particles_star, f"{name} is missing or not finite", "the CTF of all"
            )
    repeated = particles["rlnImageName"].duplicated()
    if repeated.any():
        first = particles.loc[repeated, "rlnImageName"].iloc[0]
        raise BadInputError(particles_star, f"{first} is there more than once", "each image once")
    box_px = int(kinds["rlnImageSize"].iloc[0])
    usable = _usable(particles["rlnImageName"], work_dir, box_px, half_precision)
    if usable.sum() < least:
        raise BadInputError(particles_star, f"{usable.sum()} usable particles", f"at least {least}")
    chosen = particles[usable].drop(columns=[c for c in without if c in particles])
    write_particles(path, _standard(optics), _standard(chosen))
    return GivenParticles(
        names=chosen["rlnImageName"],
        index=particles.index,
        box_px=box_px,
        pixel_size_angst=float(kinds["rlnImagePixelSize"].iloc[0]),
        phase_flipped=bool("csnPhaseFlipped" in kinds and kinds["csnPhaseFlipped"].iloc[0]),
    )


def write_references(
    initial: Path, path: Path, *, work_dir: Path, classes: int, given: GivenParticles
) -> None:
    """Write the STAR file of averages to start from. Of a bare stack RELION would take the first
    image for every class.

    Raises
    ------
    BadInputError : another number of averages than classes, another box or another pixel size.
    """
    averages, pixel_size_angst = read_mrc(initial)
    expected = (classes, given.box_px, given.box_px)
    if averages.shape != expected:
        raise BadInputError(initial, f"averages of shape {averages.shape}", f"{expected}")
    if abs(pixel_size_angst / given.pixel_size_angst - 1.0) > 0.001:
        raise BadInputError(
            initial, f"pixel size {pixel_size_angst:g} A", f"{given.pixel_size_angst:g} A"
        )
    stack = os.path.relpath(initial, work_dir)
    names = [f"{number:06d}@{stack}" for number in range(1, classes + 1)]
    write_star(path, {"": pd.DataFrame({"rlnReferenceImage": names})})


def write_volume_references(
    references: Sequence[np.ndarray | str | os.PathLike], folder: Path, given: GivenParticles
) -> list[Path]:
    """Write reference_1.mrc and so on: RELION refuses volumes of other sizes only after a while,
    and takes the pixel size from their headers.

    Parameters
    ----------
    references : cubes (n, n, n) in the particles' box, or MRC files of such at their pixel size.

    Raises
    ------
    BadInputError : none, another size or pixel size, flat, or not finite.
    """
    if not len(references):
        raise BadInputError(None, "no reference", "one or more")
    written = []
    for number, one in enumerate(references, start=1):
        where, volume = f"reference {number}", one
        if not isinstance(one, np.ndarray):
            where = one
            volume, pixel_size_angst = read_mrc(one)
            if abs(pixel_size_angst / given.pixel_size_angst - 1.0) > 0.001:
                expected = f"{given.pixel_size_angst:g} A"
                raise BadInputError(where, f"pixel size {pixel_size_angst:g} A", expected)
        if volume.shape != (given.box_px,) * 3:
            raise BadInputError(where, f"shape {volume.shape}", f"{(given.box_px,) * 3}")
        if not np.isfinite(volume).all() or not np.ptp(volume) > 0:
            raise BadInputError(where, "is flat or not finite", "a volume")
        written.append(Path(folder) / f"reference_{number}.mrc")
        write_volume(written[-1], volume, given.pixel_size_angst)
    return written


def _usable(names: pd.Series, work_dir: Path, box_px: int, half_precision: bool) -> np.ndarray:
    """(N,) whether each image is finite and not constant; every stack is read once."""
    places = pd.DataFrame([stack_path(name) for name in names], columns=["number", "stack"])
    usable = np.zeros(len(places), bool)
    for stack, rows in places.groupby("stack", sort=False):
        path = Path(work_dir) / stack
        try:
            with mrcfile.mmap(path, permissive=False) as mrc:
                mode, data = int(mrc.header.mode), mrc.data
                if mode == 12 and not half_precision:
                    raise BadInputError(
                        path,
                        "16-bit floats (MRC mode 12), which RELION reads from 4.0 on",
                        "32-bit stacks (particles.output_float16: false), or a newer RELION",
                    )
                data = data.reshape(-1, *data.shape[-2:])
                numbers = rows["number"].to_numpy()
                if data.shape[1:] != (box_px, box_px) or numbers.max() > len(data):
                    raise BadInputError(
                        path, f"stack of shape {data.shape}", f"{numbers.max()} images of {box_px}"
                    )
                for row, number in zip(rows.index, numbers, strict=True):
                    image = data[number - 1]
                    usable[row] = np.isfinite(image).all() and np.ptp(image) > 0
        except (OSError, ValueError) as error:
            raise BadInputError(path, f"cannot be read ({error})", "an MRC stack") from error
    return usable


def _standard(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that RELION knows; it would warn of the others."""
    return table[[c for c in table if c.startswith("rln")]]
