"""Simulated bad movies, kind by kind: how many are rejected, and for the right reason?

    python benchmarks/curation_bad_movies.py [--each 20] [--good 100] [--side-px 1024] [--seed 4077]

Each movie is written as TIFF by the simulator, goes through the same chain as in a session
(`preprocess_movie`: gain and hot pixels found from the first movies, motion, CTF, filters), and
the table of all movies through the dose filter, in a random ledger order. The seed is none of those
that thresholds were chosen with (11, 2026; see `curation_tune.py`).

A reason is right when it names what was done to the movie; RIGHT says what counts for each kind.
"First" is `csnReason`; "named" counts every filter that the row and its explanation name.
"""

import argparse
import tempfile
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cryosnake.config.model import Config, CurationConfig
from cryosnake.curation import FLAG_COLUMNS, apply_dose_filter
from cryosnake.movies import open_movie
from cryosnake.preprocess.detector import Detector
from cryosnake.preprocess.movie import preprocess_movie
from cryosnake.simulate import SimulationConfig, session_detector, simulate_movie
from cryosnake.simulate.writers import write_gain, write_movie

FILTERS = ["dose", "drift", "spectrum", "class", "ctf"]

#: kind -> (scenario of the simulator, what counts as the right reason: filters, or `class:label`)
RIGHT = {
    "bad drift": ("drift", {"drift", "class:drift_crack"}),
    "crack": ("crack", {"class:drift_crack"}),
    "crystalline ice": ("ice_major", {"class:major_ice"}),
    "contamination": ("contamination", {"class:contamination"}),
    "carbon edge": ("film", {"class:film"}),
    "empty hole": ("empty", {"class:empty"}),
    "thick ice": ("thick_ice", {"ctf", "dose"}),
    "astigmatism": ("astigmatism", {"ctf:astigmatism"}),
    "dose step": ("dose_low", {"dose"}),
    "wrong gain": ("good", {"spectrum:gain"}),
}


def session_config(args: argparse.Namespace, orientation: str) -> Config:
    return Config.model_validate(
        {
            "input": {"path": "."},
            "acquisition": {
                "pixel_size_angst": args.pixel_size_angst,
                "voltage_kv": 300.0,
                "cs_mm": 2.7,
                "amplitude_contrast": 0.1,
                "dose_e_per_angst2_per_frame": 2.0,
                "gain": "gain.mrc",
                "gain_orientation": orientation,
            },
        }
    )


def simulation_config(args: argparse.Namespace) -> SimulationConfig:
    return SimulationConfig(
        height_px=args.side_px,
        width_px=args.side_px,
        frames=args.frames,
        pixel_size_angst=args.pixel_size_angst,
        dose_e_per_angst2_per_frame=2.0,
        seed=args.seed,
    )


def one_movie(job: tuple[argparse.Namespace, Path, str, int]) -> dict:
    """Simulate, process and forget one movie; the row it gives, with its kind."""
    args, folder, kind, index = job
    torch.set_num_threads(1)
    scenario = RIGHT[kind][0] if kind in RIGHT else "good"
    movie = simulate_movie(
        simulation_config(args), index, scenario=scenario, cache_dir=folder / "cache"
    )
    path = folder / f"movie_{index:05d}.tiff"
    write_movie(movie, path)
    # a wrong gain is one that somebody has turned the wrong way in the config
    config = session_config(args, "flip_y" if kind == "wrong gain" else "auto")
    detector = Detector(
        folder,
        config.acquisition,
        ["first_0.tiff", "first_1.tiff"],
        lambda name: open_movie(folder / name),
        "cpu",
    )
    started = time.perf_counter()
    result = preprocess_movie(
        {
            "rlnMicrographMovieName": path.name,
            "rlnMicrographName": f"results/movie_{index:05d}.mrc",
        },
        config,
        session=folder,
        detector=detector,
        device=torch.device("cpu"),
    )
    path.unlink()
    for name in result.files:
        (folder / name).unlink(missing_ok=True)
    truth = movie.truth.conditions
    return result.row | {
        "kind": kind,
        "seconds": time.perf_counter() - started,
        "truth_defocus_angst": 0.5 * (truth.defocus_u_angst + truth.defocus_v_angst),
    }


