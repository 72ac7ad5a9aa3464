"""Limits, the windows they count in, and which one says no."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.errors import UserError
from bot.core.quota import Amount, Limits, Used, allowances, check, day_ends, day_of, month_ends, month_of

FREE = Limits(None, None, None, None, None, None, None)
DAY = 24 * 60 * 60 * 1000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOON = ms("2026-11-20T12:00:00")


@pytest.mark.parametrize(
    ("now", "day", "day_end", "month", "month_end"),
    [
        ("2026-11-20T12:00:00", "2026-11-20", "2026-11-21", "2026-11", "2026-12-01"),
        ("2026-11-30T23:59:59.999", "2026-11-30", "2026-12-01", "2026-11", "2026-12-01"),
        ("2026-12-01T00:00:00", "2026-12-01", "2026-12-02", "2026-12", "2027-01-01"),
        ("2026-12-31T23:59:59.999", "2026-12-31", "2027-01-01", "2026-12", "2027-01-01"),
        ("2027-01-31T08:00:00", "2027-01-31", "2027-02-01", "2027-01", "2027-02-01"),
        ("2027-02-28T23:00:00", "2027-02-28", "2027-03-01", "2027-02", "2027-03-01"),
        ("2028-02-28T23:00:00", "2028-02-28", "2028-02-29", "2028-02", "2028-03-01"),
        ("2028-02-29T00:00:00", "2028-02-29", "2028-03-01", "2028-02", "2028-03-01"),
        ("2100-02-28T12:00:00", "2100-02-28", "2100-03-01", "2100-02", "2100-03-01"),
        ("2026-03-29T01:30:00", "2026-03-29", "2026-03-30", "2026-03", "2026-04-01"),  # European clocks jump here
    ],
)
def test_windows_end_at_midnight_utc(now: str, day: str, day_end: str, month: str, month_end: str) -> None:
    at = ms(now)
    assert (day_of(at), day_ends(at)) == (f"day:{day}", ms(day_end))
    assert (month_of(at), month_ends(at)) == (f"month:{month}", ms(month_end))


moments = st.datetimes(datetime(1970, 1, 1), datetime(2199, 1, 1)).map(  # noqa: DTZ001 - UTC is put on in the map
    lambda each: int(each.replace(tzinfo=UTC).timestamp() * 1000)
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(moments)
def test_a_window_holds_until_its_end_and_not_a_moment_longer(now: int) -> None:
    for name_of, ends, longest in ((day_of, day_ends, DAY), (month_of, month_ends, 31 * DAY)):
        end = ends(now)
        assert 0 < end - now <= longest
        assert name_of(end - 1) == name_of(now) != name_of(end)
        assert ends(end - 1) == end < ends(end)


# --- which limit says no

ONE = Amount(1, 80_000)
FULL = Used(
    user_day=Amount(10, 1_000_000),
    guild_month=Amount(0, 20_000_000),
    host_month=Amount(0, 50_000_000),
    user_in_flight=5,
    guild_in_flight=50,
    host_in_flight=500,
)
NARROWEST_FIRST = [
    ("user_in_flight", "user_in_flight"),
    ("user_day_images", "user_day_images"),
    ("user_day_usd", "user_day_micro_usd"),
    ("guild_in_flight", "guild_in_flight"),
    ("guild_month_usd", "guild_month_micro_usd"),
    ("host_in_flight", "host_in_flight"),
    ("host_month_usd", "host_month_micro_usd"),
]


def refusal(limits: Limits, used: Used, *, asks: Amount = ONE, guild: bool = True) -> UserError:
    with pytest.raises(UserError) as caught:
        check(limits, used, asks=asks, guild=guild, now=NOON)
    return caught.value


def test_the_narrowest_of_the_broken_limits_is_named() -> None:
    limits = Limits()
    for name, field in NARROWEST_FIRST:
        assert refusal(limits, FULL).key == f"quota.{name}"
        limits = replace(limits, **{field: None})
    check(limits, FULL, asks=ONE, guild=True, now=NOON)


def test_in_direct_messages_only_the_members_and_the_hosts_limits_count() -> None:
    names = [each.name for each in allowances(Limits(), Used(), guild=False, now=NOON)]
    assert names == [name for name, _ in NARROWEST_FIRST if not name.startswith("guild")]
    check(replace(Limits(), guild_in_flight=0, guild_month_micro_usd=0), Used(), asks=ONE, guild=False, now=NOON)


@pytest.mark.parametrize(("name", "field"), NARROWEST_FIRST)
def test_a_limit_of_none_is_no_limit_and_a_limit_of_zero_allows_nothing(name: str, field: str) -> None:
    check(FREE, FULL, asks=Amount(10**6, 10**12), guild=True, now=NOON)
    nothing = replace(FREE, **{field: 0})
    error = refusal(nothing, Used())
    assert error.key == f"quota.{name}"
    assert (error.values["limit"], error.values["left"]) == (0, 0)


@pytest.mark.parametrize(("asks", "fits"), [(Amount(3, 1), True), (Amount(4, 1), False)])
def test_a_request_may_use_a_limit_up_to_its_last_picture(asks: Amount, fits: bool) -> None:  # noqa: FBT001
    used = Used(user_day=Amount(7, 0))
    if fits:
        check(Limits(), used, asks=asks, guild=True, now=NOON)
    else:
        assert refusal(Limits(), used, asks=asks).values["left"] == 3


def test_a_request_may_use_a_limit_up_to_its_last_micro_dollar() -> None:
    used = Used(user_day=Amount(0, 920_000))
    check(Limits(), used, asks=Amount(1, 80_000), guild=True, now=NOON)
    error = refusal(Limits(), used, asks=Amount(1, 80_001))
    assert error.values == {
        "limit": 1_000_000,
        "left": 80_000,
        "asked": 80_001,
        "unit": "micro_usd",
        "resets_at": ms("2026-11-21"),
    }


def test_a_refusal_says_when_time_helps_and_when_only_finishing_does() -> None:
    resets = {each.name: each.resets_at for each in allowances(Limits(), Used(), guild=True, now=NOON)}
    assert resets == {
        "user_in_flight": None,
        "user_day_images": ms("2026-11-21"),
        "user_day_usd": ms("2026-11-21"),
        "guild_in_flight": None,
        "guild_month_usd": ms("2026-12-01"),
        "host_in_flight": None,
        "host_month_usd": ms("2026-12-01"),
    }


def test_a_limit_that_was_lowered_below_what_is_used_leaves_nothing_rather_than_less() -> None:
    lowered = replace(FREE, user_day_images=3)
    assert [each.left for each in allowances(lowered, FULL, guild=True, now=NOON)] == [0]


def test_the_shipped_limits_are_finite() -> None:
    assert None not in [getattr(Limits(), field) for _, field in NARROWEST_FIRST]


amounts = st.builds(Amount, st.integers(0, 50), st.integers(0, 10**9))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(amounts, amounts, st.none() | st.integers(0, 50), st.none() | st.integers(0, 10**9))
def test_what_was_let_through_never_goes_over_a_limit(
    used: Amount, asks: Amount, images: int | None, money: int | None
) -> None:
    limits = replace(FREE, user_day_images=images, user_day_micro_usd=money)
    after = used + asks
    fits = (images is None or after.images <= images) and (money is None or after.micro_usd <= money)
    asked_nothing_of_a_full_limit = not fits and (asks.images == 0 or asks.micro_usd == 0)
    try:
        check(limits, Used(user_day=used), asks=asks, guild=True, now=NOON)
    except UserError:
        assert not fits
    else:
        assert fits or asked_nothing_of_a_full_limit


def test_a_day_is_a_day_in_any_year() -> None:
    start = datetime(2028, 1, 1, tzinfo=UTC)
    names = {day_of(int((start + timedelta(days=n)).timestamp() * 1000)) for n in range(366)}
    assert len(names) == 366
