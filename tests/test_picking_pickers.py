"""Peaks, the two filters that pick, and the mask, on images with known content."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage as ndi

from cryosnake.picking.correlation_picker import pick_correlation
from cryosnake.picking.log_picker import pick_log
from cryosnake.picking.mask import Mask, keep, on_grid, usable_mask
from cryosnake.picking.noise_peaks import detect
from cryosnake.picking.peaks import adaptive_threshold, find_peaks, particle_probability
from cryosnake.picking.size_model import ParticleSize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import picking_common as common

PIXEL_ANGST = 2.0
PICKERS = [pick_log, pick_correlation]


def particle_size(diameter_angst=120.0, axes_angst=None):
    long_angst, short_angst = axes_angst or (diameter_angst, diameter_angst)
    return ParticleSize(
        diameter_angst=diameter_angst,
        uncertainty_angst=8.0,
        long_axis_angst=long_angst,
        short_axis_angst=short_angst,
        elongated=axes_angst is not None,
        box_px=180,
    )


def places(rng, number, shape, distance_px, border_px):
    """(N, 2) as (x, y), no two closer than a distance."""
    chosen = []
    for _ in range(20_000):
        point = rng.uniform(border_px, np.array(shape[::-1]) - border_px)
        if all(np.hypot(*(point - other)) >= distance_px for other in chosen):
            chosen.append(point)
        if len(chosen) == number:
            break
    return np.array(chosen)


def micrograph(
    seed=0, number=40, shape=(900, 1100), axes_px=(60.0, 60.0), depth=0.45, level=80.0, slope=0.0
):
    """Dark, soft-edged ellipses in white noise (standard deviation 1 a pixel), on a slope."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.0, 1.0, shape).astype(np.float32)
    truth = places(rng, number, shape, 1.1 * max(axes_px), 60.0) if number else np.zeros((0, 2))
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    for cx, cy in truth:
        turn = rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        ball = np.clip(1 - (2 * u / axes_px[0]) ** 2 - (2 * v / axes_px[1]) ** 2, 0, None)
        image -= depth * 1.5 * np.sqrt(ball)
    return image + level + slope * x / shape[1], truth


def scored(picks, truth, tolerance_px=20.0):
    return common.score(common.positions(picks), truth, tolerance_px)


class TestPeaks:
    def test_subpixel_positions_and_heights_of_two_hills(self):
        y, x = np.mgrid[0:60, 0:80]
        hills = [(20.3, 30.4, 2.0), (41.8, 55.1, 1.0)]
        score = sum(h * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 50) for cy, cx, h in hills)
        peaks = find_peaks(score, 5.0)
        assert np.allclose(peaks.y, [20.3, 41.8], atol=0.05)
        assert np.allclose(peaks.x, [30.4, 55.1], atol=0.05)
        assert np.allclose(peaks.height, [2.0, 1.0], atol=0.02)

    def test_a_lower_peak_returns_when_the_one_between_is_not_kept(self):
        score = np.zeros((9, 40))
        score[4, [10, 16, 22]] = 3.0, 2.0, 1.0
        assert find_peaks(score, 8.0).x.tolist() == [10, 22]
        assert find_peaks(score, 6.0).x.tolist() == [10, 16, 22]

    def test_no_two_closer_than_the_distance_and_none_missing(self):
        score = ndi.gaussian_filter(np.random.default_rng(1).normal(size=(150, 170)), 2)
        peaks = find_peaks(score, 9.0)
        rows, columns = np.rint(peaks.y).astype(int), np.rint(peaks.x).astype(int)
        distance = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
        np.fill_diagonal(distance, np.inf)
        assert distance.min() >= 9.0
        # greedy, pixel by pixel
        open_area, expected = np.ones(score.shape, bool), 0
        top = score == ndi.maximum_filter(score, 3)
        y, x = np.mgrid[0:150, 0:170]
        for flat in np.argsort(-score, axis=None):
            place = np.unravel_index(flat, score.shape)
            if top[place] and open_area[place]:
                expected += 1
                open_area &= np.hypot(y - place[0], x - place[1]) >= 9.0
        assert len(peaks.height) == expected

    @pytest.mark.parametrize("score", [np.zeros((20, 20)), np.full((20, 20), np.nan)])
    def test_flat_and_missing_have_none(self, score):
        assert len(find_peaks(score, 3.0).height) == 0

    def test_refuses_what_is_no_map(self):
        with pytest.raises(ValueError, match="two dimensions"):
            find_peaks(np.zeros(5), 3.0)
        with pytest.raises(ValueError, match="min_distance_px"):
            find_peaks(np.zeros((5, 5)), 0.5)