def run_all(args: argparse.Namespace) -> pd.DataFrame:
    """The rows of all movies, in a random order."""
    kinds = ["good"] * args.good + [kind for kind in RIGHT for _ in range(args.each)]
    kinds = [kinds[i] for i in np.random.default_rng(args.seed).permutation(len(kinds))]
    with tempfile.TemporaryDirectory(prefix="curation-") as name:
        folder = Path(name)
        simulation = simulation_config(args)
        write_gain(session_detector(simulation).gain, simulation, folder)
        for i in range(2):
            write_movie(
                simulate_movie(simulation, 90_000 + i, cache_dir=folder / "cache"),
                folder / f"first_{i}.tiff",
            )
        jobs = [(args, folder, kind, index) for index, kind in enumerate(kinds)]
        with Pool(args.processes) as pool:
            return pd.DataFrame(pool.map(one_movie, jobs, chunksize=1))


def failing(row: dict, config: CurationConfig) -> list[str]:
    """The filters that reject the movie, in order, with what they say in short."""
    found = []
    for name in FILTERS:
        unread = row["csnReason"] == "input"
        if unread or name not in config.reject_by or row[FLAG_COLUMNS[name]] != 0:
            continue
        found.append(name)
        if name == "class":
            found.append(f"class:{row['csnMicrographClass']}")
        if name == "ctf" and row["csnAstigmatism_ratio"] > config.astigmatism_max_ratio:
            found.append("ctf:astigmatism")
        if name == "spectrum" and (
            row["csnGainPatternStrength"] > config.gain_max_strength
            or row["csnStripeRatio"] > config.stripes_max_ratio
        ):
            found.append("spectrum:gain")
    return found


def judged(table: pd.DataFrame, config: CurationConfig) -> pd.DataFrame:
    """Kind by kind: rejected, right reason first, right reason named, and the first reasons."""
    table, _ = apply_dose_filter(table, config)
    lines = []
    for kind in ["good", *RIGHT]:
        rows = table[table["kind"] == kind].to_dict("records")
        if not rows:
            continue
        right = RIGHT[kind][1] if kind in RIGHT else set()
        first = named = 0
        for row in rows:
            found = failing(row, config)
            of_first = [f for f in found if f.split(":")[0] == row["csnReason"]]
            first += bool(right & set(of_first))
            named += bool(right & set(found))
        rejected = sum(row["csnAccepted"] == 0 for row in rows)
        reasons = pd.Series(
            [
                f"class {row['csnMicrographClass']}"
                if row["csnReason"] == "class"
                else row["csnReason"]
                for row in rows
            ]
        ).value_counts()
        lines.append(
            {
                "kind": kind,
                "movies": len(rows),
                "rejected": f"{rejected} ({100 * rejected / len(rows):.0f} %)",
                "right reason first": first if right else "",
                "right reason named": f"{named} ({100 * named / len(rows):.0f} %)" if right else "",
                "what counts as right": ", ".join(sorted(right)) or "accepted",
                "first reasons": ", ".join(f"{n} {c}" for n, c in reasons.items()),
            }
        )
    return pd.DataFrame(lines)


def markdown(table: pd.DataFrame) -> str:
    head = "| " + " | ".join(table.columns) + " |\n|" + "---|" * len(table.columns)
    return head + "".join(
        "\n| " + " | ".join(str(value) for value in row) + " |"
        for row in table.itertuples(index=False)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=20, help="movies of each bad kind")
    parser.add_argument("--good", type=int, default=100)
    parser.add_argument("--side-px", type=int, default=1024)
    parser.add_argument("--pixel-size-angst", type=float, default=1.2)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--seed", type=int, default=4077)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="also write all rows here (CSV)")
    args = parser.parse_args()
    started = time.perf_counter()
    table = run_all(args)
    if args.rows:
        table.to_csv(args.rows, index=False)
    default = CurationConfig()
    strict = default.model_copy(update={"reject_by": FILTERS})
    print(
        f"{len(table)} movies of {args.frames} x {args.side_px} x {args.side_px} px, "
        f"{args.pixel_size_angst} A/px, seed {args.seed}; {time.perf_counter() - started:.0f} s "
        f"with {args.processes} processes; chain {table['seconds'].median():.1f} s a movie\n"
    )
    print("Default (the dose is monitored, the others reject):\n")
    print(markdown(judged(table, default)))
    print("\nThe dose rejects too (`curation.reject_by` has all five):\n")
    print(markdown(judged(table, strict)))


if __name__ == "__main__":
    main()
