"""The pretrained networks: their weights, the detector, the picker and the denoiser."""

import pickle

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch

from cryosnake.errors import BadInputError, SessionStopError
from cryosnake.picking import denoise as denoising
from cryosnake.picking import weights
from cryosnake.picking.denoise import Denoiser, denoise, pretrained_denoiser
from cryosnake.picking.mask import Mask
from cryosnake.picking.network import (
    Detector,
    DetectorPair,
    model_scores,
    pretrained_detector,
    pretrained_pair,
    score_map,
)
from cryosnake.picking.network_input import binned, main_part, normalised
from cryosnake.picking.network_picker import pick_network, score_threshold
from cryosnake.picking.size_model import ParticleSize
from cryosnake.simulate.config import SimulationConfig
from cryosnake.simulate.movie import simulate_movie

needs_weights = pytest.mark.skipif(
    weights.pretrained_version() is None, reason=f"needs {weights.INSTALL_COMMAND}"
)
PIXEL_ANGST = 2.0
SIZE = ParticleSize(140.0, 14.0, 150.0, 120.0, False, 160)


def pattern(height: int, width: int) -> torch.Tensor:
    """Something smooth that no symmetry hides a mistake in, (1, 1, H, W)."""
    y, x = np.mgrid[0:height, 0:width]
    values = np.sin(0.37 * y + 0.011 * x * y) + np.cos(0.53 * x - 0.002 * y * y)
    return torch.as_tensor(values.astype(np.float32))[None, None]


# What topaz-em 0.3.20 itself computes from `pattern`: its LinearClassifier as loaded by its
# load_model(name), in evaluation mode, from (width + 5, width + 9) pixels; and its UDenoiseNet
# (base_width=11, top_width=5) with unet_L2_v0.2.2 from (64, 96), [5::18, 7::27]; CPU, float32.
GOLDEN = {
    "resnet8_u32": [[-1.357335, -1.924565, -1.957310], [-1.649247, -1.772769, -1.876682]],
    "resnet16_u32": [[-3.833479, -1.782981, -4.112648], [-3.857561, -2.327092, -3.617603]],
}
GOLDEN_UNET = [
    [0.121473, 0.134801, 0.134415, -0.034950],
    [-0.140231, -0.027495, 0.141830, 0.016201],
    [0.103309, -0.037482, -0.054110, 0.109926],
    [-0.013202, 0.033969, 0.100901, -0.049072],
]


class TestWeights:
    def test_absent_package_names_the_command(self, monkeypatch):
        monkeypatch.setattr(weights, "DISTRIBUTION", "no-such-package-here")
        assert weights.pretrained_version() is None
        with pytest.raises(SessionStopError, match=r"pip install --no-deps topaz-em"):
            weights.pretrained("unet")

    @needs_weights
    def test_missing_file_is_named(self, monkeypatch):
        monkeypatch.setitem(weights.FILES, "unet", "topaz/pretrained/absent.sav")
        with pytest.raises(BadInputError, match=r"absent\.sav.*missing"):
            weights.pretrained("unet")

    @pytest.mark.parametrize("content", [b"", b"not a pickle", "code", "list"])
    def test_refuses_what_is_not_tensors(self, tmp_path, monkeypatch, content):
        path = tmp_path / "w.sav"
        marker = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return (open, (str(marker), "w"))

        if content == "code":
            torch.save({"a": Evil()}, path, _use_new_zipfile_serialization=False)
        elif content == "list":
            torch.save([torch.zeros(1)], path)
        else:
            path.write_bytes(content)
        monkeypatch.setattr(weights, "pretrained_path", lambda name: path)
        with pytest.raises(BadInputError, match=r"w\.sav"):
            weights.pretrained("unet")
        assert not marker.exists()

    def test_evil_file_would_run_in_a_plain_unpickler(self, tmp_path):
        """The test above can fail: the same object runs code when it is unpickled freely."""
        marker = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return (open, (str(marker), "w"))

        pickle.loads(pickle.dumps(Evil())).close()
        assert marker.exists()


