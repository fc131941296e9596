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
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

SMALL_INCHES, PANEL_INCHES, WIDE_INCHES = (2.75, 2.4), (3.5, 2.75), (4.1, 3.1)
"""For four, three and two panels beside each other: lettering then comes out equally large."""
WHOLE_INCHES = 8.4
"""The widest that a whole chart is, for its lettering to be read at the width of a page."""
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
SHAPES = {
    "o": "M11.8 5a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z",
    "s": "M12 2h6v6h-6z",
    "D": "M15 .8l4.2 4.2l-4.2 4.2l-4.2 -4.2z",
    "^": "M15 1.2l3.6 6.6h-7.2z",
    "v": "M15 8.8l3.6 -6.6h-7.2z",
}
"""Markers by matplotlib's names."""
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
    def shape(self) -> str:
        """The marker as the path of an SVG, about (15, 5)."""
        return SHAPES[self.marker]

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
        """The SVG as an address."""
        return address(self.svg)

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

    @property
    def address(self) -> str:
        """All of it, as one SVG, as an address."""
        return address(self.picture("svg"))

    def picture(self, kind: str) -> bytes:
        """All panels and the key as one picture: `svg`, `pdf` or `png`."""
        columns = 2 if len(self.panels) == 4 else min(len(self.panels), self.most_columns)
        rows = -(-len(self.panels) // columns)
        width, height = (max(panel.inches[axis] for panel in self.panels) for axis in (0, 1))
        width, height = columns * width, rows * height * min(1, WHOLE_INCHES / (columns * width))
        key_columns = min(len(self.keys), 2 * columns)

        def draw(figure: Figure) -> None:
            for number, panel in enumerate(self.panels, start=1):
                panel.onto(figure.add_subplot(rows, columns, number))
            if self.keys:
                handles = [Line2D([], [], **key.style) if key.has_line else Patch(color=key.colour) for key in self.keys]
                figure.legend(handles, [key.label for key in self.keys], loc="outside lower center", ncols=key_columns)

        key_height = 0.2 * -(-len(self.keys) // key_columns) if self.keys else 0
        return picture(draw, (min(width, WHOLE_INCHES), height + key_height), kind)


def picture(draw: Callable[[Figure], object], inches: tuple[float, float], kind: str) -> bytes:
    """A file of what `draw` puts on a figure of a size."""
    file = io.BytesIO()
    with rc_context(STYLE):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure)
        figure.savefig(file, format=kind, metadata=UNDATED[kind], dpi=DOTS_PER_INCH)
    return file.getvalue()


def address(svg: bytes) -> str:
    """The picture as a `data:` address, for a page that needs no other file."""
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
