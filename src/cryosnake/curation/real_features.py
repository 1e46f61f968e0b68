"""What a micrograph shows in real space: lumps, gaps, two areas of different texture, an edge.

All features are made on a small map of the micrograph (about 8 A a pixel) and are relative to the
micrograph's own fluctuations: neither the scale nor the offset of its grey values matters.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

#: Pixel of the small map; coarser micrographs are used as they are.
MAP_PIXEL_ANGST = 8.0
#: A film holds at least this part of the border of the view without a break; a lump does not.
FILM_RIM_FRACTION = 0.2
_SMOOTHING_ANGST = 40.0
_BACKGROUND_ANGST = 2000.0
_LUMP_DIAMETER_MIN_ANGST = 200.0
_TEXTURE_ANGST = 150.0


def small_map(image: torch.Tensor, pixel_size_angst: float) -> tuple[np.ndarray, float]:
    """Average blocks of pixels to about 8 A: the map (h, w) and its pixel size in angstrom."""
    factor = max(1, int(MAP_PIXEL_ANGST / pixel_size_angst))
    mean = torch.nn.functional.avg_pool2d((image - image.mean())[None, None], factor)[0, 0]
    return mean.cpu().numpy().astype(np.float64), factor * pixel_size_angst


def real_features(small: np.ndarray, pixel_size_angst: float) -> dict[str, float]:
    """All features of the small map; see `cryosnake.curation.features.FEATURES`."""
    areas = _two_areas(small, pixel_size_angst)
    smooth = ndimage.gaussian_filter(small, _SMOOTHING_ANGST / pixel_size_angst)
    clean = _clean_level(smooth)
    flat = smooth - (_background(smooth, pixel_size_angst) if clean is None else clean)
    # lumps or gaps must not hide behind their own many peaks: noise has as many on the other side
    dark = _marked_regions(-flat, pixel_size_angst, _usual_peak_of_either(-flat, pixel_size_angst))
    dark = dark.chosen(
        dark.rim_fraction <= FILM_RIM_FRACTION
    )  # more of the border: a film, not a lump
    bright = _marked_regions(flat, pixel_size_angst, _usual_peak_of_either(flat, pixel_size_angst))
    # wider, or with much of the border: ice beside a film, not a gap
    bright = bright.chosen(
        (bright.width_over_span < 0.3) & (bright.rim_fraction <= FILM_RIM_FRACTION)
    )
    is_line = dark.width_over_span < 0.15
    lumps = dark.area_fraction[~is_line]
    if _alike(lumps):
        lumps = lumps[:0]
    return {
        "lump_fraction": float(lumps.sum()),
        "lump_count": float(len(lumps)),
        "lump_depth": dark.highest,
        "gap_fraction": float(bright.area_fraction.sum()),
        "gap_span": float(bright.span_fraction.max(initial=0.0)),
        "gap_height": bright.highest,
        "edge_span": float(dark.span_fraction[is_line].max(initial=0.0)),
    } | areas


def _alike(areas: np.ndarray) -> bool:
    """Whether regions have one common size, as well separated large particles do and contamination
    does not: five or more, with a relative spread of the area below 0.35."""
    return len(areas) >= 5 and float(areas.std()) < 0.35 * float(areas.mean())


def robust_spread(values: np.ndarray) -> float:
    """Standard deviation of the bulk of the values, from the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def quiet_spread(values: np.ndarray) -> float:
    """Like `robust_spread` about 0, from the side with fewer outliers."""
    sides = values[values > 0], -values[values < 0]
    return 1.4826 * min((float(np.median(side)) for side in sides if len(side)), default=0.0)


def _clean_level(smooth: np.ndarray) -> float | None:
    """The level of clean ice where much of the view is far darker; None where it is not.

    The view is divided at Otsu's threshold. When the brighter part holds more than 35 % and lies 6
    of its own (robust) standard deviations above the darker one, its median is the clean level; a
    median over the surroundings would take dark areas of this extent for the background.
    """
    above = smooth > otsu_threshold(smooth)
    bright, dark = smooth[above], smooth[~above]
    if above.mean() < 0.35 or bright.mean() - dark.mean() < 6.0 * robust_spread(bright):
        return None
    return float(np.median(bright))


def _background(smooth: np.ndarray, pixel_size_angst: float) -> np.ndarray:
    """The slowly varying part: median filter over 2000 A, made on a coarser grid for speed."""
    step = max(1, int(64.0 / pixel_size_angst))
    coarse = smooth[::step, ::step]
    window = min(
        2 * int(_BACKGROUND_ANGST / pixel_size_angst / step / 2) + 1, 2 * min(coarse.shape) - 1
    )
    median = ndimage.median_filter(coarse, size=window, mode="reflect")
    zoomed = ndimage.zoom(median, np.array(smooth.shape) / median.shape, order=1, mode="nearest")
    return zoomed


@dataclass(frozen=True)
class _Regions:
    """Regions that stand out of the fluctuations of the map, one entry each."""

    area_fraction: np.ndarray
    span_fraction: np.ndarray
    width_over_span: np.ndarray
    rim_fraction: np.ndarray
    highest: float

    def chosen(self, keep: np.ndarray) -> "_Regions":
        """The regions that a mask keeps."""
        return _Regions(
            self.area_fraction[keep],
            self.span_fraction[keep],
            self.width_over_span[keep],
            self.rim_fraction[keep],
            self.highest,
        )


