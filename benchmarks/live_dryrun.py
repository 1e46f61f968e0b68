"""Cost of a no-op: `snakemake -n` on a session of 20,000 finished movies in batches of 20.

A session is fabricated with every file that the DAG looks at (movies are empty files, tables hold
plausible rows); then a dry run is measured, which must find nothing to do.

    python benchmarks/live_dryrun.py [--movies 20000] [--batch-movies 20]

Prints wall time and peak resident memory of the dry run, and what it costs to refresh the
session's tables and report.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cryosnake import layout
from cryosnake.config import load_config
from cryosnake.config.model import Config
from cryosnake.decisions import Decision, as_table
from cryosnake.files import write_text
from cryosnake.preprocess.row import EMPTY_ROW
from cryosnake.quick_star import read_tables
from cryosnake.session.dag import SessionDag
from cryosnake.session.ledger import Arrival, Ledger
from cryosnake.session.milestones import freeze, write_tally
from cryosnake.session.particle_subsets import write_particle_tally
from cryosnake.session.publish import publish_report
from cryosnake.session.tables import refresh
from cryosnake.tables import write_star

ROOT = Path(__file__).resolve().parents[1]
_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
print(done.stdout)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, end="")
sys.exit(done.returncode)
"""


def fabricate(session: Path, movies: int, batch_movies: int, more: str = "") -> None:
    """A session whose work is all done; `more` are lines for its configuration."""
    folder = session / "movies"
    folder.mkdir()
    names = [f"movies/FoilHole_{i:08d}_Data_{i % 7}_Fractions.tiff" for i in range(movies)]
    for name in names:
        (session / name).touch()
    (session / "config.yaml").write_text(
        f"input: {{path: movies}}\ningest: {{batch_movies: {batch_movies}, settle_s: 0}}\n{more}"
    )
    config = load_config(session / "config.yaml")
    ledger = Ledger(session, config)
    (session / layout.BATCHES).mkdir(parents=True)
    now_s = time.time()
    for start in range(0, movies, batch_movies):
        part = names[start : start + batch_movies]
        ledger.close([Arrival(name, 0, now_s, now_s, 1) for name in part])
    random = np.random.default_rng(1)
    for number, batch in enumerate(ledger.batches):
        _finish(session, batch, names[number * batch_movies :][:batch_movies], random)
    dag = SessionDag(session, config, main=False)
    for covered in dag.missing(dag.micrograph_tallies):
        # as the checkpoint does; counting each prefix anew is its cost, not that of the dry run
        before = dag.micrograph_tallies.before(covered)
        if covered <= 20:
            write_tally(session, config, covered, before)
        else:
            path = session / layout.tally_file(covered)
            path.write_text((session / layout.tally_file(before)).read_text())
    for milestone in ("size", "training"):
        batches = dag.subset_batches(milestone, ask=print)
        freeze(session, config, milestone, batches)
    _finish_picking(session, config, ledger.batches)
    _finish_classes(session, config, ledger.batches)


def _finish_picking(session: Path, config: Config, batches: list[str]) -> None:
    """What the DAG and the session's tables look at of picking and extraction."""
    version = config.picking.model_version
    pickers = config.picking.pickers
    # in the order in which the workflow makes them
    made = [layout.TRAINING_MICROGRAPHS, layout.SIZE_PICTURE, layout.SIZE_DECISIONS, layout.SIZE]
    made += [*map(layout.picker_decisions, pickers), *map(layout.picker_star, pickers)]
    made += [layout.CONSENSUS, layout.CONSENSUS_DECISIONS, layout.AGREEMENT]
    made += [layout.model_decisions(version), layout.model_file(version, "pt")]
    made += [layout.model_file(version, "json")]
    told = as_table([Decision("session", "picking", "info", "180 particles", "-")])
    for path in made:
        (session / path).parent.mkdir(parents=True, exist_ok=True)
        if "decisions" in path:
            write_star(session / path, {"decisions": told})
        else:
            (session / path).write_text("{}")
    for batch in batches:
        table = read_tables([session / layout.batch_table(batch)], "micrographs")
        names = table.loc[table["csnAccepted"] == 1, "rlnMicrographName"]
        for path in (layout.coordinates_star(batch), layout.particles_star(batch)):
            (session / path).parent.mkdir(parents=True, exist_ok=True)
            (session / path).touch()
        counts = pd.DataFrame({"micrograph": names, "picks": 200, "extracted": 180})
        counts[["micrograph", "picks"]].to_csv(session / layout.picked_counts(batch), index=False)
        counts[["micrograph", "extracted"]].to_csv(
            session / layout.extracted_counts(batch), index=False
        )
        for path in (layout.coordinates_decisions(batch), layout.particles_decisions(batch)):
            write_star(session / path, {"decisions": told})


