"""Draws a dark chart of pictures and money per day, legible at the width of a phone.

Importing matplotlib takes a quarter of a second and about 60 MB. Only `draw` imports it, in the pool's process; the
bot's own process imports this module for `Chart` and `Day` alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1000, 460  # pixels; a phone shows them at about a third of that
DPI = 72  # one point is one pixel

BACKGROUND = "#2b2d31"  # Discord's dark theme; opaque, because the text is unreadable on the light one
TEXT = "#f2f3f5"
MUTED = "#b5bac1"
GRID = "#42454b"
BARS = "#5b78d1"
BARS_TEXT = "#a3b5ee"
MONEY = "#f0b95a"

LARGE, SMALL = 32, 27  # pixels
MARGIN = 24  # around the whole chart
GAP = 12  # between the plot and its numbers
LEGEND_TOP, PLOT_TOP, PLOT_BOTTOM = 70, 124, 66  # pixels: two from the top edge, the last from the bottom edge
MAX_LABEL = 170  # pixels of one day's label
MIN_SLOTS = 9  # bars get no wider for fewer days
CENT = 10_000  # micro-dollars

SUFFIXES = ((10**6, 10**6, "M"), (10**4, 10**3, "k"))  # shown from this value on, divisor, suffix
NICE_STEPS = (10, 15, 20, 25, 30, 40, 50, 60, 80)  # the leading digits that a step between grid lines may have


@dataclass(frozen=True, slots=True)
class Day:
    label: str  # a short date, in the reader's language
    images: int
    micro_usd: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Days in order; the last one always gets a label. Texts are in any language."""

    days: tuple[Day, ...]
    title: str
    images_label: str
    money_label: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """Grid lines at 0, *step*, 2 x *step* ... *lines* x *step*."""

    step: int
    lines: int

    @classmethod
    def over(cls, largest: int, *, lines: int) -> "_Scale":
        """Return the lowest scale with *lines* grid lines and whole units that reaches *largest*."""
        need = max(1, math.ceil(largest / lines))
        power = 10 ** max(0, len(str(need)) - 1)
        return cls(
            min(
                each * power // 10
                for each in (*NICE_STEPS, 100)
                if each * power >= 10 * need and each * power % 10 == 0
            ),
            lines,
        )

    @property
    def ticks(self) -> list[int]:
        return [self.step * line for line in range(self.lines + 1)]

    @property
    def top(self) -> float:
        return self.step * self.lines * 1.03  # keeps the highest bar below the edge

    def labels(self, *, unit: int = 1, sign: str = "") -> list[str]:
        """Return the tick labels, with *unit* steps to one: 0, 5, 10; $0, $0.50, $1.00; 0, 2.5k, 5.0k."""
        largest = self.step * self.lines / unit
        factor, suffix = next(((factor, suffix) for start, factor, suffix in SUFFIXES if largest >= start), (1, ""))
        places = next(places for places in range(3) if self.step * 10**places % (factor * unit) == 0)
        if places and not suffix:
            places = 2  # only money has fractions
        return [f"{sign}{tick / unit / factor:,.{places}f}{suffix}" if tick else f"{sign}0" for tick in self.ticks]


class _Typeface:
    """Text style and measurement: text is not parsed as mathematics, and characters missing in the font are dropped."""

    def __init__(self, *, size: int, bold: bool = False) -> None:
        import matplotlib as mpl  # noqa: PLC0415 - see the module's docstring
        from matplotlib.font_manager import FontProperties, get_font  # noqa: PLC0415

        # matplotlib's own font, loaded by file: the chart does not depend on the fonts that are installed.
        file = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        self._style = {"fontproperties": FontProperties(fname=file, size=size), "parse_math": False}
        self._size = size
        self._font = get_font(str(file))
        self._glyphs = self._font.get_charmap()

    def style(self, color: str) -> dict[str, Any]:
        return {**self._style, "color": color}

    def width(self, text: str) -> float:
        if not text:
            return 0.0
        self._font.set_size(self._size, DPI)
        self._font.set_text(text)
        return self._font.get_width_height()[0] / 64

    def truncate(self, text: str, max_width: float) -> str:
        """Return *text* on one line, cut to at most *max_width* pixels."""
        shown = "".join(each for each in " ".join(text.split()) if ord(each) in self._glyphs)
        shown = " ".join(shown.split())[: int(max_width / 4)]  # no letter is narrower than 4 pixels
        if self.width(shown) <= max_width:
            return shown
        while shown and self.width(shown + "…") > max_width:
            shown = shown[:-1]
        return shown.rstrip() + "…"


