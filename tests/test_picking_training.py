"""Training of a picking model: labels, loss, choice, files, and picking with it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter

from cryosnake.errors import BadInputError
from cryosnake.picking.choose import choose_micrographs
from cryosnake.picking.coarse import no_picks, picks_table
from cryosnake.picking.final import pick_micrograph, without_duplicates
from cryosnake.picking.network import Detector
from cryosnake.picking.reliability import estimate_reliability
from cryosnake.picking.size_model import ParticleSize
from cryosnake.picking.training.dataset import (
    IGNORED_RADIUS,
    POSITIVE_RADIUS,
    make_example,
    random_batch,
    reduce,
)
from cryosnake.picking.training.fit import Schedule
from cryosnake.picking.training.judge import judge, merit
from cryosnake.picking.training.labels import Labels, label_curve, make_labels
from cryosnake.picking.training.loss import positive_unlabelled
from cryosnake.picking.training.model_file import (
    PickingModel,
    load_model,
    model_paths,
    next_version,
    save_model,
)
from cryosnake.picking.training.scoring import MERIT, partners, score_peaks, validation_curve
from cryosnake.picking.training.train import Trained, train_detector

PIXEL_ANGST = 5.0
SIZE = ParticleSize(100.0, 5.0, 100.0, 100.0, False, 40)  # 20 px
QUICK = Schedule(crops=4, scores=20, steps_a_round=40, rounds=4, learning_rate=5e-3)


def micrograph(seed: int, *, number: int = 40, shape=(400, 500)):
    """Dark discs in noise that do not touch, and twice as many small ones that are no particles."""
    rng = np.random.default_rng(seed)
    margin, distance = 30, 34
    points = []
    while len(points) < 3 * number:
        y, x = rng.uniform(margin, shape[0] - margin), rng.uniform(margin, shape[1] - margin)
        if all(np.hypot(y - v, x - u) > distance for v, u in points):
            points.append((y, x))
        elif rng.random() < 0.001:
            break
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(0, 1.0, shape)
    for index, (y, x) in enumerate(points):
        radius = 10.0 if index < number else 4.0
        image -= 1.5 * (np.hypot(yy - y, xx - x) < radius)
    truth = np.array(points[:number])[:, ::-1]
    image = gaussian_filter(image, 0.7).astype(np.float32) * 3 + 100
    return image, picks_table(truth[:, 0], truth[:, 1], np.ones(len(truth)), 1)


def weakened(table: pd.DataFrame, seed: int, *, keep: float = 0.8, false: int = 3) -> pd.DataFrame:
    """A picker that misses some, invents some and is a little off."""
    rng = np.random.default_rng(seed)
    found = table[rng.random(len(table)) < keep]
    x = np.append(
        found["rlnCoordinateX"] + rng.normal(0, 1, len(found)), rng.uniform(0, 500, false)
    )
    y = np.append(
        found["rlnCoordinateY"] + rng.normal(0, 1, len(found)), rng.uniform(0, 400, false)
    )
    return picks_table(x, y, rng.uniform(0.9, 1.0, len(x)), 1)


def small_detector(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return Detector("resnet8", 4).eval()


@pytest.fixture(scope="module")
def sample():
    """Six micrographs, their truth, and three pickers that miss and invent independently."""
    made = {f"m{i}": micrograph(i) for i in range(6)}
    images = [(name, image) for name, (image, _) in made.items()]
    truth = {name: table for name, (_, table) in made.items()}
    pickers = {
        name: {
            picker: weakened(table, 10 * i + k)
            for k, picker in enumerate(("log", "correlation", "network"))
        }
        for i, (name, table) in enumerate(truth.items())
    }
    picks = {
        name: weakened(table, 500 + i, keep=0.8, false=0).assign(**{MERIT: 0.95})
        for i, (name, table) in enumerate(truth.items())
    }
    return images, truth, pickers, picks


@pytest.fixture(scope="module")
def trained(sample) -> Trained:
    images, _, pickers, picks = sample
    return train_detector(
        iter(images), picks, pickers, PIXEL_ANGST, SIZE,
        start_model=small_detector(), seed=1, schedule=QUICK,
    )  # fmt: skip


# --- data and loss ---


def test_labels_lie_where_the_picks_are_and_turn_with_the_crops():
    image, truth = micrograph(5)
    small = reduce(image, PIXEL_ANGST, SIZE.diameter_angst)
    assert small.particle_px == pytest.approx(16.0, rel=0.15)
    model = small_detector()
    example = make_example(small, truth, None, model.width_px // 2)
    # the labelled pixels are dark in the image: particles are dark
    inner = example.distance <= POSITIVE_RADIUS
    assert small.pixels[inner].mean() < small.pixels.mean() - 1.0
    assert (example.probability[inner] == 1).all()
    batch = random_batch(
        [example], np.random.default_rng(0), crops=6, scores=12, margin_px=model.width_px // 2
    )
    with torch.no_grad():
        assert model(batch.pixels, 4).shape == batch.distance.shape
    edge = model.width_px // 2
    centres = batch.pixels[:, :, edge:-edge:4, edge:-edge:4]
    assert centres.shape == batch.distance.shape
    near = batch.distance <= POSITIVE_RADIUS
    assert near.any()
    assert centres[near].mean() < centres[batch.distance > IGNORED_RADIUS].mean() - 1.0


def test_a_pick_of_unknown_worth_is_not_asked_about():
    image, truth = micrograph(6)
    small = reduce(image, PIXEL_ANGST, SIZE.diameter_angst)
    example = make_example(small, truth.assign(**{MERIT: np.nan}), None, 35)
    assert not (example.distance <= POSITIVE_RADIUS).any()
    y, x = (
        (truth[["rlnCoordinateY", "rlnCoordinateX"]].to_numpy() / small.scale_px)
        .round()
        .astype(int)
        .T
    )
    assert (example.distance[y, x] <= IGNORED_RADIUS).all()


def test_missed_particles_are_not_unlearned():
    """Half of the particles are unlabelled: the model that finds all is left alone."""
    distance = torch.full((1, 1, 10, 100), torch.inf)
    probability = torch.zeros_like(distance)
    distance[..., 0, :50], probability[..., 0, :50] = 0.0, 1.0  # 50 labelled of 100 particles

    def pull(hidden: float, background: float, missed_share: float) -> torch.Tensor:
        """Gradient on the 50 places of the unlabelled particles."""
        logits = torch.full_like(distance, background)
        logits[..., 0, :50], logits[..., 0, 50:] = 3.0, hidden
        logits.requires_grad_()
        positive_unlabelled(logits, distance, probability, missed_share).backward()
        return logits.grad[..., 0, 50:]

    assert (pull(2.5, -9.0, 0.5) == 0).all()
    assert (pull(2.5, -9.0, 0.0) > 0).all()  # taken for complete, they are pushed down
    some = pull(2.5, 3.0, 0.5)  # what looks even more like a particle is left out instead
    assert (some > 0).all()


def test_labels_keep_what_only_one_picker_found_out_of_the_question(sample):
    _, truth, _, _ = sample
    one = {"network": pd.concat([truth["m0"], picks_table([5.0], [5.0], [1.0], 1)])}
    labels = make_labels(
        [truth["m0"].assign(**{MERIT: 0.95})], [one], estimate_reliability([one], 8.0), 8.0
    )
    (table,) = labels.tables
    assert len(table) == len(truth["m0"]) + 1
    assert table[MERIT].isna().sum() == 1
    assert labels.known == pytest.approx(0.95 * len(truth["m0"]))


def test_validation_curve_is_precision_and_recall():
    curve = validation_curve(np.array([1.0, 3.0, 2.0]), np.array([0.0, 1.0, 1.0]), 4.0)
    assert curve.thresholds.tolist() == [3.0, 2.0, 1.0]
    assert curve.precision.tolist() == pytest.approx([1.0, 1.0, 2 / 3])
    assert curve.recall.tolist() == pytest.approx([0.25, 0.5, 0.5])
    assert curve.best == 1


def test_the_curve_counts_labels_by_their_probability():
    labels = Labels([picks_table([0.0, 100.0], [0.0, 0.0], [0.8, np.nan], 1)], 0.2)
    peaks = picks_table([1.0, 101.0, 200.0], [0.0, 0.0, 0.0], [3.0, 2.0, 1.0], 1)
    curve = label_curve([peaks], labels, 5.0)
    hits, particles = np.array([0.8, 1.3, 1.3]), 0.8 + 0.5 + 0.2
    assert curve.recall == pytest.approx(hits / particles)
    assert curve.precision == pytest.approx(hits / [1, 2, 3])


def test_partners_are_one_to_one_and_nearest_first():
    ours = picks_table([0.0, 3.0, 50.0], [0.0, 0.0, 0.0], np.ones(3), 1)
    theirs = picks_table([2.0], [0.0], np.ones(1), 1)
    assert partners(ours, theirs, 5.0).tolist() == [-1, 0, -1]
    assert partners(ours, no_picks(), 5.0).tolist() == [-1, -1, -1]


# --- training ---


def test_training_finds_the_particles_and_not_the_small_ones(sample, trained):
    image, truth = micrograph(99)
    peaks = score_peaks(reduce(image, PIXEL_ANGST, SIZE.diameter_angst), trained.model)
    picks = peaks[peaks[MERIT] >= trained.judgement.threshold]
    hits = (partners(picks, truth, 8.0) >= 0).sum()
    start = score_peaks(reduce(image, PIXEL_ANGST, SIZE.diameter_angst), small_detector())
    by_chance = (partners(start.head(len(truth)), truth, 8.0) >= 0).sum()
    assert hits >= 0.85 * len(truth) > by_chance
    assert hits >= 0.85 * len(picks)


def test_training_reports_what_it_did(trained):
    assert trained.curve["round"].tolist() == list(range(len(trained.curve)))
    assert trained.curve["validation"].iloc[-1] > trained.curve["validation"].iloc[0]
    assert len(trained.held_out_names) == 2
    assert sorted(trained.training_names + trained.held_out_names) == [f"m{i}" for i in range(6)]
    assert trained.chosen == "trained", trained.judgement.why
    assert "judges" in trained.judgement.why
    curve = trained.judgement.validation
    assert curve["f1"].max() == pytest.approx(
        curve["f1"][curve["threshold"] == trained.judgement.threshold].iloc[0]
    )


def test_same_seed_same_model(sample):
    images, _, pickers, picks = sample
    brief = replace(QUICK, rounds=1, steps_a_round=3)

    def outcome(seed):
        found = train_detector(
            images, picks, pickers, PIXEL_ANGST, SIZE,
            start_model=small_detector(), seed=seed, schedule=brief,
        )  # fmt: skip
        return found.curve.to_json(double_precision=15), found.judgement.threshold

    first = outcome(1)
    assert first == outcome(1)
    assert first != outcome(2)


def test_a_model_that_learned_nothing_is_not_used(sample):
    """The decision says that the model is worse, and names what is used instead."""
    images, _, pickers, picks = sample
    found = train_detector(
        images, picks, pickers, PIXEL_ANGST, SIZE,
        start_model=small_detector(), seed=1,
        schedule=replace(QUICK, rounds=1, steps_a_round=1, learning_rate=1e-9),
    )  # fmt: skip
    assert found.model is not None
    assert found.chosen == "consensus"
    assert "trained model validates worse than consensus" in found.judgement.why


def test_judge_prefers_the_model_that_is_right_and_not_the_one_that_copies(sample):
    _, truth, pickers, picks = sample
    names = list(truth)
    found = [pickers[name] for name in names]
    reliability = estimate_reliability(found, 8.0)
    labels = make_labels([picks[name] for name in names], found, reliability, 8.0)
    right = judge([truth[name] for name in names], labels, found, reliability, 8.0)
    assert right.chosen == "trained"
    wrong = judge(
        [weakened(truth[n], 77, keep=0.4, false=20) for n in names],
        labels, found, reliability, 8.0,
    )  # fmt: skip
    assert wrong.chosen != "trained"
    assert (right.scores["difference"] > wrong.scores["difference"]).all()


def test_an_incomplete_judge_does_not_favour_who_misses_the_same():
    """100 particles, the judge knows 70 of them."""
    complete = merit(np.array([[70.0, 100.0, 70.0]]), 100.0)
    alike = merit(np.array([[70.0, 70.0, 70.0]]), 100.0)
    inventing = merit(np.array([[70.0, 160.0, 70.0]]), 100.0)
    wrong = merit(np.array([[35.0, 70.0, 70.0]]), 100.0)
    assert complete == pytest.approx(0.5 * (140 / 170 + 1.0))
    assert alike == pytest.approx(0.5 * (1.0 + 140 / 170))
    assert complete > inventing > wrong


@pytest.mark.parametrize("case", ["none", "one", "no picks", "flat", "one picker"])
def test_too_little_to_train_on_is_a_clear_choice(sample, case):
    images, _, pickers, picks = sample
    images = {"none": [], "one": images[:1]}.get(case, images[:2])
    if case == "no picks":
        picks = dict.fromkeys(picks, no_picks())
        pickers = {name: dict.fromkeys(found, no_picks()) for name, found in pickers.items()}
    if case == "flat":
        images = [(name, np.full_like(image, 7.0)) for name, image in images]
    if case == "one picker":
        images = images[:1]
        pickers = {name: {"network": found["network"]} for name, found in pickers.items()}
    found = train_detector(
        images, picks, pickers, PIXEL_ANGST, SIZE,
        start_model=small_detector(), seed=1, schedule=QUICK,
    )  # fmt: skip
    assert found.model is None
    assert found.chosen == ("consensus" if case == "one" else "network")
    assert "no model was trained" in found.judgement.why
    assert "needed" in found.judgement.why
    assert set(found.left_out) == ({"m0", "m1"} if case == "flat" else set())


# --- files ---


def test_a_model_is_read_as_it_was_written(tmp_path, trained):
    assert next_version(tmp_path) == 1
    weights, description = save_model(tmp_path, trained, 1)
    assert (weights, description) == model_paths(tmp_path, 1)
    assert next_version(tmp_path) == 2
    model = load_model(description)
    for key, value in trained.model.state_dict().items():
        assert torch.equal(model.detector.state_dict()[key], value)
    assert (model.chosen, model.version) == (trained.chosen, 1)
    assert model.threshold == trained.judgement.threshold
    about = json.loads(description.read_text())
    assert about["training_micrographs"] == trained.training_names
    assert about["curve"]["validation"] == trained.curve["validation"].tolist()
    assert about["scores"]["log"]["agreement"] > 0
    assert sorted(model.reliability.pickers) == ["correlation", "log", "network"]


def test_a_version_is_never_overwritten(tmp_path, trained):
    save_model(tmp_path, trained, 1)
    before = model_paths(tmp_path, 1)[1].read_bytes()
    with pytest.raises(BadInputError, match="version 2"):
        save_model(tmp_path, trained, 1)
    save_model(tmp_path, trained, next_version(tmp_path))
    assert model_paths(tmp_path, 1)[1].read_bytes() == before


def test_damaged_models_are_refused_with_the_reason(tmp_path, trained):
    weights, description = save_model(tmp_path, trained, 1)
    with pytest.raises(BadInputError, match="FileNotFound"):
        load_model(tmp_path / "v9.json")
    about = json.loads(description.read_text())
    description.write_text(json.dumps(about | {"version": 2}))
    with pytest.raises(BadInputError, match="holds version 1"):
        load_model(description)
    description.write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(BadInputError, match="format 99"):
        load_model(description)
    description.write_text(json.dumps(about))
    state = torch.load(weights, weights_only=True)
    torch.save(state | {"units": 8}, weights)
    with pytest.raises(BadInputError, match="do not fit"):
        load_model(description)
    weights.write_bytes(b"nonsense")
    with pytest.raises(BadInputError, match="cannot be read"):
        load_model(description)


# --- choice of micrographs ---


def test_micrographs_are_balanced_over_defocus():
    rng = np.random.default_rng(0)
    crowded = np.concatenate([rng.uniform(10_000, 12_000, 90), np.linspace(13_000, 30_000, 10)])
    table = pd.DataFrame(
        {
            "rlnMicrographName": [f"{i:03d}.mrc" for i in range(100)],
            "rlnDefocusU": crowded + 100,
            "rlnDefocusV": crowded - 100,
        }
    )
    chosen = choose_micrographs(table, 10, seed=1)
    assert len(chosen) == 10
    assert (chosen["rlnDefocusU"] > 12_100).sum() >= 5  # at random it would be 1
    again = choose_micrographs(table.sample(frac=1, random_state=3), 10, seed=1)
    assert set(again["rlnMicrographName"]) == set(chosen["rlnMicrographName"])
    other = choose_micrographs(table, 10, seed=2)
    assert set(other["rlnMicrographName"]) != set(chosen["rlnMicrographName"])


@pytest.mark.parametrize("defocus", [[1e4] * 6, [np.nan] * 6, [1e4, np.nan] * 3])
def test_micrographs_are_chosen_whatever_is_known_of_their_defocus(defocus):
    table = pd.DataFrame({"rlnDefocusU": defocus, "rlnDefocusV": defocus})
    for number in (0, 1, 4, 6, 9):
        chosen = choose_micrographs(table, number, seed=1)
        assert len(chosen) == min(number, 6)
        assert chosen.index.is_unique


# --- picking ---


def picking_model(trained: Trained, chosen: str) -> PickingModel:
    return PickingModel(
        1, chosen, "-", trained.judgement.threshold, trained.model, SIZE.diameter_angst,
        PIXEL_ANGST, {}, trained.picks,
    )  # fmt: skip


def test_picking_with_the_trained_model_on_a_non_square_micrograph(trained):
    image, truth = micrograph(98)
    picks = pick_micrograph(image, PIXEL_ANGST, SIZE, picking_model(trained, "trained"))
    assert (partners(picks, truth, 8.0) >= 0).sum() >= 0.8 * len(truth)
    assert (picks[MERIT].diff().dropna() <= 0).all()
    assert (picks[MERIT] >= trained.judgement.threshold).all()
    assert picks["rlnCoordinateX"].between(10, 490).all()
    assert picks["rlnCoordinateY"].between(10, 390).all()
    distances = np.hypot(*(picks[[c]].to_numpy() - picks[[c]].to_numpy().T
                           for c in ("rlnCoordinateX", "rlnCoordinateY")))  # fmt: skip
    assert (distances[~np.eye(len(picks), dtype=bool)] > 10).all()


@pytest.mark.parametrize("chosen", ["trained", "log", "consensus"])
@pytest.mark.parametrize(
    "image", [np.full((300, 200), 5.0), np.zeros((8, 8)), np.full((99, 99), np.nan)]
)
def test_nothing_to_pick_is_an_empty_table(trained, chosen, image):
    found = pick_micrograph(
        image.astype(np.float32), PIXEL_ANGST, SIZE, picking_model(trained, chosen)
    )
    assert found.empty
    assert list(found) == ["rlnCoordinateX", "rlnCoordinateY", MERIT]


def test_duplicates_are_removed_in_favour_of_the_better():
    picks = picks_table([0.0, 4.0, 8.0, 50.0], [0.0] * 4, [4.0, 3.0, 2.0, 1.0], 1)
    kept = without_duplicates(picks, 5.0)
    assert kept["rlnCoordinateX"].tolist() == [0.0, 8.0, 50.0]
