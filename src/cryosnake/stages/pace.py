"""How fast a session gains particles that are worth refining."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.quick_star import read_tables
from cryosnake.tables import read_table

#: Fewer movies tell no pace.
LEAST_MOVIES = 10
#: A gap longer than this many usual ones is a pause: it counts as one usual gap.
_PAUSE = 10.0
#: The microscope's own times are used where so many of the movies have one.
_MOST = 0.9


def particles_per_hour(session: Path, particles: int, refined: int) -> tuple[float | None, str]:
    """Particles of a round that came to be refined, by hour of acquisition.

    The hours are those of all movies of the batches that the round's particles come from, rejected
    ones too.

    Parameters
    ----------
    particles : number of the round; refined : of its particles, those that were refined.

    Returns
    -------
    The pace, None where movies or times are not known, and a sentence on the times.
    """
    subset = session / layout.particle_subset(particles)
    if not subset.is_file():
        return None, "the round's particles are not known"
    table = read_table(subset, "particles")
    if "rlnMicrographName" not in table:
        return None, "no micrographs"
    paths = [session / layout.batch_table(batch) for batch in layout.closed_batches(session)]
    there = [path for path in paths if path.is_file()]
    movies = read_tables(there, "micrographs") if there else pd.DataFrame()
    if movies.empty:
        return None, "no movies"
    used = movies["rlnMicrographName"].isin(set(table["rlnMicrographName"]))
    batches = movies.loc[used, "csnBatch"].unique()
    times_s, source = acquisition_times_s(movies[movies["csnBatch"].isin(batches)])
    if len(times_s) < LEAST_MOVIES:
        return None, f"times of {len(times_s)} movies ({source})"
    hours = acquisition_hours(times_s)
    if not hours > 0:
        return None, f"all movies have the same time ({source})"
    return refined / hours, f"{len(times_s)} movies in {hours:.1f} h by {source}"


def acquisition_times_s(movies: pd.DataFrame) -> tuple[np.ndarray, str]:
    """Unix times of movies, of the microscope where it told, else of the files; and which."""
    told = movies.get("csnAcquisitionTime", pd.Series("-", index=movies.index))
    parsed = np.array([_unix_s(text) for text in told])
    if np.isfinite(parsed).mean() >= _MOST:
        return parsed[np.isfinite(parsed)], "the microscope's times"
    written = movies.get("csnMovieMtime_s", pd.Series(np.nan, index=movies.index)).to_numpy(float)
    return written[np.isfinite(written)], "the times of the files"


def _unix_s(text) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return np.nan


def acquisition_hours(times_s: np.ndarray) -> float:
    """Hours that movies took, pauses left out: the sum of the gaps between them, and one for the
    last; a gap beyond ten times the median counts as one median."""
    gaps_s = np.diff(np.sort(times_s))
    usual_s = float(np.median(gaps_s))
    gaps_s = np.where(gaps_s > _PAUSE * max(usual_s, 1e-9), usual_s, gaps_s)
    return float(gaps_s.sum() + usual_s) / 3600.0
