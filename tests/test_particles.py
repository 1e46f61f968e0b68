"""Particles: where boxes are cut, what becomes of the grey values, flags, batches, again."""

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch

from cryosnake.ctf import ctf
from cryosnake.ctf_fit.tilt import Plane
from cryosnake.errors import BadInputError
from cryosnake.fourier import frequencies
from cryosnake.particles import (
    ExtractionSettings,
    extract_batch,
    extract_micrograph,
    merge_particles,
    output_for_pixel_size,
    read_images,
    read_particles,
    regroup_particles,
    write_particles,
    written_stack,
)
from cryosnake.particles import extract as extract_module
from cryosnake.particles.extract import box_centres
from cryosnake.particles.normalise import normalised, squared_radius, without_dust
from cryosnake.particles.optics import ParticleCtf, phase_flipped, tilt_offset_angst
from cryosnake.particles.rescale import cut_windows, rescaled
from cryosnake.particles.table import empty_particles, stack_path

PIXEL = 1.5
SETTINGS = ExtractionSettings(box_px=64, output_px=32, radius_angst=36.0, diameter_angst=60.0)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def micrograph(xy, shape=(400, 520), *, depth=3.0, width_px=9.0, seed=0, noise=1.0):
    """Dark Gaussian blobs at (x, y) on noise about 40."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = 40.0 + noise * np.random.default_rng(seed).normal(size=shape)
    for place in xy:
        away = (x - place[0]) ** 2 + (y - place[1]) ** 2
        image -= depth * np.exp(-0.5 * away / width_px**2)
    return image.astype(np.float32)


def table_of(*names, **more) -> pd.DataFrame:
    """Rows of micrographs that carry their own optics."""
    row = {
        "rlnOpticsGroup": 1,
        "rlnDefocusU": 15200.0,
        "rlnDefocusV": 14800.0,
        "rlnDefocusAngle": 30.0,
        "rlnPhaseShift": 0.0,
        "rlnCtfMaxResolution": 4.0,
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.1,
        "rlnMicrographOriginalPixelSize": PIXEL,
        "rlnMicrographPixelSize": PIXEL,
        **more,
    }
    return pd.DataFrame([{"rlnMicrographName": name, **row} for name in names])


def picks_of(places: dict) -> pd.DataFrame:
    """Coordinates from {name: (N, 2)}."""
    rows = [(name, x, y, 0.5) for name, xy in places.items() for x, y in np.reshape(xy, (-1, 2))]
    columns = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"]
    return pd.DataFrame(rows, columns=columns)


def extracted(images: dict, places: dict, folder, settings=SETTINGS, **more):
    """Run a batch whose images are arrays, or errors to raise."""

    def read(name):
        if isinstance(images[name], Exception):
            raise images[name]
        return images[name]

    rows = more.pop("rows", table_of(*images))
    picks = places if isinstance(places, pd.DataFrame) else picks_of(places)
    options = {"stack_name": "particles/p.mrcs", "settings": settings, **more}
    return extract_batch(rows, picks, read, folder / "p.mrcs", **options)


GRID = np.array([(x + 0.3, y - 0.2) for y in (60, 150, 240, 330) for x in (70, 170, 270, 370, 450)])


# --- where the box is ---


def test_a_box_is_cut_about_the_nearest_pixel_which_is_its_centre():
    image = np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)
    image[80, 120] = 1000.0
    settings = ExtractionSettings(
        box_px=32, output_px=32, radius_angst=12, diameter_angst=20, invert=False, dust_sigma=0
    )
    for x, y in [(120, 80), (119.6, 80.4), (120.49, 79.5)]:
        images, _, _ = extract_micrograph(image, 1.0, [(x, y)], settings)
        assert np.unravel_index(images[0].argmax(), (32, 32)) == (16, 16)
    images, _, _ = extract_micrograph(image, 1.0, [(120.5, 80)], settings)
    assert np.unravel_index(images[0].argmax(), (32, 32)) == (16, 15)


@pytest.mark.parametrize("output_px", [64, 48, 32])
def test_the_table_says_where_in_the_rescaled_image_the_particle_is(tmp_path, output_px):
    settings = ExtractionSettings(
        box_px=64, output_px=output_px, radius_angst=40, diameter_angst=60
    )
    true = GRID + np.random.default_rng(1).uniform(-0.5, 0.5, GRID.shape)
    result = extracted({"m": micrograph(true, noise=0.02)}, {"m": true}, tmp_path, settings)
    table = result.particles
    images = read_images(tmp_path / "p.mrcs", np.arange(1, len(table) + 1))
    line = (np.arange(output_px) - output_px // 2) * 64 / output_px  # micrograph pixels
    weight = np.clip(images, 0, None) * (squared_radius(output_px).sqrt() < output_px * 0.4).numpy()
    total = weight.sum((1, 2))
    centre = np.stack([(weight @ line).sum(1), (weight.swapaxes(1, 2) @ line).sum(1)], 1)
    centre = centre / total[:, None]
    origin = table[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy()
    assert np.abs(centre + origin / PIXEL).max() < 0.1
    box = table[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy()
    assert np.abs(box - origin / PIXEL - true).max() < 1e-6
    assert result.optics["rlnImagePixelSize"].tolist() == [PIXEL * 64 / output_px]


def test_boxes_that_cross_the_border_are_dropped_and_counted(tmp_path):
    places = np.array([(32, 32), (31, 100), (488, 368), (489, 200), (200, 369), (0, 0)], float)
    result = extracted({"m": micrograph([])}, {"m": places}, tmp_path)
    assert result.particles[["rlnCoordinateX", "rlnCoordinateY"]].values.tolist() == [
        [32, 32],
        [488, 368],
    ]
    assert result.micrographs.loc[0, ["picked", "extracted", "border", "flat"]].tolist() == [
        6,
        2,
        4,
        0,
    ]


def test_windows_beyond_the_border_are_mirrored():
    image = torch.arange(30.0).reshape(5, 6)
    window = cut_windows(image, np.array([[0, 5]]), 4)[0]
    assert window[2].tolist() == [3.0, 4.0, 5.0, 4.0]  # row 0
    assert window[0].tolist() == [15.0, 16.0, 17.0, 16.0]  # row -2 is row 2


def test_offsets_move_the_box_only_when_recentred():
    xy, origin = np.array([[100.0, 50.0]]), np.array([[-9.3, 4.5]])
    moved = box_centres(xy, origin, 1.5, recentre=True)
    assert moved.centre_xy.tolist() == [[106, 47]]  # the particle is at 106.2, 47.0
    assert moved.origin_angst == pytest.approx(np.array([[-0.3, 0.0]]))
    kept = box_centres(xy, origin, 1.5, recentre=False)
    assert kept.centre_xy.tolist() == [[100, 50]]
    assert kept.origin_angst == pytest.approx(origin)


# --- grey values ---


def test_background_has_mean_0_and_deviation_1_and_no_ramp():
    y, x = np.mgrid[:400, :520]
    image = micrograph(GRID) + (0.05 * x - 0.03 * y).astype(np.float32)
    images, index, _ = extract_micrograph(image, PIXEL, GRID, SETTINGS)
    outside = (squared_radius(32) > 12.0**2).numpy()
    background = images[:, outside]
    assert len(images) == len(index) == len(GRID)
    assert np.abs(background.mean(1)).max() < 1e-3
    assert np.abs(background.std(1) - 1).max() < 1e-3
    yy, xx = np.nonzero(outside)
    for line in (yy - yy.mean(), xx - xx.mean()):
        assert np.abs(background @ line / (line @ line)).max() < 1e-4
    assert (images[:, 14:19, 14:19].mean((1, 2)) > 2).all()  # white particles


def test_without_inversion_the_particles_stay_dark_and_nothing_else_changes():
    image = micrograph(GRID)
    white, _, metrics = extract_micrograph(image, PIXEL, GRID, SETTINGS)
    settings = ExtractionSettings(
        box_px=64, output_px=32, radius_angst=36.0, diameter_angst=60.0, invert=False
    )
    dark, _, of_dark = extract_micrograph(image, PIXEL, GRID, settings)
    assert np.array_equal(dark, -white)
    assert np.array_equal(metrics.contrast, of_dark.contrast)


def test_normalisation_holds_for_large_counts():
    stack = torch.from_numpy(micrograph([], (64, 64)) * 1000 + 1e6)[None]
    result, deviation = normalised(stack, 20.0, ramp=True)
    assert float(deviation[0]) == pytest.approx(1000, rel=0.05)
    outside = squared_radius(64) > 400
    assert float(result[0][outside].std()) == pytest.approx(1, abs=0.01)


def test_rescaling_keeps_grey_values_and_the_centre():
    line = torch.arange(60) - 30.0
    wave = torch.cos(2 * torch.pi * 3 * line / 60)
    image = (5.0 + wave[:, None] * wave[None, :])[None]
    small = rescaled(image, 24)[0]
    expected = torch.cos(2 * torch.pi * 3 * (torch.arange(24) - 12.0) / 24)
    assert torch.allclose(small, 5.0 + expected[:, None] * expected[None, :], atol=1e-5)


def test_dust_becomes_noise_and_a_clean_micrograph_stays_as_it_is():
    clean = np.random.default_rng(0).normal(100, 3, (500, 300)).astype(np.float32)
    same, replaced = without_dust(clean, 6.0, seed=1)
    assert same is clean
    assert replaced == 0
    dirty = clean.copy()
    dirty[100:103, 50] += 500
    dirty[400, 200] -= 500
    result, replaced = without_dust(dirty, 6.0, seed=1)
    assert replaced == 4
    assert np.abs(result - 100).max() < 20
    assert dirty[400, 200] < -300  # the input is not touched
    untouched = np.ones(clean.shape, bool)
    untouched[100:103, 50] = untouched[400, 200] = False
    assert np.array_equal(result[untouched], clean[untouched])


def test_particles_of_strong_contrast_are_no_dust():
    image = micrograph(GRID, depth=4.0, noise=0.1)
    assert without_dust(image, 6.0, seed=1)[1] == 0


def test_dust_is_judged_against_its_surroundings():
    step = np.random.default_rng(0).normal(0, 1, (512, 512)).astype(np.float32)
    step[:, 256:] += 40.0  # the edge of a carbon film is no dust
    assert without_dust(step, 6.0, seed=1)[1] == 0


@pytest.mark.parametrize("constant", [0.0, 7.3, 1e6])
def test_a_flat_background_is_dropped_and_counted(tmp_path, constant):
    image = micrograph(GRID)
    image[20:110, 20:120] = constant
    result = extracted({"m": image}, {"m": GRID}, tmp_path)
    assert result.micrographs["flat"].tolist() == [1]
    assert len(result.particles) == len(GRID) - 1
    assert np.isfinite(read_images(tmp_path / "p.mrcs", np.arange(1, len(GRID)))).all()


def test_a_radius_that_leaves_no_background_is_refused():
    settings = ExtractionSettings(box_px=64, output_px=32, radius_angst=49.0, diameter_angst=60.0)
    with pytest.raises(ValueError, match=r"radius_angst = 49 does not fit the box of 64 px"):
        extract_micrograph(micrograph([]), PIXEL, GRID, settings)


@pytest.mark.parametrize(
    "change", [{"box_px": 63}, {"output_px": 66}, {"radius_angst": 0.0}, {"dust_sigma": -1.0}]
)
def test_settings_that_do_not_fit_are_refused(change):
    values = {"box_px": 64, "output_px": 32, "radius_angst": 36.0, "diameter_angst": 60.0}
    with pytest.raises(ValueError, match=next(iter(change))):
        ExtractionSettings(**values | change)


def test_the_output_for_a_pixel_size_is_even_and_never_finer_than_the_micrograph():
    assert output_for_pixel_size(400, 1.0, 1.5) == 266
    assert output_for_pixel_size(400, 1.0, 0.5) == 400


# --- CTF ---


def particle_ctf(number, defocus=15000.0, astigmatism=2000.0, angle=30.0):
    full = np.full(number, defocus)
    return ParticleCtf(
        full + astigmatism / 2,
        full - astigmatism / 2,
        np.full(number, angle),
        np.zeros(number),
        300.0,
        2.7,
        0.1,
    )


def test_phase_flipping_makes_the_transfer_positive_at_every_frequency():
    side = 128
    impulse = torch.zeros(side, side)
    impulse[side // 2, side // 2] = 1.0
    ky, kx = frequencies((side, side), PIXEL)
    optics = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1}
    transfer = -ctf(
        ky, kx, defocus_u_angst=16000.0, defocus_v_angst=14000.0, defocus_angle_deg=30.0, **optics
    )  # minus: of an object that is dark already
    seen = torch.fft.irfft2(torch.fft.rfft2(impulse) * transfer, s=(side, side))
    flipped = phase_flipped(seen[None], particle_ctf(1), PIXEL)[0]
    product = torch.fft.rfft2(flipped) / torch.fft.rfft2(impulse)
    clear = transfer.abs() > 0.05
    clear[:, 0] = clear[:, -1] = clear[side // 2] = False
    assert (transfer[clear] < 0).float().mean() > 0.3
    assert (product.real[clear] > 0).all()


def test_a_flipped_particle_is_gathered_from_beyond_its_box():
    # an impulse spread by the CTF of a large defocus, far beyond a small box
    side = 512
    place = (250, 262)  # y, x
    impulse = torch.zeros(side, side)
    impulse[place] = -1000.0
    ky, kx = frequencies((side, side), PIXEL)
    values = {"defocus_u_angst": 2e4, "defocus_v_angst": 2e4, "defocus_angle_deg": 0.0}
    optics = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1}
    transfer = -ctf(ky, kx, **values, **optics)
    image = torch.fft.irfft2(torch.fft.rfft2(impulse) * transfer, s=(side, side)).numpy()
    perfect = torch.fft.irfft2(torch.fft.rfft2(impulse) * transfer.abs(), s=(side, side)).numpy()
    common = {"box_px": 96, "output_px": 48, "radius_angst": 60.0, "diameter_angst": 40.0}
    xy = [place[::-1]]
    settings = ExtractionSettings(**common, dust_sigma=0, phase_flip=True)
    given = particle_ctf(1, 2e4, 0.0)
    found, _, _ = extract_micrograph(image, PIXEL, xy, settings, optics=given)
    plain = ExtractionSettings(**common, dust_sigma=0)
    wanted, _, _ = extract_micrograph(perfect, PIXEL, xy, plain)
    inside = phase_flipped(torch.from_numpy(image)[None, 202:298, 214:310], given, PIXEL)
    alone = -normalised(rescaled(inside, 48), 20.0, ramp=True)[0].numpy()

    def likeness(a):
        return np.corrcoef(a.ravel(), wanted[0].ravel())[0, 1]

    assert likeness(found[0]) > 0.99
    assert likeness(found[0]) > likeness(alone[0])


def test_flipping_without_a_ctf_rejects_the_micrograph(tmp_path):
    settings = ExtractionSettings(
        box_px=64, output_px=32, radius_angst=36.0, diameter_angst=60.0, phase_flip=True
    )
    images = {"a": micrograph(GRID), "b": micrograph(GRID)}
    rows = pd.concat([table_of("a"), table_of("b", rlnDefocusU=np.nan)], ignore_index=True)
    result = extracted(images, {"a": GRID, "b": GRID}, tmp_path, settings, rows=rows)
    assert result.particles["rlnMicrographName"].unique().tolist() == ["a"]
    assert "no CTF" in result.micrographs["problem"][1]
    assert result.optics["csnPhaseFlipped"].tolist() == [1]


def test_tilted_particles_have_the_defocus_of_the_fitted_plane(tmp_path):
    plane = Plane(15000.0, slope_y=-0.3, slope_x=0.6)
    row = {"csnTilt_deg": plane.tilt_deg, "csnTiltAxis_deg": plane.axis_deg}
    result = extracted({"m": micrograph(GRID)}, {"m": GRID}, tmp_path, rows=table_of("m", **row))
    from_centre = (GRID - [259.5, 199.5]) * PIXEL
    expected = 15200.0 + plane.offset_angst(from_centre[:, 1], from_centre[:, 0])
    assert np.ptp(expected) > 300
    assert result.particles["rlnDefocusU"].to_numpy() == pytest.approx(expected, abs=0.01)
    level = result.particles["rlnDefocusU"] - result.particles["rlnDefocusV"]
    assert level.to_numpy() == pytest.approx(400.0)
    untilted = {"csnTilt_deg": np.nan, "csnTiltAxis_deg": np.nan}
    assert (tilt_offset_angst(untilted, GRID, (400, 520), PIXEL) == 0).all()


# --- flags ---


def test_flags_name_what_is_odd(tmp_path):
    true = np.concatenate([GRID, [(475.3, 59.8)]])  # one has a neighbour 25 px away
    image = micrograph(true, (400, 620), depth=2.0)
    strong = GRID[7]
    y, x = np.mgrid[:400, :620]
    away = (x - strong[0]) ** 2 + (y - strong[1]) ** 2
    image -= (40.0 * np.exp(-0.5 * away / 81)).astype(np.float32)
    picks = np.concatenate([true, [(560.0, 200.0)]])  # nothing there
    picks[3] += (14, 0)  # 21 A off
    settings = ExtractionSettings(
        box_px=64, output_px=32, radius_angst=36.0, diameter_angst=48.0, dust_sigma=0
    )
    table = extracted({"m": image}, {"m": picks}, tmp_path, settings).particles
    found = dict(enumerate(table["csnParticleFlags"]))
    assert "empty" in found[len(picks) - 1]
    assert "off_centre" in found[3]
    assert "abnormal" in found[7]
    assert "crowded" in found[4]
    assert "crowded" in found[len(true) - 1]
    assert sum(flag == "-" for flag in found.values()) >= 15
    assert table["csnNeighbourDistance_angst"].min() == pytest.approx(PIXEL * 25.0)


def test_what_is_typical_follows_the_defocus_of_the_micrograph(tmp_path):
    images = {"weak": micrograph(GRID, depth=1.0), "strong": micrograph(GRID, depth=4.0)}
    table = extracted(images, {"weak": GRID, "strong": GRID}, tmp_path).particles
    assert not table["csnParticleFlags"].str.contains("empty|abnormal").any()


# --- batches ---


def test_one_bad_micrograph_costs_its_own_particles_only(tmp_path):
    nan = micrograph(GRID)
    nan[3, 4] = np.nan
    images = {
        "good": micrograph(GRID),
        "missing": BadInputError("missing.mrc", "no such file"),
        "unreadable": OSError("input/output error"),
        "nan": nan,
        "small": micrograph([], (50, 500)),
        "binned": micrograph([], (200, 260)),
        "movie": np.zeros((3, 200, 300), np.float32),
        "last": micrograph(GRID),
    }
    result = extracted(images, dict.fromkeys(images, GRID), tmp_path)
    assert result.particles["rlnMicrographName"].unique().tolist() == ["good", "last"]
    assert len(result.particles) == 2 * len(GRID)
    told = result.micrographs.set_index("rlnMicrographName")["problem"]
    assert (told[["good", "last"]] == "-").all()
    assert "no such file" in told["missing"]
    assert "input/output" in told["unreadable"]
    assert "not finite" in told["nan"]
    assert "(50, 500)" in told["small"]
    assert "not on the micrograph of 260 x 200" in told["binned"]
    assert "(3, 200, 300)" in told["movie"]
    numbers = [stack_path(name)[0] for name in result.particles["rlnImageName"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(mrcfile.read(tmp_path / "p.mrcs")) == len(numbers)


@pytest.mark.parametrize("places", [{}, {"m": [(5.0, 5.0)]}])
def test_no_particle_gives_an_empty_table_and_no_stack(tmp_path, places):
    (tmp_path / "p.mrcs").write_bytes(b"from before")
    result = extracted({"m": micrograph([])}, places, tmp_path)
    write_particles(tmp_path / "p.star", result.optics, result.particles)
    optics, particles = read_particles(tmp_path / "p.star")
    assert len(particles) == 0
    assert "rlnImageName" in particles
    assert optics["rlnImageSize"].tolist() == [32]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.star"]


def test_no_micrograph_at_all_is_an_empty_table(tmp_path):
    result = extract_batch(
        table_of("m").iloc[:0],
        picks_of({}),
        lambda name: None,
        tmp_path / "p.mrcs",
        stack_name="p.mrcs",
        settings=SETTINGS,
        optics=table_of("m").assign(rlnOpticsGroupName="opticsGroup1"),
    )
    assert len(result.particles) == len(result.micrographs) == 0


def test_one_pick(tmp_path):
    result = extracted({"m": micrograph(GRID)}, {"m": GRID[:1]}, tmp_path)
    write_particles(tmp_path / "p.star", result.optics, result.particles)
    _, particles = read_particles(tmp_path / "p.star")
    assert particles["rlnImageName"].tolist() == ["000001@particles/p.mrcs"]
    assert particles["csnParticleFlags"].tolist() == ["-"]
    assert np.isnan(particles["csnNeighbourDistance_angst"][0])


def test_unknown_and_repeated_micrographs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown micrographs, as other"):
        extracted({"m": micrograph([])}, {"other": GRID}, tmp_path)
    with pytest.raises(ValueError, match="m is listed twice"):
        extracted({"m": micrograph([])}, {"m": GRID}, tmp_path, rows=table_of("m", "m"))


def test_an_interrupted_batch_leaves_no_stack(tmp_path):
    image = micrograph(GRID)
    settings = _Interrupting(box_px=64, output_px=32, radius_angst=36, diameter_angst=60)
    with pytest.raises(KeyboardInterrupt):
        extracted({"a": image, "b": image}, {"a": GRID, "b": GRID}, tmp_path, settings)
    assert list(tmp_path.iterdir()) == []


class _Interrupting(ExtractionSettings):
    """Settings that end the process, as it were, at the second micrograph."""

    calls = []

    def radius_px(self, pixel_size_angst):
        self.calls.append(1)
        if len(self.calls) > 1:
            raise KeyboardInterrupt
        return super().radius_px(pixel_size_angst)


def test_memory_chunks_change_nothing(tmp_path, monkeypatch):
    image = {"m": micrograph(GRID)}
    first = extracted(image, {"m": GRID}, tmp_path)
    whole = mrcfile.read(tmp_path / "p.mrcs")
    monkeypatch.setattr(extract_module, "_CHUNK_PX", 3 * 64**2)
    again = extracted(image, {"m": GRID}, tmp_path)
    assert np.allclose(mrcfile.read(tmp_path / "p.mrcs"), whole, atol=1e-4)
    pd.testing.assert_frame_equal(first.particles, again.particles, atol=1e-3)


def test_the_same_input_and_seed_give_the_same_bytes(tmp_path):
    image = micrograph(GRID)
    image[60, 75] = 900.0  # dust, so that there is something random
    extracted({"m": image}, {"m": GRID}, tmp_path)
    first = (tmp_path / "p.mrcs").read_bytes()
    extracted({"m": image}, {"m": GRID}, tmp_path)
    assert (tmp_path / "p.mrcs").read_bytes() == first


@pytest.mark.parametrize(("float16", "mode"), [(False, 2), (True, 12)])
def test_stacks_are_valid_mrc(tmp_path, float16, mode, capsys):
    images = np.random.default_rng(0).normal(size=(7, 16, 16)).astype(np.float32)
    with written_stack(tmp_path / "s.mrcs", 3.5, float16=float16) as stack:
        stack.append(images[:4])
        stack.append(images[4:4])
        stack.append(images[4:])
    assert mrcfile.validate(tmp_path / "s.mrcs"), capsys.readouterr().out
    with mrcfile.open(tmp_path / "s.mrcs") as mrc:
        assert mrc.is_image_stack()
        assert int(mrc.header.mode) == mode
        assert float(mrc.voxel_size.x) == pytest.approx(3.5)
        assert np.allclose(mrc.data, images, atol=4e-3 if float16 else 0)
    assert np.allclose(read_images(tmp_path / "s.mrcs", [6, 2]), images[[5, 1]], atol=4e-3)
    with pytest.raises(BadInputError, match="images 0 to 8"):
        read_images(tmp_path / "s.mrcs", [8, 0])


def test_other_columns_are_carried_over_and_foreign_ones_are_not(tmp_path):
    picks = picks_of({"m": GRID}).assign(rlnClassNumber=range(len(GRID)), found_by="log+network")
    result = extracted({"m": micrograph(GRID)}, picks, tmp_path)
    assert result.particles["rlnClassNumber"].tolist() == list(range(len(GRID)))
    assert result.particles["rlnAutopickFigureOfMerit"].tolist() == [0.5] * len(GRID)
    assert "found_by" not in result.particles


def test_optics_groups_keep_their_names_and_further_columns(tmp_path):
    images = {"a": micrograph(GRID), "b": micrograph(GRID)}
    rows = pd.concat(
        [table_of("a", rlnOpticsGroup=2), table_of("b", rlnOpticsGroup=5)], ignore_index=True
    )
    optics = pd.DataFrame(
        {
            "rlnOpticsGroupName": ["og2", "og5", "og7"],
            "rlnOpticsGroup": [2, 5, 7],
            "rlnVoltage": 300.0,
            "rlnSphericalAberration": 2.7,
            "rlnAmplitudeContrast": 0.1,
            "rlnMicrographOriginalPixelSize": PIXEL / 2,
            "rlnMicrographPixelSize": [PIXEL, 2 * PIXEL, PIXEL],
            "rlnBeamTiltX": [0.1, 0.2, 0.3],
        }
    )
    result = extracted(images, {"a": GRID, "b": GRID}, tmp_path, rows=rows, optics=optics)
    assert result.optics["rlnOpticsGroupName"].tolist() == ["og2", "og5"]
    assert result.optics["rlnBeamTiltX"].tolist() == [0.1, 0.2]
    assert result.optics["rlnImagePixelSize"].tolist() == [3.0, 6.0]
    groups = result.particles.groupby("rlnMicrographName")["rlnOpticsGroup"].unique()
    assert [int(g[0]) for g in groups] == [2, 5]


def test_merging_joins_equal_groups_and_keeps_others_apart(tmp_path):
    one = extracted({"a": micrograph(GRID)}, {"a": GRID}, tmp_path)
    two = extracted({"b": micrograph(GRID)}, {"b": GRID[:5]}, tmp_path)
    other = two.optics.assign(rlnCtfDataAreCtfPremultiplied=1)
    optics, particles = merge_particles(
        [
            (one.optics, one.particles),
            (two.optics, empty_particles()),
            (two.optics.assign(rlnOpticsGroup=4), two.particles.assign(rlnOpticsGroup=4)),
            (other, two.particles),
        ]
    )
    assert optics["rlnOpticsGroup"].tolist() == [1, 2]
    assert optics["rlnOpticsGroupName"].tolist() == ["opticsGroup1", "opticsGroup1_2"]
    assert particles["rlnOpticsGroup"].tolist() == [1] * (len(GRID) + 5) + [2] * 5


def test_particles_take_over_the_groups_of_the_whole_session(tmp_path):
    images = {"a": micrograph(GRID), "b": micrograph(GRID)}
    result = extracted(images, {"a": GRID, "b": GRID}, tmp_path)
    assert result.optics["rlnOpticsGroup"].tolist() == [1]
    session = table_of("b", "c", "a").assign(rlnOpticsGroup=[3, 2, 1])
    kept = ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"]
    kept += ["rlnMicrographOriginalPixelSize", "rlnMicrographPixelSize"]
    groups = session[["rlnOpticsGroup", *kept]].sort_values("rlnOpticsGroup")
    groups.insert(0, "rlnOpticsGroupName", ["og1", "og2", "og3"])
    optics, particles = regroup_particles(result.optics, result.particles, session, groups)
    assert optics["rlnOpticsGroupName"].tolist() == ["og1", "og3"]
    assert optics["rlnImagePixelSize"].tolist() == [2 * PIXEL] * 2
    assert optics["csnPhaseFlipped"].tolist() == [0, 0]
    found = particles.groupby("rlnMicrographName")["rlnOpticsGroup"].first()
    assert found.to_dict() == {"a": 1, "b": 3}
    with pytest.raises(ValueError, match="1 micrographs are not listed, as b"):
        regroup_particles(result.optics, result.particles, session.iloc[1:], groups)


# --- again, from a particle table ---


def test_extraction_again_from_its_own_table_gives_the_same_images(tmp_path):
    image = {"m": micrograph(GRID)}
    first = extracted(image, {"m": GRID}, tmp_path)
    before = mrcfile.read(tmp_path / "p.mrcs")
    write_particles(tmp_path / "p.star", first.optics, first.particles)
    _, table = read_particles(tmp_path / "p.star")
    again = extracted(image, table, tmp_path)
    assert np.array_equal(mrcfile.read(tmp_path / "p.mrcs"), before)
    pd.testing.assert_frame_equal(again.particles, first.particles, atol=1e-5)


def test_extraction_again_at_another_pixel_size_recentres_and_keeps_what_was_refined(tmp_path):
    image = {"m": micrograph(GRID, noise=0.2)}
    wrong = GRID + [7.0, -5.0]
    table = extracted(image, {"m": wrong}, tmp_path).particles
    # as a refinement would write it: the shift that brings the particle to the centre
    table["rlnOriginXAngst"] = (table["rlnCoordinateX"] - GRID[:, 0]) * PIXEL
    table["rlnOriginYAngst"] = (table["rlnCoordinateY"] - GRID[:, 1]) * PIXEL
    table["rlnAnglePsi"], table["rlnDefocusU"] = 33.0, 12345.0
    settings = ExtractionSettings(box_px=64, output_px=64, radius_angst=36.0, diameter_angst=60.0)
    result = extracted(image, table, tmp_path, settings)
    assert result.optics["rlnImagePixelSize"].tolist() == [PIXEL]
    mean = mrcfile.read(tmp_path / "p.mrcs").mean(0)
    assert np.hypot(*np.subtract(np.unravel_index(mean.argmax(), (64, 64)), 32)) <= 1.0
    assert np.abs(result.particles[["rlnOriginXAngst", "rlnOriginYAngst"]]).to_numpy().max() < 0.76
    assert (result.particles["rlnAnglePsi"] == 33.0).all()
    assert (result.particles["rlnDefocusU"] == 12345.0).all()
    assert (result.particles["csnParticleOffset_angst"] < 12).all()
