"""The filters, the dose over a session, the agreement of filters."""

import math
import time

import numpy as np
import pandas as pd
import pytest
from curation_synthetic import PIXEL_ANGST, micrograph
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosnake.config.model import CurationConfig
from cryosnake.curation import (
    MicrographClass,
    agreement,
    apply_dose_filter,
    class_filter,
    ctf_filter,
    derive_acceptance,
    dose_counts_per_angst2,
    dose_filter,
    dose_reference,
    drift_filter,
    movie_columns,
    quadrant_spectrum_correlations,
    spectrum_filter,
)

CONFIG = CurationConfig()


def session(dose, **columns) -> pd.DataFrame:
    """A table of movies that pass everything, with the given doses."""
    n = len(dose)
    flags = {f"csnPass{name}": np.ones(n, int) for name in ("Input", "Drift", "Spectrum", "Class")}
    table = pd.DataFrame(
        {
            "rlnMicrographMovieName": [f"movie_{i:05d}.tif" for i in range(n)],
            "csnDose_counts_per_angst2": np.asarray(dose, float),
            "csnPassDose": -1,
            "csnPassCtf": 1,
            "csnArrival_s": 1.7e9 + 6.0 * np.arange(n),
            "csnReason": "-",
            "csnExplanation": "-",
        }
        | flags
    )
    return table.assign(**columns)


# --- single filters ---


def test_dose_is_the_mean_of_first_middle_and_last_frame_per_area():
    means = np.array([10.0, 99.0, 12.0, 99.0, 14.0])
    assert dose_counts_per_angst2(means, 2.0) == pytest.approx(12.0 / 4.0)
    assert dose_counts_per_angst2([7.0], 1.0) == 7.0
    with pytest.raises(ValueError, match="frame_means is empty"):
        dose_counts_per_angst2([], 1.0)


@pytest.mark.parametrize(
    ("dose", "passed"), [(1.0, True), (1.05, True), (0.95, True), (1.051, False), (0.94, False)]
)
def test_dose_filter_tolerance_includes_its_bound(dose, passed):
    verdict = dose_filter(dose, 1.0, CONFIG)
    assert verdict.passed is passed
    assert "counts/A^2" in verdict.value
    assert verdict.threshold == "within 5 %"


@pytest.mark.parametrize(
    ("step", "path", "passed"),
    [(2.0, 20.0, True), (10.0, 45.0, True), (10.1, 20.0, False), (2.0, 45.1, False)],
)
def test_drift_filter_step_or_path(step, path, passed):
    verdict = drift_filter(step, path, CONFIG)
    assert verdict.passed is passed
    assert f"{step:.1f} A" in verdict.value
    tilted = CONFIG.model_copy(update={"drift_max_angst": 30.0, "drift_path_angst": 120.0})
    assert drift_filter(step, path, tilted).passed


def test_drift_filter_rejects_a_failed_alignment():
    verdict = drift_filter(math.nan, math.nan, CONFIG)
    assert not verdict.passed
    assert "alignment failed" in verdict.value


@pytest.mark.parametrize(
    ("u", "v", "resolution", "evidence"),
    [
        (15000.0, 14500.0, 4.0, None),
        (15000.0, 14500.0, 6.2, "fit resolution"),
        (900.0, 890.0, 4.0, "defocus"),
        (41000.0, 40500.0, 4.0, "defocus"),
        (16000.0, 14000.0, 4.0, "astigmatism"),
        (16000.0, 14000.0, 8.0, "fit resolution, astigmatism"),
    ],
)
def test_ctf_filter_names_what_fails(u, v, resolution, evidence):
    verdict = ctf_filter(u, v, resolution, CONFIG)
    assert verdict.passed is (evidence is None)
    assert verdict.evidence == (evidence or "-")
    assert verdict.metrics["csnDefocusMean_angst"] == (u + v) / 2


def test_ctf_filter_without_a_fit():
    verdict = ctf_filter(math.nan, math.nan, math.nan, CONFIG)
    assert not verdict.passed
    assert verdict.value == "no CTF could be fitted"


@given(
    u=st.floats(100, 60000), v=st.floats(100, 60000), resolution=st.floats(1, 60), r=st.floats(0, 1)
)
def test_ctf_filter_is_symmetric_and_monotonous(u, v, resolution, r):
    verdict = ctf_filter(u, v, resolution, CONFIG)
    assert verdict.passed == ctf_filter(v, u, resolution, CONFIG).passed
    if verdict.passed:
        assert ctf_filter(u, v, 1 + r * (resolution - 1), CONFIG).passed
    assert 0.5 <= verdict.confidence <= 1.0


