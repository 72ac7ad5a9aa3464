import subprocess
import sys
from io import BytesIO

import pytest
from PIL import Image, ImageColor

from bot.pictures.chart import BACKGROUND, BARS, HEIGHT, MONEY, WIDTH, Chart, Day, _Scale, _Typeface, draw


def chart(*days: Day, title: str = "The last 30 days", images: str = "Pictures", money: str = "Spent") -> Chart:
    return Chart(days, title=title, images_label=images, money_label=money)


def month(count: int, *, images: int = 4, micro_usd: int = 160_000, label: str = "{} Nov") -> list[Day]:
    return [Day(label.replace("{}", str(day)), images, micro_usd) for day in range(1, count + 1)]


def drawn(which: Chart) -> Image.Image:
    picture = Image.open(BytesIO(draw(which)))
    assert (picture.format, picture.size) == ("PNG", (WIDTH, HEIGHT))
    return picture.convert("RGB")


def area(picture: Image.Image, color: str) -> int:
    """How many pixels below the title and the legend have exactly this colour."""
    colors = picture.crop((0, 120, WIDTH, HEIGHT)).getcolors(WIDTH * HEIGHT) or []
    return sum(count for count, each in colors if each == ImageColor.getrgb(color))


def test_a_day_shows_a_bar_and_its_money_on_an_opaque_dark_ground() -> None:
    picture = drawn(chart(*month(30)))

    assert area(picture, BARS) > 10_000
    assert area(picture, MONEY) > 1_000
    assert {picture.getpixel(at) for at in ((0, 0), (WIDTH - 1, HEIGHT - 1))} == {ImageColor.getrgb(BACKGROUND)}


def test_a_month_in_which_nothing_happened_has_no_bars() -> None:
    assert area(drawn(chart(*month(30, images=0, micro_usd=0))), BARS) == 0


@pytest.mark.parametrize("count", [0, 1, 31])
def test_any_number_of_days_can_be_drawn(count: int) -> None:
    assert bool(area(drawn(chart(*month(count))), BARS)) is bool(count)


def test_the_same_chart_is_the_same_file() -> None:
    assert draw(chart(*month(3))) == draw(chart(*month(3)))


@pytest.mark.parametrize(
    "text", ["$^{", "$\\frac{1}$ and $x^{2$", "🎨 日本語", "_hidden", "\ud800\x00\n\t", "", "long " * 1000]
)
def test_any_text_is_drawn_or_left_out_and_never_breaks_the_chart(text: str) -> None:
    drawn(chart(*month(30, label=text + "{}"), title=text, images=text, money=text))


def test_dollar_signs_are_letters_and_not_mathematics() -> None:
    assert draw(chart(title="$x$")) != draw(chart(title="x"))
    assert draw(chart(Day("$x$", 1, 1))) != draw(chart(Day("x", 1, 1)))


def test_characters_missing_in_the_font_are_left_out() -> None:
    typeface = _Typeface(size=20)

    assert typeface.truncate("🎨 The  last\n30 日 days", 900) == "The last 30 days"
    assert typeface.truncate("日本語", 900) == ""


def test_a_long_text_is_cut_where_it_would_run_out_of_its_room() -> None:
    typeface = _Typeface(size=20)

    cut = typeface.truncate("W" * 1000, 200)

    assert cut.endswith("W…")
    assert typeface.width("W" + cut) > 200 >= typeface.width(cut)


@pytest.mark.parametrize(
    ("largest", "lines", "labels"),
    [
        (0, 2, ["0", "1", "2"]),
        (3, 3, ["0", "1", "2", "3"]),
        (14, 4, ["0", "4", "8", "12", "16"]),
        (9_000, 4, ["0", "2.5k", "5.0k", "7.5k", "10.0k"]),
        (10**6, 4, ["0", "0.25M", "0.50M", "0.75M", "1.00M"]),
    ],
)
def test_numbers_of_pictures_are_whole_and_short(largest: int, lines: int, labels: list[str]) -> None:
    assert _Scale.over(largest, lines=lines).labels() == labels


@pytest.mark.parametrize(
    ("cents", "labels"),
    [
        (1, ["$0", "$0.01", "$0.02", "$0.03", "$0.04"]),
        (187, ["$0", "$0.50", "$1.00", "$1.50", "$2.00"]),
        (3_100, ["$0", "$8", "$16", "$24", "$32"]),
        (10**8, ["$0", "$0.25M", "$0.50M", "$0.75M", "$1.00M"]),
    ],
)
def test_sums_are_dollars_without_an_exponent(cents: int, labels: list[str]) -> None:
    assert _Scale.over(cents, lines=4).labels(unit=100, sign="$") == labels


def test_a_scale_is_never_too_low_and_wastes_no_more_than_half() -> None:
    for largest in (*range(1, 300), 999, 1001, 123_456, 10**12 + 1):
        for lines in (2, 3, 4):
            highest = _Scale.over(largest, lines=lines).ticks[-1]
            assert largest <= highest <= max(2 * largest, lines)


def test_enormous_numbers_can_be_drawn() -> None:
    assert area(drawn(chart(*month(30, images=10**6, micro_usd=10**12))), BARS) > 10_000


def test_importing_the_pool_does_not_import_matplotlib() -> None:
    program = "import sys, bot.pictures.pool; sys.exit('matplotlib' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603 - our own text
