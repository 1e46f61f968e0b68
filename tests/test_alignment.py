"""The alignment core against direct sums over pixels and poses."""

import math

import numpy as np
import pytest
import torch

from cryosnake.alignment.likelihood import (
    Images,
    energies,
    log_likelihoods,
    recentred,
    references,
    shift_ramp,
    shifted_orders,
)
from cryosnake.alignment.pairs import Pairs, score_pairs
from cryosnake.alignment.polar import Band, Disc, PolarTransform, band_up_to
from cryosnake.alignment.posterior import candidates, posterior, weighted_sums
from cryosnake.alignment.update import Sums, add_chunk, noise_power, update
from cryosnake.alignment.workspace import Workspace, images_at_once

SIDE, RADIUS = 32, 12.0


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def blobs(number: int, seed: int = 0, side: int = SIDE, spread: float = 4.0) -> torch.Tensor:
    """Smooth images of a few Gaussians near the centre; analytic, so that they can be turned."""
    return turned_blobs(number, 0.0, (0.0, 0.0), seed=seed, side=side, spread=spread)


def turned_blobs(number, psi_deg, origin_yx, *, seed=0, side=SIDE, spread=4.0) -> torch.Tensor:
    """The same images as a particle with RELION's psi and origin would show them: an image point
    p shows the reference at R(psi) (p + origin)."""
    rng = np.random.default_rng(seed)
    axis = np.arange(side) - side // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    py, px = y + origin_yx[0], x + origin_yx[1]
    c, s = math.cos(math.radians(psi_deg)), math.sin(math.radians(psi_deg))
    rx, ry = c * px - s * py, s * px + c * py
    images = np.zeros((number, side, side))
    for image in images:
        for _ in range(6):
            cy, cx = rng.normal(0, spread, 2).clip(-6, 6)
            width = rng.uniform(1.4, 2.5)
            image += rng.uniform(-0.5, 1.0) * np.exp(
                -((rx - cx) ** 2 + (ry - cy) ** 2) / (2 * width**2)
            )
    return torch.tensor(images, dtype=torch.float32)


def fine_band(**changes) -> Band:
    band = band_up_to(0.3, 1 / 60, RADIUS, first=0, shift_px=4.0)
    return Band(**{**band.__dict__, **changes})


def setup(images, refs, band=None):
    """Transform, images on rings without a CTF, and references at unit noise."""
    transform = PolarTransform(Disc(SIDE, 15.0), band or fine_band())
    disc = transform.disc
    real, imaginary = transform.rings_of(disc.split(images))
    rings = Images(
        real, imaginary, torch.ones(transform.band.rings, len(images)), torch.ones(len(images))
    )
    orders = transform.orders_of(*transform.rings_of(disc.split(refs)))
    return transform, rings, references(transform, orders, torch.ones(transform.band.rings))


def test_split_and_join_are_inverse():
    disc = Disc(SIDE, 15.0)
    images = torch.randn(3, SIDE, SIDE) * (disc.join(torch.ones(2 * len(disc.half()) + 1)) != 0)
    torch.testing.assert_close(disc.join(disc.split(images)), images)


def test_rings_are_the_fourier_transform():
    image = blobs(1)
    transform, rings, _ = setup(image, image)
    axis = torch.arange(SIDE) - SIDE // 2
    ky, kx = transform.k_yx[:, 7, 5].tolist()
    phase = -2 * math.pi * (ky * axis[:, None] + kx * axis[None, :])
    direct = (image[0] * torch.exp(1j * phase)).sum()
    assert float(rings.real[7, 5, 0]) == pytest.approx(direct.real.item(), abs=2e-3)
    assert float(rings.imaginary[7, 5, 0]) == pytest.approx(direct.imag.item(), abs=2e-3)


def test_orders_return_to_rings_and_to_the_image():
    image = blobs(2)
    transform, rings, refs = setup(image, image)
    real, imaginary = transform.rings_from(refs.orders)
    torch.testing.assert_close(real, rings.real, atol=2e-3, rtol=0)
    torch.testing.assert_close(imaginary, rings.imaginary, atol=2e-3, rtol=0)
    back = transform.disc.join(transform.parts_of(refs.orders))
    error = (back - image)[:, 4:-4, 4:-4].square().mean().sqrt() / image.square().mean().sqrt()
    assert float(error) < 0.03