def test_class_filter_keeps_what_is_configured():
    label = MicrographClass("minor_ice", 0.8, ("ring at 3.7 A",))
    assert class_filter(label, CONFIG).passed
    strict = CONFIG.model_copy(update={"classes_kept": ["good"]})
    verdict = class_filter(label, strict)
    assert not verdict.passed
    assert verdict.explanation() == "class minor_ice; accepted: one of good (ring at 3.7 A)"


# --- the power spectrum ---


def test_spectrum_filter_on_good_drifted_and_empty_images():
    good = spectrum_filter(
        *quadrant_spectrum_correlations(micrograph(1), PIXEL_ANGST), config=CONFIG
    )
    assert good.passed
    drift = quadrant_spectrum_correlations(micrograph(1, drift_angst=20), PIXEL_ANGST)
    assert not spectrum_filter(*drift, config=CONFIG).passed
    empty = quadrant_spectrum_correlations(micrograph(1, contrast=0), PIXEL_ANGST)
    assert not spectrum_filter(*empty, config=CONFIG).passed
    assert empty[0] < 0.2 < 0.5 < good.metrics["csnSpectrumCorrelationMean"]


def test_spectrum_correlations_ignore_scale_and_offset_and_quarter_turns():
    image = micrograph(2, size=512)
    reference = quadrant_spectrum_correlations(image, PIXEL_ANGST)
    assert quadrant_spectrum_correlations(3 * image + 1000, PIXEL_ANGST) == pytest.approx(
        reference, abs=2e-3
    )
    assert quadrant_spectrum_correlations(np.rot90(image).copy(), PIXEL_ANGST) == pytest.approx(
        reference, abs=0.02
    )


def test_spectrum_correlations_of_odd_flat_and_small_images():
    image = micrograph(3, size=514)[:513, :401]
    mean, spread = quadrant_spectrum_correlations(image, PIXEL_ANGST)
    assert math.isfinite(mean)
    assert math.isfinite(spread)
    assert quadrant_spectrum_correlations(np.full((512, 512), 7.0), PIXEL_ANGST) == (0.0, 0.0)
    with pytest.raises(ValueError, match="too small"):
        quadrant_spectrum_correlations(np.zeros((128, 512)), PIXEL_ANGST)


# --- rows ---


def test_movie_columns_names_the_first_filter_that_may_reject():
    verdicts = [
        ctf_filter(15000.0, 14900.0, 9.0, CONFIG),
        drift_filter(20.0, 30.0, CONFIG),
        dose_filter(2.0, 1.0, CONFIG),
    ]
    row = movie_columns(verdicts, CONFIG)
    assert (row["csnAccepted"], row["csnReason"]) == (0, "drift")
    assert "largest step 20.0 A" in row["csnExplanation"]
    assert "also fit to 9.00 A" in row["csnExplanation"]
    assert (row["csnPassDose"], row["csnPassDrift"], row["csnPassClass"]) == (0, 0, -1)
    monitored = CONFIG.model_copy(update={"reject_by": ["ctf"]})
    assert movie_columns(verdicts, monitored)["csnReason"] == "ctf"
    only_dose = movie_columns(verdicts[2:], CONFIG)
    assert (only_dose["csnAccepted"], only_dose["csnReason"]) == (1, "-")


# --- the dose over a session ---


def test_dose_reference_is_a_running_median():
    dose = pd.Series([1.0, 2.0, 3.0, 10.0, np.nan, 10.0, 10.0, 10.0])
    reference = dose_reference(dose, 3)
    expected = [2.0, 2.0, 2.0, 2.5, np.nan, 3.0, 6.5, 10.0]
    np.testing.assert_allclose(reference, expected)


def test_dose_only_monitors_by_default_and_rejects_when_told():
    dose = np.full(30, 1.0)
    dose[25] = 1.2
    table, decisions = apply_dose_filter(session(dose), CONFIG)
    assert table["csnPassDose"].tolist() == [1] * 25 + [0] + [1] * 4
    assert table["csnAccepted"].all()
    assert decisions == []
    strict = CONFIG.model_copy(update={"reject_by": ["dose", "ctf"]})
    table, _ = apply_dose_filter(session(dose), strict)
    assert table["csnReason"][25] == "dose"
    assert "+20.0 % of the median" in table["csnExplanation"][25]
    assert table["csnAccepted"].sum() == 29