class TestThreshold:
    def heights(self, particles, seed=0, distance=4.0):
        rng = np.random.default_rng(seed)
        noise, null = rng.normal(0, 1, 2000), rng.normal(0, 1, 2000)
        true = rng.normal(distance, 1, particles)
        return np.concatenate([noise, true]), null, np.arange(2000 + particles) >= 2000

    @pytest.mark.parametrize("particles", [100, 400, 2000])
    def test_threshold_is_near_the_best_one(self, particles):
        heights, null, is_true = self.heights(particles)
        threshold = adaptive_threshold(heights, null)

        def f1(level):
            picked = heights >= level
            return 2 * (picked & is_true).sum() / (picked.sum() + particles)

        assert f1(threshold) > max(f1(level) for level in np.linspace(0, 6, 121)) - 0.02

    def test_probability_counts_the_particles(self):
        heights, null, is_true = self.heights(500)
        probability = particle_probability(heights, null)
        assert probability.sum() == pytest.approx(500, rel=0.2)
        assert probability[is_true].mean() > 0.9
        assert np.all(np.diff(probability[np.argsort(heights)]) >= -1e-9)

    def test_noise_alone_gives_next_to_nothing(self):
        picked = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            heights, null = rng.normal(0, 1, 1000), rng.normal(0, 1, 1000)
            picked.append((heights >= adaptive_threshold(heights, null)).mean())
        assert max(picked) == 0

    def test_a_few_far_above_the_noise_are_found(self):
        rng = np.random.default_rng(5)
        heights = np.concatenate([rng.normal(0, 1, 800), [9.0, 10.0, 11.0, 12.0]])
        assert 3.0 < adaptive_threshold(heights, rng.normal(0, 1, 800)) <= 9.0

    def test_empty(self):
        assert adaptive_threshold(np.zeros(0), np.zeros(0)) == np.inf

    def test_rings_about_particles_are_not_taken_for_noise(self):
        """In a crowded field of strong particles the bright rings outnumber the noise."""
        rng = np.random.default_rng(3)
        points = np.zeros((300, 300), np.float32)
        truth = places(rng, 130, points.shape, 17.0, 12.0)
        points[np.rint(truth[:, 1]).astype(int), np.rint(truth[:, 0]).astype(int)] = 1
        noise = ndi.gaussian_laplace(rng.normal(size=points.shape), 4)
        answer = -ndi.gaussian_laplace(ndi.gaussian_filter(points, 3), 4)
        score = 7 * answer / answer.max() + noise / noise.std()
        found = detect(score, -score, min_distance_px=8.0, diameter_px=14.0)
        xy = np.stack([found.peaks.x, found.peaks.y], axis=1)[found.picked]
        assert common.score(xy, truth, 5.0).f1 > 0.9
        plain = find_peaks(-score, 8.0).height
        assert adaptive_threshold(found.peaks.height, plain) > found.threshold