@pytest.mark.parametrize("psi_deg", [0.0, 35.0, -120.0])
@pytest.mark.parametrize("origin", [(0.0, 0.0), (2.0, -1.0)])
def test_scores_are_the_log_likelihood_of_pixels(psi_deg, origin):
    """With white noise of unit variance the score at a pose is -|x - v|^2 / 2 + |x|^2 / 2 over the
    pixels, and it is largest at the pose of the particle, in RELION's convention."""
    refs = blobs(3, seed=1)
    particle = turned_blobs(3, psi_deg, origin, seed=1)[1:2]
    transform, images, ready = setup(particle, refs)
    shifts = torch.tensor([(0.0, 0.0), (2.0, -1.0), (-2.0, 1.0), (1.0, 2.0)])
    workspace = Workspace()
    orders = shifted_orders(transform, images, shift_ramp(transform, shifts), workspace)
    bias = -0.5 * energies(images, ready)[:, None] * torch.ones(len(shifts), 1)
    scores = log_likelihoods(transform, orders, ready, bias, workspace)
    found = posterior(scores)
    psi = float(found.rotation + found.turn) * 360 / transform.band.rotations
    assert int(found.reference) == 1
    assert tuple(shifts[int(found.shift)].tolist()) == origin
    assert abs((psi - psi_deg + 180) % 360 - 180) < 1.0
    expected = 0.5 * float(particle.square().sum())
    assert float(found.best) == pytest.approx(expected, rel=0.02)
    # any other pose, directly
    turned = turned_blobs(3, 3 * 360 / transform.band.rotations, (1.0, 2.0), seed=1)
    direct = (particle[0] * turned[2] - 0.5 * turned[2].square()).sum()
    assert float(scores[3, 2, 3, 0]) == pytest.approx(float(direct), rel=0.03, abs=0.05)


def test_posterior_sums_to_one_less_the_empty_image():
    torch.manual_seed(0)
    scores = torch.randn(12, 3, 5, 7) * 2
    found = posterior(scores.clone(), nothing=2.0, margin=60.0)
    flat = scores.flatten(0, 2)
    total = flat.exp().sum(0) + math.exp(2.0)
    expected = scores.exp().sum((0, 2)) / total
    torch.testing.assert_close(found.classes, expected)
    torch.testing.assert_close(found.evidence, flat.logsumexp(0))
    image, reference, shift = candidates(scores, margin=1e9, most=2)
    best = scores.amax((0, 2))
    assert len(image) == 14
    assert torch.equal(reference[:7], best.argmax(0))
    highest = scores.amax(0)
    assert torch.equal(highest[reference, shift, image], best[reference, image])


def test_update_turns_and_shifts_images_back():
    """Sums over particles in known poses give the reference again."""
    reference = blobs(1, seed=3)
    poses = [(0.0, (0, 0)), (80.0, (1, 0)), (200.0, (-1, 2)), (311.0, (0, -2))] * 4
    particles = torch.cat([turned_blobs(1, psi, at, seed=3) for psi, at in poses]) * 20
    transform, images, ready = setup(particles, reference * 20)
    shifts = torch.tensor([(y, x) for y in (-1.0, 0, 1) for x in (-2.0, 0, 2)])
    workspace = Workspace()
    orders = shifted_orders(transform, images, shift_ramp(transform, shifts), workspace)
    bias = -0.5 * energies(images, ready)[:, None] * torch.ones(len(shifts), 1)
    found = posterior(log_likelihoods(transform, orders, ready, bias, workspace))
    products = weighted_sums(transform, found, orders, 1, workspace)
    sums = Sums.empty(transform.band, 1, "cpu")
    power = (images.real**2 + images.imaginary**2).mean(0)
    for half in (0, 1):
        add_chunk(sums, half, transform, images, power.sum(1), ready, found.classes, products)
    new = update(transform, sums)
    assert float(new.frc[2:].min()) > 0.99
    back = transform.disc.join(transform.parts_of(new.orders))[0]
    error = (back - 20 * reference[0])[5:-5, 5:-5].square().mean().sqrt()
    assert float(error) < 0.1 * float(20 * reference.square().mean().sqrt())
    assert float(noise_power(sums, 450.0).max()) < 0.02 * float(power.max() / 450)


