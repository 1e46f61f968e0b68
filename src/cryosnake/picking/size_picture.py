"""The picture of a size estimate: candidates, scale response, rotational and aligned averages."""

import io

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image

from cryosnake.picking.size import SizeEstimate

_MARK = "#e05a00"
_METHOD_MARKS = {
    "outline": ("#0072b2", "o"),
    "scale": ("#009e73", "^"),
    "average": ("#cc79a7", "s"),
}
#: Few greys, so that the colours of the marks survive in a PNG of a small palette.
_GREYS = matplotlib.colormaps["gray"].resampled(20)


def draw_size(estimate: SizeEstimate) -> np.ndarray:
    """The picture as (H, W, 3) uint8, row 0 at the bottom (`images.write_png` shows it upright).

    Upper row: a micrograph, coarse and with its contrast restored, with circles of the estimated
    diameter at its candidates; the average of the most elongated candidates, turned to lie along
    x, with the extents. Lower row: the answer of the blob filters and the radial profile, each
    relative to its highest value, with the diameter; the estimates of each micrograph by method.
    """
    figure = Figure(figsize=(9.6, 7.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.15, 1.0))
    size = estimate.size
    title = (
        f"diameter {size.diameter_angst:.0f} ± {size.uncertainty_angst:.0f} A, "
        f"axes {size.long_axis_angst:.0f} and {size.short_axis_angst:.0f} A, box {size.box_px} px"
    )
    upper.suptitle(title + ("" if size.sure else " – unsure"), fontsize=11)
    left, right = upper.subplots(1, 2)
    _draw_example(left, estimate)
    _draw_aligned(right, estimate)
    curves, profile, methods = lower.subplots(1, 3)
    _draw_curves(curves, estimate)
    _draw_profile(profile, estimate)
    _draw_methods(methods, estimate)
    buffer = io.BytesIO()
    canvas.print_raw(buffer)
    width, height = canvas.get_width_height()
    pixels = np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)
    return np.ascontiguousarray(np.asarray(Image.fromarray(pixels[..., :3]))[::-1])


def _draw_example(axes, estimate: SizeEstimate) -> None:
    working, found = estimate.example
    low, high = np.percentile(working.values, [1, 99.7])
    axes.imshow(working.values, cmap=_GREYS, vmin=low, vmax=high, origin="lower")
    radius_px = estimate.size.radius_px(working.pixel_size_angst)
    for x, y in zip(found.x_px, found.y_px, strict=True):
        axes.add_patch(Circle((x, y), radius_px, fill=False, color=_MARK, lw=0.6))
    axes.set_title(f"{working.name}: {len(found)} candidates", fontsize=8)
    axes.set_axis_off()


def _draw_aligned(axes, estimate: SizeEstimate) -> None:
    aligned = estimate.aligned
    axes.set_axis_off()
    if aligned is None:
        axes.set_title("no average of aligned candidates", fontsize=8)
        return
    half_angst = aligned.image.shape[0] / 2 * aligned.pixel_size_angst
    extent = (-half_angst, half_angst, -half_angst, half_angst)
    axes.imshow(aligned.image, cmap=_GREYS, origin="lower", extent=extent)
    for at, span in (((0, 1), aligned.long_angst), ((1, 0), aligned.short_angst)):
        for side in (-0.5, 0.5):
            draw = axes.axvline if at[1] else axes.axhline
            draw(side * span, color=_MARK, lw=0.8, ls="--")
    axes.set_title(
        f"most elongated candidates, aligned: {aligned.number}, "
        f"{aligned.long_angst:.0f} x {aligned.short_angst:.0f} A",
        fontsize=8,
    )


def _draw_curves(axes, estimate: SizeEstimate) -> None:
    axes.set_title("answer of blob filters", fontsize=8)
    for curve in estimate.curves:
        highest = curve.response.max()
        axes.semilogx(curve.widths_angst, curve.response / highest, color="black", lw=0.6)
        axes.axvline(curve.widths_angst[curve.response.argmax()], color=_MARK, lw=0.4)
    axes.set_xlabel("width of the filter (A)", fontsize=7)
    ticks = [10, 20, 50, 100, 200]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set_ylim(-0.2, 1.05)
    axes.tick_params(labelsize=7)


def _draw_profile(axes, estimate: SizeEstimate) -> None:
    axes.set_title("rotational average of candidates", fontsize=8)
    if estimate.profile is not None:
        values = estimate.profile.values
        axes.plot(estimate.profile.radii_angst, values / np.abs(values).max(), color="black", lw=1)
        axes.axvline(estimate.profile.diameter_angst / 2, color=_MARK, lw=0.8, ls="--")
    axes.set_xlabel("radius (A)", fontsize=7)
    axes.tick_params(labelsize=7)


def _draw_methods(axes, estimate: SizeEstimate) -> None:
    axes.set_title("estimates by micrograph", fontsize=8)
    used = estimate.micrographs[estimate.micrographs.reason == "-"]
    for method, (colour, mark) in _METHOD_MARKS.items():
        axes.plot(
            np.arange(1, len(used) + 1), used[f"{method}_angst"], mark,
            ms=4, color=colour,
            label=method,
        )  # fmt: skip
    size = estimate.size
    axes.axhspan(
        size.diameter_angst - size.uncertainty_angst,
        size.diameter_angst + size.uncertainty_angst,
        color=_MARK,
        alpha=0.2,
        lw=0,
    )
    axes.axhline(size.diameter_angst, color=_MARK, lw=0.8)
    axes.set_ylabel("diameter (A)", fontsize=7)
    axes.set_xlabel("micrograph", fontsize=7)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=6, loc="lower right")
    axes.tick_params(labelsize=7)
