"""The picking of a fabricated session: the small files that the report reads, and pictures."""

import json
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from cryosnake import layout
from cryosnake.images import stretched, write_png
from cryosnake.report.picking_files import below, read_picking
from cryosnake.report.picking_gallery import chosen_picked
from cryosnake.report.table import prepared
from cryosnake.tables import write_star

PIXEL_ANGST = 1.5
SIDE_PX = 2048
DIAMETER_ANGST = 182.0


def size_json(micrographs: int = 8) -> dict:
    """As a session writes it."""
    random = np.random.default_rng(3)
    return {
        "diameter_angst": DIAMETER_ANGST,
        "uncertainty_angst": 9.0,
        "long_axis_angst": 188.0,
        "short_axis_angst": 171.0,
        "elongated": False,
        "box_px": 256,
        "sure": True,
        "evidence": {
            "presence": 2.4,
            "notes": [],
            "methods": [
                {"method": name, "diameter_angst": d, "uncertainty_angst": u, "weight": w}
                for name, d, u, w in (
                    ("scale", 176.0, 14.0, 0.25),
                    ("average", 185.0, 8.0, 0.6),
                    ("outline", 190.0, 21.0, 0.15),
                )
            ],
            "micrographs": [
                {
                    "name": f"m{i}",
                    "reason": "-",
                    "candidates": 150,
                    "scale_angst": random.normal(176, 12),
                    "average_angst": random.normal(185, 8),
                    "outline_angst": random.normal(190, 20) if i else None,
                }
                for i in range(micrographs)
            ],
        },
    }


def agreement_json(*, failed: str = "") -> dict:
    """Three pickers, one of which may have failed."""
    pickers = {
        "log": {"picks": 7120, "precision": 0.71, "recall": 0.86, "failed": False, "why": ""},
        "correlation": {"picks": 6050, "precision": 0.78, "recall": 0.81, "failed": False},
        "network": {"picks": 5480, "precision": 0.91, "recall": 0.83, "failed": False, "why": ""},
    }
    if failed:
        pickers[failed] |= {
            "failed": True,
            "precision": 0.04,
            "recall": 0.05,
            "why": "its picks agree with those of the others no more than by chance",
        }
    return {
        "pickers": pickers,
        "subsets": {
            "correlation+log+network": 3990,
            "log": 1610,
            "correlation+log": 870,
            "correlation": 700,
            "log+network": 650,
            "correlation+network": 490,
            "network": 350,
        },
        "consensus": 6010,
        "micrographs": 25,
    }


def model_json() -> dict:
    """A trained model that is better than what there was before."""
    rounds = np.arange(1, 25)
    thresholds = np.linspace(-3, 4, 36)
    precision = 1 / (1 + np.exp(-1.1 * (thresholds + 1.5)))
    recall = 1 / (1 + np.exp(1.3 * (thresholds - 2.0)))
    return {
        "version": 1,
        "threshold": 0.31,
        "chosen": "trained",
        "why": "F1 0.88 on held-out micrographs, against 0.84 of the consensus.",
        "scores": {
            name: {
                "agreement": agreement,
                "trained_agreement": 0.88,
                "difference": 0.88 - agreement,
                "standard_error": 0.02,
                "picks": 400.0,
            }
            for name, agreement in (("log", 0.76), ("network", 0.81), ("consensus", 0.84))
        },
        "curve": [
            {
                "round": int(e),
                "steps": 20 * int(e),
                "learning_rate": 1e-3,
                "loss": float(0.3 + 0.5 * np.exp(-e / 5)),
                "validation": float(0.88 - 0.2 * np.exp(-e / 4)),
            }
            for e in rounds
        ],
        "validation": [
            {"threshold": float(t), "precision": float(p), "recall": float(r)}
            for t, p, r in zip(thresholds, precision, recall, strict=True)
        ],
        "training_micrographs": [f"results/preprocess/b00000/m_{i:05d}.mrc" for i in range(25)],
    }


def write_json(results_dir: Path, path: str, content: object) -> None:
    """Write an object to a path of the layout."""
    target = below(results_dir, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content if isinstance(content, str) else json.dumps(content))


def write_size_picture(results_dir: Path) -> None:
    """A row of blurred blobs, as candidates' averages look like."""
    y, x = np.mgrid[-1:1:160j, -1:1:160j]
    blobs = [np.exp(-((np.hypot(x, y) / r) ** 6)) for r in (0.35, 0.45, 0.5, 0.6)]
    write_png(below(results_dir, layout.SIZE_PICTURE), stretched(np.hstack(blobs)))


