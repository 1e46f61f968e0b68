"""Small sessions for the benchmarks and tests of the live workflow."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import tifffile
import yaml
from scipy.ndimage import gaussian_filter

from cryosnake import layout
from cryosnake.preprocess.journal import Journal
from cryosnake.tables import read_table

#: Columns that tell when something was done, not what was found.
TIMES = [
    *("csnFileChanged_s", "csnArrival_s", "csnProcessed_s"),
    *("csnMotion_s", "csnCtf_s", "csnCuration_s"),
]


def movie_frames(seed: int, *, side_px: int = 256, frames: int = 6) -> np.ndarray:
    """(F, H, W) uint8 counts of a textured field that drifts by a pixel a frame."""
    random = np.random.default_rng(seed)
    margin = frames
    texture = gaussian_filter(random.normal(size=(side_px + margin,) * 2), 2)
    rate = 4.0 * np.clip(1 + 0.4 * texture / texture.std(), 0.05, None)
    shifted = [rate[k : k + side_px, k : k + side_px] for k in range(frames)]
    return random.poisson(shifted).astype(np.uint8)


def write_movies(folder: Path, numbers, **options) -> list[Path]:
    """Write small TIFF movies, one a number, each moved into place when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in numbers:
        path = folder / f"movie_{number:04d}.tif"
        temporary = path.with_name(f".{path.name}")
        tifffile.imwrite(
            temporary,
            movie_frames(number, **options),
            photometric="minisblack",
            compression="zlib",
        )
        temporary.rename(path)
        paths.append(path)
    return paths


def write_config(session: Path, movies: Path, **sections) -> None:
    """A session's configuration that is quick on small movies."""
    settings = {
        "input": {"path": str(movies)},
        "acquisition": {
            "pixel_size_angst": 1.5,
            "voltage_kv": 300,
            "cs_mm": 2.7,
            "dose_e_per_angst2_per_frame": 2.0,
        },
        "ingest": {"settle_s": 0, "batch_movies": 5, "poll_s": 0.3},
        "motion": {"patches": [1, 1]},
        "ctf": {"tile_px": 128},
        "milestones": {"tally_every_batches": 4},
        "compute": {"threads": 1, "device": "cpu"},
        "workflow": {"until": "curation"},
    }
    for name, values in sections.items():
        settings[name] = settings.get(name, {}) | values
    session.mkdir(parents=True, exist_ok=True)
    (session / "config.yaml").write_text(yaml.safe_dump(settings))


def start(session: Path, *arguments: str) -> subprocess.Popen:
    """Start `cryosnake run` on a session; its output goes to a file in the session."""
    with open(session / "starter.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "cryosnake.cli", "run", str(session), "--cores", "2"]
            + list(arguments),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(session: Path, *arguments: str, timeout_s: float = 900) -> None:
    """Run a session to its end.

    Raises
    ------
    RuntimeError : it ends with an error; with the end of its output.
    """
    if start(session, *arguments).wait(timeout=timeout_s):
        raise RuntimeError((session / "starter.log").read_text()[-6000:])


def kill_all(starter: subprocess.Popen) -> None:
    """SIGKILL to a starter and all that it started, at one moment."""
    tree: set[psutil.Process] = set()
    for _ in range(2):  # what is stopped starts no more; the second look finds the latest
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(starter.pid)
            tree |= {root, *root.children(recursive=True)}
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    starter.wait()


def science(session: Path) -> pd.DataFrame:
    """The session's table without the columns that tell times."""
    table = read_table(session / layout.MICROGRAPHS, "micrographs")
    return table.drop(columns=[c for c in TIMES if c in table])


def times_processed(session: Path) -> pd.Series:
    """How often each movie was processed to the end, from the journals."""
    names = []
    for path in sorted((session / layout.PREPROCESS).glob("*/movies.jsonl")):
        lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
        results = Journal(path).read()
        if len(results) != len(lines):
            raise RuntimeError(f"{path}: {len(lines)} entries of {len(results)} movies")
        names += [result.row["rlnMicrographMovieName"] for result in results.values()]
    return pd.Series(names, dtype=object).value_counts()


def wait_for(condition, *, timeout_s: float = 120, every_s: float = 0.2) -> None:
    """Wait until something is so.

    Raises
    ------
    TimeoutError : it is not.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(every_s)
