"""The particles of a batch of micrographs: one stack and one table."""

import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryosnake.errors import BadInputError
from cryosnake.particles.extract import Centres, box_centres, checked_image, extract_chunks, inside
from cryosnake.particles.flags import (
    FlagLimits,
    Metrics,
    flags,
    metric_columns,
    neighbour_distance_angst,
)
from cryosnake.particles.optics import ParticleCtf, tilt_offset_angst
from cryosnake.particles.settings import ExtractionSettings
from cryosnake.particles.stack import StackWriter, written_stack
from cryosnake.particles.table import (
    PARTICLE_COLUMNS,
    empty_particles,
    particle_optics,
    with_optics_groups,
)

_ORIGIN = ["rlnOriginXAngst", "rlnOriginYAngst"]
_FROM_MICROGRAPH = ["rlnCtfMaxResolution", "rlnCtfFigureOfMerit"]


@dataclass(frozen=True)
class BatchResult:
    """What came of the particles of a batch.

    Attributes
    ----------
    optics, particles : the blocks of the particle table (`table.write_particles`).
    micrographs : one row a micrograph: `rlnMicrographName`, `picked`, `extracted`, `border` (boxes
        that cross it), `flat` (no spread in the background), `problem` (why all its particles are
        missing, else `-`).
    """

    optics: pd.DataFrame
    particles: pd.DataFrame
    micrographs: pd.DataFrame


def extract_batch(
    micrographs: pd.DataFrame,
    coordinates: pd.DataFrame,
    read_image: Callable[[str], np.ndarray],
    out_stack: str | os.PathLike,
    *,
    stack_name: str,
    settings: ExtractionSettings,
    optics: pd.DataFrame | None = None,
    limits: FlagLimits | None = None,
    device="cpu",
) -> BatchResult:
    """Extract the particles of micrographs into one stack, a micrograph at a time.

    A micrograph that cannot be used (missing, damaged, not finite, smaller than the box, or not
    the one the coordinates are of) costs its own particles only. Coordinates may be a particle
    table: its other columns (angles, classes, refined defocus, half sets) stay, and its offsets
    become part of the coordinates; so particles are extracted again at another pixel size.

    Parameters
    ----------
    micrographs : rows as preprocessing leaves them: name, CTF, `csnTilt_deg` and
        `csnTiltAxis_deg` where a tilt was fitted, and the optics, or their group.
    coordinates : `rlnMicrographName`, `rlnCoordinateX`, `rlnCoordinateY` in pixels of the
        full-size micrograph; may have no rows. Other `rln` and `csn` columns are carried over. The
        particles come in the order of the micrographs, those of one in the order of their rows.
    read_image : gives the image (H, W) of a `rlnMicrographName`, row 0 at the bottom; raises
        BadInputError or OSError where it cannot.
    out_stack : where the stack is written, whole or not at all. Without particles there is none.
    stack_name : how the table names it, relative to the folder that RELION runs in.
    optics : the micrographs' optics groups; None: from the rows' own columns. Further columns, such
        as a beam tilt, are carried over.

    Raises
    ------
    ValueError : coordinates of micrographs that are not among the rows, or a micrograph twice.
    OSError : the stack cannot be written.
    """
    _check(micrographs, coordinates)
    micrographs, optics = with_optics_groups(micrographs, optics)
    labels = [c for c in coordinates if c.startswith(("rln", "csn")) and c != "rlnImageName"]
    of_micrograph = dict(list(coordinates[labels].groupby("rlnMicrographName", sort=False)))
    parts: list[pd.DataFrame] = []
    counts: list[dict] = []
    pixel = float(micrographs["rlnMicrographPixelSize"].median()) if len(micrographs) else 1.0
    stack_pixel = settings.output_pixel_angst(pixel)
    with written_stack(out_stack, stack_pixel, float16=settings.float16) as stack:
        for row in micrographs.to_dict("records"):
            name = row["rlnMicrographName"]
            picks = of_micrograph.get(name)
            count = {"rlnMicrographName": name, "picked": 0 if picks is None else len(picks)}
            count |= {"extracted": 0, "border": 0, "flat": 0, "problem": "-"}
            counts.append(count)
            if picks is None:
                continue
            try:
                image = np.asarray(read_image(name))
                job = _Job.of(row, picks, image, settings)
            except (BadInputError, OSError) as error:
                count["problem"] = str(error)
                continue
            first = stack.count
            part = job.run(stack, settings, device)
            part.insert(
                0,
                "rlnImageName",
                [f"{first + i + 1:06d}@{stack_name}" for i in range(len(part))],
            )
            crossing = int((~inside(job.centres.centre_xy, settings.box_px, image.shape)).sum())
            count["extracted"], count["border"] = len(part), crossing
            count["flat"] = len(picks) - crossing - len(part)
            if len(part):
                parts.append(part)
    particles = pd.concat(parts, ignore_index=True) if parts else empty_particles()
    if parts:
        particles["csnParticleFlags"] = flags(
            particles, settings.diameter_angst, settings.radius_angst, limits
        )
        optics = optics[optics["rlnOpticsGroup"].isin(particles["rlnOpticsGroup"])]
    first = [c for c in PARTICLE_COLUMNS if c in particles]
    particles = particles[[*first, *(c for c in particles if c not in first)]]
    columns = ["rlnMicrographName", "picked", "extracted", "border", "flat", "problem"]
    return BatchResult(
        particle_optics(
            optics, settings.box_px, settings.output_px, phase_flipped=settings.phase_flip
        ),
        particles,
        pd.DataFrame(counts, columns=columns),
    )


