"""The power spectrum filter: a good micrograph has the same, round spectrum everywhere.

The spectra of the four quadrants are compared with each other, and each with itself turned by 90
degrees. Drift, astigmatism, a carbon edge, a crack or crystals make them differ; where there is
nothing but noise they do not correlate at all.
"""

import itertools
import math

import numpy as np
import torch

from cryosnake.config.model import CurationConfig
from cryosnake.curation.verdict import Verdict, distance_confidence
from cryosnake.fourier import good_size

#: Spectra are compared up to this resolution (or to the Nyquist frequency, where it is coarser).
RESOLUTION_HIGH_ANGST = 4.0
#: and from this one on: coarser terms are specimen, not optics, and would outweigh all the rest.
RESOLUTION_LOW_ANGST = 40.0
#: Width of the low-pass on the spectra: features finer than one over this length are averaged,
#: as in periodograms of tiles of about this size.
LOWPASS_ANGST = 60.0
#: Where less than this part of a spectrum's variance is signal, no more correlation is made of it.
RELIABILITY_MIN = 0.15
_SIDE_MIN_PX = 128


def quadrant_spectrum_correlations(
    image: np.ndarray | torch.Tensor, pixel_size_angst: float
) -> tuple[float, float]:
    """Mean and standard deviation of ten correlations of the power spectra of the four quadrants.

    Each quadrant is normalised to mean 0 and standard deviation 1; its power spectrum is cropped
    at 4 A, low-passed (Gaussian), and its logarithm correlated (Pearson, between 40 and 4 A) with
    those of the other three (six values) and with itself turned by 90 degrees (four values).

    What is left of the speckle of a periodogram lowers all correlations, the more the smaller the
    image. Its variance is known (1 / n after averaging n independent frequencies), and its effect
    is divided out (Spearman 1904, Am J Psychol 15: correction for attenuation), so that the same
    thresholds hold for all sizes. Mean and standard deviation are weighted by the part of signal
    in the two spectra: a quadrant that shows next to nothing says little about the others.

    Parameters
    ----------
    image : (H, W), the micrograph; needs at least 256 px on each side. A tensor is used on its
        device.
    pixel_size_angst : of the image.

    Returns
    -------
    (mean, standard deviation) of the ten correlations. An image without contrast gives (0, 0).
    """
    image = torch.as_tensor(image).to(torch.float32)
    side = good_size(min(image.shape) // 2)
    if side < _SIDE_MIN_PX:
        raise ValueError(
            f"{tuple(image.shape) = } is too small for four quadrants of {_SIDE_MIN_PX} px"
        )
    # squares, so that a quarter turn maps the frequency grid onto itself
    corners = [
        image[:side, :side],
        image[:side, -side:],
        image[-side:, :side],
        image[-side:, -side:],
    ]
    sigma_px = side * pixel_size_angst / LOWPASS_ANGST / math.sqrt(8 * math.log(2))
    spectra = [_log_spectrum(corner, pixel_size_angst, sigma_px) for corner in corners]
    if any(spectrum is None for spectrum in spectra):
        return 0.0, 0.0
    annulus = _annulus(spectra[0].shape[0], side, pixel_size_angst, image.device)
    noise = _speckle_variance(sigma_px)
    reliable = [
        max(RELIABILITY_MIN, 1.0 - noise / max(float(spectrum[annulus].var()), 1e-12))
        for spectrum in spectra
    ]
    pairs = list(itertools.combinations(range(4), 2)) + [(a, a) for a in range(4)]
    values = []
    for a, b in pairs:
        other = torch.rot90(spectra[b]) if a == b else spectra[b]
        values.append(_correlation(spectra[a][annulus], other[annulus]))
    # what is divided out also tells how well each correlation is known: it is its weight
    weights = np.array([reliable[a] * reliable[b] for a, b in pairs])
    values = np.clip(np.array(values) / np.sqrt(weights), -1.0, 1.0)
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _speckle_variance(sigma_px: float) -> float:
    """Variance of the log of a white spectrum after the low-pass.

    A Gaussian averages 4 pi sigma^2 frequencies, of which the Hann window leaves one in 3.78
    independent; the log of the mean of n exponential variables has the variance 1/n + 1/(2 n^2).
    """
    n = max(1.0, 4.0 * math.pi * sigma_px**2 / 3.78)
    return 1.0 / n + 0.5 / n**2


def spectrum_filter(
    correlation_mean: float,
    correlation_std: float,
    config: CurationConfig,
    *,
    stripes: float = math.nan,
    gain_strength: float = math.nan,
) -> Verdict:
    """The spectra of the quadrants agree, agree everywhere alike, and hold the specimen alone.

    Parameters
    ----------
    correlation_mean, correlation_std : see `quadrant_spectrum_correlations`.
    stripes, gain_strength : patterns of the detector, see `cryosnake.curation.fixed_pattern`;
        NaN where not measured.
    """
    failures, margins = [], []
    for name, value, limit, sign, scale in (
        ("low correlation", correlation_mean, config.spectrum_min_mean, -1, 0.1),
        ("uneven correlation", correlation_std, config.spectrum_max_std, 1, 0.1),
        ("stripes: gain reference?", stripes, config.stripes_max_ratio, 1, 1.0),
        ("wrong gain reference", gain_strength, config.gain_max_strength, 1, 0.2),
    ):
        optional = sign > 0 and name != "uneven correlation"
        if math.isnan(value) and optional:
            continue
        margin = sign * (value - limit) / scale
        margins.append(margin)
        # thresholds themselves do not pass: mean above, spread below
        if not margin < 0:
            failures.append(name)
    patterns = [f"stripes {stripes:.1f}"] if math.isfinite(stripes) else []
    patterns += [f"gain pattern {gain_strength:.2f}"] if math.isfinite(gain_strength) else []
    known = all(math.isfinite(margin) for margin in margins)
    return Verdict(
        filter="spectrum",
        passed=not failures,
        value=", ".join(
            [
                f"quadrant spectra correlate with mean {correlation_mean:.2f}, "
                f"standard deviation {correlation_std:.2f}",
                *patterns,
            ]
        ),
        threshold=f"mean above {config.spectrum_min_mean:g}, "
        f"standard deviation below {config.spectrum_max_std:g}"
        + (f", stripes below {config.stripes_max_ratio:g}" if math.isfinite(stripes) else "")
        + (f", gain below {config.gain_max_strength:g}" if math.isfinite(gain_strength) else ""),
        confidence=distance_confidence(max(margins), 0.0, 1.0) if known else 1.0,
        metrics={
            "csnSpectrumCorrelationMean": correlation_mean,
            "csnSpectrumCorrelationStd": correlation_std,
            "csnStripeRatio": stripes,
            "csnGainPatternStrength": gain_strength,
        },
        evidence=", ".join(failures) or "-",
    )


def _log_spectrum(
    quadrant: torch.Tensor, pixel_size_angst: float, sigma_px: float
) -> torch.Tensor | None:
    """Centred log power spectrum, odd-sized (frequency 0 in the middle), cropped and low-passed."""
    spread = quadrant.std()
    if not torch.isfinite(spread) or spread <= 0:
        return None
    normalised = (quadrant - quadrant.mean()) / spread
    side = quadrant.shape[0]
    window = torch.hann_window(side, periodic=True, device=quadrant.device)
    transform = torch.fft.fftshift(torch.fft.fft2(normalised * window[:, None] * window[None, :]))
    half = min(int(side * pixel_size_angst / RESOLUTION_HIGH_ANGST), side // 2 - 1)
    centre = side // 2
    power = (
        transform[centre - half : centre + half + 1, centre - half : centre + half + 1].abs() ** 2
    )
    return torch.log(_gaussian(power, sigma_px) + 1e-20)


def _gaussian(values: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Separable Gaussian low-pass with mirrored edges."""
    reach = min(max(1, math.ceil(3 * sigma_px)), values.shape[0] - 1)
    offsets = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / max(sigma_px, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(values[None, None], (reach,) * 4, mode="reflect")
    padded = torch.nn.functional.conv2d(padded, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(padded, kernel[None, None, None, :])[0, 0]


def _annulus(size: int, side: int, pixel_size_angst: float, device) -> torch.Tensor:
    """Mask (size, size) of the frequencies that are compared."""
    steps = (torch.arange(size, device=device) - size // 2) / (side * pixel_size_angst)
    radius = torch.hypot(steps[:, None], steps[None, :])
    return (radius >= 1.0 / RESOLUTION_LOW_ANGST) & (radius <= steps.max())


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / torch.sqrt((a * a).sum() * (b * b).sum()).clamp_min(1e-20))
