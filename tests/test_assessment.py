"""Assessment of class averages: features of drawn averages, the model, labels."""

import numpy as np
import pandas as pd
import pytest
import torch
from classes2d_synthetic import DIAMETER, PIXEL, objects, particles
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosnake.assessment import FEATURES, LABELS, assess, class_features, load_model
from cryosnake.assessment.features import ACCURACY, EVIDENCE
from cryosnake.assessment.model import from_json, known_kinds, to_json
from cryosnake.classes2d import Schedule, classify2d
from cryosnake.errors import BadInputError

BOX = 64
SIZE = {"pixel_size_angst": 3.0, "diameter_angst": 130.0}
RADIUS = 65.0 / 3.0


def blobs(places, width=0.15, box=BOX, radius=RADIUS) -> np.ndarray:
    """Gaussians at (y, x) in radii of the mask, within the mask."""
    axis = (np.arange(box) - box // 2) / radius
    y, x = np.meshgrid(axis, axis, indexing="ij")
    image = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * width**2)) for a, b in places)
    return image * (np.hypot(y, x) <= 1)


def drawn(kind: str, turn_deg: float = 20.0, seed: int = 0) -> np.ndarray:
    """A class average of a kind, with some noise left in it."""
    rng = np.random.default_rng(seed)
    axis = (np.arange(BOX) - BOX // 2) / RADIUS
    y, x = np.meshgrid(axis, axis, indexing="ij")
    turn = np.deg2rad(turn_deg)
    along = x * np.cos(turn) + y * np.sin(turn)
    noise = rng.normal(0, 1, (BOX, BOX))
    image = {
        "particle": lambda: blobs([(0.25, 0.2), (-0.3, 0.1), (0.05, -0.35), (0, 0)]),
        "pair": lambda: blobs([(0.7, 0.3), (-0.7, -0.3)], 0.2),
        "cut": lambda: blobs([(0.55, 0.6)], 0.25),
        "edge": lambda: np.tanh((along - 0.1) / 0.08),
        "stripes": lambda: np.cos(2 * np.pi * along / 0.5),
        "noise": lambda: 20 * noise,
    }[kind]()
    return (image + 0.03 * noise) * (np.hypot(y, x) <= 1)


def table(number: int, **columns) -> pd.DataFrame:
    """What an engine says of classes that are well seen."""
    usual = {
        "csnClassPopulation": 100,
        "rlnClassDistribution": 1.0 / number,
        "rlnEstimatedResolution": 14.0,
        "rlnAccuracyRotations": 4.0,
        "rlnAccuracyTranslationsAngst": 3.0,
        "csnClassEvidence": 20.0,
        "csnClassContrast": 1.0,
        "csnClassProbability": 0.9,
    }
    return pd.DataFrame({name: np.resize(v, number) for name, v in (usual | columns).items()})


def measured(kind: str) -> pd.Series:
    return class_features(drawn(kind)[None], table(1), **SIZE).iloc[0]


def test_particle_is_central_and_stands_out():
    found = measured("particle")
    assert found["offset"] < 0.15
    assert found["objects"] == 1
    assert found["main_share"] > 0.98
    assert found["edge_density"] < 0.02
    assert found["inner_power"] > 1.0
    assert found["line"] < 0.6
    assert found["skewness"] > 1.0


def test_pair_and_cut_particle_lie_at_the_edge():
    pair, cut = measured("pair"), measured("cut")
    assert pair["objects"] == 2
    assert pair["spread"] > 0.6
    assert pair["offset"] < 0.15
    assert cut["offset"] > 0.6
    assert cut["edge_uneven"] > 0.6
    for found in (pair, cut):
        assert found["edge_density"] > 0.2
        assert found["edge_peak"] > 0.6
        assert found["main_offset"] > 0.6


@pytest.mark.parametrize("kind", ["edge", "stripes"])
@pytest.mark.parametrize("turn", [0.0, 17.0, 45.0, 90.0, 133.0])
def test_lines_have_one_direction(kind, turn):
    found = class_features(drawn(kind, turn)[None], table(1), **SIZE).iloc[0]
    assert found["line"] > 0.8
    assert found["line_excess"] > 0.4
    assert found["coherence"] > 0.85
    assert found["dark"] > 0.5


def test_noise_has_fine_power_and_no_form():
    found, other = measured("noise"), measured("particle")
    assert found["high_power"] > other["high_power"] + 0.7
    assert found["low_power"] < 0.2
    assert found["radial"] < 0.15
    assert abs(found["skewness"]) < 0.3
    assert found["line"] < 0.3
    assert found["slope"] < 0.4


def around_the_centre(image: np.ndarray, quarters: int, mirrored: bool) -> np.ndarray:
    """Turned by quarters, and mirrored, about pixel n // 2."""
    for _ in range(quarters):
        image = np.roll(np.rot90(image), 1 - image.shape[0] % 2, 0)
    return np.roll(image[:, ::-1], 1 - image.shape[0] % 2, 1) if mirrored else image


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["particle", "pair", "cut", "edge", "stripes", "noise"]),
    seed=st.integers(0, 1000),
    quarters=st.integers(0, 3),
    mirrored=st.booleans(),
    scale=st.floats(1e-3, 1e3),
)
def test_features_do_not_see_turns_mirrors_and_scale(kind, seed, quarters, mirrored, scale):
    image = drawn(kind, turn_deg=seed % 180, seed=seed)
    turned = scale * around_the_centre(image, quarters, mirrored)
    one, two = (class_features(i[None], table(1), **SIZE).iloc[0] for i in (image, turned))
    for name in FEATURES:
        assert two[name] == pytest.approx(one[name], abs=1e-6), name


