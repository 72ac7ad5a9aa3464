"""What cards say about the remaining quota: of the tightest limit, and of a bonus."""

from dataclasses import replace

import pytest

from bot.core.cards import Card, Charge
from bot.core.jobs import State
from bot.core.quota import Allowance, Amount
from bot.core.windows import Window
from bot.ui.cards.job import render
from tests.ui.cards.drawing import EN, NOW, card, done, names, read


def drawn(given: Card, *files: str) -> list[str]:
    return read(render(given, EN, files=files, now=NOW))


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (Allowance("user_day_usd", 1_000_000, 920_000, "micro_usd", NOW), "1 picture left today"),
        (Allowance("user_week_images", 9, 6, "images", NOW, window=Window.WEEK), "3 pictures left this week"),
        (Allowance("user_hour_images", 9, 8, "images", NOW, window=Window.HOUR), "1 picture left this hour"),
        (Allowance("user_month_usd", 9, 9, "micro_usd", NOW, window=Window.MONTH), "0 pictures left this month"),
        (Allowance("user_total_images", 9, 12, "images", None, window=Window.TOTAL), "0 pictures left in total"),
    ],
)
async def test_the_remaining_amount_is_shown_with_its_window(left: Allowance, told: str) -> None:
    assert drawn(replace(done(1), left=left), *names(1))[-2].endswith(f" · {told}")
    assert drawn(replace(card(State.QUEUED), left=left))[-2].endswith(f" · {told}")
    assert drawn(replace(done(1), left=None), *names(1))[-2].endswith(" · 1 picture")


async def test_a_bonus_is_shown_beside_the_remaining_limit() -> None:
    both = replace(done(1), bonus=Amount(5, 2_000_000))
    alone = replace(done(1), bonus=Amount(0, 500_000), left=None)

    assert drawn(both, *names(1))[-2].endswith(" · 9 pictures left today · bonus: 5 pictures · $2.00")
    assert drawn(alone, *names(1))[-2].endswith(" · 1 picture · bonus: $0.50")


@pytest.mark.parametrize(("pictures", "told"), [(1, "1 picture"), (3, "3 pictures")])
async def test_the_card_shows_what_a_bonus_paid_with_the_cost(pictures: int, told: str) -> None:
    paid = replace(done(4), charge=Charge(Amount(4, 320_000), settled=Amount(4, 320_000), bonus=pictures))

    assert f"Cost: about $0.32 · {told} from a bonus" in drawn(paid, *names(4))
    released = replace(card(State.FAILED), charge=Charge(Amount(4, 320_000), released=Amount(4, 320_000)))
    assert "bonus" not in "\n".join(drawn(released))