def _check(micrographs: pd.DataFrame, coordinates: pd.DataFrame) -> None:
    names = micrographs["rlnMicrographName"]
    if names.duplicated().any():
        raise ValueError(f"{names[names.duplicated()].iloc[0]} is listed twice")
    foreign = set(coordinates["rlnMicrographName"]) - set(names)
    if foreign:
        raise ValueError(f"coordinates of {len(foreign)} unknown micrographs, as {min(foreign)}")


@dataclass(frozen=True)
class _Job:
    """All that is known of a micrograph before its particles are cut out."""

    row: dict
    picks: pd.DataFrame
    image: np.ndarray
    pixel_angst: float
    centres: Centres
    ctf: ParticleCtf

    @staticmethod
    def of(
        row: dict, picks: pd.DataFrame, image: np.ndarray, settings: ExtractionSettings
    ) -> "_Job":
        """Raises BadInputError where the particles cannot be extracted."""
        pixel = float(row["rlnMicrographPixelSize"])
        if not (math.isfinite(pixel) and pixel > 0):
            raise BadInputError(None, f"rlnMicrographPixelSize = {pixel}", "a pixel size")
        xy = picks[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(float)
        image = checked_image(image, xy, settings.box_px)
        origin = np.stack(
            [picks[c].to_numpy(float) if c in picks else np.zeros(len(picks)) for c in _ORIGIN],
            axis=1,
        )
        centres = box_centres(xy, origin, pixel, recentre=settings.recentre)
        ctf = _particle_ctf(row, picks, xy, image.shape, pixel)
        if settings.phase_flip and not ctf.known():
            raise BadInputError(None, "no CTF to flip the phases with", "a fitted CTF")
        return _Job(row, picks, image, pixel, centres, ctf)

    def run(self, stack: StackWriter, settings: ExtractionSettings, device) -> pd.DataFrame:
        """Append the images to the stack; the rows of those that were kept."""
        indices, metrics = [np.empty(0, np.int64)], []
        for chunk in extract_chunks(
            self.image,
            self.pixel_angst,
            self.centres.centre_xy,
            settings,
            optics=self.ctf,
            device=device,
            seed=zlib.crc32(self.row["rlnMicrographName"].encode()),
        ):
            stack.append(chunk.images)
            indices.append(chunk.index)
            metrics.append(chunk.metrics)
        kept = np.concatenate(indices)
        particle_xy = self.centres.centre_xy - self.centres.origin_angst / self.pixel_angst
        neighbour = neighbour_distance_angst(particle_xy, self.pixel_angst)[kept]
        ctf = self.ctf.subset(kept)
        return (
            self.picks.iloc[kept]
            .reset_index(drop=True)
            .assign(
                rlnOpticsGroup=self.row["rlnOpticsGroup"],
                rlnCoordinateX=self.centres.centre_xy[kept, 0].astype(float),
                rlnCoordinateY=self.centres.centre_xy[kept, 1].astype(float),
                rlnOriginXAngst=self.centres.origin_angst[kept, 0],
                rlnOriginYAngst=self.centres.origin_angst[kept, 1],
                rlnDefocusU=ctf.defocus_u_angst,
                rlnDefocusV=ctf.defocus_v_angst,
                rlnDefocusAngle=ctf.defocus_angle_deg,
                rlnPhaseShift=ctf.phase_shift_deg,
                **{c: self.row[c] for c in _FROM_MICROGRAPH if c in self.row},
                **metric_columns(Metrics.joined(metrics), neighbour),
            )
        )


def _particle_ctf(
    row: dict, picks: pd.DataFrame, xy: np.ndarray, shape: tuple[int, int], pixel_angst: float
) -> ParticleCtf:
    """Each particle's own defocus, where the table has it; else the micrograph's, and its tilt."""

    def column(name: str, missing: float = math.nan) -> np.ndarray:
        values = np.full(len(picks), float(row.get(name, missing)))
        own = picks[name].to_numpy(float) if name in picks else values
        return np.where(np.isfinite(own), own, values)

    offset = 0.0
    if "rlnDefocusU" not in picks:
        offset = tilt_offset_angst(row, xy, shape, pixel_angst)
    shift = column("rlnPhaseShift", 0.0)
    return ParticleCtf(
        column("rlnDefocusU") + offset,
        column("rlnDefocusV") + offset,
        column("rlnDefocusAngle"),
        np.where(np.isfinite(shift), shift, 0.0),
        float(row["rlnVoltage"]),
        float(row["rlnSphericalAberration"]),
        float(row["rlnAmplitudeContrast"]),
    )
