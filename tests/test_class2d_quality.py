"""Alerts on falling quality: from counts of particles in good classes."""

import pytest

from cryosnake.assessment.quality import LATEST_BATCHES, quality_alerts


def batches(*shares, particles=300):
    return [
        {"batch": f"b{i:05d}", "particles": particles, "good": share}
        for i, share in enumerate(shares)
    ]


def squares(*shares, particles=1000):
    return [
        {"square": f"s{i}", "particles": particles, "good": share} for i, share in enumerate(shares)
    ]


def test_steady_quality_raises_nothing():
    assert quality_alerts(batches(*[0.8] * 20), squares(0.8, 0.75, 0.82), evidence="-") == []


def test_falling_quality_is_told():
    (alert,) = quality_alerts(
        batches(*[0.8] * 15, *[0.3] * LATEST_BATCHES), [], evidence="live.png"
    )
    assert (alert.subject, alert.rule, alert.verdict) == ("session", "class2d_quality", "warn")
    assert "30%" in alert.value
    assert "80%" in alert.threshold
    assert "live.png" in alert.evidence
    assert alert.confidence > 0.99


def test_a_poor_square_is_named():
    (alert,) = quality_alerts([], squares(0.8, 0.2, 0.8), evidence="-")
    assert alert.subject == "s1"


@pytest.mark.parametrize("particles", [5, 60])
def test_few_particles_prove_nothing(particles):
    found = quality_alerts(
        batches(*[0.8] * 3, 0.1, particles=particles),
        squares(0.8, 0.0, particles=particles),
        evidence="-",
    )
    assert found == []


def test_places_that_are_not_known_are_not_judged():
    rows = [{"square": "-", "particles": 900, "good": 0.1}, *squares(0.9)]
    alerts = quality_alerts([], rows, evidence="-")
    assert all(alert.subject != "-" for alert in alerts)
