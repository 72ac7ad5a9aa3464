"""Draws pictures and money per day as a chart: dark, calm, and legible at the width of a phone.

matplotlib takes a quarter of a second and some sixty megabytes to import, so only `draw` imports it, in the
pool's process; the program itself imports this module for `Chart` and `Day` and pays for neither.
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

BACKGROUND = "#2b2d31"  # that of Discord's dark theme; opaque, as the text would be lost on the light one
TEXT = "#f2f3f5"
MUTED = "#b5bac1"
GRID = "#42454b"
BARS = "#5b78d1"
BARS_TEXT = "#a3b5ee"
MONEY = "#f0b95a"

LARGE, SMALL = 32, 27  # pixels
EDGE = 24  # left free around everything
GAP = 12  # between the plot and its numbers
LEGEND, ABOVE, BELOW = 70, 124, 66  # where the legend begins and the plot ends, from the top; from the bottom
LABEL_MOST = 170  # pixels of one day's name
LEAST_SLOTS = 9  # fewer days than this do not make wider bars
CENT = 10_000  # micro-dollars

LETTERS = ((10**6, 10**6, "M"), (10**4, 10**3, "k"))  # from, in, as
NICE = (10, 15, 20, 25, 30, 40, 50, 60, 80)  # what a step between two grid lines may begin with


@dataclass(frozen=True, slots=True)
class Day:
    label: str  # a short date, in the reader's language
    images: int
    micro_usd: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Days in order, the last one being the one that is named for certain. Texts are in any language."""

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
        """The lowest scale of so many lines, in whole units, that *largest* fits under."""
        need = max(1, math.ceil(largest / lines))
        power = 10 ** max(0, len(str(need)) - 1)
        return cls(
            min(each * power // 10 for each in (*NICE, 100) if each * power >= 10 * need and each * power % 10 == 0),
            lines,
        )

    @property
    def ticks(self) -> list[int]:
        return [self.step * line for line in range(self.lines + 1)]

    @property
    def top(self) -> float:
        return self.step * self.lines * 1.03  # the highest bar stays clear of the edge

    def names(self, *, one: int = 1, sign: str = "") -> list[str]:
        """The ticks in words, *one* of them to the unit: 0, 5, 10; $0, $0.50, $1.00; 0, 2.5k, 5.0k."""
        largest = self.step * self.lines / one
        factor, letter = next(((unit, letter) for least, unit, letter in LETTERS if largest >= least), (1, ""))
        places = next(places for places in range(3) if self.step * 10**places % (factor * one) == 0)
        if places and not letter:
            places = 2  # of money, the only one with less than a whole
        return [f"{sign}{tick / one / factor:,.{places}f}{letter}" if tick else f"{sign}0" for tick in self.ticks]


class _Pen:
    """Writes text as it stands: nothing in it is mathematics, and what the font cannot show is left out."""

    def __init__(self, *, size: int, bold: bool = False) -> None:
        import matplotlib as mpl  # noqa: PLC0415 - see the module's docstring
        from matplotlib.font_manager import FontProperties, get_font  # noqa: PLC0415

        # The font that comes with matplotlib, by its file: the same picture whatever the machine has installed.
        file = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        self._style = {"fontproperties": FontProperties(fname=file, size=size), "parse_math": False}
        self._size = size
        self._font = get_font(str(file))
        self._known = self._font.get_charmap()

    def style(self, color: str) -> dict[str, Any]:
        return {**self._style, "color": color}

    def width(self, text: str) -> float:
        if not text:
            return 0.0
        self._font.set_size(self._size, DPI)
        self._font.set_text(text)
        return self._font.get_width_height()[0] / 64

    def fitting(self, text: str, most: float) -> str:
        """One line of *text* in at most *most* pixels."""
        shown = "".join(each for each in " ".join(text.split()) if ord(each) in self._known)
        shown = " ".join(shown.split())[: int(most / 4)]  # no letter is narrower, and the rest need not be measured
        if self.width(shown) <= most:
            return shown
        while shown and self.width(shown + "…") > most:
            shown = shown[:-1]
        return shown.rstrip() + "…"


def draw(chart: Chart) -> bytes:
    """The chart as a PNG of WIDTH x HEIGHT pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - see the module's docstring
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    pen, heavy = _Pen(size=SMALL), _Pen(size=LARGE, bold=True)
    title = heavy.fitting(chart.title, WIDTH - 2 * EDGE)
    figure.text(EDGE / WIDTH, 1 - 18 / HEIGHT, title, va="top", **heavy.style(TEXT))
    _legend(figure, chart, pen=pen)
    _plot(figure, chart.days, pen=pen)
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _legend(figure: "Figure", chart: Chart, *, pen: _Pen) -> None:
    """What the colours mean, in the colours."""
    left = float(EDGE)
    for mark, label, color in (("■", chart.images_label, BARS_TEXT), ("━", chart.money_label, MONEY)):
        text = f"{mark} {pen.fitting(label, WIDTH / 2 - 4 * EDGE)}"
        figure.text(left / WIDTH, 1 - LEGEND / HEIGHT, text, va="top", **pen.style(color))
        left += pen.width(text) + 2 * EDGE


def _plot(figure: "Figure", days: Sequence[Day], *, pen: _Pen) -> None:
    counts, cents = _scales(days)
    left, right = counts.names(), cents.names(one=100, sign="$")
    begins = EDGE + max(map(pen.width, left)) + GAP
    wide = WIDTH - begins - EDGE - max(map(pen.width, right)) - GAP
    images = figure.add_axes((begins / WIDTH, BELOW / HEIGHT, wide / WIDTH, (HEIGHT - ABOVE - BELOW) / HEIGHT))
    money = images.twinx()
    _numbers(images, counts, labels=left, style=pen.style(BARS_TEXT))
    _numbers(money, cents, labels=right, style=pen.style(MONEY))
    _name_days(images, days, pen=pen, wide=wide)
    images.grid(axis="y", color=GRID, linewidth=1.5)
    images.bar(range(len(days)), [float(day.images) for day in days], width=0.7, color=BARS)
    spent = [day.micro_usd / CENT for day in days]
    # Steps rather than a line from day to day, which would zigzag across every bar.
    money.stairs(
        spent, [day - 0.5 for day in range(len(days) + 1)], baseline=None, color=MONEY, linewidth=4, clip_on=False
    )


def _scales(days: Sequence[Day]) -> tuple[_Scale, _Scale]:
    """Those of pictures and of cents, with as many lines each, so that one grid serves both."""
    most = max((day.images for day in days), default=0)
    counts = _Scale.over(most, lines=min(4, max(2, most)))
    cents = max((math.ceil(day.micro_usd / CENT) for day in days), default=0) or 200  # an empty axis is in dollars
    return counts, _Scale.over(cents, lines=counts.lines)


def _numbers(axes: "Axes", scale: _Scale, *, labels: list[str], style: dict[str, Any]) -> None:
    axes.set_yticks(scale.ticks, labels, **style)
    axes.set_ylim(0, scale.top)
    axes.set_axisbelow(True)
    axes.set_frame_on(False)
    axes.tick_params(axis="y", length=0, pad=GAP)
    axes.tick_params(axis="x", length=0, pad=GAP + 8)  # below the zeros at both ends, not beside them


def _name_days(axes: "Axes", days: Sequence[Day], *, pen: _Pen, wide: float) -> None:
    """As many of them as stand clear of each other, counted back from the last."""
    slots, middle = max(len(days), LEAST_SLOTS), (len(days) - 1) / 2
    axes.set_xlim(middle - slots / 2, middle + slots / 2)
    labels = [pen.fitting(day.label, LABEL_MOST) for day in days]
    widest = max(map(pen.width, labels), default=0.0)
    every = math.ceil((widest + 2 * GAP) * slots / wide)
    shown = range(len(days) - 1, -1, -every)
    axes.set_xticks(shown, [labels[day] for day in shown], **pen.style(MUTED))
