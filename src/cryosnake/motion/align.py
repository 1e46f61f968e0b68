"""The alignment proper: maximum of the likelihood of all frames and patches together.

With signal power S(k) and noise power N(k) and the unknown specimen integrated out, the
log-likelihood of spectra X_f,p (frame f, patch p), premultiplied by the exposure amplitudes
q_f(k), is as a function of the shifts s_f,p

    L = sum over p and k of W(k) |sum over f of X_f,p(k) exp(-2 pi i k s_f,p)|^2 + constant,
    W = S / (N (N + S Q)),   Q(k) = sum over f of q_f(k)^2.

Only the cross terms between different frames depend on the shifts, so that no frame is ever
compared with itself. All unknowns, s_f,p = s_f + local(f, p), are found together by Gauss-Newton
steps, under the prior of a smooth path (Gaussian second differences, whose variance is estimated
from the data by expectation maximisation) and of moderate local motion.
"""

import math
import threading
from dataclasses import dataclass

import numpy as np
import torch

from cryosnake.motion.spectra import PatchGrid
from cryosnake.motion.workers import Workers

LOCAL_RMS_ANGST = 3.0
ACCELERATION_ANGST = 1.0
ACCELERATION_LIMITS_ANGST = (0.1, 5.0)
EARLY_FACTORS = (4.0, 2.0)  # the specimen decelerates most in the first steps
VELOCITY_ANGST = 20.0
MAX_STEP_ANGST = 3.0
FIRST_RESOLUTION_ANGST = 8.0
FIRST_ITERATIONS = 10
FIRST_CONVERGED_ANGST = 0.1
LAST_ITERATIONS = 5
CONVERGED_ANGST = 0.03
LOW_PASS_ITERATIONS = 2
RING_STANDARD_ERRORS = 1.0
INFORMATION_KEPT = 0.995
TERMS = 15


@dataclass(frozen=True)
class Alignment:
    """Shifts in binned pixels.

    Parameters
    ----------
    whole : (F, 2) (y, x) shifts of the whole frame, against frame 0.
    coefficients : (15, 2) of `local_terms`, or None where there is one patch.
    errors : (P,) standard error of the shift of one frame in a patch; inf where nothing aligns.
    resolution_angst : finest resolution that had a common signal, inf if none.
    """

    whole: np.ndarray
    coefficients: np.ndarray | None
    errors: np.ndarray
    resolution_angst: float


@dataclass
class _State:
    """What the steps change: unknowns (n, 2), standard deviations of the priors in binned pixels,
    mean second derivatives of each patch (P, 2, 2), finest resolution with a signal."""

    unknowns: np.ndarray
    acceleration: float
    local_rms: float
    curvature: np.ndarray
    resolution_angst: float


