"""Simulated movies: the same every time, true to their truth, and each scenario to be noticed."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from cryosnake.ctf import ctf
from cryosnake.fourier import frequencies
from cryosnake.simulate import SCENARIOS, SimulationConfig, Species, simulate_movie
from cryosnake.simulate.exposure import Exposure, critical_exposure_e_per_angst2

DISCS = [Species(structure="nanodisc")]  # computed in no time
SMALL = {
    "height_px": 192,
    "width_px": 256,
    "frames": 6,
    "pixel_size_angst": 2.0,
    "dose_e_per_angst2_per_frame": 3.0,
    "species": DISCS,
    "contrast_scale": 4.0,
}


def config(**changes) -> SimulationConfig:
    return SimulationConfig(**{**SMALL, **changes})


def stack(movie) -> np.ndarray:
    return np.stack(list(movie.frames()))


def corrected_sum(movie) -> np.ndarray:
    """Sum of the frames with gain, bad pixels replaced by the mean."""
    total = stack(movie).sum(0) * movie.gain
    bad = movie.gain == 0
    bad[tuple(movie.detector.hot_yx.T)] = True
    total[bad] = total[~bad].mean()
    return total


def test_same_seed_same_bytes_whatever_the_threads():
    first = simulate_movie(config(), 3)
    once = stack(first)
    np.testing.assert_array_equal(once, stack(first))  # the same movie again
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    np.testing.assert_array_equal(once, stack(simulate_movie(config(), 3)))
    torch.set_num_threads(before)
    assert (once != stack(simulate_movie(config(), 4))).mean() > 0.3
    assert (once != stack(simulate_movie(config(seed=2), 3))).mean() > 0.3


def test_counts_follow_the_dose():
    plain = config(particles_per_um2=0, gain_rms=0, hot_pixels=0, dead_columns=0)
    for scenario in ("no_particles", "empty"):
        movie = simulate_movie(plain, 0, scenario=scenario)
        truth = movie.truth
        frames = stack(movie)
        error = math.sqrt(truth.mean_counts / frames.size)
        assert frames.mean() == pytest.approx(truth.mean_counts, abs=6 * error + 0.002)
    assert truth.mean_counts == pytest.approx(3.0 * 4.0 * truth.conditions.dose_factor, rel=1e-6)
    noise = frames.astype(float) - plain_beam(plain, truth.mean_counts)
    assert noise.var() == pytest.approx(truth.mean_counts, rel=0.02)  # nothing but shot noise


def plain_beam(settings: SimulationConfig, mean: float) -> np.ndarray:
    y = np.linspace(0.5, -0.5, settings.height_px)[:, None]
    x = np.linspace(0.5, -0.5, settings.width_px)[None, :]
    return mean * (1 + settings.illumination_gradient * (y + x))


def _warped_back(frame: np.ndarray, movie, index: int) -> np.ndarray:
    """Move a frame by the truth's shifts, whole-frame and local, with scipy as the referee."""
    from scipy.ndimage import map_coordinates

    y, x = np.mgrid[0 : frame.shape[0], 0 : frame.shape[1]].astype(float)
    shift = movie.truth.shift_px[index] + movie.truth.local_shift_px(index, y, x)
    return map_coordinates(frame, [y - shift[..., 0], x - shift[..., 1]], order=3, mode="nearest")


def test_shifting_by_the_truth_aligns_the_frames():
    still = config(ice_motion_angst2_per_e_per_angst2=0, local_motion_angst=6.0, drift_scale=2.0)
    movie = simulate_movie(still, 0)
    frames = [f.numpy() for f in movie.expected_frames()]
    inner = (slice(24, -24), slice(24, -24))

    def correlation(a, b):
        return np.corrcoef(a[inner].ravel(), b[inner].ravel())[0, 1]

    last = len(frames) - 1
    aligned = _warped_back(frames[last], movie, last)
    whole = movie.truth.shift_px[last]
    only_whole = _warped_back(
        frames[last],
        dataclasses.replace(movie, truth=dataclasses.replace(movie.truth, local=None)),
        last,
    )
    assert np.hypot(*whole) > 3
    assert correlation(frames[0], frames[last]) < 0.3
    assert correlation(frames[0], aligned) > 0.9
    assert correlation(frames[0], aligned) > correlation(frames[0], only_whole) + 0.05