def draw(chart: Chart) -> bytes:
    """Return the chart as a PNG of WIDTH x HEIGHT pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - see the module's docstring
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    small, bold = _Typeface(size=SMALL), _Typeface(size=LARGE, bold=True)
    title = bold.truncate(chart.title, WIDTH - 2 * MARGIN)
    figure.text(MARGIN / WIDTH, 1 - 18 / HEIGHT, title, va="top", **bold.style(TEXT))
    _legend(figure, chart, typeface=small)
    _plot(figure, chart.days, typeface=small)
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _legend(figure: "Figure", chart: Chart, *, typeface: _Typeface) -> None:
    """Draw the labels of the two series, each in its colour."""
    left = float(MARGIN)
    for mark, label, color in (("■", chart.images_label, BARS_TEXT), ("━", chart.money_label, MONEY)):
        text = f"{mark} {typeface.truncate(label, WIDTH / 2 - 4 * MARGIN)}"
        figure.text(left / WIDTH, 1 - LEGEND_TOP / HEIGHT, text, va="top", **typeface.style(color))
        left += typeface.width(text) + 2 * MARGIN


def _plot(figure: "Figure", days: Sequence[Day], *, typeface: _Typeface) -> None:
    counts, cents = _scales(days)
    left, right = counts.labels(), cents.labels(unit=100, sign="$")
    plot_left = MARGIN + max(map(typeface.width, left)) + GAP
    plot_width = WIDTH - plot_left - MARGIN - max(map(typeface.width, right)) - GAP
    images = figure.add_axes(
        (plot_left / WIDTH, PLOT_BOTTOM / HEIGHT, plot_width / WIDTH, (HEIGHT - PLOT_TOP - PLOT_BOTTOM) / HEIGHT)
    )
    money = images.twinx()
    _numbers(images, counts, labels=left, style=typeface.style(BARS_TEXT))
    _numbers(money, cents, labels=right, style=typeface.style(MONEY))
    _label_days(images, days, typeface=typeface, plot_width=plot_width)
    images.grid(axis="y", color=GRID, linewidth=1.5)
    images.bar(range(len(days)), [float(day.images) for day in days], width=0.7, color=BARS)
    spent = [day.micro_usd / CENT for day in days]
    # Steps: a line from day to day would zigzag across the bars.
    money.stairs(
        spent, [day - 0.5 for day in range(len(days) + 1)], baseline=None, color=MONEY, linewidth=4, clip_on=False
    )


def _scales(days: Sequence[Day]) -> tuple[_Scale, _Scale]:
    """Return the scales of pictures and of cents, with the same number of lines, so that one grid serves both."""
    largest = max((day.images for day in days), default=0)
    counts = _Scale.over(largest, lines=min(4, max(2, largest)))
    cents = max((math.ceil(day.micro_usd / CENT) for day in days), default=0) or 200  # an empty axis shows $0 to $2
    return counts, _Scale.over(cents, lines=counts.lines)


def _numbers(axes: "Axes", scale: _Scale, *, labels: list[str], style: dict[str, Any]) -> None:
    axes.set_yticks(scale.ticks, labels, **style)
    axes.set_ylim(0, scale.top)
    axes.set_axisbelow(True)
    axes.set_frame_on(False)
    axes.tick_params(axis="y", length=0, pad=GAP)
    axes.tick_params(axis="x", length=0, pad=GAP + 8)  # below the zeros at both ends


def _label_days(axes: "Axes", days: Sequence[Day], *, typeface: _Typeface, plot_width: float) -> None:
    """Label as many days as fit without overlap, counted back from the last."""
    slots, middle = max(len(days), MIN_SLOTS), (len(days) - 1) / 2
    axes.set_xlim(middle - slots / 2, middle + slots / 2)
    labels = [typeface.truncate(day.label, MAX_LABEL) for day in days]
    widest = max(map(typeface.width, labels), default=0.0)
    every = math.ceil((widest + 2 * GAP) * slots / plot_width)
    shown = range(len(days) - 1, -1, -every)
    axes.set_xticks(shown, [labels[day] for day in shown], **typeface.style(MUTED))
