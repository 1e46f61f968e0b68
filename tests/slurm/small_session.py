"""A session from movies to a map that is as small as one can be; what it must come to."""

import subprocess
import sys
from pathlib import Path

from live_common import write_config

#: Particles of the only round.
ROUND = 100


def simulate(folder: Path) -> Path:
    """Movies of 20S proteasomes; returns their folder."""
    movies = folder / "movies"
    subprocess.run(
        [
            *(sys.executable, "-m", "cryosnake.cli", "simulate", str(movies), "--quiet"),
            *("--truth", str(folder / "truth"), "--seed", "7", "--movies", "8"),
            *("--height-px", "512", "--width-px", "512", "--frames", "8"),
            *("--pixel-size-angst", "2.6", "--dose-e-per-angst2-per-frame", "4"),
            *("--format", "tiff", "--metadata", "none", "--scenario", "good=8"),
        ],
        check=True,
    )
    return movies


def write_small_session(session: Path, movies: Path) -> None:
    """Every rule of a session from movies to the map, and little work in each."""
    write_config(
        session,
        movies,
        acquisition={
            "pixel_size_angst": 2.6,
            "dose_e_per_angst2_per_frame": 4.0,
            "gain": str(next(movies.rglob("*gain*"))),
        },
        ingest={"batch_movies": 4},
        milestones={
            "tally_every_batches": 1,
            "size_micrographs": 4,
            "training_micrographs": 4,
            "stringent_ctf_angst": 12.0,  # beyond twice the pixel, which is coarse
        },
        curation={"reject_by": []},
        picking={"training_micrographs": 4, "pickers": ["log", "correlation"], "train": False},
        class2d={
            "rounds": [{"particles": ROUND, "classes": 4}],
            "good_threshold": 0.001,
            "streaming": False,
        },
        abinitio={"volumes": 1, "restarts": 1},
        class3d={"rounds": [ROUND]},
        validation={"volumes": 1, "rounds2d": [{"classes": 4, "most_populated": 4}]},
        compute={"threads": 1, "device": "auto"},
        workflow={"until": "refine"},
    )