def _usual_peak(height: np.ndarray, pixel_size_angst: float) -> float:
    """Median height of the local maxima of a map."""
    reach = max(1, int(60.0 / pixel_size_angst))
    is_peak = (ndimage.maximum_filter(height, 2 * reach + 1) == height) & (height > 0)
    return float(np.median(height[is_peak])) if is_peak.any() else robust_spread(height)


def _usual_peak_of_either(height: np.ndarray, pixel_size_angst: float) -> float:
    """The usual peak, but no more than twice that of the other sign."""
    own, other = (_usual_peak(sign * height, pixel_size_angst) for sign in (1.0, -1.0))
    return min(own, 2.0 * other)


def _marked_regions(height: np.ndarray, pixel_size_angst: float, usual_peak: float) -> _Regions:
    """Regions where a map rises far over its own fluctuations and over its usual peaks.

    A region counts where it exceeds 5 robust standard deviations and 2.5 times the usual peak (so
    that particles, which are many and alike, do not count), and when it is as large as a disc of
    200 A in diameter at 0.4 of its height.
    """
    usual = max(usual_peak, 1e-12)
    threshold = max(5.0 * quiet_spread(height), 2.5 * usual)
    labels, _ = ndimage.label(height > threshold)
    areas, spans, widths, rims = [], [], [], []
    side = min(height.shape)
    for i, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == i
        # the blur of the map widens what is far above the threshold: measure near half height
        inside &= height[box] > 0.4 * height[box][inside].max()
        area = float(inside.sum())
        if area * pixel_size_angst**2 < np.pi / 4 * _LUMP_DIAMETER_MIN_ANGST**2:
            continue
        span = float(np.hypot(*inside.shape))
        areas.append(area / height.size)
        spans.append(min(span / side, 1.5))
        width = 2.0 * float(ndimage.distance_transform_edt(np.pad(inside, 1)).max())
        widths.append(width / span)
        core = np.zeros(height.shape, bool)
        core[box] = inside
        rims.append(_rim_fraction(core))
    return _Regions(
        np.array(areas),
        np.array(spans),
        np.array(widths),
        np.array(rims),
        float(height.max() / usual),
    )


def _rim_fraction(region: np.ndarray) -> float:
    """Longest unbroken part of the border of the view that a region holds, as a fraction.

    A film comes in from outside on a broad front; lumps that touch each other reach the border
    here and there.
    """
    rim = np.concatenate([region[0], region[1:, -1], region[-1, -2::-1], region[-2:0:-1, 0]])
    if rim.all():
        return 1.0
    steps = np.flatnonzero(~np.concatenate([rim, rim]))  # twice around: the border is closed
    return float(np.diff(steps).max() - 1) / len(rim)


def _two_areas(small: np.ndarray, pixel_size_angst: float) -> dict[str, float]:
    """Whether the view falls into two areas of different brightness or texture.

    Maps of the local mean and of the local log standard deviation are divided at Otsu's
    threshold (Otsu 1979). The separation is the distance of the two means over the pooled
    standard deviation: about 2.7 for one Gaussian population, 3.5 for a uniform gradient.
    The smaller area counts as film when it is one piece that reaches the border of the view.
    """
    width = _TEXTURE_ANGST / pixel_size_angst
    fine = small - ndimage.gaussian_filter(small, 30.0 / pixel_size_angst)
    limit = 4.0 * max(robust_spread(fine), 1e-12)
    squares = np.clip(fine, -limit, limit) ** 2
    maps = {
        "brightness": ndimage.gaussian_filter(small, width),
        "texture": 0.5 * np.log(ndimage.gaussian_filter(squares, width) + 1e-12),
    }
    found = {}
    for name, values in maps.items():
        separation, fraction = _otsu_separation(values)
        found[f"{name}_separation"] = separation
        found[f"{name}_fraction"] = fraction
    return found


def otsu_threshold(values: np.ndarray) -> float:
    """The value that divides a map into two parts of the largest between-part variance (Otsu
    1979, IEEE Trans Syst Man Cybern 9); each part has 2 % of the values or more."""
    ordered = np.sort(values.ravel())
    n = len(ordered)
    total = np.cumsum(ordered)
    k = np.arange(1, n)
    between = k * (n - k) * (total[:-1] / k - (total[-1] - total[:-1]) / (n - k)) ** 2
    low, high = int(0.02 * n), max(int(0.98 * n), int(0.02 * n) + 1)
    cut = low + int(np.argmax(between[low:high]))
    return float(0.5 * (ordered[cut] + ordered[cut + 1]))


def _otsu_separation(values: np.ndarray) -> tuple[float, float]:
    """Separation of two areas of a map, and the fraction of the view that the smaller takes; the
    fraction is 0 when that is not one piece (80 % of it) that reaches the border."""
    above = values > otsu_threshold(values)
    a, b = values[above], values[~above]
    if not len(a) or not len(b):
        return 0.0, 0.0
    separation = abs(a.mean() - b.mean()) / np.sqrt(0.5 * (a.var() + b.var()) + 1e-30)
    minority = above if above.mean() < 0.5 else ~above
    labels, _ = ndimage.label(minority)
    sizes = np.bincount(labels.ravel())[1:]
    piece = labels == 1 + int(np.argmax(sizes))
    whole = sizes.max() > 0.8 * minority.sum() and _rim_fraction(piece) > FILM_RIM_FRACTION
    return float(separation), float(piece.mean()) if whole else 0.0
