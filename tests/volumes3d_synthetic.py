"""Particles of a volume of Gaussian blobs with known poses, made apart from the code under test: a
projection of Gaussians is a sum of Gaussians, so there is no interpolation."""

import math

import numpy as np
from ctf_synthetic import ctf_on_grid
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from cryosnake.classes2d import Optics

BOX, PIXEL, DIAMETER = 40, 5.0, 150.0
_BLOBS = 14


def blobs(seed: int = 0) -> np.ndarray:
    """(J, 5): x, y and z in pixels, width, height; asymmetric, the mass in the centre."""
    rng = np.random.default_rng(seed)
    place = rng.normal(0, 5.0, (_BLOBS, 3)).clip(-9.5, 9.5) * [1.0, 0.8, 1.3]
    width, height = rng.uniform(1.3, 2.2, _BLOBS), rng.uniform(0.5, 1.0, _BLOBS)
    place -= np.average(place, axis=0, weights=height * width**3)
    return np.column_stack([place, width, height])


def volume(kind: np.ndarray) -> np.ndarray:
    """(n, n, n) in the order (z, y, x)."""
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return sum(
        h * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * w**2))
        for a, b, c, w, h in kind
    )


def euler(rot_deg: float, tilt_deg: float, psi_deg: float) -> np.ndarray:
    """Rz(-psi) Ry(-tilt) Rz(-rot) as a product of elementary rotations of (x, y, z)."""

    def about_z(angle):
        c, s = math.cos(angle), math.sin(angle)
        return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])

    def about_y(angle):
        c, s = math.cos(angle), math.sin(angle)
        return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])

    rot, tilt, psi = np.deg2rad([rot_deg, tilt_deg, psi_deg])
    return about_z(psi) @ about_y(tilt) @ about_z(rot)


def projection(kind: np.ndarray, angles_deg, origin_yx_px=(0.0, 0.0)) -> np.ndarray:
    """What a particle with RELION's angles and origin shows: the volume turned by `euler`, summed
    along z, at the centre minus the origin."""
    axis = np.arange(BOX) - BOX // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    place = kind[:, :3] @ euler(*angles_deg).T
    return sum(
        h
        * w
        * math.sqrt(2 * math.pi)
        * np.exp(-((x + origin_yx_px[1] - a) ** 2 + (y + origin_yx_px[0] - b) ** 2) / (2 * w**2))
        for (a, b, _), w, h in zip(place, kind[:, 3], kind[:, 4], strict=True)
    )


def particles(number: int, kinds: list[np.ndarray], *, snr=1.0, empty=0.0, seed=1):
    """Images (N, n, n) float32 with noise of unit variance, their optics, and the truth: kind (-1
    for pure noise), angles (N, 3) in degrees, origin (N, 2) as (y, x) in angstrom."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(kinds), number)
    kind[rng.random(number) < empty] = -1
    angles = np.column_stack(
        [
            rng.uniform(-180, 180, number),
            np.rad2deg(np.arccos(rng.uniform(-1, 1, number))),
            rng.uniform(-180, 180, number),
        ]
    )
    origin = rng.normal(0, 4.0, (number, 2)).clip(-10, 10)
    u = rng.uniform(9000, 20000, number)
    optics = Optics(u + 200, u - 200, rng.uniform(0, 180, number), 300.0, 2.7, 0.1)
    f = np.fft.fftfreq(BOX, PIXEL)
    images = rng.normal(size=(number, BOX, BOX))
    scale = [snr / np.std(projection(one, (0, 90, 0))) for one in kinds]
    for i in np.flatnonzero(kind >= 0):
        clean = projection(kinds[kind[i]], angles[i], origin[i] / PIXEL) * scale[kind[i]]
        transfer = ctf_on_grid(
            f[:, None],
            f[None, :],
            u_angst=u[i] + 200,
            v_angst=u[i] - 200,
            angle_deg=optics.defocus_angle_deg[i],
            voltage_kv=300.0,
            cs_mm=2.7,
            amplitude=0.1,
        )
        images[i] += np.fft.ifft2(np.fft.fft2(clean) * transfer).real
    return images.astype(np.float32), optics, kind, angles, origin


def correlations(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(n // 2,) shell correlation of two cubes."""
    n = len(one)
    f = np.fft.fftfreq(n, 1.0 / n)
    shell = np.sqrt(f[:, None, None] ** 2 + f[:, None] ** 2 + f**2).round().astype(int).ravel()
    a, b = np.fft.fftn(one).ravel(), np.fft.fftn(two).ravel()
    cross = np.bincount(shell, (a * b.conj()).real)
    power = np.bincount(shell, abs(a) ** 2) * np.bincount(shell, abs(b) ** 2)
    return (cross / np.sqrt(power + 1e-30))[: n // 2]


def apart_deg(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) angle of the rotation between orientations (N, 3)."""
    traces = [np.trace(euler(*a) @ euler(*b).T) for a, b in zip(first, second, strict=True)]
    return np.rad2deg(np.arccos(np.clip((np.array(traces) - 1) / 2, -1, 1)))


def placed(found: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """The blobs where a volume shows them: turned, shifted, and mirrored if that fits better.

    The fit is the sum of the volume at the blobs, by their height; coarse over all rotations, then
    by simplex.
    """
    turns = Rotation.random(6000, random_state=0)

    def fit(place):
        at = place[..., ::-1] + BOX // 2
        values = map_coordinates(found, np.moveaxis(at, -1, 0), order=1)
        return (values * kind[:, 4]).sum(-1)

    best = None
    for hand in (1.0, -1.0):
        place = kind[:, :3] * [1.0, 1.0, hand]
        scores = fit(np.einsum("rij,pj->rpi", turns.as_matrix(), place))
        for start in np.argsort(-scores)[:8]:

            def loss(p, place=place, turn=turns[start]):
                moved = (Rotation.from_rotvec(p[:3]) * turn).apply(place)
                return -fit(moved + p[3:])

            done = minimize(
                loss,
                np.zeros(6),
                method="Nelder-Mead",
                options={
                    "initial_simplex": np.vstack([np.zeros(6), np.diag([0.2] * 3 + [1.0] * 3)])
                },
            )
            if best is None or done.fun < best[0]:
                moved = (Rotation.from_rotvec(done.x[:3]) * turns[start]).apply(place)
                best = (done.fun, moved + done.x[3:])
    return np.column_stack([best[1], kind[:, 3:]])
