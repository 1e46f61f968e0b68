"""Motion correction of one movie: alignment while the frames come in, then the sums."""

import math
import threading
import time
from collections.abc import Iterable

import numpy as np
import torch

from cryosnake.config.model import MotionConfig
from cryosnake.errors import BadInputError
from cryosnake.motion import dose
from cryosnake.motion.align import TERMS, Aligner, Alignment, local_terms
from cryosnake.motion.correction import RawMovie
from cryosnake.motion.result import LocalMotion, MotionResult
from cryosnake.motion.search import search_path
from cryosnake.motion.spectra import PatchGrid, SpectraMaker, make_grid, patch_counts
from cryosnake.motion.sums import combined, weighted_sums
from cryosnake.motion.workers import Workers, workers

MAX_DISAGREEMENT_ANGST = 8.0


def correct_motion(
    frames: Iterable,
    n_frames: int,
    shape: tuple[int, int],
    corrector,
    *,
    pixel_size_angst: float,
    voltage_kv: float,
    dose_e_per_angst2_per_frame: float,
    pre_exposure_e_per_angst2: float = 0.0,
    super_resolution: int = 1,
    config: MotionConfig,
    device: str | torch.device = "cpu",
) -> MotionResult:
    """Align the frames of a movie, as a whole and locally, and sum them.

    Parameters
    ----------
    frames : iterator of (H, W) raw frames of any real type, each taken once and kept as it is.
    n_frames, shape : number and (H, W) of the frames.
    corrector : callable (frame, out=tensor) -> corrected (H, W) float32 tensor on `device`; linear
        (`cryosnake.movies.FrameCorrector`).
    pixel_size_angst : of the frames as stored.
    super_resolution : binning of the output by cropping in Fourier space.
    device : where everything is computed.

    Raises
    ------
    BadInputError : the frames are not as many or not of the shape announced.
    ValueError : the patches of the config are too small for the frames.
    """
    started = time.perf_counter()
    device = torch.device(device)
    exposures = dose.frame_exposures_e_per_angst2(
        n_frames, dose_e_per_angst2_per_frame, pre_exposure_e_per_angst2
    )

    def amplitudes(frequency_per_angst):
        return dose.exposure_amplitudes(frequency_per_angst, exposures, voltage_kv)

    grid = make_grid(
        shape,
        pixel_size_angst,
        patches=patch_counts(shape, pixel_size_angst, config.patches),
        max_resolution_angst=config.max_resolution_angst,
        device=device,
    )
    with workers(device) as team:
        movie = RawMovie(corrector, shape, n_frames, device)
        spectra, means = _read(frames, n_frames, movie, grid, amplitudes, team)
        start, disagreement = search_path(
            spectra,
            grid,
            dose_e_per_angst2_per_frame=dose_e_per_angst2_per_frame,
            max_shift_angst=config.max_shift_angst,
            bfactor_angst2=config.bfactor_angst2,
        )
        if disagreement > MAX_DISAGREEMENT_ANGST:
            alignment = None
            problem = (
                "the frames have too little in common: two halves of the data give paths that "
                f"differ by {disagreement:.0f} A"
            )
        else:
            alignment = Aligner(spectra, grid, amplitudes, config.bfactor_angst2, team).run(start)
            problem = _problem(alignment, grid, config.max_shift_angst)
        del spectra
    if problem is not None:
        unknown = np.full(grid.count, math.inf)
        alignment = Alignment(np.zeros((n_frames, 2)), None, unknown, math.inf)
    time_axis = np.arange(n_frames) / max(1, n_frames - 1)
    coefficients = alignment.coefficients
    if coefficients is None:
        coefficients = np.zeros((TERMS, 2))

    def shift_at(y, x):
        """(F, n, 2) shifts in stored pixels at (n,) positions in stored pixels."""
        centres = np.stack([np.asarray(y) / shape[0], np.asarray(x) / shape[1]], axis=-1)
        local = local_terms(time_axis, centres) @ coefficients
        return (alignment.whole[:, None, :] + local) * grid.binning

    with workers(device) as team:
        weighted, plain = _sums(
            movie, shift_at, amplitudes, pixel_size_angst, super_resolution, config, team
        )
    to_output = grid.binning / super_resolution
    out_shape = tuple(weighted.shape)
    centres = grid.centres
    return MotionResult(
        dose_weighted=weighted,
        plain=plain,
        pixel_size_angst=pixel_size_angst * super_resolution,
        shifts_px=alignment.whole * to_output,
        local=_local_motion(alignment.coefficients, n_frames, to_output, out_shape),
        patch_centres_px=centres * np.array(out_shape),
        patch_shifts_px=shift_at(*(centres * np.array(shape)).T) / super_resolution,
        patch_errors_px=alignment.errors * to_output,
        frame_mean=means,
        dose_e_per_angst2_per_frame=dose_e_per_angst2_per_frame,
        pre_exposure_e_per_angst2=pre_exposure_e_per_angst2,
        problem=problem,
        seconds=time.perf_counter() - started,
    )


