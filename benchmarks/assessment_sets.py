"""Simulated classifications with known truth, for training and judging the class model.

A set is drawn from its seed: structures, size, box, defocus, signal, junk, classes. It is simulated
and classified by the native engine once, and kept in a folder: averages, the table of the classes,
and how many particles of each kind every class holds.
"""

import math
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from assessment_stacks import JUNK, KINDS, Plan, simulate
from assessment_structures import FAMILIES, HELD_OUT
from classes2d_common import AMPLITUDE_CONTRAST, CS_MM, VOLTAGE_KV

from cryosnake.assessment.labels import LABELS
from cryosnake.classes2d import Optics, classify2d
from cryosnake.classes2d.particle_table import CLASS_COLUMNS, assignment_columns, class_table
from cryosnake.files import written_whole


def training_plan(seed: int) -> Plan:
    """A plan of synthetic structures."""
    rng = np.random.default_rng([seed, 7])
    names = [f"{rng.choice(FAMILIES)}:{seed * 10 + i}" for i in range(rng.choice([1, 1, 2, 3]))]
    if rng.random() < 0.05:
        names[0] = "nanodisc"
    long_axis = math.exp(rng.uniform(math.log(75), math.log(320)))
    axes = [long_axis] + [long_axis * rng.uniform(0.5, 1.0) for _ in names[1:]]
    if names[0] == "nanodisc":
        axes[0], long_axis = 115.0, max(115.0, long_axis)
    diameter = 1.1 * long_axis * rng.uniform(0.92, 1.25)
    box_px = int(rng.choice([48, 48, 56, 64, 64, 64, 72, 80, 96, 128]))
    pixel = min(6.0, max(1.2, diameter / (box_px * rng.uniform(0.52, 0.8))))
    box_px = max(box_px, 2 * math.ceil(0.6 * diameter / pixel))
    classes = round(math.exp(rng.uniform(math.log(6), math.log(32))))
    members = math.exp(rng.uniform(math.log(30), math.log(400)))
    junk = rng.uniform(0.05, 0.6)
    shares = junk * rng.dirichlet([0.5 if kind != "noise" else 1.0 for kind in JUNK])
    low = math.exp(rng.uniform(math.log(0.02), math.log(0.2)))
    return Plan(
        seed=seed,
        structures=tuple(names),
        long_axis_angst=tuple(axes),
        particles=int(min(classes * members, 3000)),
        classes=classes,
        box_px=box_px,
        pixel_size_angst=pixel,
        diameter_angst=diameter,
        shares=(1 - junk, *shares),
        snr=(low, low * rng.uniform(1.0, 3.0)),
        defocus_angst=(rng.uniform(5000, 12000), rng.uniform(15000, 30000)),
        preferred=rng.choice([0.0, 0.0, 0.3, 0.6]),
        neighbours=rng.uniform(0.0, 0.25),
    )


def crowded_plan(seed: int) -> Plan:
    """A small plan of synthetic structures on crowded micrographs: many pairs, cut particles and
    aggregates, so that they form classes of their own."""
    rng = np.random.default_rng([seed, 13])
    plan = training_plan(seed)
    shares = dict.fromkeys(KINDS, 0.0) | {"noise": 0.04, "crowd": 0.06, "cut": 0.1}
    shares["pair"] = rng.uniform(0.2, 0.5)
    shares["particle"] = 1.0 - sum(shares.values())
    low = rng.uniform(0.06, 0.2)
    return replace(
        plan,
        shares=tuple(shares.values()),
        snr=(low, 2.0 * low),
        particles=1200,
        classes=int(rng.integers(8, 15)),
    )


@dataclass(frozen=True)
class Classified:
    """A set after its classification.

    Attributes
    ----------
    averages : (K, n, n) float32; table : columns of `averages.star`, one row a class.
    counts : (K, kinds) particles of each kind in each class.
    """

    plan: Plan
    averages: np.ndarray
    table: pd.DataFrame
    counts: np.ndarray

    @property
    def label_shares(self) -> np.ndarray:
        """(K, 4) fraction of the particles of each class whose label is that of `LABELS`."""
        return shares_of_labels(self.counts)

    @property
    def labels(self) -> np.ndarray:
        """(K,) what each class is: good where more than half of its particles are, else the
        commonest of the other labels."""
        shares = self.label_shares
        index = np.where(shares[:, 0] > 0.5, 0, 1 + shares[:, 1:].argmax(axis=1))
        return np.array(LABELS)[index]


