"""The micrograph classifier: labels of synthetic and real micrographs, invariances, words."""

import math

import numpy as np
import pytest
from curation_synthetic import PIXEL_ANGST, micrograph
from PIL import Image

from cryosnake.config.model import CurationConfig
from cryosnake.curation import (
    FEATURES,
    LABELS,
    classify_features,
    classify_micrograph,
    curate_micrograph,
    gain_residual,
    measure_features,
    stripe_ratio,
)
from cryosnake.curation.classifier import rules

CONFIG = CurationConfig()


@pytest.mark.parametrize(
    ("label", "settings"),
    [
        ("good", {}),
        ("good", {"defocus_angst": 6000.0}),
        ("good", {"particles": 0}),
        ("good", {"dose_e_per_angst2": 20.0}),
        ("empty", {"contrast": 0.0}),
        ("drift_crack", {"drift_angst": 20.0}),
        ("drift_crack", {"crack": True}),
        ("film", {"film_fraction": 0.4}),
        ("film", {"film_fraction": 0.25}),
        ("contamination", {"blobs": 1}),
        ("contamination", {"blobs": 3}),
        ("major_ice", {"ice_ring": 0.05}),
        ("minor_ice", {"ice_ring": 0.01}),
    ],
)
@pytest.mark.parametrize("seed", [6])
def test_labels_of_synthetic_micrographs(label, settings, seed):
    found = classify_micrograph(micrograph(seed, **settings), PIXEL_ANGST)
    assert found.label == label, found.reasons
    assert found.confidence > 0.35
    assert set(found.features) == set(FEATURES)
    assert set(found.scores) == set(LABELS)


def test_label_does_not_depend_on_grey_values_or_side():
    image = micrograph(7, blobs=2)
    reference = classify_micrograph(image, PIXEL_ANGST)
    for other in (1000 - 0.0, -1000.0):
        shifted = measure_features(0.01 * image + other, PIXEL_ANGST)
        for name, value in reference.features.items():
            assert shifted[name] == pytest.approx(value, rel=0.05, abs=0.05), name
    for turned in (np.rot90(image).copy(), image[::-1].copy(), image.T.copy()):
        assert classify_micrograph(turned, PIXEL_ANGST).label == "contamination"


def test_coarse_pixels_cannot_show_ice_and_say_so():
    coarse = micrograph(8, pixel_size_angst=2.2, particles=0)
    found = classify_micrograph(coarse, 2.2)
    assert found.label == "good"
    assert any("too coarse to see major_ice or minor_ice" in reason for reason in found.reasons)
    assert math.isnan(found.features["ice_ring_excess"])
    assert found.confidence < classify_micrograph(micrograph(8), PIXEL_ANGST).confidence


def test_reasons_name_value_and_threshold():
    found = classify_micrograph(micrograph(5, ice_ring=0.05), PIXEL_ANGST)
    assert any(r.startswith("ice ring excess") and "is above 1.2" in r for r in found.reasons)
    good = classify_micrograph(micrograph(5), PIXEL_ANGST)
    assert good.reasons[0].startswith("nearest other label is")


def test_flat_and_small_images():
    assert classify_micrograph(np.full((512, 512), 3.0), PIXEL_ANGST).label == "empty"
    with pytest.raises(ValueError, match="too small"):
        classify_micrograph(np.zeros((128, 512)), PIXEL_ANGST)


def test_rules_are_consistent_and_every_label_can_win():
    assert set(rules()) == set(LABELS) - {"good"}
    neutral = dict.fromkeys(FEATURES, 0.0) | {"coarse_power_log10": 1.0, "thon_visibility": 10.0}
    assert classify_features(neutral).label == "good"
    for label, alternatives in rules().items():
        for rule in alternatives:
            features = dict(neutral)
            for c in rule:
                sign = 1 if c.direction == "above" else -1
                features[c.feature] = c.threshold + sign * 1.2 * c.softness
            assert classify_features(features).label == label


@pytest.mark.data
def test_real_micrographs_of_empiar10017_are_not_rejected(shared_data):
    paths = sorted((shared_data / "empiar10017" / "micrographs").glob("*.jpg"))
    assert len(paths) == 12
    for path in paths[::3]:
        # rows are flipped against MRC order; binned by 2, the features look at 8 A pixels anyway
        image = np.array(Image.open(path).convert("L").reduce(2), np.float32)[::-1].copy()
        found = classify_micrograph(image, 3.54)
        assert found.label in CONFIG.classes_kept, (path.name, found.reasons)


@pytest.mark.data
def test_real_micrographs_of_known_quality(shared_data):
    # 512 px wide pictures of unknown pixel size: 8 A is what a 4k camera at 1 A gives. Fourier
    # features do not apply; this is a check of the real-space ones.
    labels = {}
    for path in sorted((shared_data / "micassess").glob("*/*.png")):
        image = np.array(Image.open(path).convert("L"), np.float32)[::-1].copy()
        labels.setdefault(path.parent.name[0], []).append(classify_micrograph(image, 8.0).label)
    assert labels["0"] == ["good", "good"]  # great
    assert labels["1"] == ["film", "good"]  # decent: one has half of its view on film
    assert labels["2"][0] == "contamination"
    assert labels["3"] == ["empty", "empty"]  # no ice


