"""Bonuses pay only for pictures beyond the member's own limits, and only where they cover all of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.errors import UserError
from bot.core.quota import Amount, Draw, Grant, Limit, Scope, Tally, Unit, Used, check, draw, fits_own_limits
from bot.core.windows import Window, moment

NOW = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)
DAY = moment(NOW).buckets[Window.DAY]
DOLLAR = 1_000_000
NOTHING = Amount()


def images(amount: int, scope: Scope = Scope.USER) -> Limit:
    return Limit(scope, Unit.IMAGES, Window.DAY, amount)


def dollars(amount: int, scope: Scope = Scope.USER) -> Limit:
    return Limit(scope, Unit.MICRO_USD, Window.DAY, amount)


def pictures(n: int, *, price: int = 0) -> Amount:
    return Amount(n, n * price)


def used(amount: Amount = NOTHING, **others: Amount) -> Used:
    """Usage today: of the member, and of *others* by scope."""
    tallies = {(Scope.USER, DAY): Tally(spent=amount)}
    return Used(NOW, tallies=tallies | {(Scope(scope), DAY): Tally(spent=each) for scope, each in others.items()})


def of_images(left: int, number: int = 1, expires_at: int | None = None) -> Grant:
    return Grant(number, Unit.IMAGES, left, expires_at)


def of_dollars(left: int, number: int = 1, expires_at: int | None = None) -> Grant:
    return Grant(number, Unit.MICRO_USD, left, expires_at)


# --- what the member's own windows let through


@pytest.mark.parametrize(
    ("limits", "before", "price", "fits"),
    [
        ([], Amount(99, 99), 5, 4),
        ([images(10)], Amount(7), 5, 3),
        ([images(10)], Amount(12), 5, 0),  # the limit was lowered meanwhile
        ([dollars(100)], Amount(0, 50), 20, 2),
        ([dollars(100)], Amount(0, 50), 0, 4),
        ([images(3), dollars(100)], Amount(0, 0), 60, 1),
        ([images(0, Scope.CHANNEL), dollars(0, Scope.GUILD)], Amount(), 5, 4),  # those are not the member's own
        ([Limit(Scope.USER, Unit.JOBS, None, 0)], Amount(), 5, 4),
    ],
)
def test_how_many_pictures_fit_in_a_members_own_limits(
    limits: Sequence[Limit], before: Amount, price: int, fits: int
) -> None:
    assert fits_own_limits(limits, used(before), asks=pictures(4, price=price)) == fits


def test_a_bonus_is_not_used_while_the_members_own_limits_suffice() -> None:
    assert check([images(10)], used(Amount(6)), asks=pictures(4), grants=[of_images(9)]) == ()


def test_a_bonus_pays_only_the_pictures_that_do_not_fit() -> None:
    assert check([images(10)], used(Amount(9)), asks=pictures(4), grants=[of_images(9)]) == (Draw(1, 3, 3),)


def test_a_bonus_that_is_too_small_pays_nothing_and_the_refusal_says_how_much_it_covers() -> None:
    with pytest.raises(UserError) as caught:
        check([images(10)], used(Amount(9)), asks=pictures(4, price=7), grants=[of_images(2)])
    assert caught.value.key == "quota.user_day_images"
    assert {name: caught.value.values[name] for name in ("asked", "left", "bonus")} == {
        "asked": 4,
        "left": 1,
        "bonus": 2,
    }


@pytest.mark.parametrize(
    ("limit", "key"),
    [
        (images(3, Scope.CHANNEL), "quota.channel_day_images"),
        (images(3, Scope.GUILD), "quota.guild_day_images"),
        (images(3, Scope.CAP), "quota.cap_day_images"),
        (images(3, Scope.HOST), "quota.host_day_images"),
        (Limit(Scope.USER, Unit.JOBS, None, 0), "quota.user_in_flight"),
    ],
)
def test_a_bonus_replaces_only_the_members_own_limits(limit: Limit, key: str) -> None:
    with pytest.raises(UserError) as caught:
        check([images(0), limit], used(), asks=pictures(4), grants=[of_images(9)])
    assert caught.value.key == key


def test_a_bonus_counts_in_the_channels_window_too() -> None:
    full = used(Amount(), channel=Amount(1))
    with pytest.raises(UserError, match="channel_day_images"):
        check([images(0), images(4, Scope.CHANNEL)], full, asks=pictures(4), grants=[of_images(9)])
    check([images(0), images(5, Scope.CHANNEL)], full, asks=pictures(4), grants=[of_images(9)])


# --- dollars


@pytest.mark.parametrize(("left", "covers"), [(0, 0), (79_999, 0), (80_000, 1), (239_999, 2), (DOLLAR, 12)])
def test_dollars_pay_whole_pictures_and_keep_the_rest(left: int, covers: int) -> None:
    assert of_dollars(left).covers(80_000) == covers
    taken = draw([of_dollars(left)], pictures=99, price=80_000, now=NOW)
    assert sum(each.taken for each in taken) == covers * 80_000 <= left


def test_free_pictures_cost_a_dollar_bonus_nothing_and_a_picture_bonus_one_each() -> None:
    assert check([images(0)], used(), asks=pictures(4), grants=[of_dollars(1)]) == (Draw(1, 4, 0),)
    assert check([images(0)], used(), asks=pictures(4), grants=[of_images(5)]) == (Draw(1, 4, 4),)


def test_free_pictures_need_no_bonus_where_only_the_money_limit_is_used_up() -> None:
    assert check([dollars(0)], used(), asks=pictures(4), grants=[of_dollars(1)]) == ()


def test_a_picture_bonus_also_pays_for_pictures_beyond_the_money_limit() -> None:
    assert check([dollars(DOLLAR)], used(), asks=pictures(4, price=400_000), grants=[of_images(2)]) == (Draw(1, 2, 2),)


def test_remainders_of_two_bonuses_do_not_add_up_to_a_picture() -> None:
    with pytest.raises(UserError):
        check([images(0)], used(), asks=pictures(1, price=80), grants=[of_dollars(79, 1), of_dollars(79, 2)])


# --- which bonus


def test_the_bonus_that_expires_first_is_used_first_and_one_that_never_does_last() -> None:
    grants = [
        of_images(1, 1),
        of_images(1, 2, NOW + 9),
        of_images(1, 3, NOW + 5),
        of_images(1, 4, NOW + 5),
        of_images(5, 5),
    ]
    drawn = draw(grants, pictures=6, price=10, now=NOW)
    assert [(each.grant, each.pictures) for each in drawn] == [(3, 1), (4, 1), (2, 1), (1, 1), (5, 2)]


@pytest.mark.parametrize(("expires_at", "pays"), [(NOW - 1, False), (NOW, False), (NOW + 1, True), (None, True)])
def test_a_bonus_is_usable_until_the_moment_it_expires(expires_at: int | None, pays: bool) -> None:  # noqa: FBT001
    assert bool(draw([of_images(1, expires_at=expires_at)], pictures=1, price=1, now=NOW)) is pays


def test_bonuses_of_both_units_pay_together() -> None:
    drawn = draw([of_dollars(250, 1, NOW + 1), of_images(2, 2)], pictures=4, price=100, now=NOW)
    assert drawn == (Draw(1, 2, 200), Draw(2, 2, 2))


# --- whatever is asked

units = st.sampled_from([Unit.IMAGES, Unit.MICRO_USD])
scopes = st.sampled_from([Scope.USER, Scope.CHANNEL, Scope.GUILD, Scope.CAP, Scope.HOST])
some_limits = st.lists(
    st.builds(Limit, scopes, units, st.just(Window.DAY), st.integers(0, 400)),
    max_size=6,
    unique_by=lambda one: one.name,
)
tallies = st.builds(
    Tally,
    reserved=st.builds(Amount, st.integers(0, 10), st.integers(0, 200)),
    spent=st.builds(Amount, st.integers(0, 10), st.integers(0, 200)),
)
some_grants = st.lists(
    st.builds(Grant, st.integers(1, 99), units, st.integers(1, 300), st.sampled_from([None, NOW, NOW + 1, NOW + 2])),
    max_size=4,
    unique_by=lambda one: one.id,
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    some_limits,
    st.dictionaries(scopes, tallies, max_size=5),
    st.builds(pictures, st.integers(1, 4), price=st.integers(0, 90)),
    some_grants,
)
def test_an_admitted_request_is_within_every_limit_or_paid_by_a_bonus(
    limits: list[Limit], before: dict[Scope, Tally], asks: Amount, grants: list[Grant]
) -> None:
    usage = Used(NOW, tallies={(scope, DAY): each for scope, each in before.items()})
    price = asks.micro_usd // asks.images
    try:
        drawn = check(limits, usage, asks=asks, grants=grants)
    except UserError:
        return
    remaining = {each.id: each for each in grants}
    for each in drawn:
        grant = remaining[each.grant]
        assert grant.expires_at is None or grant.expires_at > NOW
        assert each.taken == each.pictures * (1 if grant.unit is Unit.IMAGES else price) <= grant.left
    paid = sum(each.pictures for each in drawn)
    assert len({each.grant for each in drawn}) == len(drawn)
    assert 0 <= paid <= asks.images - fits_own_limits(limits, usage, asks=asks)
    own = pictures(asks.images - paid, price=price)
    for limit in limits:
        counts = own if limit.scope is Scope.USER else asks
        added = counts.images if limit.unit is Unit.IMAGES else counts.micro_usd
        assert added == 0 or usage.of(limit) + added <= limit.amount


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(some_grants, st.integers(0, 40), st.integers(0, 90))
def test_bonuses_pay_as_much_as_they_can_and_never_more_than_is_left(
    grants: list[Grant], wanted: int, price: int
) -> None:
    drawn = draw(grants, pictures=wanted, price=price, now=NOW)
    able = sum(each.covers(price) for each in grants if each.expires_at is None or each.expires_at > NOW)
    assert sum(each.pictures for each in drawn) == min(wanted, able)
