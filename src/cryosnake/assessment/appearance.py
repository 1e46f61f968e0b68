"""What can be measured on one class average alone."""

import numpy as np
from scipy import ndimage

from cryosnake.assessment.grid import grid

_DENSE = 0.35  # of the peak
_LEAST_OBJECT = 0.01  # of the circle's area
_SMOOTH = 0.8  # points of the grid, before density is thresholded


def appearance(image: np.ndarray) -> dict[str, float]:
    """Features of one average (51, 51) on the grid; those of a constant image are all 0 but one."""
    g = grid()
    outer = g.inside & (g.radius > 0.8)
    image = image - image[outer].mean()
    values = image[g.inside]
    spread = values.std()
    if not spread > 1e-6 * (np.abs(values).max() + 1e-30):
        return _FLAT
    image, values = image / spread, values / spread
    centred = values - values.mean()
    found = _of_density(ndimage.gaussian_filter(image, _SMOOTH, mode="constant"), outer)
    inner = g.radius < 0.7
    power = image[outer] ** 2
    found["inner_power"] = np.log10((image[inner] ** 2).mean() / max(power.mean(), 1e-3))
    lever = np.hypot(power @ g.y[outer], power @ g.x[outer])
    found["edge_uneven"] = lever / max(power.sum(), 1e-9)
    lines = np.array([_explained(centred, strips) for strips in g.across])
    found["line"], found["line_excess"] = lines.max(), lines.max() - lines.mean()
    rings = np.round(g.radius[g.inside] * 16).astype(int)
    found["radial"] = _explained(centred, rings)
    gy, gx = np.gradient(ndimage.gaussian_filter(image, 1.0, mode="constant"))
    within = g.radius < 0.85  # the mask's edge is no edge of the image
    gy, gx = gy[within], gx[within]
    turned = np.hypot((gx * gx - gy * gy).sum(), 2 * (gx * gy).sum())
    found["coherence"] = turned / max((gx * gx + gy * gy).sum(), 1e-12)
    found["skewness"] = np.mean(centred**3)
    low, high = np.percentile(values, (1, 99))
    found["dark"] = np.clip(-low / max(high, 1e-3), 0.0, 3.0)
    return found | _of_spectrum(np.where(g.inside, image - values.mean(), 0.0))


def _of_density(smooth: np.ndarray, outer: np.ndarray) -> dict[str, float]:
    """Features of the part that is dense."""
    g = grid()
    peak = max(np.percentile(smooth[g.inside], 99.5), 1e-3)
    mass = np.where(g.inside & (smooth > _DENSE * peak), smooth, 0.0)
    labels, number = ndimage.label(mass > 0)
    index = np.arange(1, number + 1)
    area = ndimage.sum_labels(np.ones_like(mass), labels, index)
    masses = ndimage.sum_labels(mass, labels, index)
    main = np.where(labels == index[masses.argmax()], mass, 0.0)
    total = mass.sum()

    def offset(weight):
        return float(np.hypot((weight * g.y).sum(), (weight * g.x).sum()) / weight.sum())

    return {
        "offset": offset(mass),
        "main_offset": offset(main),
        "main_share": main.sum() / total,
        "objects": float(min((area > _LEAST_OBJECT * g.inside.sum()).sum(), 8)),
        "spread": np.sqrt((mass * g.radius**2).sum() / total),
        "dense_area": (mass > 0).sum() / g.inside.sum(),
        "edge_density": mass[outer].sum() / total,
        "edge_peak": np.clip(np.percentile(smooth[outer], 98) / peak, -1.0, 2.0),
    }


def _explained(centred: np.ndarray, groups: np.ndarray) -> float:
    """Share of the variance that the means of groups explain."""
    count = np.bincount(groups)
    total = np.bincount(groups, weights=centred)
    return float((total**2 / np.maximum(count, 1)).sum() / (centred**2).sum())


def _of_spectrum(image: np.ndarray) -> dict[str, float]:
    """Features of the power spectrum, in periods within the mask's diameter."""
    side = 2 * len(image)
    f = np.fft.fftfreq(side, 0.5 / (len(image) // 2))
    period = np.hypot(f[:, None], f[None, :])
    power = np.abs(np.fft.fft2(image, (side, side))) ** 2

    def within(low, high):
        chosen = (period >= low) & (period < high)
        return power[chosen].sum(), power[chosen].mean()

    total = power.sum()
    return {
        "low_power": within(0, 3)[0] / total,
        "high_power": np.log10(within(10, 100)[0] / total + 1e-4),
        "slope": np.log10((within(2, 4)[1] + 1e-6 * total) / (within(7, 10)[1] + 1e-6 * total)),
    }


#: A constant image: nothing is dense, nothing has a direction.
_FLAT = {
    "inner_power": 0.0,
    "offset": 0.0,
    "main_offset": 0.0,
    "main_share": 0.0,
    "objects": 0.0,
    "spread": 0.0,
    "dense_area": 0.0,
    "edge_density": 0.0,
    "edge_peak": 0.0,
    "edge_uneven": 0.0,
    "line": 0.0,
    "line_excess": 0.0,
    "radial": 0.0,
    "coherence": 0.0,
    "skewness": 0.0,
    "dark": 1.0,
    "low_power": 0.0,
    "high_power": 0.0,
    "slope": 0.0,
}