def test_features_do_not_see_the_box():
    """The same object with half the pixel size and another box."""
    places = [(0.25, 0.2), (-0.3, 0.1), (0.05, -0.35), (0, 0)]
    coarse = class_features(blobs(places)[None], table(1), **SIZE).iloc[0]
    fine = blobs(places, box=150, radius=2 * RADIUS)
    other = class_features(fine[None], table(1), pixel_size_angst=1.5, diameter_angst=130.0).iloc[0]
    for name in ("offset", "spread", "dense_area", "line", "radial", "skewness", "low_power"):
        assert other[name] == pytest.approx(coarse[name], abs=0.04), name


def test_features_relative_to_the_others():
    images = np.stack([drawn("particle"), 4 * drawn("particle"), drawn("particle")])
    columns = {"csnClassPopulation": [100, 50, 150], "csnClassEvidence": [20.0, 80.0, 20.0]}
    found = class_features(images, table(3, **columns), **SIZE)
    assert found["strength_relative"].tolist() == pytest.approx([0, 2, 0])
    assert found["evidence_relative"].tolist() == pytest.approx([0, 2, 0])
    assert found["population"].tolist() == pytest.approx([0, -1, np.log2(1.5)])


def test_missing_values():
    missing = {
        "rlnEstimatedResolution": [999.0, np.inf, np.nan, 14.0],
        "rlnAccuracyRotations": [999.0, np.inf, np.nan, 4.0],
        "rlnAccuracyTranslationsAngst": [999.0, np.inf, np.nan, 3.0],
        "csnClassEvidence": [np.nan, 20.0, 20.0, 20.0],
        "csnClassPopulation": [0, 10, 10, 10],
    }
    images = np.stack(
        [np.zeros((BOX, BOX)), np.full((BOX, BOX), np.nan), drawn("noise"), drawn("cut")]
    )
    found = class_features(images, table(4, **missing), **SIZE)
    assert found.notna().all(axis=None)
    assert np.isfinite(found.to_numpy()).all()
    assert found["resolution"].tolist()[:3] == [0, 0, 0]
    assert load_model().probabilities(found).sum(1) == pytest.approx(1.0)
    labelled = assess(images, table(4, **missing), **SIZE)
    assert labelled["csnClassLabel"].tolist()[0] == "noise"
    assert labelled["csnClassKept"].tolist() == [0, 0, 0, 0]


def test_what_an_engine_does_not_tell_is_not_used():
    images = np.stack([drawn("particle"), drawn("edge")])
    for columns, gone, kind in (
        ({"csnClassEvidence": np.nan, "csnClassContrast": np.nan}, EVIDENCE, "no_evidence"),
        (
            {"rlnAccuracyRotations": 999.0, "rlnAccuracyTranslationsAngst": 999.0},
            ACCURACY,
            "no_accuracy",
        ),
    ):
        found = class_features(images, table(2, **columns), **SIZE)
        assert found.columns[found.isna().all()].tolist() == list(gone)
        assert known_kinds(found) == [kind, kind]
        chances = load_model().probabilities(found)
        assert chances.sum(1) == pytest.approx(1.0)
        assert np.array(LABELS)[chances.argmax(1)].tolist() == ["good", "edge"]
    both = {"csnClassEvidence": np.nan, "rlnAccuracyRotations": 999.0}
    assert known_kinds(class_features(images, table(2, **both), **SIZE)) == ["neither"] * 2


