"""Allowances shown on cards, and the paths by which a reply can be updated."""

from typing import Any

import pytest

from bot.core.cards import TOKEN_LIFE, TOKEN_MARGIN, Charge, Reply, ReplyPath, granted, paths, tightest
from bot.core.quota import Allowance, Amount, Grant, Scope, Unit
from bot.core.windows import Window


def allowance(
    left: int, *, unit: Unit = Unit.IMAGES, window: Window | None = Window.DAY, scope: Scope = Scope.USER
) -> Allowance:
    return Allowance(f"{scope}_{window}_{unit}", left, 0, unit, None, scope, window)


IMAGES, DOLLARS = allowance(9), allowance(400_000, unit=Unit.MICRO_USD, window=Window.WEEK)


@pytest.mark.parametrize(
    ("price", "tighter"), [(80_000, DOLLARS), (44_444, IMAGES), (40_000, IMAGES), (0, IMAGES)]
)  # fmt: skip
def test_money_is_tighter_where_it_pays_for_fewer_pictures(price: int, tighter: Allowance) -> None:
    assert tightest([IMAGES, DOLLARS], price=price) is tighter


def test_of_equally_tight_limits_the_narrowest_is_shown() -> None:
    hour = allowance(9, window=Window.HOUR)

    assert tightest([hour, IMAGES], price=1) is hour


def test_shared_limits_and_limits_without_a_window_are_not_the_members_own() -> None:
    others = [allowance(0, scope=each) for each in Scope if each is not Scope.USER]

    assert tightest([allowance(0, unit=Unit.JOBS, window=None), *others, IMAGES], price=1) is IMAGES
    assert tightest(others, price=1) is None


def test_a_bonus_is_the_sum_of_what_is_left_of_every_grant() -> None:
    grants = [Grant(1, Unit.IMAGES, 2), Grant(2, Unit.IMAGES, 3), Grant(3, Unit.MICRO_USD, 500_000)]

    assert granted(grants) == Amount(5, 500_000)
    assert granted([]) == Amount()


def test_a_charge_has_the_price_of_one_picture() -> None:
    assert Charge(Amount(4, 320_000)).price == 80_000
    assert Charge(Amount()).price == 0


# --- ways to a reply

TOKEN, CHANNEL, POST = ReplyPath


def reply(**changes: Any) -> Reply:
    """A reply to an interaction at time 0."""
    given: dict[str, Any] = {"message_id": 7, "ephemeral": False, "bot_can_edit": True, "bot_can_post": True}
    given |= {"token": "token", "token_expires_at": TOKEN_LIFE} | changes
    return Reply("j", 42, 6, 5, filesize_limit=1000, locale="en-US", wanted=2, delivered=1, **given)


@pytest.mark.parametrize(
    ("changes", "under_way", "at_the_end"),
    [
        ({}, (TOKEN, CHANNEL), (TOKEN, CHANNEL, POST)),
        ({"gone": True}, (), ()),
        ({"ephemeral": True}, (TOKEN,), (TOKEN,)),
        ({"token": None}, (CHANNEL,), (CHANNEL, POST)),
        ({"bot_can_edit": False}, (TOKEN,), (TOKEN, POST)),
        ({"bot_can_post": False}, (TOKEN, CHANNEL), (TOKEN, CHANNEL)),
        ({"message_id": None}, (), (POST,)),
    ],
)
def test_a_reply_is_updated_by_the_paths_that_are_open(
    changes: dict[str, Any], under_way: tuple[ReplyPath, ...], at_the_end: tuple[ReplyPath, ...]
) -> None:
    assert paths(reply(**changes), now=0, final=False) == under_way
    assert paths(reply(**changes), now=0, final=True) == at_the_end


def test_a_token_is_not_used_shortly_before_it_expires() -> None:
    dies = TOKEN_LIFE - TOKEN_MARGIN
    assert [paths(reply(), now=now, final=False)[0] for now in (dies - 1, dies)] == [TOKEN, CHANNEL]