def fabricated_counts(table: pd.DataFrame, *, seed: int = 5) -> pd.DataFrame:
    """Picks and extracted particles of the accepted micrographs: one grid square in the middle
    holds few, and so do the latest micrographs."""
    random = np.random.default_rng(seed)
    chosen = table[table["csnAccepted"] == 1].reset_index(drop=True)
    late = np.arange(len(chosen)) / max(1, len(chosen) - 1)
    mean = 210.0 * np.clip(random.normal(1, 0.25, len(chosen)), 0.05, None)
    squares = chosen["csnGridSquare"].to_numpy()
    if len(chosen):
        mean[squares == squares[len(squares) // 2]] *= 0.25
    mean[late > 0.93] *= 0.35
    picks = random.poisson(mean)
    return pd.DataFrame(
        {
            "micrograph": chosen["rlnMicrographName"],
            "batch": chosen["csnBatch"],
            "picks": picks,
            "extracted": random.binomial(picks, 0.93),
        }
    )


def write_counts(counts: pd.DataFrame, results_dir: Path, *, extracted: bool = True) -> None:
    """The small tables of each batch."""
    for batch, rows in counts.groupby("batch"):
        for path, column in (
            (layout.picked_counts(batch), "picks"),
            (layout.extracted_counts(batch), "extracted"),
        ):
            if column == "picks" or extracted:
                target = below(results_dir, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                rows[["micrograph", column]].to_csv(target, index=False)


def write_picked_micrographs(counts: pd.DataFrame, results_dir: Path, *, seed: int = 7) -> None:
    """Micrographs (headers only), thumbnails with dark discs, and their coordinates."""
    random = np.random.default_rng(seed)
    for batch, rows in counts.groupby("batch"):
        coordinates = []
        for row in rows.itertuples():
            xy = _apart(random, int(row.picks), 0.95 * DIAMETER_ANGST / PIXEL_ANGST)
            coordinates.append(
                pd.DataFrame(
                    {
                        "rlnMicrographName": row.micrograph,
                        "rlnCoordinateX": xy[:, 0],
                        "rlnCoordinateY": xy[:, 1],
                        "rlnAutopickFigureOfMerit": random.normal(2, 1, len(xy)),
                    }
                )
            )
            stem = below(results_dir, layout.PREPROCESS) / batch / Path(row.micrograph).stem
            write_png(stem.with_name(f"{stem.name}_thumb.png"), _thumbnail(random, xy))
            write_header(stem.with_name(f"{stem.name}.mrc"))
        block = pd.concat(coordinates, ignore_index=True)
        if len(block):
            target = below(results_dir, layout.coordinates_star(batch))
            write_star(target, {"coordinates": block})


def write_header(path: Path) -> None:
    """An MRC file without its data, which is enough for the report."""
    with mrcfile.new_mmap(path, (4, 4), mrc_mode=2, overwrite=True) as mrc:
        mrc.header.nx = mrc.header.ny = mrc.header.mx = mrc.header.my = SIDE_PX
        mrc.voxel_size = PIXEL_ANGST


def _apart(random: np.random.Generator, number: int, distance_px: float) -> np.ndarray:
    """Positions no nearer than a distance; fewer where there is no room for more."""
    kept: list[np.ndarray] = []
    for point in random.uniform(distance_px / 2, SIDE_PX - distance_px / 2, (6 * number, 2)):
        if len(kept) == number:
            break
        if not kept or np.hypot(*(np.array(kept) - point).T).min() > distance_px:
            kept.append(point)
    return np.array(kept).reshape(-1, 2)


def _thumbnail(random: np.random.Generator, xy: np.ndarray, side_px: int = 512) -> np.ndarray:
    scale = side_px / SIDE_PX
    image = np.zeros((side_px, side_px))
    columns, rows = np.floor(xy * scale).astype(int).T.reshape(2, -1)
    image[rows, columns] -= 1.0
    radius = 0.5 * DIAMETER_ANGST / PIXEL_ANGST * scale
    discs = gaussian_filter(image, radius / 1.6) * 2 * np.pi * (radius / 1.6) ** 2
    noise = random.normal(0, 1.3, image.shape) + gaussian_filter(
        random.normal(0, 30, image.shape), 30
    )
    return stretched(discs + noise)


def write_picking(table: pd.DataFrame, results_dir: Path, *, pictures: bool = True) -> None:
    """Everything, as at the end of a session; pictures of the micrographs that are shown."""
    write_json(results_dir, layout.SIZE, size_json())
    write_size_picture(results_dir)
    write_json(results_dir, layout.AGREEMENT, agreement_json())
    write_json(results_dir, layout.model_file(1, "json"), model_json())
    counts = fabricated_counts(table)
    write_counts(counts, results_dir)
    if pictures:
        read = read_picking(prepared(table), results_dir, model_version=1)
        shown = chosen_picked(read.counts)["rlnMicrographName"]
        write_picked_micrographs(counts[counts["micrograph"].isin(shown)], results_dir)
