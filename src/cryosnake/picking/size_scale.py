"""Size from scale space: which width of a blob filter fits the particles best.

Nothing is cut out for this. Two rules choose the width, and both err, in opposite directions, where
a particle is no disc: the width at which the answer of the filter of unit energy is highest (the
matched filter: too large for rods), and the one at which the scale-normalised answer is highest
(Lindeberg 1998, Int J Comput Vis 30, section 5: too small for rods). Their geometric mean is taken.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from cryosnake.picking.size_image import BLUR_ANGST, Working
from cryosnake.picking.size_outline import blurred, otsu_level

#: Diameter over the width of the filter, standard deviation in angstrom. A disc has 2.0 by the
#: first rule and 2.83 by the second, a ball's projection 2.4 and 3.3; the coarse image is blurred
#: and lacks its lowest frequencies, and these were found on the tuning samples.
DIAMETER_PER_WIDTH_MATCHED = 2.78
DIAMETER_PER_WIDTH_NORMALISED = 3.66
_STEP = 1.12  # from one width to the next
_FILL_BLUR_ANGST = 12.0
_FILL_LEVELS = 14
_FAR_TOO_HIGH = 4.0  # times the median: contamination
_NEGLIGIBLE = 0.01
_FEW = 10  # lumps in a micrograph, at most


@dataclass(frozen=True)
class Candidates:
    """Blobs of one micrograph: positions in pixels of the coarse image, (N,) each, the width of
    the filter that found them in angstrom, their height (the answer of the filter of unit energy),
    and the scale-normalised answers (N, S) of all filters there."""

    name: str
    x_px: np.ndarray
    y_px: np.ndarray
    width_angst: np.ndarray
    height: np.ndarray
    answers: np.ndarray

    def __len__(self) -> int:
        return len(self.x_px)

    def only(self, chosen: np.ndarray) -> "Candidates":
        """The chosen ones, by a mask or indices."""
        return Candidates(
            self.name,
            self.x_px[chosen],
            self.y_px[chosen],
            self.width_angst[chosen],
            self.height[chosen],
            self.answers[chosen],
        )


@dataclass(frozen=True)
class ScaleCurve:
    """Mean answer of the candidates of one micrograph against the width of the filter, and the
    diameter it gives."""

    name: str
    widths_angst: np.ndarray
    response: np.ndarray
    diameter_angst: float


def widths(min_angst: float, max_angst: float) -> np.ndarray:
    """The filters' widths in angstrom, evenly spaced in the logarithm, beyond both limits."""
    low = 0.75 * min_angst / DIAMETER_PER_WIDTH_NORMALISED
    high = 1.3 * max_angst / DIAMETER_PER_WIDTH_MATCHED
    return np.geomspace(low, high, int(np.ceil(np.log(high / low) / np.log(_STEP))) + 1)


def filled(working: Working) -> np.ndarray:
    """The coarse image (h, w) with the holes of bright rings filled, at every grey level: hollow
    particles, and those whose inside the microscope does not transfer, become blobs."""
    grey = blurred(working, _FILL_BLUR_ANGST)
    levels = np.linspace(*np.percentile(grey, [5, 99]), _FILL_LEVELS + 1)
    total = np.zeros(grey.shape, np.float32)
    for level in levels[1:]:
        total += ndimage.binary_fill_holes(grey > level)
    return (total - np.median(total)) * (levels[1] - levels[0])


def responses(image: np.ndarray, pixel_size_angst: float, widths_angst: np.ndarray) -> np.ndarray:
    """Scale-normalised answers (S, h, w) of the Laplacian of a Gaussian, positive at blobs. The
    blur that the coarse image has already counts as part of the filter."""
    squared = (2 * np.pi) ** 2 * (
        fft.fftfreq(image.shape[0], pixel_size_angst)[:, None] ** 2
        + fft.rfftfreq(image.shape[1], pixel_size_angst)[None, :] ** 2
    )
    spectrum = fft.rfft2(image)
    found = np.empty((len(widths_angst), *image.shape), np.float32)
    for i, width in enumerate(widths_angst):
        left = max(width**2 - BLUR_ANGST**2, 0.0)
        shaped = spectrum * (width**2 * squared * np.exp(-0.5 * left * squared))
        found[i] = fft.irfft2(shaped, s=image.shape)
    return found


def _peaks(response: np.ndarray, apart_px: float) -> tuple[np.ndarray, np.ndarray]:
    reach = max(1, int(apart_px))
    highest = ndimage.maximum_filter(response, size=2 * reach + 1)
    y, x = np.nonzero((response == highest) & (response > 0))
    inside = (np.minimum(y, x) > reach) & (y < response.shape[0] - 1 - reach)
    inside &= x < response.shape[1] - 1 - reach
    return y[inside], x[inside]