def test_particles_are_at_their_coordinates():
    movie = simulate_movie(config(particles_per_um2=1000), 1)
    phase = movie.particle_phase()
    p = movie.truth.particles
    assert len(p) >= 4
    y, x = np.rint(p.y_px).astype(int), np.rint(p.x_px).astype(int)
    # The whole disc, 110 A wide, lies around its centre: mass within 60 A of it.
    yy, xx = np.mgrid[0:192, 0:256]
    near = (np.hypot(yy[None] - y[:, None, None], xx[None] - x[:, None, None]) < 30).any(0)
    assert phase[near].mean() > 10 * abs(phase[~near].mean())


def test_rings_are_those_of_the_truths_defocus():
    bright = config(
        height_px=256,
        dose_e_per_angst2_per_frame=20.0,
        defocus_min_angst=15000,
        defocus_max_angst=15000,
        astigmatism_max_angst=2000,
        ice_motion_angst2_per_e_per_angst2=0,
        drift_scale=0,
        local_motion_angst=0,
    )
    movie = simulate_movie(bright, 2, scenario="no_particles")
    image = torch.from_numpy(corrected_sum(movie)).float()
    power = torch.fft.rfft2(image - image.mean()).abs().square()
    ky, kx = frequencies((256, 256), 2.0)
    k = torch.sqrt(ky**2 + kx**2)
    band = (k > 1 / 25) & (k < 1 / 6)
    c = movie.truth.conditions

    def agreement(du=0.0, dv=0.0, turn=0.0):
        model = ctf(
            ky,
            kx,
            defocus_u_angst=c.defocus_u_angst + du,
            defocus_v_angst=c.defocus_v_angst + dv,
            defocus_angle_deg=c.defocus_angle_deg + turn,
            voltage_kv=300.0,
            cs_mm=2.7,
            amplitude_contrast=0.1,
        ).square()
        return np.corrcoef(power[band].log().numpy(), model[band].numpy())[0, 1]

    assert agreement() > 0.2  # of single coefficients, which scatter by 100 %
    assert agreement() > agreement(1000, 1000)
    assert agreement() > agreement(-1000, -1000)
    if c.defocus_u_angst - c.defocus_v_angst > 600:
        assert agreement() > agreement(turn=90)


def test_tilted_field_changes_its_defocus_across_the_axis():
    tilted = config(tilt_deg=40.0, tilt_axis_deg=90.0, frames=1)
    movie = simulate_movie(tilted, 0, scenario="no_particles")
    exposure = Exposure(
        tilted,
        movie.truth.conditions,
        movie.specimen,
        movie.truth.displacement_px,
        None,
        torch.Generator().manual_seed(1),
    )
    weights = torch.stack([weight for _, _, weight in exposure.planes])
    torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]))
    # Axis along y, so defocus rises along (-sin 90, cos 90) in (x, y): towards smaller x.
    plane = weights.argmax(0)
    assert (plane.diff(dim=1) <= 0).all()
    assert (plane.diff(dim=0) == 0).all()
    assert math.isfinite(float(next(iter(movie.expected_frames())).mean()))


def test_damage_is_grant_and_grigorieffs():
    critical = critical_exposure_e_per_angst2(torch.tensor([1 / 20.0, 1 / 3.0]), 300.0)
    assert float(critical[0]) == pytest.approx(0.24499 * 20**1.6649 + 2.8141, rel=1e-5)
    assert float(critical[1]) == pytest.approx(0.24499 * 3**1.6649 + 2.8141, rel=1e-5)
    at_200 = critical_exposure_e_per_angst2(torch.tensor([0.1]), 200.0)
    at_300 = critical_exposure_e_per_angst2(torch.tensor([0.1]), 300.0)
    assert float(at_200 / at_300) == pytest.approx(0.8)


