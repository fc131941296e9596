"""Matplotlib panels as SVG that stands inside a page: same bytes each time, no addresses, ids of their own, scales with the page."""

import io
import re
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

SMALL_INCHES, PANEL_INCHES, WIDE_INCHES = (2.75, 2.4), (3.5, 2.75), (4.1, 3.1)
"""For four, three and two panels beside each other: lettering then comes out equally large."""
INK, GRID = "#33383f", "#e3e6ea"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "apo-bench",
    "svg.fonttype": "path",  # the reader's machine need not have the font
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 1.2,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
"""Matplotlib's settings for all panels; nothing is left to the user's matplotlibrc."""


class Panel:
    """One chart: draw on `axes`, then ask for `svg`."""

    def __init__(self, title: str, xlabel: str, ylabel: str, inches: tuple[float, float] = PANEL_INCHES) -> None:
        """Makes empty axes with a title and labels, which name the units."""
        with rc_context(STYLE):
            self._figure = Figure(figsize=inches, layout="constrained")
            self.axes: Axes = self._figure.add_subplot()
            self.axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
            self.axes.locator_params(nbins=6)

    def svg(self, name: str, description: str) -> str:
        """The chart as an `<svg>` element.

        Args:
            name: unique on the page; the ids inside start with it, as an id may stand only once on a page.
            description: what a reader who does not see the chart is told.
        """
        text = io.StringIO()
        with rc_context(STYLE):
            FigureCanvasSVG(self._figure).print_svg(text, metadata={"Date": None, "Creator": None})
        element = text.getvalue()[text.getvalue().index("<svg") :]
        element = re.sub(r"\s*<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
        element = re.sub(r'\s(xmlns(:xlink)?|version)="[^"]*"', "", element)
        element = re.sub(r'\bid="', f'id="{name}-', element)
        element = re.sub(r'(url\(|href=")#', rf"\g<1>#{name}-", element)
        element = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"([^>]*?) (?:width|height)="[^"]*"', r"\1\2", element, count=1)
        return element.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1).strip()


def standalone(svg: str) -> str:
    """A panel's `<svg>` element as a file of its own, which must name its namespaces."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg", f"<svg {names}", 1) + "\n"