def local_terms(time: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Terms of the local model, (F, P, 15): (x, x^2 - 1/12, y, y^2 - 1/12, x y) times
    (t, t^2, t^3).

    Parameters
    ----------
    time : (F,) from 0 to 1.
    centres : (P, 2) (y, x) as fractions of the frame.
    """
    y, x = centres[:, 0] - 0.5, centres[:, 1] - 0.5
    space = np.stack([x, x * x - 1 / 12, y, y * y - 1 / 12, x * y], axis=-1)
    powers = np.stack([time, time**2, time**3], axis=-1)
    return (space[None, :, :, None] * powers[:, None, None, :]).reshape(
        time.size, len(centres), TERMS
    )


class Aligner:
    """Holds the spectra, turned step by step to the best shifts found so far.

    Parameters
    ----------
    spectra : (F, P, ny, nx) complex64, premultiplied by `amplitudes`; changed in place.
    grid : the patches.
    amplitudes : callable from frequencies in 1/angstrom (K,) to exposure amplitudes (F, K).
    bfactor_angst2 : extra low-pass exp(-B k^2 / 2) on W in the first steps.
    team : threads that take frames.
    """

    def __init__(
        self,
        spectra: torch.Tensor,
        grid: PatchGrid,
        amplitudes,
        bfactor_angst2: float,
        team: Workers,
    ):
        self._spectra = spectra
        self._grid = grid
        self._amplitudes = amplitudes
        self._bfactor = bfactor_angst2
        self._team = team
        self.frames, self.patches = spectra.shape[:2]
        self._shifts = np.zeros((self.frames, self.patches, 2))
        self._set_band(grid.ky, grid.kx)

    def run(self, start_px: np.ndarray) -> Alignment:
        """Refine whole-frame shifts (F, 2) (y, x) in binned pixels, and the local model.

        First on the frequencies up to 1/8 A only, where most of the path is walked, then on all
        that carry information.
        """
        frames, pixel = self.frames, self._grid.pixel_size_angst
        time = np.arange(frames) / max(1, frames - 1)
        local = self.patches > 1
        terms = local_terms(time, self._grid.centres) if local else np.zeros((frames, 1, 0))
        design = np.concatenate(
            [np.repeat(np.eye(frames)[:, None], self.patches, axis=1), terms], axis=2
        )
        state = _State(
            np.concatenate([start_px, np.zeros((terms.shape[2], 2))]),
            ACCELERATION_ANGST / pixel,
            LOCAL_RMS_ANGST / pixel,
            np.zeros((self.patches, 2, 2)),
            math.inf,
        )
        every = self._spectra
        self._keep_band(pixel / FIRST_RESOLUTION_ANGST)
        self._iterate(state, design, terms, FIRST_ITERATIONS, FIRST_CONVERGED_ANGST)
        if math.isfinite(state.resolution_angst):
            if self._spectra is not every:  # a coarser copy was turned, not the spectra
                self._spectra, self._shifts = every, np.zeros_like(self._shifts)
                self._set_band(self._grid.ky, self._grid.kx)
            self._iterate(state, design, terms, LAST_ITERATIONS, CONVERGED_ANGST, cut=True)
        if not math.isfinite(state.resolution_angst):
            nothing = np.full(self.patches, math.inf)
            return Alignment(np.zeros((frames, 2)), None, nothing, math.inf)
        whole = state.unknowns[:frames] - state.unknowns[0]
        trace = np.trace(state.curvature, axis1=1, axis2=2) / 2
        errors = np.where(trace > 0, 1.0 / np.sqrt(np.maximum(trace, 1e-12)), math.inf)
        coefficients = state.unknowns[frames:] if local else None
        return Alignment(whole, coefficients, errors, state.resolution_angst)

    def _iterate(self, state, design, terms, iterations, converged_angst, *, cut=False) -> None:
        """Gauss-Newton steps until the largest shift changes by less than `converged_angst`."""
        frames, pixel = self.frames, self._grid.pixel_size_angst
        for iteration in range(iterations):
            self._move(design @ state.unknowns)
            total = self._total()
            weight, state.resolution_angst = self._weights(
                total, low_pass=not cut and iteration < LOW_PASS_ITERATIONS
            )
            if not math.isfinite(state.resolution_angst):
                return
            if cut and iteration == 0 and self._cut_band(weight):
                total = self._total()
                weight, _ = self._weights(total, low_pass=False)
            gradient, hessian = self._derivatives(total, weight)
            information, state.curvature = _modelled(hessian)
            prior = _prior(terms, state.acceleration, state.local_rms, pixel)
            fitted, covariance = _solve(design, self._shifts, gradient, information, prior)
            state.acceleration = _acceleration(
                fitted[:frames], covariance, state.acceleration, pixel
            )
            state.local_rms = _local_rms(terms, fitted[frames:], covariance, state.local_rms)
            step = fitted - state.unknowns
            largest = np.abs(design @ step).max() * pixel
            state.unknowns = state.unknowns + step * min(1.0, MAX_STEP_ANGST / max(largest, 1e-9))
            if largest < converged_angst:
                return

    def _keep_band(self, limit: float) -> bool:
        """Drop rows and columns of frequencies beyond `limit` cycles per binned pixel, if that
        saves a fifth or more."""
        rows = self._ky.abs() <= limit
        columns = self._kx <= limit
        if rows.sum() * columns.sum() >= 0.8 * rows.numel() * columns.numel():
            return False
        top = int(rows.float().argmax())
        kept = self._spectra[:, :, top : top + int(rows.sum()), : int(columns.sum())]
        self._spectra = kept.contiguous()
        self._set_band(self._ky[rows], self._kx[columns])
        return True

    def _cut_band(self, weight: torch.Tensor) -> bool:
        """Drop frequencies beyond which there is nearly no information on shifts."""
        ring = _ring_means(weight, self._ring, self._ring_size) * self._ring_size
        information = np.cumsum(ring * self._ring_radius**2)
        last = int(np.searchsorted(information, INFORMATION_KEPT * information[-1]))
        limit = self._ring_radius[min(last + 1, ring.size - 1)] * self._grid.pixel_size_angst
        return self._keep_band(limit)

    def _set_band(self, ky: torch.Tensor, kx: torch.Tensor) -> None:
        """Tables of the frequencies that the spectra hold."""
        grid = self._grid
        self._ky, self._kx = ky, kx
        radius = torch.hypot(ky[:, None], kx[None, :]) / grid.pixel_size_angst
        limit = float(ky.abs().max()) / grid.pixel_size_angst
        bins = max(8, int(limit * grid.pixel_size_angst * min(grid.side_px)) // 2)
        usable = grid.is_usable(ky, kx)
        self._ring = torch.where(usable, (radius * (bins / limit)).long(), bins).clamp_(max=bins)
        self._ring_radius = (np.arange(bins) + 0.5) * limit / bins
        self._ring_size = torch.bincount(self._ring.flatten(), minlength=bins + 1)[:bins]
        self._ring_size = self._ring_size.cpu().numpy()
        amplitudes = self._amplitudes(self._ring_radius)
        self._q2 = (amplitudes**2).sum(0)
        self._q4 = (amplitudes**4).sum(0)
        self._power: np.ndarray | None = None

    def _move(self, shifts_px: np.ndarray) -> None:
        """Turn the spectra to new shifts (F, P, 2)."""
        change = torch.as_tensor(shifts_px - self._shifts, dtype=torch.float32)
        change = change.to(self._spectra.device)

        def turn(f: int) -> None:
            phase_y = _ramp(change[f, :, 0], self._ky)
            phase_x = _ramp(change[f, :, 1], self._kx)
            for patch, y, x in zip(self._spectra[f], phase_y, phase_x, strict=True):
                patch.mul_(y[:, None] * x[None, :])

        self._team.each(turn, range(self.frames))
        self._shifts = np.array(shifts_px)

    def _total(self) -> torch.Tensor:
        """Sum over frames, (P, ny, nx)."""
        total = torch.empty_like(self._spectra[0])

        def add(p: int) -> None:
            torch.sum(self._spectra[:, p], dim=0, out=total[p])

        self._team.each(add, range(self.patches))
        return total

    def _patch_power(self, p: int) -> torch.Tensor:
        """Sum over frames of |X|^2 in a patch, (ny, nx)."""
        parts = torch.view_as_real(self._spectra[:, p])
        return torch.linalg.vector_norm(parts, dim=(0, 3)).square_()

    def _weights(self, total: torch.Tensor, *, low_pass: bool) -> tuple[torch.Tensor, float]:
        """W(k) as (ny, nx) from the signal and noise found at the present shifts, and the finest
        resolution with a signal."""
        if self._power is None:  # turning the spectra leaves it as it is
            powers = self._team.each(self._patch_power, range(self.patches))
            self._power = _ring_means(torch.stack(powers).mean(0), self._ring, self._ring_size)
        power = self._power
        coherent = (total.real.square() + total.imag.square()).mean(0)
        coherent = _ring_means(coherent, self._ring, self._ring_size)
        pairs = np.maximum(self._q2**2 - self._q4, 1e-12)
        signal = (coherent - power) / pairs
        noise = np.maximum(power - signal * self._q4, 0.1 * power) / self._q2
        count = np.maximum(self._ring_size * self.patches, 1)
        signal -= RING_STANDARD_ERRORS * noise * self._q2 / np.sqrt(count) / pairs
        # A running mean over three rings: single rings by chance must not carry the alignment.
        signal = np.maximum(np.convolve(np.pad(signal, 1, mode="edge"), np.ones(3) / 3, "valid"), 0)
        signal[self._ring_size == 0] = 0
        weight = np.divide(
            signal, noise * (noise + signal * self._q2), out=np.zeros_like(signal), where=noise > 0
        )
        if low_pass:
            weight *= np.exp(-0.5 * self._bfactor * self._ring_radius**2)
        found = np.flatnonzero(weight > 0)
        resolution = 1.0 / self._ring_radius[found[-1]] if found.size else math.inf
        table = torch.as_tensor(np.append(weight, 0.0), dtype=torch.float32)
        return table.to(total.device)[self._ring], float(resolution)

    def _derivatives(self, total, weight) -> tuple[np.ndarray, np.ndarray]:
        """Gradient (F, P, 2) of L by the shifts and minus its diagonal second derivatives
        (F, P, 2, 2), both leaving each frame out of its reference."""
        ky, kx = self._ky, self._kx
        powers = torch.stack([torch.ones_like(kx), kx, kx * kx], dim=1).to(total.dtype)
        sums = torch.empty(self.frames, self.patches, 5, device=total.device)
        own = threading.local()  # fresh memory for every frame would cost more than the sums

        def fill(f: int) -> None:
            if not hasattr(own, "product"):
                own.product = torch.empty_like(total)
            product = torch.sub(total, self._spectra[f], out=own.product)
            product.conj_physical_().mul_(self._spectra[f]).mul_(weight)
            rows = product @ powers
            real, imag = rows.real, rows.imag
            sums[f, :, 0] = imag[..., 0] @ ky
            sums[f, :, 1] = imag[..., 1].sum(1)
            sums[f, :, 2] = real[..., 0] @ (ky * ky)
            sums[f, :, 3] = real[..., 1] @ ky
            sums[f, :, 4] = real[..., 2].sum(1)

        self._team.each(fill, range(self.frames))
        sums = sums.cpu().numpy().astype(float)
        gradient = 4.0 * math.pi * sums[..., :2]
        hessian = 8.0 * math.pi**2 * sums[..., [2, 3, 3, 4]].reshape(*sums.shape[:2], 2, 2)
        return gradient, hessian


def _ramp(shift: torch.Tensor, frequency: torch.Tensor) -> torch.Tensor:
    """exp(-2 pi i k s), (P, K)."""
    angle = (-2.0 * math.pi) * shift[:, None] * frequency[None, :]
    return torch.complex(torch.cos(angle), torch.sin(angle))


def _ring_means(values: torch.Tensor, ring: torch.Tensor, sizes: np.ndarray) -> np.ndarray:
    """Means over rings; on the CPU, as a GPU would add in another order every time."""
    values, ring = values.cpu(), ring.cpu()
    sums = torch.bincount(ring.flatten(), values.flatten().double(), minlength=sizes.size + 1)
    return sums[: sizes.size].cpu().numpy() / np.maximum(sizes, 1)


def _modelled(hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Second derivatives (F, P, 2, 2) as frame factor times patch mean, with eigenvalues not
    below 2 % of the largest patch's: single ones are too noisy to be inverted. Also the mean."""
    patch = hessian.mean(axis=0)
    values, vectors = np.linalg.eigh(patch)
    values = np.maximum(values, 0.02 * max(values.max(), 1e-12))
    patch = np.einsum("pij,pj,pkj->pik", vectors, values, vectors)
    frame = np.trace(hessian, axis1=2, axis2=3).sum(axis=1)
    frame = np.maximum(frame / max(frame.mean(), 1e-12), 0.1)
    return frame[:, None, None, None] * patch[None], patch


def _second_differences(frames: int) -> np.ndarray:
    """(F - 2, F) operator, weighted for the early frames."""
    operator = np.diff(np.eye(frames), n=2, axis=0)
    for row, factor in enumerate(EARLY_FACTORS[: len(operator)]):
        operator[row] /= factor
    return operator


def _prior(
    terms: np.ndarray, acceleration: float, local_rms: float, pixel_size_angst: float
) -> np.ndarray:
    """Precision matrix of the unknowns of one axis; standard deviations in binned pixels."""
    frames, _, count = terms.shape
    out = np.zeros((frames + count, frames + count))
    second = _second_differences(frames)
    first = np.diff(np.eye(frames), axis=0)
    velocity = VELOCITY_ANGST / pixel_size_angst
    out[:frames, :frames] = (
        second.T @ second / acceleration**2
        + first.T @ first / velocity**2
        + 1e-6 * np.eye(frames)  # fixes the origin, which nothing else does
    )
    if count:
        out[frames:, frames:] = _local_norm(terms) * (count / local_rms**2)
    return out


def _local_norm(terms: np.ndarray) -> np.ndarray:
    """Matrix K for which c K c is the mean square of the local motion."""
    flat = terms.reshape(-1, terms.shape[2])
    return flat.T @ flat / len(flat) + 1e-9 * np.eye(terms.shape[2])


def _local_rms(terms, coefficients, covariance, local_rms: float) -> float:
    """Root mean square of the local motion along an axis (one step of expectation maximisation);
    where the patches carry no information it shrinks towards 0, and the motion with it."""
    count = terms.shape[2]
    if count == 0:
        return local_rms
    norm = _local_norm(terms)
    half = covariance.shape[0] // 2
    square = 0.0
    for axis in range(2):
        stop = (axis + 1) * half
        block = covariance[stop - count : stop, stop - count : stop]
        c = coefficients[:, axis]
        square += (c @ norm @ c + np.trace(norm @ block)) / 2
    return math.sqrt(square)


def _solve(design, shifts, gradient, information, prior) -> tuple[np.ndarray, np.ndarray]:
    """Unknowns (n, 2) at the maximum of the quadratic model, and their covariance
    (2 n, 2 n)."""
    count = design.shape[2]
    flat = design.reshape(-1, count)
    matrix = np.zeros((2, count, 2, count))
    right = np.zeros((2, count))
    target = np.einsum("fpij,fpj->fpi", information, shifts) + gradient
    for a in range(2):
        right[a] = flat.T @ target[..., a].ravel()
        for b in range(2):
            matrix[a, :, b] = flat.T @ (information[..., a, b].reshape(-1, 1) * flat)
        matrix[a, :, a] += prior
    covariance = np.linalg.inv(matrix.reshape(2 * count, 2 * count))
    return (covariance @ right.ravel()).reshape(2, count).T, covariance


def _acceleration(whole, covariance, acceleration: float, pixel_size_angst: float) -> float:
    """Standard deviation of the path's second differences (one step of expectation
    maximisation)."""
    frames = len(whole)
    if frames < 5:
        return acceleration
    operator = _second_differences(frames)
    count = covariance.shape[0] // 2
    expected = 0.0
    for axis in range(2):
        block = covariance[axis * count :, axis * count :][:frames, :frames]
        uncertainty = np.einsum("ij,jk,ik->i", operator, block, operator)
        expected += ((operator @ whole[:, axis]) ** 2 + uncertainty).mean() / 2
    low, high = (limit / pixel_size_angst for limit in ACCELERATION_LIMITS_ANGST)
    return float(np.clip(math.sqrt(expected), low, high))