def metrics(movie) -> dict[str, float]:
    total = corrected_sum(movie)
    relative = total / total.mean()
    k = np.hypot(np.fft.fftfreq(192)[:, None], np.fft.rfftfreq(256)[None]) / 2.0
    power = np.abs(np.fft.rfft2(relative - 1)) ** 2
    smooth = relative.reshape(24, 8, 32, 8).mean((1, 3))
    shot = power[(k > 0.2)].mean()
    steps = np.hypot(*np.diff(movie.truth.displacement_px, axis=0).T) * 2.0
    return {
        "counts": total.mean() / movie.config.frames,
        "spread": smooth.std(),
        "darkest": smooth.min(),
        "brightest": smooth.max(),
        "signal": power[(k > 1 / 40) & (k < 1 / 8)].mean() / shot,
        "path": steps.sum(),
    }


def test_every_scenario_differs_from_good():
    # But for crystalline ice, whose spacings lie beyond this pixel size: see the next test.
    seeds = range(3)
    seen = {
        name: [metrics(simulate_movie(config(), i, scenario=name)) for i in seeds]
        for name in SCENARIOS
        if not name.startswith("ice")
    }

    def mean(scenario, key):
        return float(np.mean([m[key] for m in seen[scenario]]))

    good = {key: mean("good", key) for key in seen["good"][0]}
    assert mean("drift", "path") > 3 * good["path"]
    assert mean("crack", "brightest") > good["brightest"] + 0.03
    assert mean("contamination", "darkest") < good["darkest"] - 0.2
    assert mean("film", "spread") > 2 * good["spread"]
    assert mean("empty", "signal") == pytest.approx(1.0, abs=0.1)  # shot noise alone
    assert good["signal"] > 1.3
    assert mean("empty", "counts") > 1.03 * good["counts"]
    assert mean("thick_ice", "counts") < 0.75 * good["counts"]
    assert mean("dose_low", "counts") < 0.85 * good["counts"]
    assert mean("no_particles", "signal") < 0.9 * good["signal"]
    ratio = [
        (c.defocus_u_angst - c.defocus_v_angst) / (c.defocus_u_angst + c.defocus_v_angst) * 2
        for c in (
            simulate_movie(config(), i, scenario="astigmatism").truth.conditions for i in seeds
        )
    ]
    assert min(ratio) > 0.15
    clumped = simulate_movie(config(), 0, scenario="aggregation").truth.particles
    loose = simulate_movie(config(), 0).truth.particles

    def nearest(p):
        d = np.hypot(p.x_px[:, None] - p.x_px, p.y_px[:, None] - p.y_px) + 1e9 * np.eye(len(p))
        return np.median(d.min(1))

    assert nearest(clumped) < 0.7 * nearest(loose)


def test_crystalline_ice_makes_rings_at_its_spacings():
    fine = config(pixel_size_angst=1.4, height_px=256, drift_scale=0, local_motion_angst=0)
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None]) / 1.4
    ring = np.abs(k - 1 / 3.67) < 0.003
    around = (np.abs(k - 0.235) < 0.008) | (np.abs(k - 0.31) < 0.008)
    height = {}
    for scenario in ("good", "ice_minor", "ice_major"):
        total = corrected_sum(simulate_movie(fine, 0, scenario=scenario))
        power = np.abs(np.fft.rfft2(total / total.mean() - 1)) ** 2
        height[scenario] = power[ring].mean() / power[around].mean()
    assert height["good"] < 1.3
    assert height["ice_minor"] > 1.2 * height["good"]
    assert height["ice_major"] > 3 * height["ice_minor"]


def test_several_species_and_preferred_views():
    two = config(
        species=[Species(structure="nanodisc"), Species(structure="nanodisc", weight=3)],
        views="side",
        particles_per_um2=3000,
        height_px=512,
    )
    p = simulate_movie(two, 0).truth.particles
    assert 0.1 < (p.species == 0).mean() < 0.45
    assert (np.abs(p.tilt_deg - 90) < 25).mean() > 0.8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defocus_min_angst": 9e4}, "below"),
        ({"probabilities": {"drift": 0.7, "film": 0.6}}, "add up"),
        ({"counts": {"drift": 30}}, "counts add up"),
        ({"no_such_setting": 1}, "Extra inputs"),
        ({"probabilities": {"nonsense": 0.1}}, "nonsense"),
    ],
)
def test_settings_that_contradict_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)