def test_dose_step_warns_once_at_the_movie_where_the_window_tips():
    dose = np.full(200, 1.0)
    dose[120:160] = 0.6
    table, decisions = apply_dose_filter(session(dose), CONFIG)
    assert (table["csnPassDose"] == 0).sum() == 40
    assert [d.verdict for d in decisions] == ["warn"]
    assert "movie 136 of the ledger" in decisions[0].evidence  # 16 of the latest 50
    again, same = apply_dose_filter(table, CONFIG)
    pd.testing.assert_frame_equal(again, table)
    assert same == decisions


def test_unreadable_movies_have_no_dose_and_keep_their_reason():
    table = session([1.0, np.nan, 1.0])
    table.loc[1, ["csnPassInput", "csnReason", "csnExplanation"]] = [0, "input", "zero bytes"]
    out, _ = apply_dose_filter(table, CONFIG)
    assert out["csnPassDose"].tolist() == [1, -1, 1]
    assert out["csnReason"].tolist() == ["-", "input", "-"]
    assert out["csnExplanation"][1] == "zero bytes"
    empty, none = apply_dose_filter(session([]), CONFIG)
    assert len(empty) == 0
    assert none == []


def test_acceptance_is_derived_again_with_other_filters():
    table = session(np.ones(4))
    table["csnPassDrift"] = [1, 0, 1, 1]
    table["csnPassCtf"] = [1, 1, 0, -1]
    table["csnDriftMax_angst"], table["csnDriftPath_angst"] = 12.0, 30.0
    table["rlnDefocusU"], table["rlnDefocusV"], table["rlnCtfMaxResolution"] = 1e4, 1e4, 7.0
    first = derive_acceptance(table, CONFIG)
    assert first["csnReason"].tolist() == ["-", "drift", "ctf", "-"]
    assert "7.00 A" in first["csnExplanation"][2]
    only_ctf = derive_acceptance(first, CONFIG.model_copy(update={"reject_by": ["ctf"]}))
    assert only_ctf["csnReason"].tolist() == ["-", "-", "ctf", "-"]
    assert only_ctf["csnExplanation"][1] == "-"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=60), st.floats(0.1, 100))
def test_dose_verdicts_do_not_depend_on_the_unit_of_the_counts(dose, factor):
    one, _ = apply_dose_filter(session(dose), CONFIG)
    other, _ = apply_dose_filter(session(np.array(dose) * factor), CONFIG)
    assert one["csnPassDose"].tolist() == other["csnPassDose"].tolist()


def test_dose_filter_over_20000_movies_is_fast():
    rng = np.random.default_rng(0)
    dose = rng.normal(1.0, 0.03, 20000)
    flags = (rng.random(20000) > 0.2).astype(int)
    table = session(dose, csnPassDrift=flags, csnDriftMax_angst=12.0, csnDriftPath_angst=50.0)
    started = time.perf_counter()
    apply_dose_filter(table, CONFIG.model_copy(update={"reject_by": ["dose", "drift"]}))
    assert time.perf_counter() - started < 2.0


# --- agreement ---


def test_agreement_on_a_table_worked_by_hand():
    table = session(np.ones(6))
    table["csnPassDrift"] = [0, 0, 1, 1, 1, -1]
    table["csnPassSpectrum"] = [0, 1, 0, 1, 1, 0]
    found = agreement(table)
    assert "dose" not in found.movies  # never computed
    assert found.movies.loc["drift", "spectrum"] == 5
    assert found.discrepancy.loc["drift", "spectrum"] == pytest.approx(2 / 5)
    assert found.jaccard.loc["drift", "spectrum"] == pytest.approx(1 / 3)
    expected = np.corrcoef([0, 0, 1, 1, 1], [0, 1, 0, 1, 1])[0, 1]
    assert found.correlation.loc["spectrum", "drift"] == pytest.approx(expected)
    assert found.jaccard.loc["drift", "drift"] == 1.0
    assert math.isnan(found.correlation.loc["input", "drift"])


def test_agreement_of_nothing():
    assert agreement(session([])).movies.empty
