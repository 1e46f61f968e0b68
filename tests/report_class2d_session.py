"""The 2D classes of a fabricated session: rounds, averages, decisions, and new particles."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter

from cryosnake.assessment.labels import LABELS
from cryosnake.assessment.montage import draw_montage
from cryosnake.decisions import Decision, as_table
from cryosnake.images import write_mrc, write_png
from cryosnake.simulate.potential import species_phase
from cryosnake.simulate.projection import Projector, euler_matrix
from cryosnake.tables import write_star

PIXEL_ANGST, BOX_PX, DIAMETER_ANGST = 4.0, 64, 190.0
#: Particles, classes, finest resolution of a round, and parts that are clip, edge, noise.
ROUNDS = (
    (5000, 20, 14.0, (0.15, 0.1, 0.15)),
    (25000, 50, 10.5, (0.08, 0.06, 0.1)),
    (100000, 100, 8.0, (0.07, 0.05, 0.09)),
)


@lru_cache(maxsize=1)
def _projector() -> Projector:
    return Projector(
        species_phase("proteasome", pixel_size_angst=PIXEL_ANGST, voltage_kv=300.0).float()
    )


def views(number: int, *, seed: int = 0) -> np.ndarray:
    """(number, BOX, BOX) noise-free projections: half of them along the axis or across it."""
    random = np.random.default_rng(seed)
    tilt = np.rad2deg(np.arccos(random.uniform(-1, 1, number)))
    tilt[::4], tilt[1::4] = 90.0, 4.0
    angles = random.uniform(0, 360, (2, number))
    spectra = _projector().spectra(euler_matrix(angles[0], tilt, angles[1]))
    images = torch.fft.fftshift(torch.fft.irfft2(spectra), dim=(-2, -1)).numpy()
    edge = (BOX_PX - images.shape[-1]) // 2
    images = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))
    return images / images.std(axis=(1, 2), keepdims=True)


def averages_of(
    labels: list[str], resolution_angst: np.ndarray, population: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """(K, BOX, BOX) averages of these labels, blurred to their resolution, in a soft circle."""
    random = np.random.default_rng([seed, 9])
    y, x = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
    circle = 1 / (1 + np.exp((np.hypot(x, y) - 0.5 * DIAMETER_ANGST / PIXEL_ANGST) / 0.8))
    found = []
    for image, label, angst, particles in zip(
        views(len(labels), seed=seed), labels, resolution_angst, population, strict=True
    ):
        noise = random.normal(0, 1, image.shape)
        if label == "clip":
            away = random.uniform(0, 2 * np.pi)
            dy, dx = np.round(19 * np.array([np.sin(away), np.cos(away)])).astype(int)
            image = np.roll(image, (dy, dx), (0, 1)) + 0.8 * np.roll(image.T, (-dy, -dx), (0, 1))
        if label == "edge":
            away = random.uniform(0, np.pi)
            across = x * np.cos(away) + y * np.sin(away) - random.normal(0, 4)
            image = 2.5 / (1 + np.exp(-across / 1.5)) + 0.5 * np.cos(across)
        if label == "noise":
            image = 0.2 * gaussian_filter(noise, 6) * 60
        blur_px = 0.22 * min(angst, 30.0) / PIXEL_ANGST
        grain = gaussian_filter(noise, blur_px) * 12 * blur_px / np.sqrt(max(particles, 1)) * 2
        found.append((gaussian_filter(image, blur_px) + grain) * circle)
    return np.array(found, np.float32)


def round_classes(
    particles: int, classes: int, finest_angst: float, bad: tuple[float, float, float]
) -> pd.DataFrame:
    """The rows of classes.star."""
    random = np.random.default_rng(classes)
    numbers = [round(part * classes) for part in bad]
    labels = [LABELS[0]] * (classes - sum(numbers))
    for label, number in zip(LABELS[1:], numbers, strict=True):
        labels += [label] * number
    labels = np.array(labels, dtype=object)[np.r_[random.permutation(classes - 1), classes - 1]]
    weight = np.where(labels == "good", random.gamma(3, 1.0, classes), random.gamma(1, 1, classes))
    population = random.multinomial(int(0.997 * particles), weight / weight.sum())
    good = labels == "good"
    resolution = np.where(
        good,
        finest_angst * (1 + random.gamma(2, 0.12, classes)) * (weight.max() / weight) ** 0.1,
        random.uniform(20, 45, classes),
    )
    resolution[labels == "noise"] = 999.0
    score = np.where(good, random.beta(20, 1.5, classes), random.beta(1.5, 12, classes))
    table = pd.DataFrame(
        {
            "rlnReferenceImage": [
                f"{i:06d}@results/class2d/{particles}/averages.mrcs" for i in range(1, classes + 1)
            ],
            "rlnClassDistribution": population / population.sum(),
            "csnClassPopulation": population,
            "rlnEstimatedResolution": resolution,
            "rlnAccuracyRotations": np.where(good, 2.5, 999.0),
            "rlnAccuracyTranslationsAngst": np.where(good, 1.2, 999.0),
            "csnClassEvidence": np.where(good, random.normal(45, 6, classes), 4.0),
            "csnClassContrast": np.where(good, random.normal(1, 0.05, classes), 0.4),
            "csnClassProbability": np.where(good, random.beta(14, 2, classes), 0.5),
            "csnClassLabel": labels,
            "csnClassScore": score,
        }
    )
    for label in LABELS[1:]:
        table[f"csnClassScore{label.capitalize()}"] = np.where(
            labels == label, 1 - score, np.where(good, (1 - score) / 3, 0.0)
        )
    table["csnClassKept"] = good.astype(int)
    table["csnClassReason"] = np.where(good, "kept", "label")
    return table


def round_decisions(particles: int, classes: pd.DataFrame) -> pd.DataFrame:
    """What a round says of itself: one thing to look at, one that is not sure, and the rest."""
    kept = classes["csnClassKept"] == 1
    population = classes["csnClassPopulation"]
    subject = f"class2d {particles}"
    picture = f"results/class2d/{particles}/montage.png"
    return as_table(
        [
            Decision(
                subject,
                "class2d",
                "info",
                f"{kept.sum()} of {len(classes)} classes kept with {population[kept].sum()} of"
                f" {population.sum()} particles",
                "score of good at least 0.5; a share of particles of at least 30 %",
            ),
            Decision(
                f"{subject} class 7",
                "class2d",
                "unsure",
                "score of good 0.53, 1210 particles (4.8 %)",
                "score of good at least 0.5",
                0.53,
                "the class average in the montage; an override decides",
            ),
            Decision(
                subject,
                "views",
                "warn",
                "41 % of the particles in kept classes show one view",
                "at most 30 % in one view",
                0.9,
                f"{picture}: class 6 and two more look along the axis",
            ),
            Decision(
                subject,
                "species",
                "pass",
                "one size of particles",
                "one",
                0.8,
                f"{picture}: diameters of 148 to 161 A",
            ),
        ]
    )


def write_round(
    results_dir: Path,
    particles: int,
    classes: int,
    finest_angst: float,
    bad: tuple[float, float, float],
) -> pd.DataFrame:
    """The files of a round after its assessment; returns its classes."""
    folder = results_dir / "class2d" / str(particles)
    table = round_classes(particles, classes, finest_angst, bad)
    averages = averages_of(
        list(table["csnClassLabel"]),
        table["rlnEstimatedResolution"].to_numpy(),
        table["csnClassPopulation"].to_numpy(),
        seed=classes,
    )
    write_mrc(folder / "classes.mrcs", averages, PIXEL_ANGST)
    write_star(folder / "classes.star", {"classes": table})
    write_star(folder / "decisions.star", {"decisions": round_decisions(particles, table)})
    general = {
        "csnClassEngine": "native",
        "csnRoundParticles": particles,
        "csnProblem": "-",
        "csnMaskDiameter_angst": DIAMETER_ANGST,
    }
    write_star(folder / "averages.star", {"general": general, "classes": table.iloc[:, :9]})
    write_png(folder / "montage.png", montage_of(averages, table, f"Round of {particles:,}"))
    return table


def montage_of(averages: np.ndarray, table: pd.DataFrame, title: str) -> np.ndarray:
    """The picture of a round."""
    return draw_montage(
        averages,
        table,
        pixel_size_angst=PIXEL_ANGST,
        diameter_angst=DIAMETER_ANGST,
        title=title,
    )


def live_json(particles: int, batches: list[str], squares: list[str], *, seed: int = 4) -> dict:
    """Quality of each batch and grid square: bad ice in the third square and at the end."""
    random = np.random.default_rng(seed)
    late = np.arange(len(batches)) / max(1, len(batches) - 1)
    good = np.clip(random.normal(0.86, 0.04, len(batches)) - 0.4 * (late > 0.88), 0, 1)
    rows = [
        {
            "batch": batch,
            "particles": int(random.poisson(2500)),
            "good": float(share),
            "evidence": float(random.normal(44, 3) - 20 * (share < 0.6)),
            "largest_view": float(random.beta(12, 60)),
            "views": float(random.normal(31, 2)),
        }
        for batch, share in zip(batches, good, strict=True)
    ]
    return {
        "round": particles,
        "engine": "native",
        "particles": sum(row["particles"] for row in rows),
        "classes": 100,
        "batches": rows,
        "squares": [
            {
                "square": square,
                "particles": int(random.poisson(6000)),
                "good": float(np.clip(random.normal(0.86, 0.03) - 0.45 * (i == 2), 0, 1)),
                "evidence": float(random.normal(44, 3)),
                "largest_view": float(random.beta(12, 60)),
                "views": float(random.normal(31, 2)),
            }
            for i, square in enumerate(squares)
        ],
    }


def write_live(results_dir: Path, classes: pd.DataFrame, live: dict) -> None:
    """The newest state: the classes with the particles that came after the round."""
    folder = results_dir / "class2d"
    newest = classes.copy()
    factor = live["particles"] / classes["csnClassPopulation"].sum()
    newest["csnClassPopulation"] = (factor * classes["csnClassPopulation"]).round().astype(int)
    averages = averages_of(
        list(newest["csnClassLabel"]),
        newest["rlnEstimatedResolution"].to_numpy(),
        newest["csnClassPopulation"].to_numpy(),
        seed=len(newest),
    )
    write_mrc(folder / "live.mrcs", averages, PIXEL_ANGST)
    write_star(folder / "live.star", {"classes": newest})
    write_png(folder / "live.png", montage_of(averages, newest, "All particles so far"))
    (folder / "live.json").write_text(json.dumps(live))