class TestDetector:
    @needs_weights
    @pytest.mark.parametrize("name", GOLDEN)
    def test_agrees_with_the_program_it_is_from(self, name):
        model = pretrained_detector(name)
        with torch.inference_mode():
            scores = model(pattern(model.width_px + 5, model.width_px + 9))[0, 0]
        np.testing.assert_allclose(scores.numpy(), GOLDEN[name], atol=2e-5)

    @pytest.mark.parametrize(("architecture", "width_px"), [("resnet8", 71), ("resnet16", 91)])
    def test_finer_grids_hold_the_coarse_one(self, architecture, width_px):
        torch.manual_seed(0)
        model = Detector(architecture, units=4)
        assert model.width_px == width_px
        with torch.inference_mode():
            image = pattern(width_px + 9, width_px + 14)
            dense, half, coarse = (model(image, stride)[0, 0] for stride in (1, 2, 4))
            patch = model(image[..., 4 : 4 + width_px, 8 : 8 + width_px])
        assert dense.shape == (10, 15)
        assert coarse.shape == (3, 4)
        torch.testing.assert_close(dense[::2, ::2], half)
        torch.testing.assert_close(dense[::4, ::4], coarse)
        assert patch.shape == (1, 1, 1, 1)
        torch.testing.assert_close(patch[0, 0, 0, 0], dense[4, 8])

    def test_other_strides_and_architectures_are_refused(self):
        with pytest.raises(ValueError, match="stride = 3"):
            Detector(units=1)(pattern(80, 80), 3)
        with pytest.raises(ValueError, match="resnet9"):
            Detector("resnet9")

    def test_pair_is_the_mean_at_the_same_place(self):
        torch.manual_seed(0)
        small, large = Detector("resnet8", 4), Detector("resnet16", 4)
        image = pattern(120, 131)[0, 0]
        pair = model_scores(image, DetectorPair(small, large), stride=2)
        single = [model_scores(image, model, stride=2) for model in (small, large)]
        assert pair.shape == (60, 66)
        torch.testing.assert_close(pair, sum(single) / 2)

    def test_can_be_trained(self):
        model = Detector("resnet8", 2)
        model(pattern(75, 75)).sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


class TestInput:
    @pytest.mark.parametrize("factor", [1.0, 3.25, 7.5, 8.1])
    def test_places_survive_on_a_detector_that_is_not_square(self, factor):
        y0, x0, sigma = 610.0, 333.0, 12.0
        y, x = np.mgrid[0:805, 0:611]
        image = np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * sigma**2)).astype(np.float32)
        small, used = binned(image, factor)
        assert abs(used - factor) <= 0.125
        assert min(small.shape[0] * used - 805, small.shape[1] * used - 611) >= 0
        weight = small.clamp_min(0.05) - 0.05
        rows = torch.arange(small.shape[0])[:, None] * used
        columns = torch.arange(small.shape[1])[None, :] * used
        assert float((weight * rows).sum() / weight.sum()) == pytest.approx(y0, abs=0.3)
        assert float((weight * columns).sum() / weight.sum()) == pytest.approx(x0, abs=0.3)

    def test_level_is_that_of_the_ice_and_not_of_the_film(self):
        rng = np.random.default_rng(0)
        image = rng.normal(100.0, 3.0, (300, 300)).astype(np.float32)
        image[:, :100] = rng.normal(40.0, 9.0, (300, 100))
        mean, deviation = main_part(image)
        assert mean == pytest.approx(100.0, abs=0.5)
        assert deviation == pytest.approx(3.0, abs=0.3)
        ice = normalised(torch.as_tensor(image))[:, 100:]
        assert float(ice.std()) == pytest.approx(1.0, abs=0.1)

    def test_what_is_no_image_is_refused(self):
        with pytest.raises(BadInputError, match="flat"):
            normalised(torch.full((40, 40), 7.0))
        with pytest.raises(BadInputError, match="finite"):
            binned(np.full((40, 40), np.nan), 2.0)


class TestThreshold:
    def test_lies_between_two_heaps_wherever_they_are(self):
        rng = np.random.default_rng(1)
        for shift in (0.0, 1.5):
            noise, particles = rng.normal(-3 + shift, 1, 800), rng.normal(3 + shift, 1, 200)
            threshold = score_threshold(np.concatenate([noise, particles]))
            assert shift - 1.2 < threshold < shift + 1.2

    def test_follows_heaps_that_even_odds_do_not_part(self):
        rng = np.random.default_rng(1)
        heights = np.concatenate([rng.normal(0, 0.5, 500), rng.normal(6, 0.5, 200)])
        assert 195 <= (heights >= score_threshold(heights)).sum() <= 210

    def test_noise_alone_passes_nothing_below_even_odds(self):
        rng = np.random.default_rng(1)
        assert score_threshold(rng.normal(-4, 1, 500)) == 0.0
        assert score_threshold(rng.normal(-1.5, 1, 500)) >= 0.0
        assert score_threshold(np.zeros(0)) == 0.0


