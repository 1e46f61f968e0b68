"""The model trained on a session against the general one, the pickers and their consensus, on
micrographs it was not trained on. Prints Markdown tables.

    python benchmarks/picking_training.py real [--folds 3]     EMPIAR-10017, 12 micrographs
    python benchmarks/picking_training.py simulated            three structures, contaminated
    python benchmarks/picking_training.py time [--device cuda] training and picking, 4k micrographs

Real: each fold trains on the consensus of the three native pickers on the other micrographs and
picks its own; 40 px tolerance, one to one. EMPIAR-10017 is in the training data of the pretrained
network. Simulated: 10 micrographs each for training (with its held-out ones) and 4 for
testing, 8 e/A2, defocus 6,000-20,000 A, particles that do not touch; tolerance 0.4 diameters. The
truth is that of the usable area: what lies under contamination is not to be picked.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from picking_common import (
    EMPIAR_PIXEL_ANGST,
    SHARED,
    TOLERANCE_PX,
    Score,
    empiar_micrograph,
    empiar_names,
    empiar_truth,
    positions,
    score,
    simulated_micrograph,
)

from cryosnake.picking.consensus import consensus
from cryosnake.picking.final import pick_micrograph
from cryosnake.picking.mask import keep, usable_mask
from cryosnake.picking.network import pretrained_detector
from cryosnake.picking.pickers import PICKERS
from cryosnake.picking.reliability import estimate_reliability
from cryosnake.picking.size_model import ParticleSize
from cryosnake.picking.training.judge import CONSENSUS, TRAINED
from cryosnake.picking.training.model_file import PickingModel, load_model, save_model
from cryosnake.picking.training.scoring import SAME_PARTICLE
from cryosnake.picking.training.train import Trained, train_detector
from cryosnake.simulate.config import SimulationConfig

START = "resnet8_u32"
#: Structure -> diameter in angstrom and smallest distance of two particles, its longest axis.
STRUCTURES = {
    "5a1a beta-galactosidase": (SHARED / "structures" / "5a1a.pdb", 150.0, 200.0),
    "6z6u apoferritin": (SHARED / "structures" / "6z6u.pdb", 125.0, 140.0),
    "20S proteasome": ("proteasome", 150.0, 190.0),
}


def round_size(diameter_angst: float, pixel_size_angst: float) -> ParticleSize:
    """A size as if it had been estimated without an error."""
    box_px = 2 * round(diameter_angst / pixel_size_angst)
    return ParticleSize(
        diameter_angst, 0.08 * diameter_angst, diameter_angst, diameter_angst, False, box_px
    )


class Session:
    """Micrographs with their truth, picked once by every picker."""

    def __init__(
        self,
        images: dict[str, Callable[[], np.ndarray]],
        truth: dict[str, np.ndarray],
        pixel_size_angst: float,
        size: ParticleSize,
        tolerance_px: float,
        device: str,
    ):
        self.images, self.truth = images, truth
        self.pixel_size_angst, self.size = pixel_size_angst, size
        self.tolerance_px, self.device = tolerance_px, device
        self.radius_px = SAME_PARTICLE * size.diameter_angst / pixel_size_angst
        self.picks: dict[str, dict[str, pd.DataFrame]] = {}
        self.usable_truth = {}
        for name, read in images.items():
            image = read()
            mask = usable_mask(image, pixel_size_angst, size)
            table = pd.DataFrame(truth[name], columns=["rlnCoordinateX", "rlnCoordinateY"])
            self.usable_truth[name] = positions(keep(table, *mask))
            self.picks[name] = {
                picker: pick(image, pixel_size_angst, size, mask=mask, device=device)
                for picker, pick in PICKERS.items()
            }

    def consensus(self, names: list[str], learned_from: list[str]) -> dict[str, pd.DataFrame]:
        """Of the pickers, whose reliability is estimated from some micrographs."""
        reliability = estimate_reliability([self.picks[n] for n in learned_from], self.radius_px)
        return {
            name: consensus(self.picks[name], self.radius_px, reliability=reliability)
            for name in names
        }

    def train(self, names: list[str], seed: int) -> Trained:
        return train_detector(
            ((name, self.images[name]()) for name in names),
            self.consensus(names, names),
            {name: self.picks[name] for name in names},
            self.pixel_size_angst,
            self.size,
            start_model=pretrained_detector(START),
            seed=seed,
            device=self.device,
        )

    def scores(self, trained: Trained, training: list[str], test: list[str], usable: bool) -> dict:
        """Way of picking -> Score on the test micrographs."""
        ways = {name: {n: self.picks[n][name] for n in test} for name in PICKERS}
        ways[CONSENSUS] = self.consensus(test, training)
        model = as_loaded(trained, self.device)
        ways[TRAINED] = {
            n: pick_micrograph(
                self.images[n](), self.pixel_size_angst, self.size, model, device=self.device
            )
            for n in test
        }
        truth = self.usable_truth if usable else self.truth
        return {
            way: sum(
                (score(positions(t), truth[n], self.tolerance_px) for n, t in tables.items()),
                Score(0, 0, 0),
            )
            for way, tables in ways.items()
        }


def as_loaded(trained: Trained, device: str) -> PickingModel:
    """The model as it comes back from its files, whatever was chosen: the trained one."""
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(save_model(folder, trained, 1)[1], device)
    return PickingModel(**{**vars(model), "chosen": TRAINED})


def print_scores(title: str, rows: dict[str, Score], chosen: str = "") -> None:
    for way, found in rows.items():
        mark = " (chosen)" if way == chosen else ""
        print(
            f"| {title} | {way}{mark} | {found.precision:.3f} | {found.recall:.3f} "
            f"| {found.f1:.3f} |",
            flush=True,
        )


def real(folds: int, seed: int, device: str) -> None:
    """EMPIAR-10017, each fold picked by a model of the others."""
    names = empiar_names()
    if not names:
        raise SystemExit(f"no reference data at {SHARED}")
    session = Session(
        {n: lambda n=n: empiar_micrograph(n) for n in names},
        {n: empiar_truth(n) for n in names},
        EMPIAR_PIXEL_ANGST,
        round_size(180.0, EMPIAR_PIXEL_ANGST),
        TOLERANCE_PX,
        device,
    )
    header()
    total: dict[str, Score] = {}
    for fold in range(folds):
        test = names[fold :: len(names) // 4]
        training = [name for name in names if name not in test]
        trained = session.train(training, seed)
        rows = session.scores(trained, training, test, usable=False)
        print_scores(f"EMPIAR-10017, fold {fold + 1}", rows, trained.chosen)
        for way, found in rows.items():
            total[way] = total.get(way, Score(0, 0, 0)) + found
        print(f"<!-- {trained.judgement.why} -->")
    print_scores(f"EMPIAR-10017, {folds} folds", total)


def simulated(seed: int, device: str) -> None:
    """Contaminated sessions of three structures."""
    header()
    for title, (structure, diameter_angst, distance_angst) in STRUCTURES.items():
        config = SimulationConfig(
            seed=11,
            height_px=1536,
            width_px=2048,
            frames=2,
            dose_e_per_angst2_per_frame=4.0,
            pixel_size_angst=1.5,
            defocus_min_angst=6000.0,
            defocus_max_angst=20_000.0,
            species=[{"structure": str(structure)}],
            min_distance_angst=distance_angst,
            particles_per_um2=2500.0,
            drift_scale=0.0,
            local_motion_angst=0.0,
        )
        made = {}
        with tempfile.TemporaryDirectory() as cache:
            for index in range(14):
                made[f"m{index}"] = simulated_micrograph(
                    config, index, scenario="contamination", cache_dir=Path(cache)
                )
        session = Session(
            {n: lambda m=m: m.image for n, m in made.items()},
            {n: m.truth for n, m in made.items()},
            config.pixel_size_angst,
            round_size(diameter_angst, config.pixel_size_angst),
            0.4 * diameter_angst / config.pixel_size_angst,
            device,
        )
        names = list(made)
        trained = session.train(names[:10], seed)
        rows = session.scores(trained, names[:10], names[10:], usable=True)
        print_scores(title, rows, trained.chosen)
        print(f"<!-- {trained.judgement.why} -->")


def measure_time(micrographs: int, seed: int, device: str) -> None:
    """Training on 4k micrographs and picking of one, with discs for particles."""
    rng = np.random.default_rng(seed)
    size = round_size(180.0, 1.1)
    disc = 5.0 * (np.hypot(*np.mgrid[-90:91, -90:91]) < 80).astype(np.float32)
    images, truth = {}, {}
    for index in range(micrographs):
        image = rng.normal(100, 10, (4096, 4096)).astype(np.float32)
        points = np.stack(np.meshgrid(*[np.arange(150, 3950, 220)] * 2), -1).reshape(-1, 2)
        points = points + rng.integers(-20, 21, points.shape)
        for x, y in points:
            image[y - 90 : y + 91, x - 90 : x + 91] -= disc
        images[f"m{index}"] = image.astype(np.float16)
        truth[f"m{index}"] = pd.DataFrame(
            {
                "rlnCoordinateX": points[:, 0].astype(float),
                "rlnCoordinateY": points[:, 1].astype(float),
                "rlnAutopickFigureOfMerit": 0.9,
            }
        )
    pickers = {n: {p: t[rng.random(len(t)) < 0.8] for p in PICKERS} for n, t in truth.items()}
    begun = time.perf_counter(), time.process_time()
    trained = train_detector(
        ((n, image.astype(np.float32)) for n, image in images.items()),
        truth, pickers, 1.1, size,
        start_model=pretrained_detector(START), seed=seed, device=device,
    )  # fmt: skip
    trained_s = time.perf_counter() - begun[0], time.process_time() - begun[1]
    model, image = as_loaded(trained, device), images["m0"].astype(np.float32)
    times = []
    for _ in range(4):
        begun = time.perf_counter(), time.process_time()
        pick_micrograph(image, 1.1, size, model, device=device)
        times.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    picked_s = min(times[1:])
    print("| what | device | threads | time | processor time |\n|---|---|---|---|---|")
    steps = int(trained.curve["steps"].iloc[-1])
    where = f"{device} | {torch.get_num_threads()}"
    what = f"training on {micrographs} of 4096 x 4096, {steps} steps"
    print(f"| {what} | {where} | {trained_s[0]:.0f} s | {trained_s[1]:.0f} s |")
    print(f"| picking one of 4096 x 4096 | {where} | {picked_s[0]:.2f} s | {picked_s[1]:.2f} s |")


def header() -> None:
    print("| data | picked by | precision | recall | F1 |\n|---|---|---|---|---|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["real", "simulated", "time"])
    parser.add_argument("--folds", type=int, default=3, choices=[1, 2, 3])
    parser.add_argument("--micrographs", type=int, default=25, help="of the time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.what == "real":
        real(given.folds, given.seed, given.device)
    elif given.what == "simulated":
        simulated(given.seed, given.device)
    else:
        measure_time(given.micrographs, given.seed, given.device)


if __name__ == "__main__":
    main()