def _read(frames, n_frames, movie: RawMovie, grid: PatchGrid, amplitudes, team: Workers):
    """Take all frames: premultiplied spectra (F, P, ny, nx) and the mean of each frame (F,)."""
    device = movie.gain.device
    spectra = torch.empty(
        (n_frames, grid.count, grid.ky.numel(), grid.kx.numel()),
        dtype=torch.complex64,
        device=device,
    )
    radius = grid.radius_per_angst
    table_radius = np.linspace(0, float(radius.max()), 1024)
    table = torch.as_tensor(amplitudes(table_radius), dtype=torch.float32, device=device)
    index = (radius * (1023 / radius.max())).round().long()
    own = threading.local()

    def take(numbered) -> torch.Tensor:
        f, frame = numbered
        if f == n_frames:
            raise BadInputError(None, f"more than {n_frames} frames", f"{n_frames} frames")
        if tuple(frame.shape) != movie.shape:
            raise BadInputError(None, f"a frame of {tuple(frame.shape)} pixels", f"{movie.shape}")
        if not hasattr(own, "buffer"):
            own.buffer = torch.empty(movie.shape, device=device)
            own.make_spectra = SpectraMaker(grid, device)
        corrected = movie.add(f, frame, out=own.buffer)
        return own.make_spectra(corrected, table[f][index], out=spectra[f])

    means = list(team.ahead(take, enumerate(frames)))
    if len(means) != n_frames:
        raise BadInputError(None, f"{len(means)} frames", f"{n_frames} frames")
    return spectra, torch.stack(means).cpu().numpy().astype(float)


def _problem(alignment: Alignment, grid: PatchGrid, max_shift_angst: float) -> str | None:
    """Why the alignment cannot be trusted."""
    if not math.isfinite(alignment.resolution_angst):
        return "the frames have no signal in common"
    largest = float(np.hypot(*alignment.whole.T).max()) * grid.pixel_size_angst
    if largest > max_shift_angst:
        return f"whole-frame shift of {largest:.1f} A is beyond {max_shift_angst:g} A"
    return None


def _sums(movie, shift_at, amplitudes, pixel_size_angst, binning, config, team):
    """Exposure-weighted and plain sum as float32 arrays."""
    height, width = movie.shape
    frequency = dose.radial_frequencies_per_angst(pixel_size_angst)
    weights = np.full((len(movie), frequency.size), 1.0 / math.sqrt(len(movie)))
    if config.dose_weighting:
        weights = dose.normalised_weights(amplitudes(frequency))
    frame_factors, frequency_factors = dose.low_rank(weights)
    uniform = frame_factors.sum(axis=0)[:, None]  # projection of weights 1 on the factors
    y, x = np.meshgrid(np.linspace(0, height, 9), np.linspace(0, width, 9), indexing="ij")
    images = combined(
        weighted_sums(movie, shift_at, frame_factors, team),
        [frequency_factors, np.repeat(uniform, frequency.size, axis=1)],
        shifts_px=shift_at(y.ravel(), x.ravel()),
        binning=binning,
        team=team,
    )
    weighted, plain = (image.cpu().numpy() for image in images)
    return (weighted if config.dose_weighting else plain), plain


def _local_motion(coefficients, frames: int, scale: float, shape) -> LocalMotion | None:
    """RELION's 18 coefficients from those of `local_terms`."""
    if coefficients is None:
        return None
    by_space = coefficients.reshape(5, 3, 2) * scale
    by_space = by_space / float(max(1, frames - 1)) ** np.arange(1, 4)[None, :, None]
    x, xx, y, yy, xy = by_space
    full = np.stack([-(xx + yy) / 12, x, xx, y, yy, xy]).reshape(18, 2)
    return LocalMotion(full[:, 0], full[:, 1], tuple(shape))
