"""What is in the beam: particles placed in the ice, carbon film, contamination, cracks.

Fields are (H, W) arrays of phase in radians or of relative transmission, row 0 at the bottom.
"""

from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.fourier import frequencies
from cryosnake.simulate.ice import amorphous_carbon_density, white_spectrum
from cryosnake.simulate.projection import Projector, euler_angles, euler_matrix

_CHUNK = 64  # particles projected at once


@dataclass(frozen=True)
class Particles:
    """Particles of one movie; N entries each.

    Parameters
    ----------
    x_px, y_px : centres in the first frame, in pixels of the micrograph (pixel 0 has its centre at
        0), row 0 at the bottom.
    rot_deg, tilt_deg, psi_deg : RELION's Euler angles of the particle as seen along the beam.
    species : index into the configuration's list.
    """

    x_px: np.ndarray
    y_px: np.ndarray
    rot_deg: np.ndarray
    tilt_deg: np.ndarray
    psi_deg: np.ndarray
    species: np.ndarray

    def __len__(self) -> int:
        return len(self.x_px)


def place_particles(
    rng: np.random.Generator,
    shape: tuple[int, int],
    number: int,
    *,
    min_distance_px: float,
    margin_px: float,
    weights: list[float],
    views: str,
    stage_tilt_deg: float,
    tilt_axis_deg: float,
    allowed: np.ndarray | None = None,
    clumps: int = 0,
) -> Particles:
    """Positions by random sequential addition, orientations and species.

    Parameters
    ----------
    margin_px : particles may lie this far outside of the field, so that its edges are not empty.
    allowed : (H, W) bool, where particles can be; outside of the field they always can.
    clumps : 0, or the number of clumps that hold all particles, without a smallest distance.
    """
    height, width = shape
    low, high_y, high_x = -margin_px, height + margin_px, width + margin_px
    if clumps:
        centres = np.stack([rng.uniform(0, height, clumps), rng.uniform(0, width, clumps)], 1)
        spread = 0.75 * min_distance_px * np.sqrt(max(number / clumps, 1.0)) / 2
        points = centres[rng.integers(0, clumps, number)] + rng.normal(0, spread, (number, 2))
    else:
        points = _separated(rng, number, low, high_y, high_x, min_distance_px)
    if allowed is not None and len(points):
        row = np.clip(np.rint(points[:, 0]).astype(int), 0, height - 1)
        column = np.clip(np.rint(points[:, 1]).astype(int), 0, width - 1)
        points = points[allowed[row, column]]
    n = len(points)
    rot = rng.uniform(-180.0, 180.0, n)
    psi = rng.uniform(-180.0, 180.0, n)
    cosine = rng.uniform(-1.0, 1.0, n)
    preferred = rng.random(n) < 0.85
    sharp = rng.normal(0.0, 0.15, n)
    if views == "side":
        cosine = np.where(preferred, np.clip(sharp, -1, 1), cosine)
    elif views == "top":
        cosine = np.where(preferred, np.sign(cosine) * np.cos(sharp), cosine)
    tilt = np.rad2deg(np.arccos(cosine))
    if stage_tilt_deg:
        # The grid turns about the tilt axis, and every particle with it.
        axis = np.deg2rad(tilt_axis_deg)
        about_x = _rotation_x(stage_tilt_deg)
        in_plane = euler_matrix(0.0, 0.0, -np.rad2deg(axis))
        stage = in_plane @ about_x @ in_plane.T
        rot, tilt, psi = euler_angles(stage @ euler_matrix(rot, tilt, psi))
    share = np.asarray(weights) / np.sum(weights)
    return Particles(
        x_px=points[:, 1] if n else np.zeros(0),
        y_px=points[:, 0] if n else np.zeros(0),
        rot_deg=rot,
        tilt_deg=tilt,
        psi_deg=psi,
        species=rng.choice(len(share), n, p=share),
    )


