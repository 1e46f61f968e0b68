"""matplotlib figures as inline SVG that follows the page's light or dark colours."""

import io
import re

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Stand-ins drawn by matplotlib and replaced by the page's CSS colours.
INK, SOFT, GRID = "#010101", "#020202", "#030303"
_CSS = {INK: "var(--ink)", SOFT: "var(--soft)", GRID: "var(--line)"}

#: Colours that are legible on light and on dark, and apart for colour-blind eyes.
ACCEPTED, REJECTED = "#3f8fd2", "#e07b39"
OTHER = "#b9bdc6"
REASON_COLOURS = {
    "input": "#8a8f98",
    "dose": "#c678b4",
    "drift": "#e0a419",
    "spectrum": "#2fa37c",
    "class": "#d9603b",
    "ctf": "#8b6fd1",
}

#: Above this number of points they are drawn into a small picture inside the SVG.
RASTER_ABOVE = 1500

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify": True,
}


def styled():
    """The page's look for figures, as a context; figures are made and written inside it."""
    return matplotlib.rc_context(_STYLE)


def as_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element.

    Parameters
    ----------
    name : letters; begins every id, so that several figures can share a page.
    description : what the picture shows, for those who cannot see it.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", dpi=130, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for stand_in, variable in _CSS.items():
        text = text.replace(stand_in, variable)
    # the size comes from the page, the proportions from viewBox
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return re.sub(r"\n\s*", "\n", text)


def threshold_line(axes: Axes, value: float, *, vertical: bool = False) -> None:
    """A dashed line at a threshold, where it lies within the axis."""
    low, high = sorted(axes.get_xlim() if vertical else axes.get_ylim())
    if low <= value <= high:
        draw = axes.axvline if vertical else axes.axhline
        draw(value, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=3)


def no_data(axes: Axes) -> None:
    """Say in an empty panel that there is nothing to show; an x-axis it shares stays as it is."""
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color=SOFT)