class TestPickers:
    @pytest.mark.parametrize("pick", PICKERS)
    @pytest.mark.parametrize("depth", [0.3, 0.9])
    def test_finds_particles_at_their_centres(self, pick, depth):
        image, truth = micrograph(depth=depth, slope=5.0)
        picks = pick(image, PIXEL_ANGST, particle_size())
        result = scored(picks, truth)
        assert result.precision > 0.92
        assert result.recall > 0.92
        found = common.matched(common.positions(picks), truth, 20.0)
        off = common.positions(picks)[found >= 0] - truth[found[found >= 0]]
        assert np.abs(np.median(off, axis=0)).max() < 1.0
        assert np.median(np.hypot(*off.T)) < 5.0
        assert picks["rlnAutopickFigureOfMerit"].is_monotonic_decreasing

    @pytest.mark.parametrize("pick", PICKERS)
    def test_scale_and_offset_of_the_grey_values_do_not_matter(self, pick):
        image, _ = micrograph(seed=1)
        picks = pick(image, PIXEL_ANGST, particle_size())
        other = pick(3.0e-3 * image - 5.0, PIXEL_ANGST, particle_size())
        assert len(picks) > 20
        assert abs(len(other) - len(picks)) <= 1
        assert scored(other, common.positions(picks), 1.0).f1 > 0.97

    @pytest.mark.parametrize("pick", PICKERS)
    def test_elongated_particles_are_one_pick_each(self, pick):
        image, truth = micrograph(seed=2, number=18, axes_px=(170.0, 50.0), depth=0.6)
        size = particle_size(190.0, axes_angst=(340.0, 100.0))
        result = scored(pick(image, PIXEL_ANGST, size), truth, 30.0)
        assert result.recall > 0.85
        assert result.precision > 0.85

    @pytest.mark.parametrize("pick", PICKERS)
    def test_noise_has_next_to_no_particles(self, pick):
        numbers = [
            len(pick(micrograph(seed=seed, number=0)[0], PIXEL_ANGST, particle_size()))
            for seed in range(4)
        ]
        assert max(numbers) <= 3

    @pytest.mark.parametrize("pick", PICKERS)
    @pytest.mark.parametrize(
        "image",
        [
            np.full((500, 400), 7.0, np.float32),
            np.full((500, 400), np.nan, np.float32),
            np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32),
            np.random.default_rng(0).normal(size=(121, 500)).astype(np.float32),
        ],
        ids=["constant", "nan", "tiny", "narrow"],
    )
    def test_nothing_to_pick_is_an_empty_table(self, pick, image):
        size = particle_size()
        mask = usable_mask(image, PIXEL_ANGST, size)
        for chosen in (None, mask):
            picks = pick(image, PIXEL_ANGST, size, mask=chosen)
            assert len(picks) <= 2
            assert {"rlnCoordinateX", "rlnCoordinateY"} <= set(picks.columns)
        assert len(pick(image, PIXEL_ANGST, particle_size(5000.0))) == 0

    @pytest.mark.parametrize("pick", PICKERS)
    def test_missing_and_hot_pixels_do_no_harm(self, pick):
        image, truth = micrograph(seed=4)
        image[200:230, 300:380] = np.nan
        image[np.random.default_rng(0).random(image.shape) < 1e-5] = 1e5
        assert scored(pick(image, PIXEL_ANGST, particle_size()), truth).f1 > 0.88

    @pytest.mark.parametrize("pick", PICKERS)
    def test_refuses_bad_arguments(self, pick):
        with pytest.raises(ValueError, match="two dimensions"):
            pick(np.zeros((2, 300, 300)), PIXEL_ANGST, particle_size())
        with pytest.raises(ValueError, match="pixel_size_angst"):
            pick(np.zeros((300, 300)), 0.0, particle_size())


def lump(image, x, y, radius_px, factor):
    yy, xx = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    inside = np.hypot(yy - y, xx - x) < radius_px
    image[inside] = (image[inside] - 80.0) + 80.0 * factor


def area_of(mask, shape):
    return on_grid(mask, shape, 1)