def _rotation_x(angle_deg: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _separated(
    rng: np.random.Generator, number: int, low: float, high_y: float, high_x: float, apart: float
) -> np.ndarray:
    """Up to `number` points, no two closer than `apart` (fewer where they do not fit)."""
    cells: dict[tuple[int, int], list[np.ndarray]] = {}
    points: list[np.ndarray] = []
    size = max(apart, 1.0)
    for trial in rng.uniform([low, low], [high_y, high_x], (20 * number, 2)):
        if len(points) == number:
            break
        cy, cx = int(trial[0] // size), int(trial[1] // size)
        near = (
            other
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            for other in cells.get((cy + dy, cx + dx), ())
        )
        if all(np.hypot(*(trial - other)) >= apart for other in near):
            cells.setdefault((cy, cx), []).append(trial)
            points.append(trial)
    return np.array(points).reshape(-1, 2)


def add_particles(
    field: torch.Tensor, particles: Particles, projectors: list[Projector], *, offset_px: int
) -> None:
    """Add the particles' projections to `field` in place; its pixel (offset, offset) is the
    micrograph's pixel (0, 0). What falls outside is cut off."""
    for kind, projector in enumerate(projectors):
        chosen = np.flatnonzero(particles.species == kind)
        n = projector.n
        ky, kx = frequencies((n, n))
        for start in range(0, len(chosen), _CHUNK):
            part = chosen[start : start + _CHUNK]
            spectra = projector.spectra(
                euler_matrix(
                    particles.rot_deg[part], particles.tilt_deg[part], particles.psi_deg[part]
                )
            )
            y = particles.y_px[part] + offset_px
            x = particles.x_px[part] + offset_px
            whole_y, whole_x = np.floor(y).astype(int), np.floor(x).astype(int)
            dy = torch.as_tensor(y - whole_y + n // 2, dtype=torch.float32)[:, None, None]
            dx = torch.as_tensor(x - whole_x + n // 2, dtype=torch.float32)[:, None, None]
            ramp = -2 * np.pi * (ky * dy + kx * dx)
            images = torch.fft.irfft2(spectra * torch.polar(torch.ones_like(ramp), ramp), s=(n, n))
            for image, top, left in zip(images, whole_y - n // 2, whole_x - n // 2, strict=True):
                _add_cut(field, image, int(top), int(left))


def _add_cut(field: torch.Tensor, image: torch.Tensor, top: int, left: int) -> None:
    height, width = field.shape
    n = image.shape[-1]
    y0, y1 = max(top, 0), min(top + n, height)
    x0, x1 = max(left, 0), min(left + n, width)
    if y0 < y1 and x0 < x1:
        field[y0:y1, x0:x1] += image[y0 - top : y1 - top, x0 - left : x1 - left]


def smooth_noise(
    shape: tuple[int, int], length_px: float, generator: torch.Generator
) -> torch.Tensor:
    """Gaussian random field of unit variance that varies over `length_px` pixels."""
    ky, kx = frequencies(shape)
    spectrum = white_spectrum(shape, generator) * torch.exp(
        -2 * (np.pi * length_px) ** 2 * (ky**2 + kx**2)
    )
    field = torch.fft.irfft2(spectrum, s=shape)
    return field / field.std()


@dataclass(frozen=True)
class Film:
    """Carbon film beyond the edge of a hole: where it is (0 to 1), its phase, its transmission."""

    cover: torch.Tensor
    phase: torch.Tensor
    transmission: float


def carbon_film(
    rng: np.random.Generator,
    shape: tuple[int, int],
    generator: torch.Generator,
    *,
    pixel_size_angst: float,
    voltage_kv: float,
) -> Film:
    """Film 150-250 A thick that covers 30-60 % of the field, with the edge of a hole of 6,000 A
    radius running through it."""
    height, width = shape
    radius_px = 6000.0 / pixel_size_angst
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    y = torch.arange(height)[:, None] - height / 2
    x = torch.arange(width)[None, :] - width / 2
    centre = -radius_px * direction
    distance = torch.sqrt((y - centre[0]) ** 2 + (x - centre[1]) ** 2)
    rough = smooth_noise(shape, 60.0 / pixel_size_angst, generator) * 15.0 / pixel_size_angst
    distance = distance + rough
    edge = torch.quantile(
        distance.flatten()[:: max(1, distance.numel() // 100_000)], 1.0 - rng.uniform(0.3, 0.6)
    )
    cover = torch.sigmoid((distance - edge) / (10.0 / pixel_size_angst))
    thickness_angst = rng.uniform(150, 250)
    ky, kx = frequencies(shape, pixel_size_angst)
    density = amorphous_carbon_density(
        torch.sqrt(ky**2 + kx**2), thickness_angst=thickness_angst, voltage_kv=voltage_kv
    )
    noise = white_spectrum(shape, generator) * torch.sqrt(density) / pixel_size_angst
    # Mean inner potential of carbon less that of nothing, 9 V against ice of the same depth 4.5 V.
    step_rad = 0.0030 * thickness_angst
    phase = cover * (torch.fft.irfft2(noise, s=shape) + step_rad)
    return Film(cover, phase, transmission=float(np.exp(-thickness_angst / 1300.0)))


def contamination(
    rng: np.random.Generator,
    shape: tuple[int, int],
    number: int,
    generator: torch.Generator,
    *,
    pixel_size_angst: float,
) -> torch.Tensor:
    """Transmission (H, W) of dark lumps, 150 to 600 A in diameter, with ragged outlines."""
    height, width = shape
    depth = torch.zeros(shape)
    ragged = smooth_noise(shape, 25.0 / pixel_size_angst, generator)
    y = torch.arange(height)[:, None]
    x = torch.arange(width)[None, :]
    for _ in range(number):
        radius_px = rng.uniform(75, 300) / pixel_size_angst
        cy, cx = rng.uniform(0.1, 0.9) * height, rng.uniform(0.1, 0.9) * width
        stretch, turn = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
        a = (y - cy) * np.cos(turn) + (x - cx) * np.sin(turn)
        b = (-(y - cy) * np.sin(turn) + (x - cx) * np.cos(turn)) / stretch
        inside = 1.0 - torch.sqrt(a**2 + b**2) / radius_px + 0.15 * ragged
        depth += torch.sigmoid(inside * radius_px / (8.0 / pixel_size_angst)) * rng.uniform(
            0.4, 1.2
        )
    return torch.exp(-depth)


def crack_mask(
    rng: np.random.Generator,
    shape: tuple[int, int],
    generator: torch.Generator,
    *,
    pixel_size_angst: float,
) -> torch.Tensor:
    """Where there is no ice (1) because it has torn, 0 elsewhere: one or two ragged bands, 60 to
    200 A wide."""
    height, width = shape
    gap = torch.zeros(shape)
    y = torch.arange(height)[:, None] - height / 2
    x = torch.arange(width)[None, :] - width / 2
    for _ in range(int(rng.integers(1, 3))):
        angle = rng.uniform(0, np.pi)
        rough = smooth_noise(shape, 80.0 / pixel_size_angst, generator) * 25.0 / pixel_size_angst
        offset = rng.uniform(-0.3, 0.3) * min(shape)
        across = y * np.cos(angle) + x * np.sin(angle) - offset + rough
        half_px = rng.uniform(30, 100) / pixel_size_angst
        gap = torch.maximum(gap, torch.sigmoid((half_px - across.abs()) / (6.0 / pixel_size_angst)))
    return gap