def _finish_classes(session: Path, config: Config, batches: list[str]) -> None:
    """What the DAG looks at of 2D classification: counts, subsets, rounds, streamed batches."""
    dag = SessionDag(session, config, main=False)
    for covered in dag.missing(dag.particle_tallies):
        write_particle_tally(session, dag.particle_tallies, covered)
    told = as_table([Decision("class2d", "class2d", "info", "40 of 50 classes", "-")])
    reached = dag.reached_rounds(ask=print)
    for number in reached:
        made = ["averages.star", "particles.star", "selected.star"]
        made = [layout.class2d_file(number, name) for name in [*made, "classes.star"]]
        for path in (layout.particle_subset(number), *made):
            (session / path).parent.mkdir(parents=True, exist_ok=True)
            (session / path).touch()
        write_star(session / layout.class2d_file(number, "decisions.star"), {"decisions": told})
        for path in _volumes(dag, number):
            (session / path).parent.mkdir(parents=True, exist_ok=True)
            (session / path).touch()
    for path in dag.streamed(ask=print):
        (session / path).parent.mkdir(parents=True, exist_ok=True)
        (session / path).with_suffix(".star").touch()
        (session / path).write_text('{"problem": "-", "rows": []}')
    if reached:
        write_text(session / layout.RELION / "README.txt", "")


def _volumes(dag: SessionDag, particles: int) -> list[str]:
    """What the steps in 3D leave for each other, in the order in which it is made."""
    branch2d = dag.volume_rounds.branch2d_classes(particles)
    branch3d = layout.branch3d_folder(particles)
    names = ("volumes.star", "particles.star", "selected.star")
    return [
        layout.abinitio_file(particles, "volumes.star"),
        *(layout.class3d_file(particles, name) for name in names),
        *(str(Path(path).with_name("selected.star")) for path in branch2d),
        *branch2d,
        f"{branch3d}/volumes.star",
        f"{branch3d}/particles.star",
        layout.validation_file(particles, "crossvalidation.star"),
        layout.validation_file(particles, "particles.star"),
        layout.refine_file(particles, "stack/particles.star"),
        layout.refine_file(particles, "result.json"),
        layout.refine_file(particles, "forecast.json"),
    ]


def _finish(session: Path, batch: str, names: list[str], random: np.random.Generator) -> None:
    number = len(names)
    defocus = random.uniform(8000, 26000, number)
    passed = (random.random(number) < 0.9).astype(int)
    table = pd.DataFrame([EMPTY_ROW] * number)
    table["rlnMicrographMovieName"] = names
    table["rlnMicrographName"] = [
        f"{layout.PREPROCESS}/{batch}/{Path(name).stem}.mrc" for name in names
    ]
    table["csnBatch"] = batch
    table["rlnDefocusU"], table["rlnDefocusV"] = defocus + 100, defocus - 100
    table["csnDefocusMean_angst"] = defocus
    table["rlnCtfMaxResolution"] = random.uniform(3, 5, number)
    table["rlnAccumMotionTotal"] = random.uniform(3, 30, number)
    table["csnDose_counts_per_angst2"] = random.normal(1, 0.01, number)
    for column, value in (
        ("rlnMicrographOriginalPixelSize", 0.83),
        ("rlnMicrographPixelSize", 0.83),
        ("rlnVoltage", 300),
        ("rlnSphericalAberration", 2.7),
        ("rlnAmplitudeContrast", 0.1),
    ):
        table[column] = value
    flags = [c for c in table.columns if c.startswith("csnPass")]
    table[flags] = 1
    table["csnPassCtf"] = passed
    table["csnAccepted"] = passed
    table["csnReason"] = np.where(passed == 1, "-", "ctf")
    table["csnExplanation"] = np.where(passed == 1, "-", "7.1 A; accepted: better than 6 A")
    decisions = [
        Decision(name, rule, "pass", "0.91, 0.03", "above 0.35, below 0.15")
        for name in names
        for rule in ("drift", "spectrum", "class", "ctf")
    ]
    write_star(session / layout.batch_decisions(batch), {"decisions": as_table(decisions)})
    write_star(session / layout.batch_table(batch), {"micrographs": table})


def mark_made(session: Path) -> None:
    """As rules do that have written the session's tables and its report."""
    for mark in (layout.TABLES_MADE, layout.REPORT_MADE):
        (session / mark).touch()


def snakemake(session: Path, *arguments: str) -> tuple[float, float, str]:
    """Wall time in s, peak memory in MB and output of Snakemake on the session."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile")]
    words += ["--profile", str(ROOT / "profiles/local"), "--directory", str(session)]
    words += ["--configfile", str(session / "config.yaml"), *arguments]
    started = time.perf_counter()
    # a process inherits the peak of the one that started it: a small one in between
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *words], capture_output=True, text=True, cwd=session
    )
    wall_s = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    output, peak_kb = done.stdout.rsplit("\n", 1)
    return wall_s, int(peak_kb) / 1024, output


def main() -> None:
    """Fabricate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", type=int, default=20_000)
    parser.add_argument("--batch-movies", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        session = Path(folder)
        fabricate(session, arguments.movies, arguments.batch_movies)
        config = load_config(session / "config.yaml")
        started = time.perf_counter()
        refresh(session, config)
        tables_s = time.perf_counter() - started
        started = time.perf_counter()
        publish_report(session, config)
        report_s = time.perf_counter() - started
        mark_made(session)
        wall_s, peak_mb, output = snakemake(session, "--cores", "1", "--dry-run")
        print(
            json.dumps(
                {
                    "movies": arguments.movies,
                    "batches": -(-arguments.movies // arguments.batch_movies),
                    "dry_run_wall_s": round(wall_s, 2),
                    "dry_run_peak_mb": round(peak_mb),
                    "nothing_to_be_done": "Nothing to be done" in output,
                    "refresh_tables_s": round(tables_s, 2),
                    "report_s": round(report_s, 2),
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
