"""A whole acquisition: movies appear in a folder as a microscope writes them."""

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake.errors import BadInputError
from cryosnake.files import write_text, written_whole
from cryosnake.images import write_mrc, write_volume
from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.metadata import movie_path, place_of, sidecar
from cryosnake.simulate.movie import session_detector, simulate_movie
from cryosnake.simulate.potential import species_phase
from cryosnake.simulate.scenarios import scenario_sequence
from cryosnake.simulate.truth import write_truth
from cryosnake.simulate.writers import write_gain, write_movie

TABLE = "movies.csv"
END = "END"
_CHUNKS = 8  # pieces that a movie grows by
_SHARE_OF_PACE = 0.4  # of the time between two movies, during which it grows


@dataclass(frozen=True)
class _Job:
    config: SimulationConfig
    index: int
    scenario: str
    truth_dir: Path
    staging: Path


def simulate(
    config: SimulationConfig | dict,
    out_dir: str | os.PathLike,
    truth_dir: str | os.PathLike,
    *,
    append: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Path]:
    """Acquire: write movies, metadata and the gain reference to `out_dir`, the truth elsewhere.

    Parameters
    ----------
    truth_dir : gets `movies.csv` (one row a movie), per movie `<name>.json`, `<name>_motion.csv`,
        `<name>_particles.csv` and, if asked for, `<name>_clean.mrc`; `simulation.json`; and the
        map of each species, `<structure>.mrc`. It must not lie in `out_dir`.
    append : a second acquisition into the same folders: the numbering goes on.
    progress : called with (movies written, movies in all, name) after each.

    Returns
    -------
    The paths of the movies, in order.

    Raises
    ------
    BadInputError : the folders hold an acquisition already and `append` is not asked for, or
        with another seed (the camera and its gain reference belong to the seed); `truth_dir` is
        in `out_dir`; a structure cannot be read.
    """
    if not isinstance(config, SimulationConfig):
        config = SimulationConfig.model_validate(config)
    out_dir, truth_dir = Path(out_dir).absolute(), Path(truth_dir).absolute()
    if truth_dir == out_dir or out_dir in truth_dir.parents:
        raise BadInputError(truth_dir, "the truth lies among the movies", "a folder elsewhere")
    first = _first_index(config, out_dir, truth_dir, append)
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / END).unlink(missing_ok=True)  # the acquisition goes on
    staging = truth_dir / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    write_text(truth_dir / "simulation.json", config.model_dump_json(indent=1) + "\n")
    for species in config.species:  # once, before processes ask for it
        volume = species_phase(
            species.structure,
            pixel_size_angst=config.pixel_size_angst,
            voltage_kv=config.voltage_kv,
            cache_dir=truth_dir,
        )
        map_path = truth_dir / f"{Path(species.structure).stem}.mrc"
        write_volume(map_path, volume.numpy(), config.pixel_size_angst)
    write_gain(session_detector(config).gain, config, out_dir)
    scenarios = scenario_sequence(config, first)
    jobs = [
        _Job(config, first + i, scenario, truth_dir, staging)
        for i, scenario in enumerate(scenarios)
    ]
    paths = []
    unfinished: list[tuple[int, Path, Path]] = []  # (complete after this many, staged, final)
    start = time.monotonic()
    try:
        for done, (job, row) in enumerate(zip(jobs, _computed(jobs), strict=True)):
            if config.pace_s:
                time.sleep(max(0.0, start + done * config.pace_s - time.monotonic()))
            final = out_dir / movie_path(config, job.index)
            _publish(job, row, final, unfinished, done)
            _complete(unfinished, done)
            _append_row(truth_dir / TABLE, row)
            paths.append(final)
            if progress is not None:
                progress(done + 1, len(jobs), final.name)
        _complete(unfinished, None)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if config.end_marker:
        write_text(out_dir / END, "")
    return paths