def test_fine_pairs_agree_with_the_dense_search():
    refs = blobs(3, seed=5) * 3
    particles = torch.cat(
        [turned_blobs(3, 50.0, (1.0, 1.0), seed=5)[k : k + 1] * 3 for k in (2, 0, 1, 0)]
    )
    particles = particles + 0.5 * torch.randn(
        particles.shape, generator=torch.Generator().manual_seed(0)
    )
    transform, images, ready = setup(particles, refs)
    shifts = torch.tensor([(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    workspace = Workspace()
    orders = shifted_orders(transform, images, shift_ramp(transform, shifts), workspace)
    bias = -0.5 * energies(images, ready)[:, None] * torch.ones(len(shifts), 1)
    scores = log_likelihoods(transform, orders, ready, bias, workspace)
    dense = posterior(scores, nothing=1.0)
    dense_sums = weighted_sums(transform, dense, orders, 3, workspace)
    reference = torch.arange(3).repeat_interleave(4)
    image = torch.arange(4).repeat(3)
    base = torch.tensor([0.5, 0.5])
    pairs = Pairs(image, reference, base.expand(12, 2))
    steps = shifts - base
    own = -0.5 * energies(images, ready)[reference, image]
    fine = score_pairs(
        transform, images, ready, pairs, steps, shift_ramp(transform, steps),
        own[:, None].expand(12, 3), Workspace(), nothing=1.0,
    )  # fmt: skip
    torch.testing.assert_close(fine.weights, dense.classes, atol=1e-4, rtol=0)
    torch.testing.assert_close(fine.evidence, dense.evidence, atol=1e-2, rtol=0)
    torch.testing.assert_close(
        fine.sums, dense_sums, atol=2e-3 * float(dense_sums.abs().max()), rtol=0
    )
    assert torch.equal(fine.reference, dense.reference)
    assert torch.equal(fine.reference, torch.tensor([2, 0, 1, 0]))
    moved = recentred(transform, images, torch.ones(4, 2))
    assert moved.real.shape == images.real.shape


def test_signal_to_noise_is_that_of_the_halves():
    """Sums of pure noise give references of nothing, sums of signal keep it."""
    band = fine_band()
    transform = PolarTransform(Disc(SIDE, 15.0), band)
    generator = torch.Generator().manual_seed(2)
    sums = Sums.empty(band, 2, "cpu")
    signal = transform.orders_of(*transform.rings_of(transform.disc.split(blobs(1))))
    for half in (0, 1):
        noise = torch.randn((200, SIDE, SIDE), generator=generator)
        orders = transform.orders_of(*transform.rings_of(transform.disc.split(noise)))
        sums.images[half, ..., 0] = orders.sum(-1) + 200 * signal[..., 0] * 5
        sums.images[half, ..., 1] = transform.orders_of(
            *transform.rings_of(transform.disc.split(noise.flip(1)))
        ).sum(-1)
    sums.weights[:] = 200.0
    sums.counts[:] = 200.0
    found = update(transform, sums)
    low = slice(1, 8)
    assert float(found.snr[low, 0].min()) > 5
    assert float(found.snr[low, 1].mean()) < 1.0


def test_sums_move_between_bands():
    old, new = fine_band(), band_up_to(0.4, 1 / 60, RADIUS, first=0)
    sums = Sums.empty(old, 2, "cpu")
    sums.images.normal_()
    sums.weights.fill_(3.0)
    there = sums.in_band(old, new)
    back = there.in_band(new, old)
    torch.testing.assert_close(back.images, sums.images)
    torch.testing.assert_close(back.weights, sums.weights)


def test_chunks_follow_the_budget():
    cpu = torch.device("cpu")
    assert images_at_once(10_000, 1e6, cpu) == 300
    assert images_at_once(10_000, 16.0, cpu) == 104
    assert images_at_once(10**9, 16.0, cpu) == 1
    assert images_at_once(10_000, 1600.0, torch.device("cuda")) == 10485