def shares_of_labels(counts: np.ndarray) -> np.ndarray:
    """(K, 4) fractions of labels from counts of kinds (K, kinds); 0 where a class is empty."""
    membership = np.array([[KINDS[kind] == label for label in LABELS] for kind in KINDS], float)
    total = counts @ membership
    return total / np.maximum(total.sum(1, keepdims=True), 1)


def classified(plan: Plan, folder: Path, simulated=simulate) -> Classified:
    """The set of a plan, from the folder where it has been made before with the same plan.
    `simulated` gives images and particles of a plan."""
    path = folder / f"set_{plan.seed:05d}.npz"
    wanted = repr(asdict(plan))
    if path.is_file():
        try:
            with np.load(path) as kept:
                if str(kept["plan"]) == wanted:
                    table = pd.DataFrame({name: kept[f"t_{name}"] for name in _TABLE})
                    return Classified(plan, kept["averages"], table, kept["counts"])
        except zipfile.BadZipFile:
            path.unlink()
    images, particles = simulated(plan)
    found = classify2d(
        images,
        optics_of(particles),
        pixel_size_angst=plan.pixel_size_angst,
        diameter_angst=plan.diameter_angst,
        classes=plan.classes,
        seed=plan.seed,
    )
    table = assessed_columns(found.classes, found.poses)
    counts = counted(found.poses.class_index, particles["kind"], plan.classes)
    with written_whole(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(
            stream,
            plan=wanted,
            averages=found.classes.averages,
            counts=counts,
            **{f"t_{name}": table[name].to_numpy() for name in _TABLE},
        )
    return Classified(plan, found.classes.averages, table, counts)


def optics_of(particles: pd.DataFrame) -> Optics:
    """CTF parameters of a simulated stack."""
    return Optics(
        *(particles[f"rlnDefocus{part}"].to_numpy() for part in ("U", "V", "Angle")),
        voltage_kv=VOLTAGE_KV,
        cs_mm=CS_MM,
        amplitude_contrast=AMPLITUDE_CONTRAST,
    )


_TABLE = CLASS_COLUMNS[1:]


def assessed_columns(classes, poses) -> pd.DataFrame:
    """The columns of `averages.star` that the assessment reads, of the native engine's result."""
    particles = pd.DataFrame(assignment_columns(poses))
    return class_table(classes, particles, "averages.mrcs")[list(_TABLE)]


def counted(classes: np.ndarray, kinds: pd.Series, number: int) -> np.ndarray:
    """(K, kinds) particles of each kind in each class, from classes (N,) with -1 for none."""
    counts = np.zeros((number, len(KINDS)), int)
    used = classes >= 0
    np.add.at(counts, (classes[used], kinds.map(list(KINDS).index).to_numpy()[used]), 1)
    return counts


def held_out_plan(names: str, seed: int, *, junk: float = 0.3, **changes) -> Plan:
    """A plan of published structures, joined by +, that are never trained on, at usual settings,
    with a share of junk of all kinds alike."""
    axes = tuple(HELD_OUT[name] for name in names.split("+"))
    box_px = changes.get("box_px", 64)
    plan = Plan(
        seed=seed,
        structures=tuple(names.split("+")),
        long_axis_angst=axes,
        particles=3000,
        classes=20,
        box_px=box_px,
        pixel_size_angst=1.1 * max(axes) / (0.66 * box_px),
        diameter_angst=1.1 * max(axes),
        shares=(1 - junk, *(junk / len(JUNK) for _ in JUNK)),
        snr=(0.05, 0.15),
        defocus_angst=(8000.0, 22000.0),
        preferred=0.0,
        neighbours=0.1,
    )
    return replace(plan, **changes)