def test_without_evidence_a_class_is_noise_whatever_it_looks_like():
    """The class of nothing of weak data shows a blurred particle."""
    images = np.stack([drawn("particle")] * 2)
    found = assess(images, table(2, csnClassEvidence=[20.0, 1.0]), **SIZE)
    assert found["csnClassLabel"].tolist() == ["good", "noise"]
    assert found["csnClassScore"].tolist()[1] == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_drawn_averages(seed):
    kinds = ["particle", "particle", "particle", "pair", "cut", "edge", "stripes", "noise"]
    images = np.stack([drawn(kind, 40.0 * i, seed + i) for i, kind in enumerate(kinds)])
    poor = np.array([kind == "noise" for kind in kinds])
    junk = np.array([kind != "particle" for kind in kinds])
    columns = {
        "csnClassPopulation": np.where(junk, 60, 300),
        "csnClassContrast": np.where(junk, 0.75, 1.1),
        "rlnEstimatedResolution": np.where(poor, 999.0, 14.0),
        "rlnAccuracyRotations": np.where(poor, 999.0, 4.0),
        "rlnAccuracyTranslationsAngst": np.where(poor, 999.0, 3.0),
        "csnClassEvidence": np.where(poor, -0.5, 20.0),
    }
    images[poor] *= 0.02
    found = assess(images, table(len(kinds), **columns), **SIZE)
    wanted = ["good", "good", "good", "clip", "clip", "edge", "edge", "noise"]
    assert found["csnClassLabel"].tolist() == wanted
    assert found["csnClassKept"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_labels_of_a_classification():
    """Particles, images of nothing, and straight edges of film, by the native engine."""
    torch.set_num_threads(1)
    images, optics, (kind, _, _) = particles(800, objects(4), empty=0.25, seed=3)
    rng = np.random.default_rng(5)
    film = np.flatnonzero(kind < 0)[:80]
    axis = np.arange(images.shape[-1]) - images.shape[-1] // 2
    for row in film:
        turn = rng.uniform(0, 2 * np.pi)
        along = np.cos(turn) * axis[None, :] + np.sin(turn) * axis[:, None]
        images[row] = np.tanh((along - rng.uniform(-2, 2)) / 1.5) + rng.normal(
            0, 1, images[row].shape
        )
    found = classify2d(
        images,
        optics,
        classes=9,
        seed=2,
        pixel_size_angst=PIXEL,
        diameter_angst=DIAMETER,
        resolution_angst=10.0,
        schedule=Schedule(batches=40),
    )
    classes, poses = found.classes, found.poses
    members = [poses.class_index == k for k in range(9)]
    finite = {
        name: np.where(np.isfinite(values), values, 999.0)
        for name, values in {
            "rlnEstimatedResolution": classes.resolution_angst,
            "rlnAccuracyRotations": classes.accuracy_rotation_deg,
            "rlnAccuracyTranslationsAngst": classes.accuracy_shift_angst,
        }.items()
    }
    means = {
        "csnClassEvidence": [poses.log_evidence[m].mean() if m.any() else np.nan for m in members],
        "csnClassContrast": [poses.contrast[m].mean() if m.any() else np.nan for m in members],
        "csnClassProbability": [
            poses.probability[m].mean() if m.any() else np.nan for m in members
        ],
    }
    labelled = assess(
        classes.averages,
        table(9, csnClassPopulation=classes.population, **finite, **means),
        pixel_size_angst=PIXEL,
        diameter_angst=DIAMETER,
    )
    kept = np.append(labelled["csnClassKept"].to_numpy(), 0)[poses.class_index] == 1
    assert kept[kind >= 0].mean() > 0.9
    assert kept[kind < 0].mean() < 0.15  # some noise lies in the classes of particles
    assert labelled["csnClassLabel"].iloc[8] == "noise"
    of_film = np.bincount(poses.class_index[film], minlength=9).argmax()
    assert labelled["csnClassLabel"].iloc[of_film] == "edge"


def test_model_file():
    model = load_model()
    again = from_json(to_json(model))
    images = np.stack([drawn(kind) for kind in ("particle", "pair", "edge", "noise")])
    features = class_features(images, table(4), **SIZE)
    chances = model.probabilities(features)
    assert again.probabilities(features) == pytest.approx(chances, abs=1e-4)
    assert np.all(chances > 0)
    assert model.facts["sets"] >= 40
    with pytest.raises(ValueError, match="labels"):
        from_json(to_json(model).replace('"clip"', '"clipped"'))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 3}, "2 averages, 3 rows"),
        ({"drop": "csnClassEvidence"}, "without csnClassEvidence"),
        ({"diameter_angst": 300.0}, "a mask of 300 A on averages of 64 px"),
        ({"diameter_angst": -1.0}, "a mask of -1 A"),
        ({"flat": True}, r"averages of shape \(2, 64\)"),
    ],
)
def test_bad_input(change, message):
    images = np.stack([drawn("particle"), drawn("edge")])
    rows = table(change.get("rows", 2)).drop(columns=change.get("drop", []))
    size = SIZE | {"diameter_angst": change.get("diameter_angst", 130.0)}
    with pytest.raises(BadInputError, match=message):
        assess(images[:, 0] if change.get("flat") else images, rows, **size)
