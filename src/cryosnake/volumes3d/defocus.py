"""The defocus of each particle, from a refined volume and the particle's pose.

The likelihood of the alignment core at a known pose, for a range of offsets of the defocus, each
particle against its own half set's volume: half sets stay apart.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from cryosnake.alignment.likelihood import shift_ramp
from cryosnake.alignment.polar import PolarTransform
from cryosnake.classes2d.optics import Optics
from cryosnake.ctf import wavelength_angst
from cryosnake.volumes3d.cubes import in_window, sphere
from cryosnake.volumes3d.orientations import matrices
from cryosnake.volumes3d.particles import Particles
from cryosnake.volumes3d.passes import Passes, SearchSettings, passes_for
from cryosnake.volumes3d.result import Refined
from cryosnake.volumes3d.shells import Shells

REACH_ANGST = 3000.0
SIGMA_ANGST = 500.0
_STEP_RAD = 0.6  # of the CTF's phase at the finest detail
_NOISE_PARTICLES = 2000
_BLOCK = 128
_EDGE_PX = 3.0


@dataclass(frozen=True)
class DefocusOffsets:
    """What was found of N particles.

    Parameters
    ----------
    offset_angst : (N,) to be added to both defoci; 0 where nothing could be said.
    gain : (N,) log posterior at the offset against none.
    """

    offset_angst: np.ndarray
    gain: np.ndarray

    def applied(self, optics: Optics) -> Optics:
        """The optics with these offsets."""
        return replace(
            optics,
            defocus_u_angst=np.asarray(optics.defocus_u_angst) + self.offset_angst,
            defocus_v_angst=np.asarray(optics.defocus_v_angst) + self.offset_angst,
        )


def find_defocus(
    source,
    optics: Optics,
    refined: Refined,
    *,
    pixel_size_angst: float,
    diameter_angst: float,
    reach_angst: float = REACH_ANGST,
    sigma_angst: float = SIGMA_ANGST,
    device: torch.device | str = "cpu",
) -> DefocusOffsets:
    """The most probable offset of each particle's defocus.

    Parameters
    ----------
    source, optics, pixel_size_angst, diameter_angst, device : as in `refine`.
    refined : of these particles, with a resolution.
    reach_angst : offsets are looked for as far as this; sigma_angst : standard deviation of the
        offsets that are expected, a Gaussian about 0.
    """
    passes = passes_for(
        source,
        optics,
        SearchSettings(),
        pixel_size_angst=pixel_size_angst,
        diameter_angst=diameter_angst,
        finest_angst=refined.resolution_angst,
        volumes=1,
        seed=1,
        device=device,
        budget_mb=0.0,
    )
    passes.particles.poses = refined.poses
    transform = passes.geometry.transform(passes.finest)
    offsets = _offsets(reach_angst, passes.finest_angst, optics.voltage_kv)
    prior = torch.as_tensor(-0.5 * (offsets / sigma_angst) ** 2).float()[:, None]
    found = DefocusOffsets(np.zeros(len(optics)), np.zeros(len(optics)))
    usable = passes.particles.usable
    usable = usable[refined.poses.class_index[usable] == 0]
    for half in (0, 1):
        mine = usable[refined.poses.half[usable] == half]
        table = _table(passes, refined, half)
        noise = _noise(passes, table, transform, mine[:_NOISE_PARTICLES])
        for start in range(0, len(mine), _BLOCK):
            part = mine[start : start + _BLOCK]
            curves = _curves(passes, table, transform, part, noise, offsets) + prior.to(device)
            found.offset_angst[part], found.gain[part] = _best(curves.cpu().numpy(), offsets)
    return found


def _offsets(reach_angst: float, finest_angst: float, voltage_kv: float) -> np.ndarray:
    """(D,) offsets, the middle one 0."""
    step_angst = _STEP_RAD * finest_angst**2 / (math.pi * wavelength_angst(voltage_kv))
    number = math.ceil(reach_angst / step_angst)
    return np.linspace(-reach_angst, reach_angst, 2 * number + 1)


def _table(passes: Passes, refined: Refined, half: int) -> torch.Tensor:
    """A half volume, each shell by how far the halves agree in it, as a table of slices."""
    geometry = passes.geometry
    volume = in_window(refined.halves[half], geometry)
    volume = volume * sphere(len(volume), geometry.radius_px, _EDGE_PX).to(volume.device)
    frequencies = Shells(len(volume)).frequency_per_px() / geometry.pixel
    trust = np.interp(frequencies, refined.frequency_per_angst, refined.fsc.clip(0.0, 1.0))
    full = torch.fft.fftfreq(len(volume), 1.0 / len(volume), device=volume.device)
    line = full[: len(volume) // 2 + 1].abs()
    radius = torch.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + line**2)
    kept = torch.as_tensor(np.append(trust, 0.0), dtype=torch.float32, device=volume.device)
    kept = kept[radius.round().long().clamp_max(len(trust))]
    return passes.grid.table(torch.fft.irfftn(torch.fft.rfftn(volume) * kept, s=volume.shape))


def _rings(
    passes: Passes, table: torch.Tensor, transform: PolarTransform, part: np.ndarray
) -> tuple[torch.Tensor, ...]:
    """Images, centred, and their projections times contrast: real and imaginary parts (H, R, B) of
    each."""
    particles: Particles = passes.particles
    poses, device = particles.poses, particles.device
    real, imaginary = transform.rings_of(
        particles.stack.parts[torch.from_numpy(part)].to(device).float()
    )
    origin = np.column_stack([poses.origin_y_angst, poses.origin_x_angst])[part] / particles.pixel
    cos, sin = shift_ramp(transform, torch.from_numpy(origin).float().to(device))
    turns = matrices(poses.rot_deg[part], poses.tilt_deg[part], poses.psi_deg[part]).to(device)
    contrast = torch.from_numpy(poses.contrast[part]).to(device)
    shown = (one * contrast for one in passes.grid.slices(table, turns, transform))
    return real * cos - imaginary * sin, imaginary * cos + real * sin, *shown


def _noise(
    passes: Passes, table: torch.Tensor, transform: PolarTransform, chosen: np.ndarray
) -> torch.Tensor:
    """(R,) mean power that projections leave of the images."""
    total = torch.zeros(transform.band.rings, device=transform.device)
    for start in range(0, len(chosen), _BLOCK):
        part = chosen[start : start + _BLOCK]
        real, imaginary, a, b = _rings(passes, table, transform, part)
        ctf = passes.particles.optics.on_rings(part, transform, passes.particles.pixel)
        left = (real - ctf * a).square() + (imaginary - ctf * b).square()
        total += left.mean(0).sum(1)
    return (total / max(len(chosen), 1)).clamp_min(1e-12)


def _curves(
    passes: Passes,
    table: torch.Tensor,
    transform: PolarTransform,
    part: np.ndarray,
    noise: torch.Tensor,
    offsets: np.ndarray,
) -> torch.Tensor:
    """(D, B) log-likelihood of the offsets, up to what does not depend on them."""
    particles, band = passes.particles, transform.band
    real, imaginary, a, b = _rings(passes, table, transform, part)
    rings = torch.arange(band.rings, device=transform.device) >= band.first
    weight = band.areas().to(transform.device) * rings * passes.geometry.window.mask_px / noise
    cross, power = real * a + imaginary * b, 0.5 * (a.square() + b.square())
    optics, curves = particles.optics, []
    for offset in offsets:
        moved = replace(
            optics,
            defocus_u_angst=np.asarray(optics.defocus_u_angst) + offset,
            defocus_v_angst=np.asarray(optics.defocus_v_angst) + offset,
        )
        ctf = moved.on_rings(part, transform, particles.pixel)
        curves.append(((ctf * cross - ctf.square() * power).mean(0) * weight[:, None]).sum(0))
    return torch.stack(curves)


def _best(curves: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B,) offsets at the maxima, by a parabola through three values, and what they gain; 0 where
    the maximum is at the end of the range."""
    at, image = curves.argmax(0), np.arange(curves.shape[1])
    inside = (at > 0) & (at < len(offsets) - 1)
    at = np.where(inside, at, len(offsets) // 2)
    before, here, after = (curves[at + step, image] for step in (-1, 0, 1))
    bend = before - 2.0 * here + after
    slope = 0.5 * (before - after)
    part = np.where(inside & (bend < 0), slope / np.minimum(bend, -1e-12), 0.0)
    gain = here - curves[len(offsets) // 2, image]
    return offsets[at] + part * (offsets[1] - offsets[0]), gain