def _first_index(config: SimulationConfig, out_dir: Path, truth_dir: Path, append: bool) -> int:
    table = truth_dir / TABLE
    if not table.is_file():
        if out_dir.is_dir() and any(out_dir.iterdir()) and not append:
            raise BadInputError(out_dir, "is not empty", "a new folder, or append")
        return 0
    if not append:
        raise BadInputError(truth_dir, "holds the truth of an acquisition", "append, or a new one")
    before = SimulationConfig.model_validate_json((truth_dir / "simulation.json").read_text())
    if before.seed != config.seed or before.shape != config.shape:
        raise BadInputError(
            truth_dir,
            f"was made with seed {before.seed} and {before.shape} pixels",
            f"the same, not seed {config.seed} and {config.shape} pixels: the camera stays",
        )
    return int(pd.read_csv(table)["index"].max()) + 1


def _computed(jobs: list[_Job]) -> Iterator[dict]:
    """The rows of the movies in order, computed in the configured number of processes, at most
    two movies a process ahead."""
    workers = jobs[0].config.workers
    if workers == 1:
        yield from map(_compute, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = [pool.submit(_compute, job) for job in jobs[: 2 * workers]]
        for job in [*jobs[2 * workers :], *[None] * len(waiting)]:
            yield waiting.pop(0).result()
            if job is not None:
                waiting.append(pool.submit(_compute, job))


def _compute(job: _Job) -> dict:
    """Simulate one movie into the staging folder and write its truth; gives its row."""
    config = job.config
    relative = movie_path(config, job.index)
    movie = simulate_movie(
        config, job.index, scenario=job.scenario, name=relative.stem, cache_dir=job.truth_dir
    )
    write_movie(movie, job.staging / relative.name)
    write_truth(movie.truth, job.truth_dir)
    if config.clean_micrographs:
        clean = job.truth_dir / f"{relative.stem}_clean.mrc"
        write_mrc(clean, movie.particle_phase(), config.pixel_size_angst)
    place = place_of(config, job.index)
    cell = place.beam_cell[1] * config.beam_shift_grid + place.beam_cell[0]
    return {
        **movie.truth.as_row(),
        "path": str(relative),
        "grid_square": place.square_id,
        "foil_hole": place.hole_id,
        "beam_shift_group": cell + 1,
    }


def _publish(
    job: _Job,
    row: dict,
    final: Path,
    unfinished: list[tuple[int, Path, Path]],
    done: int,
) -> None:
    """Let the movie appear as the configuration says, after its metadata."""
    config = job.config
    final.parent.mkdir(parents=True, exist_ok=True)
    if config.metadata != "none":
        defocus = 0.5 * (row["defocus_u_angst"] + row["defocus_v_angst"])
        where, text = sidecar(config, job.index, defocus_angst=defocus)
        write_text(final.parent / where.name, text)
    staged = job.staging / final.name
    size = staged.stat().st_size
    cut = np.random.default_rng([config.seed, job.index, 5]).uniform(0.3, 0.8)
    match row["file_fault"]:
        case "truncated":
            os.truncate(staged, int(size * cut))
            _appear(staged, final, config)
        case "half_written":
            _append_bytes(staged, final, 0, int(size * cut))
            unfinished.append((done + config.half_written_for_movies, staged, final))
        case _:
            _appear(staged, final, config)


def _appear(staged: Path, final: Path, config: SimulationConfig) -> None:
    if config.write == "rename":
        with written_whole(final) as temporary:
            shutil.copyfile(staged, temporary)
    else:
        size = staged.stat().st_size
        pause_s = config.pace_s * _SHARE_OF_PACE / _CHUNKS
        edges = np.linspace(0, size, _CHUNKS + 1).astype(int)
        for begin, end in pairwise(edges):
            _append_bytes(staged, final, int(begin), int(end))
            time.sleep(pause_s)
    staged.unlink()


def _append_bytes(staged: Path, final: Path, begin: int, end: int) -> None:
    with open(staged, "rb") as source, open(final, "wb" if begin == 0 else "ab") as target:
        source.seek(begin)
        target.write(source.read(end - begin))


def _complete(unfinished: list[tuple[int, Path, Path]], done: int | None) -> None:
    """Write the rest of half-written movies that are due (all, where `done` is None)."""
    for entry in list(unfinished):
        due, staged, final = entry
        if done is None or done >= due:
            _append_bytes(staged, final, final.stat().st_size, staged.stat().st_size)
            staged.unlink()
            unfinished.remove(entry)


def _append_row(table: Path, row: dict) -> None:
    new = not table.is_file()
    pd.DataFrame([row]).to_csv(table, mode="a", header=new, index=False)