def pursue(
    name: str, stack: np.ndarray, pixel_size_angst: float, widths_angst: np.ndarray
) -> Candidates:
    """All blobs that do not overlap, by greedy choice: the highest maximum over place and scale of
    the filter of unit energy (width times the scale-normalised answer), then the highest outside
    of it, and so on."""
    parts = []
    for answers, width in zip(stack, widths_angst, strict=True):
        y, x = _peaks(answers, width / pixel_size_angst)
        parts.append(np.stack([y, x, np.full(len(y), width), answers[y, x] * width], 1))
    table = np.concatenate(parts)
    table = table[np.argsort(-table[:, 3], kind="stable")]
    if len(table):  # nothing of interest is that much lower than the highest
        table = table[table[:, 3] > _NEGLIGIBLE * table[min(_FEW, len(table) - 1), 3]]
    points, size = table[:, :2], table[:, 2] * DIAMETER_PER_WIDTH_MATCHED / pixel_size_angst
    chosen, gone = np.zeros(len(table), bool), np.zeros(len(table), bool)
    tree = cKDTree(points) if len(points) else None
    for i in range(len(table)):
        if gone[i]:
            continue
        chosen[i] = True
        around = np.array(tree.query_ball_point(points[i], 0.4 * (size[i] + size.max())))
        apart = np.hypot(*(points[around] - points[i]).T)
        gone[around[apart < 0.4 * (size[i] + size[around])]] = True
    y, x, width, height = table[chosen].T
    answers = stack[:, y.astype(int), x.astype(int)].T
    return Candidates(name, x, y, width, height, answers)


def likely(found: list[Candidates]) -> list[Candidates]:
    """Those above the level that splits the heights of all micrographs into noise and particles,
    without those that are far higher than the rest: the few highest never set the level."""
    heights = np.concatenate([c.height for c in found])
    if len(heights) < 4:
        return found
    rank = min(_FEW * len(found), len(heights) // 2)
    capped = np.minimum(heights, np.sort(heights)[-1 - rank])
    level = otsu_level(capped)
    limit = _FAR_TOO_HIGH * np.median(heights[heights > level])
    return [c.only((c.height > level) & (c.height < limit)) for c in found]


def typical_width_angst(found: list[Candidates]) -> float:
    """Mode of the candidates' widths, each weighted by its area; nan where there are none."""
    sizes = np.concatenate([c.width_angst for c in found])
    if not len(sizes):
        return float("nan")
    logs = np.log(sizes)
    grid = np.linspace(logs.min() - 0.1, logs.max() + 0.1, 300)
    density = (sizes**2 * np.exp(-0.5 * ((grid[:, None] - logs) / 0.15) ** 2)).sum(1)
    return float(np.exp(grid[np.argmax(density)]))


def near_typical(found: Candidates, typical_angst: float) -> Candidates:
    """Those whose width is within a factor 1.5 of the typical one."""
    return found.only(np.abs(np.log(found.width_angst / typical_angst)) < np.log(1.5))


def curve(found: Candidates, widths_angst: np.ndarray) -> ScaleCurve | None:
    """Mean scale-normalised answer at the candidates and the diameter, the geometric mean of both
    rules; None where there are fewer than three."""
    if len(found) < 3:
        return None
    mean = found.answers.mean(0)
    matched = float(np.exp(np.log(found.width_angst).mean())) * DIAMETER_PER_WIDTH_MATCHED
    normalised = _vertex(np.log(widths_angst), mean) * DIAMETER_PER_WIDTH_NORMALISED
    return ScaleCurve(found.name, widths_angst, mean, float(np.sqrt(matched * normalised)))


def _vertex(log_widths: np.ndarray, mean: np.ndarray) -> float:
    """The width at which a parabola through the highest value and its neighbours is highest."""
    top = int(np.clip(np.argmax(mean), 1, len(mean) - 2))
    before, at, after = mean[top - 1 : top + 2]
    bend = before - 2 * at + after
    offset = float(np.clip(0.5 * (before - after) / bend, -1, 1)) if bend < 0 else 0.0
    return float(np.exp(log_widths[top] + offset * (log_widths[1] - log_widths[0])))


def surrogate(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image (h, w) with the same power spectrum and random phases: what it would look like if
    it held nothing but noise."""
    phases = fft.rfft2(rng.normal(size=image.shape))
    spectrum = np.abs(fft.rfft2(image)) * phases / np.maximum(np.abs(phases), 1e-12)
    return fft.irfft2(spectrum, s=image.shape).astype(np.float32)