# --- patterns of the detector ---


def _sum_with_gain(rng, true_gain, applied_gain, shifts_px, size=512):
    """Sum of shot-noise frames on a detector, corrected with some gain, shifted by `shifts_px`."""
    ky, kx = np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :]
    total = np.zeros((size, size), complex)
    for dy, dx in shifts_px:
        frame = rng.poisson(4.0 / true_gain) * applied_gain
        total += np.fft.fft2(frame) * np.exp(-2j * np.pi * (ky * dy + kx * dx))
    return np.fft.ifft2(total).real.astype(np.float32)


@pytest.mark.parametrize("drift_px", [0.0, 1.5, 6.0])
def test_gain_residual_is_0_for_the_right_and_1_for_a_turned_reference(drift_px):
    rng = np.random.default_rng(3)
    gain = 1 + 0.04 * rng.standard_normal((512, 512))
    shifts = np.linspace(0, 1, 12)[:, None] * np.array([[drift_px, -0.5 * drift_px]])
    strength, error = gain_residual(_sum_with_gain(rng, gain, gain, shifts), gain, shifts)
    assert abs(strength) < 5 * error
    assert error < 0.05
    turned = gain[::-1].copy()
    strength, error = gain_residual(_sum_with_gain(rng, gain, turned, shifts), turned, shifts)
    assert strength == pytest.approx(1.0, abs=5 * error)


def test_gain_residual_of_a_super_resolution_reference():
    rng = np.random.default_rng(4)
    fine = 1 + 0.08 * rng.standard_normal((512, 512))
    frames = rng.poisson(100.0, (512, 512)) * fine  # applied where none was needed
    binned = np.fft.irfft2(
        np.fft.rfft2(frames)[np.r_[:128, 384:512], :129] / 4, s=(256, 256)
    ).astype(np.float32)
    strength, error = gain_residual(binned, fine, np.zeros((1, 2)))
    assert strength == pytest.approx(1.0, abs=5 * error)
    with pytest.raises(ValueError, match="no multiple"):
        gain_residual(binned, fine[:500, :500], np.zeros((1, 2)))


def test_stripes_of_columns_are_noticed_and_edges_are_not():
    rng = np.random.default_rng(5)
    image = micrograph(9)
    assert stripe_ratio(image) < 1.6
    assert stripe_ratio(image * (1 + 0.01 * rng.standard_normal(1024))[None, :]) > 3.0
    assert stripe_ratio(image * (1 + 0.01 * rng.standard_normal(1024))[:, None]) > 3.0
    assert stripe_ratio(micrograph(9, film_fraction=0.4)) < 2.0


# --- all filters of a movie ---


class Fit:
    defocus_u_angst, defocus_v_angst, max_resolution_angst = 15200.0, 14800.0, 4.2


def curate(image, config, **changes):
    asked = []

    def fit():
        asked.append(1)
        return Fit()

    arguments = {
        "pixel_size_angst": PIXEL_ANGST,
        "drift_max_angst": 1.0,
        "drift_path_angst": 10.0,
        "ctf": fit,
        "config": config,
    }
    return curate_micrograph(image, **(arguments | changes)), asked


def test_all_filters_pass_a_good_movie():
    verdicts, asked = curate(micrograph(10), CONFIG)
    assert [v.filter for v in verdicts] == ["drift", "spectrum", "class", "ctf"]
    assert all(v.passed for v in verdicts)
    assert asked == [1]


def test_sequence_stops_and_does_not_fit_the_ctf():
    sequence = CONFIG.model_copy(update={"mode": "sequence"})
    verdicts, asked = curate(micrograph(10), sequence, drift_path_angst=80.0)
    assert [v.filter for v in verdicts] == ["drift"]
    assert asked == []
    everything, _ = curate(micrograph(10), CONFIG, drift_path_angst=80.0)
    assert len(everything) == 4
    noted = sequence.model_copy(update={"reject_by": ["ctf"]})
    assert len(curate(micrograph(10), noted, drift_path_angst=80.0)[0]) == 4


def test_a_wrong_gain_is_named_by_the_spectrum_filter():
    rng = np.random.default_rng(11)
    gain = 1 + 0.04 * rng.standard_normal((1024, 1024))
    turned = gain[::-1].copy()
    image = micrograph(11)
    shifts = np.zeros((10, 2))
    good, _ = curate(image, CONFIG, gain=gain, shifts_px=shifts)
    assert good[1].passed
    wrong, _ = curate(image / gain * turned, CONFIG, gain=turned, shifts_px=shifts)
    assert not wrong[1].passed
    assert "wrong gain reference" in wrong[1].evidence
    assert wrong[1].metrics["csnGainPatternStrength"] == pytest.approx(1.0, abs=0.1)


def test_a_movie_without_a_ctf_fit_is_rejected_by_ctf():
    verdicts, _ = curate(micrograph(10), CONFIG, ctf=None)
    assert not verdicts[-1].passed
    assert verdicts[-1].value == "no CTF could be fitted"