class TestMask:
    @pytest.mark.parametrize("depth", [0.0, 0.3, 0.9, 3.0])
    def test_a_good_micrograph_loses_its_border_only(self, depth):
        image, truth = micrograph(seed=5, depth=depth, slope=2.0)
        mask = usable_mask(image, PIXEL_ANGST, particle_size())
        usable = area_of(mask, image.shape)
        assert usable[40:-40, 40:-40].mean() > 0.99
        assert not usable[:25].any()
        assert not usable[:, -25:].any()
        table = pd.DataFrame({"rlnCoordinateX": truth[:, 0], "rlnCoordinateY": truth[:, 1]})
        assert len(keep(table, *mask)) >= 0.98 * len(truth)

    def test_contamination_is_masked_and_not_picked(self):
        image, truth = micrograph(seed=6, depth=0.5)
        lumps = [(250, 300, 90, 0.6), (800, 600, 28, 0.5), (900, 200, 50, 0.8)]
        for x, y, radius_px, factor in lumps:
            lump(image, x, y, radius_px, factor)
        mask = usable_mask(image, PIXEL_ANGST, particle_size())
        usable = area_of(mask, image.shape)
        yy, xx = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
        near = np.zeros(image.shape, bool)
        for x, y, radius_px, _ in lumps:
            distance = np.hypot(yy - y, xx - x)
            assert not usable[distance < radius_px].any()
            near |= distance < radius_px + 70
        assert usable[~near][:].mean() > 0.8
        for pick in PICKERS:
            xy = common.positions(pick(image, PIXEL_ANGST, particle_size(), mask=mask))
            clear = ~near[np.rint(truth[:, 1]).astype(int), np.rint(truth[:, 0]).astype(int)]
            result = common.score(xy, truth, 20.0)
            assert result.precision > 0.9
            assert result.hits > 0.9 * clear.sum()

    def test_film_and_crack(self):
        image, _ = micrograph(seed=7)
        image[:, 700:] -= 12.0
        usable = area_of(usable_mask(image, PIXEL_ANGST, particle_size()), image.shape)
        assert not usable[:, 700:].any()
        assert usable[40:-40, 40:640].mean() > 0.98
        image, _ = micrograph(seed=7)
        image[:, 500:540] += 10.0  # a crack
        usable = area_of(usable_mask(image, PIXEL_ANGST, particle_size()), image.shape)
        assert not usable[:, 500:540].any()
        assert usable[40:-40, 40:430].mean() > 0.98
        assert usable[40:-40, 610:-40].mean() > 0.98

    def test_padding_by_repeated_rows_and_by_a_constant(self):
        image, _ = micrograph(seed=8)
        image[:100] = image[100]
        image[:, -90:] = image.mean()
        usable = area_of(usable_mask(image, PIXEL_ANGST, particle_size()), image.shape)
        assert not usable[:100].any()
        assert not usable[:, -90:].any()
        assert usable[160:-40, 40:-150].mean() > 0.99

    def test_keep_and_grid_agree_on_the_pixels(self):
        usable = np.zeros((3, 4), bool)
        usable[1, 2] = True
        picks = pd.DataFrame(
            {
                "rlnCoordinateX": [19.4, 19.6, 29.4, 29.6, 25.0, -3.0, 99.0],
                "rlnCoordinateY": [15.0, 9.6, 19.4, 15.0, 9.4, 15.0, 15.0],
                "rlnAutopickFigureOfMerit": range(7),
            }
        )
        assert keep(picks, usable, 10)["rlnAutopickFigureOfMerit"].tolist() == [1, 2]
        full = on_grid(Mask(usable, 10), (33, 45), 1)
        assert full.sum() == 100
        assert full[10:20, 20:30].all()


@pytest.mark.data
def test_real_micrograph():
    """A micrograph of EMPIAR-10017 on which nothing was chosen: better than the 0.72 of a plain
    Laplacian of Gaussian at its best threshold."""
    names = common.empiar_picked_names()
    if not names:
        pytest.skip("the shared EMPIAR-10017 data are not at hand")
    image, truth = common.empiar_micrograph(names[2]), common.empiar_truth(names[2])
    size = particle_size(134.0)
    mask = usable_mask(image, common.EMPIAR_PIXEL_ANGST, size)
    table = pd.DataFrame({"rlnCoordinateX": truth[:, 0], "rlnCoordinateY": truth[:, 1]})
    assert len(keep(table, *mask)) > 0.985 * len(truth)
    for pick in PICKERS:
        picks = pick(image, common.EMPIAR_PIXEL_ANGST, size, mask=mask)
        assert scored(picks, truth, common.TOLERANCE_PX).f1 > 0.79
