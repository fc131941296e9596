"""Charts drawn by matplotlib, as pictures: SVG with text as text, PDF, PNG. They are the same bytes each time and stand alone."""

import io
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SMALL_INCHES, PANEL_INCHES, WIDE_INCHES = (2.75, 2.4), (3.5, 2.75), (4.1, 3.1)
"""For four, three and two panels beside each other: lettering then comes out equally large."""
INK, GRID = "#33383f", "#e3e6ea"
DOTS_PER_INCH = 300
"""Of PNG."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "apo-bench",
    "svg.fonttype": "none",  # text as text, which readers can search and editors change
    "pdf.fonttype": 42,  # as publishers want it
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # equally wide; the first comes with matplotlib
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
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 1.2,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
"""Matplotlib's settings for all charts; nothing is left to the user's matplotlibrc."""
UNDATED = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    "png": {"Software": None},
}
"""By format what is kept out of the file: what differs from day to day and from version to version."""


@dataclass(frozen=True)
class Key:
    """A line of a chart's key: a colour, or a kind of line."""

    label: str
    colour: str
    dashes: str = ""
    """In points, as SVG writes them."""
    marker: str = "o"
    is_filled: bool = True
    has_line: bool = True

    @property
    def style(self) -> dict[str, Any]:
        """For matplotlib."""
        pattern = (0, tuple(float(length) / STYLE["lines.linewidth"] for length in self.dashes.split())) if self.dashes else "-"
        face = self.colour if self.is_filled else "white"
        return {"color": self.colour, "linestyle": pattern, "marker": self.marker, "markerfacecolor": face}


@dataclass(frozen=True)
class Panel:
    """Axes with a title and labels, which name the units."""

    name: str
    title: str
    labels: tuple[str, str]
    """Of the axes across and up."""
    draw: Callable[[Axes], object]
    """Puts on the axes what is to be seen."""
    description: str
    """What a reader who does not see it is told."""
    inches: tuple[float, float] = PANEL_INCHES

    @cached_property
    def svg(self) -> bytes:
        """As a file."""
        return picture(lambda figure: self.onto(figure.add_subplot()), self.inches, "svg")

    @property
    def address(self) -> str:
        """The SVG as a `data:` address, for a page that needs no other file."""
        return f"data:image/svg+xml;base64,{b64encode(self.svg).decode()}"

    def onto(self, axes: Axes) -> None:
        """Draws it."""
        axes.set(title=self.title, xlabel=self.labels[0], ylabel=self.labels[1])
        axes.locator_params(nbins=6)
        self.draw(axes)


@dataclass(frozen=True)
class Chart:
    """A figure of the page: panels beside each other."""

    kind: ClassVar = "chart"
    name: str
    """Its files' name."""
    title: str
    text: str
    panels: list[Panel]
    keys: list[Key] = field(default_factory=list)
    """What colours and lines mean."""
    most_columns: int = 4
    """Panels beside each other at most."""


def picture(draw: Callable[[Figure], object], inches: tuple[float, float], kind: str) -> bytes:
    """A file of what `draw` puts on a figure of a size."""
    file = io.BytesIO()
    with rc_context(STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure)
        figure.savefig(file, format=kind, metadata=UNDATED[kind], dpi=DOTS_PER_INCH)
    return file.getvalue()
