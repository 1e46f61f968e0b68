"""One micrograph that another program corrected, from its file to a judged row."""

import math
import os
import time
from pathlib import Path

import mrcfile
import numpy as np
import torch

from cryosnake.acquisition import find_metadata, merge
from cryosnake.acquisition.facts import REQUIRED_OF_MICROGRAPHS, combined, facts_from
from cryosnake.config.model import Config
from cryosnake.ctf_fit import draw_ctf
from cryosnake.curation import COMPUTED, FLAG_COLUMNS, curate_micrograph, movie_columns
from cryosnake.errors import BadInputError
from cryosnake.given import GivenMicrograph
from cryosnake.images import write_mrc, write_png
from cryosnake.movies import check_frame, open_movie
from cryosnake.no_ctf import NO_CTF
from cryosnake.preprocess.columns import acquisition_notes, fact_columns
from cryosnake.preprocess.journal import MovieResult
from cryosnake.preprocess.movie import thumbnail
from cryosnake.preprocess.outcome import processed_or_rejected
from cryosnake.preprocess.transfer import WITHOUT_CTF, LazyCtf, ctf_columns

#: MRC modes that every reader takes alike: 16-bit integers, 32-bit and 16-bit floats.
_READ_BY_ALL = (1, 2, 6, 12)


def preprocess_micrograph(
    entry: dict,
    *,
    config: Config,
    session: Path,
    given: dict[str, GivenMicrograph],
    device: torch.device,
) -> MovieResult:
    """Judge one micrograph and put it where the movies' sums are.

    Nothing that needs frames is computed: no motion, no dose, no drift. The CTF is the table's,
    where it has one; else it is fitted, or, with `ctf.fit: false`, there is none. The file is
    linked to, not copied, where every program can read it.

    Parameters
    ----------
    entry : the micrograph's row of its batch; its file is `rlnMicrographMovieName`.
    session : the session's folder.
    given : what a table says of the micrographs, by their path.

    Returns
    -------
    MovieResult : always, as that of a movie.

    Raises
    ------
    OSError : the disk is full.
    """

    def process(row: dict, subject: str) -> MovieResult:
        told = given.get(row["rlnMicrographMovieName"])
        return _processed(row, subject, config, Path(session), told, device)

    return processed_or_rejected(entry, process)


def _processed(
    row: dict,
    subject: str,
    config: Config,
    session: Path,
    given: GivenMicrograph | None,
    device: torch.device,
) -> MovieResult:
    path = session / row["rlnMicrographMovieName"]
    with open_movie(path) as movie:
        info = movie.info
        if info.format != "mrc" or info.frames != 1:
            raise BadInputError(
                path,
                f"is a file of {info.frames} frames ({info.format})",
                "a micrograph: one image in MRC; movies want input.kind = movies",
            )
        found = find_metadata(path, info=info)
        frame = next(iter(movie.frames()))
        check_frame(frame, 0, path)
    if given is not None:
        found = combined(facts_from(config.input.path, **given.facts), found)
    needed = REQUIRED_OF_MICROGRAPHS if config.ctf.fit else REQUIRED_OF_MICROGRAPHS[:-1]
    facts, contradictions = merge(config.acquisition, found, required=needed)
    row |= fact_columns(facts, config.acquisition)
    image = np.asarray(frame, np.float32)
    pixel_size_angst = facts.pixel_size_angst
    told = given.ctf if given is not None and config.ctf.fit else None
    fitted = LazyCtf(image, pixel_size_angst, facts, config, device)
    # a CTF without the resolution to which it fits cannot be judged
    judged = config.ctf.fit and (told is None or math.isfinite(told.max_resolution_angst))
    started = time.perf_counter()
    verdicts = curate_micrograph(
        image,
        pixel_size_angst=pixel_size_angst,
        drift_max_angst=math.nan,
        drift_path_angst=math.nan,
        ctf=told or fitted,
        config=config.curation,
        filters=[f for f in (COMPUTED if judged else WITHOUT_CTF) if f != "drift"],
    )
    row["csnCuration_s"] = time.perf_counter() - started - fitted.seconds
    if not config.ctf.fit:
        row |= NO_CTF
    else:
        row |= ctf_columns(told) if told is not None else fitted.columns()
    row |= movie_columns(verdicts, config.curation)
    row[FLAG_COLUMNS["input"]] = 1
    stem = row["rlnMicrographName"].removesuffix(".mrc")
    files = [row["rlnMicrographName"], f"{stem}_thumb.png"]
    _put(path, session / files[0], image, pixel_size_angst)
    write_png(session / files[1], thumbnail(image))
    if fitted.fit is not None:
        files.append(f"{stem}_ctf.png")
        write_png(session / files[-1], draw_ctf(fitted.fit))
    decisions = [verdict.decision(subject) for verdict in verdicts]
    return MovieResult(row, decisions, acquisition_notes(found, contradictions), files)


def _put(source: Path, target: Path, image: np.ndarray, pixel_size_angst: float) -> None:
    """Link to the given file, or write its image where other programs might read it otherwise."""
    if not _plain(source):
        write_mrc(target, image, pixel_size_angst)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.abspath(source))
    os.replace(temporary, target)


def _plain(path: Path) -> bool:
    """Whether a file is a little-endian, two-dimensional MRC image of a usual mode."""
    try:
        with mrcfile.open(path, permissive=False, header_only=True) as mrc:
            header = mrc.header
    except ValueError:
        return False
    flat = header.nz == 1 and header.ispg == 0
    return bool(flat and header.mode in _READ_BY_ALL and header.mode.dtype.byteorder != ">")
