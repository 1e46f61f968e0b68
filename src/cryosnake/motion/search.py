"""Coarse search of the whole-frame path: all pairs of groups of frames at low resolution."""

import math

import numpy as np
import torch

from cryosnake.motion.spectra import PatchGrid

SEARCH_RESOLUTION_ANGST = 12.0
GROUP_EXPOSURE_E_PER_ANGST2 = 1.5
MAX_GROUPS = 24
STEP_ANGST = 3.0
PATH_TOLERANCE_ANGST = 15.0
SWEEPS = 6


def group_frames(frames: int, dose_e_per_angst2_per_frame: float) -> list[np.ndarray]:
    """Split frames into consecutive groups of about equal size, each with enough exposure."""
    per_group = max(
        1,
        math.ceil(GROUP_EXPOSURE_E_PER_ANGST2 / dose_e_per_angst2_per_frame - 1e-6),
        math.ceil(frames / MAX_GROUPS),
    )
    groups = min(frames, max(min(frames, 3), frames // per_group))
    return np.array_split(np.arange(frames), groups)


def search_path(
    spectra: torch.Tensor,
    grid: PatchGrid,
    *,
    dose_e_per_angst2_per_frame: float,
    max_shift_angst: float,
    bfactor_angst2: float,
) -> tuple[np.ndarray, float]:
    """Whole-frame shifts (F, 2) (y, x) in binned pixels, right to a few angstrom; and how much, in
    angstrom (root mean square), the paths differ that two halves of the data give.

    Every pair of groups of frames is cross-correlated (summed over patches) at 12 A; the path
    that maximises the sum over all pairs is first sought among smooth drifts (three profiles in
    time times all displacements), then improved group by group. The halves are the frequencies
    of even and of odd index, which share no noise: what they agree on is in the specimen.

    Parameters
    ----------
    spectra : (F, P, ny, nx) complex.
    """
    frames = spectra.shape[0]
    if frames < 2:
        return np.zeros((frames, 2)), 0.0
    groups = group_frames(frames, dose_e_per_angst2_per_frame)
    halves, step_px = _pair_maps(spectra, grid, groups, max_shift_angst, bfactor_angst2)
    centres = np.array([group.mean() for group in groups])

    def path(maps: np.ndarray) -> np.ndarray:
        return _improved(maps, _smooth_drift(maps, centres, frames), STEP_ANGST) * step_px

    best, first, second = (path(maps) for maps in (halves[0] + halves[1], *halves))
    difference = first - second
    difference -= difference.mean(axis=0)
    shifts = [_interpolated(np.arange(frames), centres, best[:, axis]) for axis in (0, 1)]
    disagreement = np.sqrt((difference**2).sum(axis=1).mean()) * grid.pixel_size_angst
    return np.stack(shifts, axis=1), float(disagreement)


def _pair_maps(spectra, grid, groups, max_shift_angst, bfactor_angst2) -> tuple[np.ndarray, float]:
    """Correlation of every pair of groups on a square grid of shifts, (2, G, G, n, n), of either
    half of the frequencies; entry [:, g, h] is largest at shift of h minus shift of g. Also the
    step in binned pixels."""
    radius = grid.radius_per_angst
    limit = min(1.0 / SEARCH_RESOLUTION_ANGST, float(radius.max()))
    rows = grid.ky.abs() <= limit * grid.pixel_size_angst
    columns = grid.kx <= limit * grid.pixel_size_angst
    ky, kx = grid.ky[rows], grid.kx[columns]
    coarse = torch.stack(
        [spectra[int(g[0]) : int(g[-1]) + 1, :, :, : kx.numel()].sum(0)[:, rows] for g in groups]
    )
    power = (coarse.real**2 + coarse.imag**2).mean((0, 1))
    radius = radius[rows][:, columns]
    mask = grid.is_usable(ky, kx) & (radius <= limit)
    weight = mask * torch.exp(-0.5 * bfactor_angst2 * radius**2)
    weight = weight / _radially_smooth(power, radius, limit)
    parity = torch.arange(ky.numel(), device=ky.device)[:, None] + torch.arange(
        kx.numel(), device=ky.device
    )
    weights = torch.stack([weight * (parity % 2 == half) for half in (0, 1)])
    step_px = STEP_ANGST / grid.pixel_size_angst
    reach = math.ceil(max_shift_angst / STEP_ANGST)
    shifts = torch.arange(-reach, reach + 1, device=ky.device, dtype=torch.float32) * step_px
    phase_y = torch.exp(-2j * math.pi * shifts[:, None] * ky[None, :])
    phase_x = torch.exp(-2j * math.pi * kx[:, None] * shifts[None, :])
    count = len(groups)
    maps = torch.zeros(2, count, count, shifts.numel(), shifts.numel(), device=ky.device)
    for g in range(count - 1):
        pairs = (coarse[g].conj()[None] * coarse[g + 1 :]).sum(1)
        found = (phase_y @ (pairs * weights[:, None]) @ phase_x).real
        maps[:, g, g + 1 :] = found
        maps[:, g + 1 :, g] = found.flip((-1, -2))
    return maps.cpu().numpy(), step_px


def _radially_smooth(power: torch.Tensor, radius: torch.Tensor, limit: float) -> torch.Tensor:
    """Power replaced by its mean in 24 rings."""
    bins = 24
    # On the CPU: a GPU would add in another order every time.
    index = (radius.cpu() * (bins / limit)).long().clamp_(max=bins)
    total = torch.bincount(index.flatten(), power.cpu().flatten().double(), minlength=bins + 1)
    number = torch.bincount(index.flatten(), minlength=bins + 1).clamp(min=1)
    ring = (total / number).float()
    return ring[index].clamp_min(ring[ring > 0].min()).to(power.device)


def _smooth_drift(maps: np.ndarray, centres: np.ndarray, frames: int) -> np.ndarray:
    """The best path of the form displacement times profile(time), (G, 2) in steps."""
    count, _, size, _ = maps.shape
    reach = size // 2
    time = centres / max(1, frames - 1)
    first, second = np.triu_indices(count, 1)
    ends = np.arange(-reach, reach + 1)
    best, best_path = -np.inf, None
    for profile in (time, np.sqrt(time), 1.0 - np.exp(-5.0 * time)):
        profile = (profile - profile[0]) / (profile[-1] - profile[0])
        lag = np.rint(ends[:, None] * (profile[second] - profile[first])[None, :]).astype(int)
        score = np.zeros((ends.size, ends.size))
        for pair, (g, h) in enumerate(zip(first, second, strict=True)):
            index = lag[:, pair] + reach
            score += maps[g, h][np.ix_(index, index)]
        y, x = np.unravel_index(score.argmax(), score.shape)
        if score[y, x] > best:
            best = score[y, x]
            best_path = profile[:, None] * np.array([ends[y], ends[x]], float)
    return best_path


def _improved(maps: np.ndarray, path: np.ndarray, step_angst: float) -> np.ndarray:
    """Move one group after the other to the best sum of its correlations with all others, given
    a mild pull towards its neighbours' line; (G, 2) in steps, against group 0."""
    count, _, size, _ = maps.shape
    reach = size // 2
    path = np.rint(path).astype(int)
    offsets_y, offsets_x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for _ in range(SWEEPS):
        before = path.copy()
        for g in range(count):
            centre = _predicted(path, g)
            score = np.zeros((size, size))
            for h in range(count):
                if h != g:  # the map of shift(g) - shift(h), looked up around the prediction
                    score += _window(maps[h, g], np.rint(centre).astype(int) - path[h])
            spread = score.std()
            if spread > 0:
                pull = (offsets_y**2 + offsets_x**2) * (step_angst / PATH_TOLERANCE_ANGST) ** 2
                score = (score - score.mean()) / spread - 0.5 * pull
            y, x = np.unravel_index(score.argmax(), score.shape)
            path[g] = np.rint(centre).astype(int) + (y - reach, x - reach)
        if (path == before).all():
            break
    return (path - path[0]).astype(float)


def _predicted(path: np.ndarray, g: int) -> np.ndarray:
    """Where the neighbours say that group g is."""
    last = len(path) - 1
    if last < 2:
        return path[g].astype(float)
    if 0 < g < last:
        return 0.5 * (path[g - 1] + path[g + 1])
    near, far = (1, 2) if g == 0 else (last - 1, last - 2)
    return path[near] + 0.5 * (path[near] - path[far])


def _window(values: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """A map moved so that `centre` (in steps) comes to its middle; 0 beyond its edge."""
    size = values.shape[0]
    out = np.zeros_like(values)
    target, source = [], []
    for shift in centre:
        start, stop = max(0, -shift), min(size, size - shift)
        if start >= stop:
            return out
        target.append(slice(start, stop))
        source.append(slice(start + shift, stop + shift))
    out[tuple(target)] = values[tuple(source)]
    return out


def _interpolated(frames: np.ndarray, centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear interpolation, going on with half the slope beyond the first and last centre."""
    out = np.interp(frames, centres, values)
    if centres.size > 1:
        slopes = np.diff(values) / np.diff(centres)
        out = out + 0.5 * slopes[0] * np.minimum(frames - centres[0], 0)
        out = out + 0.5 * slopes[-1] * np.maximum(frames - centres[-1], 0)
    return out