@pytest.fixture(scope="module")
def micrograph() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulated proteasomes: the sum of the frames (720, 1080), the particles alone, their
    centres (M, 2) as x, y."""
    config = SimulationConfig(
        movies=1,
        seed=5,
        height_px=720,
        width_px=1080,
        frames=2,
        dose_e_per_angst2_per_frame=20.0,
        pixel_size_angst=PIXEL_ANGST,
        min_distance_angst=190.0,
        particles_per_um2=1200.0,
        drift_scale=0.0,
        local_motion_angst=0.0,
    )
    movie = simulate_movie(config, 0, scenario="good")
    image = sum(frame.astype(np.float32) for frame in movie.frames()) * movie.gain
    level = np.median(image)
    image[movie.gain == 0] = level
    image[tuple(movie.detector.hot_yx.T)] = level
    table = movie.truth.particle_table()
    centres = table[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(float)
    return image.astype(np.float32), movie.particle_phase(), centres


@pytest.fixture(scope="module")
def pair() -> DetectorPair:
    return pretrained_pair()


def positions(picks) -> np.ndarray:
    return picks[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(float)


@needs_weights
class TestPicker:
    def test_finds_particles_where_they_are(self, micrograph, pair):
        image, _, truth = micrograph
        picks = pick_network(image, PIXEL_ANGST, SIZE, model=pair)
        merit = picks["rlnAutopickFigureOfMerit"].to_numpy()
        assert (np.diff(merit) <= 0).all()
        nearest = np.linalg.norm(positions(picks)[:, None] - truth[None], axis=2)
        border_px = 70.0 / PIXEL_ANGST
        inside = ((truth > border_px) & (truth < np.array([1079, 719]) - border_px)).all(1)
        assert inside.sum() > 10
        assert (nearest.min(axis=0)[inside] < 20).mean() > 0.85
        assert (nearest.min(axis=1) < 40).mean() > 0.85
        hit = nearest.min(axis=1) < 20
        offset = positions(picks)[hit] - truth[nearest.argmin(axis=1)[hit]]
        assert np.abs(offset.mean(axis=0)).max() < 3.0  # no shift in either direction

    def test_mask_and_threshold_are_heeded(self, micrograph, pair):
        image = micrograph[0]
        everything = pick_network(image, PIXEL_ANGST, SIZE, model=pair, threshold=-np.inf)
        best = everything["rlnAutopickFigureOfMerit"].iloc[0]
        one = pick_network(image, PIXEL_ANGST, SIZE, model=pair, threshold=best)
        assert len(one) == 1 < len(everything)
        usable = np.zeros((72, 108), bool)
        usable[:, :54] = True
        left = pick_network(image, PIXEL_ANGST, SIZE, model=pair, mask=Mask(usable, 10))
        assert len(left)
        assert left["rlnCoordinateX"].max() < 540

    def test_ice_without_particles_has_hardly_a_pick(self, pair):
        noise = np.random.default_rng(0).normal(100, 10, (900, 900)).astype(np.float32)
        assert len(pick_network(noise, PIXEL_ANGST, SIZE, model=pair)) <= 2

    @pytest.mark.parametrize(
        "image", [np.full((800, 800), 3.0), np.full((800, 800), np.nan), np.eye(100)]
    )
    def test_nothing_to_pick_is_an_empty_table(self, image, pair):
        picks = pick_network(image.astype(np.float32), PIXEL_ANGST, SIZE, model=pair)
        assert len(picks) == 0
        assert {"rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"} <= set(picks)

    def test_dead_pixels_do_not_spread(self, micrograph, pair):
        image = micrograph[0].copy()
        before, scale_px = score_map(image, PIXEL_ANGST, 140.0, pair)
        image[100:103, 200:203] = np.nan
        after, _ = score_map(image, PIXEL_ANGST, 140.0, pair)
        assert np.isfinite(after).all()
        far = int(600 / scale_px)
        assert np.abs(after - before)[:, far:].max() < 0.3


class TestDenoiser:
    @needs_weights
    def test_agrees_with_the_program_it_is_from(self):
        with torch.inference_mode():
            clean = pretrained_denoiser()(pattern(64, 96))[0, 0]
        np.testing.assert_allclose(clean[5::18, 7::27].numpy(), GOLDEN_UNET, atol=2e-5)

    @needs_weights
    def test_particles_come_out_of_the_noise(self, micrograph):
        image, particles, _ = micrograph
        clean = denoise(image, PIXEL_ANGST)
        assert clean.factor == 3.0
        assert clean.pixel_size_angst == 6.0
        assert clean.image.shape == (240, 360)
        truth = -binned(particles, clean.factor)[0].numpy()
        noisy = binned(image, clean.factor)[0].numpy()

        def closeness(picture):
            # without the illumination, which is no noise
            fine = [values - ndi.gaussian_filter(values, 40) for values in (picture, truth)]
            return np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1]

        assert closeness(clean.image) > 0.75 > closeness(noisy) + 0.2
        assert abs(clean.image.mean() - image.mean()) < 0.2 * image.std()

    def test_tiles_fit_together(self, monkeypatch):
        torch.manual_seed(0)
        model = Denoiser().eval()
        image = pattern(150, 200)[0, 0]
        whole = denoising._in_tiles(image, model)
        monkeypatch.setattr(denoising, "TILE_PX", 96)
        tiled = denoising._in_tiles(image, model)
        assert tiled.shape == image.shape
        assert (tiled - whole).abs().max() < 0.02 * whole.std()
        monkeypatch.setattr(denoising, "MARGIN_PX", 0)
        assert (denoising._in_tiles(image, model) - whole).abs().max() > 0.02 * whole.std()

    def test_flat_and_small_micrographs(self):
        model = Denoiser()
        flat = denoise(np.full((400, 300), 5.0), 2.0, model=model)
        np.testing.assert_allclose(flat.image, 5.0, rtol=1e-5)
        with pytest.raises(BadInputError, match="60 x 50 px is too small"):
            denoise(np.zeros((50, 60)), 2.0, model=model)
