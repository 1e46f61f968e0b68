"""The picture of a size that was measured on particles: their mean image and its profile."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image

from cryosnake.particles.size import MeasuredSize

_MARK = "#e05a00"


def draw_measured(measured: MeasuredSize) -> np.ndarray:
    """The picture as (H, W, 3) uint8, row 0 at the bottom (`images.write_png` shows it upright)."""
    figure = Figure(figsize=(8.0, 3.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    size = measured.size
    title = (
        f"diameter {size.diameter_angst:.0f} ± {size.uncertainty_angst:.0f} A, "
        f"long axis {size.long_axis_angst:.0f} A"
    )
    figure.suptitle(title + ("" if size.sure else " – unsure"), fontsize=11)
    left, right = figure.subplots(1, 2)
    left.imshow(measured.mean, cmap="gray", origin="lower")
    pixel_angst = float(measured.radius_angst[1])
    middle = measured.mean.shape[0] // 2
    for diameter, style in ((size.diameter_angst, "-"), (size.long_axis_angst, ":")):
        radius_px = diameter / 2 / pixel_angst
        left.add_patch(Circle((middle, middle), radius_px, fill=False, color=_MARK, ls=style))
        right.axvline(diameter / 2, color=_MARK, ls=style, lw=1)
    left.set_axis_off()
    left.set_title("mean of the particles, corrected for the CTF", fontsize=8)
    right.plot(measured.radius_angst, measured.profile, color="black", lw=1)
    right.axhline(0, color="black", lw=0.5)
    right.set_xlabel("distance from the centre (A)", fontsize=8)
    right.set_ylabel("mean over the ring", fontsize=8)
    right.tick_params(labelsize=8)
    buffer = io.BytesIO()
    canvas.print_raw(buffer)
    width, height = canvas.get_width_height()
    pixels = np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)
    return np.ascontiguousarray(np.asarray(Image.fromarray(pixels[..., :3]))[::-1])
