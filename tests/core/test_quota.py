"""Which limits apply, and which one refuses a request.

Longer than other files: the limits, bonuses and blocks decide about one request together.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.errors import UserError
from bot.core.quota import (
    Amount,
    Block,
    Holder,
    Limit,
    Limits,
    Rule,
    Scope,
    Tally,
    Unit,
    Used,
    alerts,
    allowances,
    check,
    check_blocks,
    effective,
    idle,
)
from bot.core.windows import HOUR, Window, moment

FREE = Limits(*[None] * 11)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOON = ms("2026-11-20T12:00:00")
DAY, MONTH, TOTAL = "day:2026-11-20", "month:2026-11", "total"


def used(**tallies: Tally) -> Used:
    """Usage by account and window: `user_day=`, `guild_total=` and so on."""
    buckets = {str(window): bucket for window, bucket in moment(NOON).buckets.items()}
    found = {(Scope(name.partition("_")[0]), buckets[name.partition("_")[2]]): each for name, each in tallies.items()}
    return Used(NOON, tallies=found)


def held(images: int, micro_usd: int = 0) -> Tally:
    return Tally(reserved=Amount(images, micro_usd))


def applying(limits: Limits, *, guild: bool = True) -> Sequence[Limit]:
    return effective(limits.rules(guild=guild), ())


# --- which limit says no

ONE = Amount(1, 80_000)
FULL = used(
    user_day=held(10, 1_000_000),
    guild_month=held(0, 20_000_000),
    host_month=held(0, 50_000_000),
    user_total=Tally(jobs=5),
    guild_total=Tally(jobs=50),
    host_total=Tally(jobs=500),
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
        check(applying(limits, guild=guild), used, asks=asks)
    return caught.value


def test_the_narrowest_of_the_broken_limits_is_named() -> None:
    limits = Limits()
    for name, field in NARROWEST_FIRST:
        assert refusal(limits, FULL).key == f"quota.{name}"
        limits = replace(limits, **{field: None})
    check(applying(limits), FULL, asks=ONE)


def test_other_limits_apply_outside_servers() -> None:
    limits = Limits(direct_day_images=3, direct_day_micro_usd=None, direct_month_micro_usd=9, direct_in_flight=2)
    names = {each.name: each.amount for each in applying(limits, guild=False)}
    assert names == {
        "user_in_flight": 2,
        "user_day_images": 3,
        "direct_month_usd": 9,
        "host_in_flight": 500,
        "host_month_usd": 50_000_000,
    }
    full = used(guild_month=held(0, 9))  # the account of server 0
    assert refusal(limits, full, guild=False).key == "quota.direct_month_usd"


@pytest.mark.parametrize(("name", "field"), NARROWEST_FIRST)
def test_a_limit_of_none_is_no_limit_and_a_limit_of_zero_allows_nothing(name: str, field: str) -> None:
    check(applying(FREE), FULL, asks=Amount(10**6, 10**12))
    nothing = replace(FREE, **{field: 0})
    error = refusal(nothing, used())
    assert error.key == f"quota.{name}"
    assert (error.values["limit"], error.values["left"]) == (0, 0)


@pytest.mark.parametrize(("asks", "fits"), [(Amount(3, 1), True), (Amount(4, 1), False)])
def test_a_request_may_use_a_limit_up_to_its_last_picture(asks: Amount, fits: bool) -> None:  # noqa: FBT001
    seven = used(user_day=held(7))
    if fits:
        check(applying(Limits()), seven, asks=asks)
    else:
        assert refusal(Limits(), seven, asks=asks).values["left"] == 3


def test_a_request_may_use_a_limit_up_to_its_last_micro_dollar() -> None:
    nearly = used(user_day=held(0, 920_000))
    check(applying(Limits()), nearly, asks=Amount(1, 80_000))
    error = refusal(Limits(), nearly, asks=Amount(1, 80_001))
    assert error.values == {
        "scope": "user",
        "window": "day",
        "bonus": 0,
        "limit": 1_000_000,
        "left": 80_000,
        "asked": 80_001,
        "unit": "micro_usd",
        "resets_at": ms("2026-11-21"),
    }


def test_a_refusal_says_when_the_limit_resets_if_it_does() -> None:
    resets = {each.name: each.resets_at for each in allowances(applying(Limits()), used())}
    assert resets == {
        "user_in_flight": None,
        "user_day_images": ms("2026-11-21"),
        "user_day_usd": ms("2026-11-21"),
        "guild_in_flight": None,
        "guild_month_usd": ms("2026-12-01"),
        "host_in_flight": None,
        "host_month_usd": ms("2026-12-01"),
    }


def test_a_limit_lowered_below_its_use_leaves_zero() -> None:
    lowered = replace(FREE, user_day_images=3)
    assert [each.left for each in allowances(applying(lowered), FULL)] == [0]


def test_the_shipped_limits_are_finite() -> None:
    assert None not in [getattr(Limits(), field) for _, field in NARROWEST_FIRST]


amounts = st.builds(Amount, st.integers(0, 50), st.integers(0, 10**9))
asked = st.builds(lambda images, price: Amount(images, images * price), st.integers(1, 8), st.integers(0, 10**8))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(amounts, asked, st.none() | st.integers(0, 50), st.none() | st.integers(0, 10**9))
def test_admitted_requests_never_exceed_a_limit(
    before: Amount, asks: Amount, images: int | None, money: int | None
) -> None:
    limits = replace(FREE, user_day_images=images, user_day_micro_usd=money)
    after = before + asks
    fits = (images is None or after.images <= images) and (money is None or after.micro_usd <= money)
    asked_nothing_of_a_full_limit = not fits and asks.micro_usd == 0
    try:
        check(applying(limits), used(user_day=Tally(reserved=before)), asks=asks)
    except UserError:
        assert not fits
    else:
        assert fits or asked_nothing_of_a_full_limit


# --- whose rule counts

EVERYONE, MODS, BOOSTERS = 5, 701, 702  # everyone's role has the server's number
IMAGES_A_DAY = (Unit.IMAGES, Window.DAY)
NOBODY = 0


def rule(
    holder: Holder, amount: int | None, subject: int = 0, *, what: tuple[Unit, Window | None] = IMAGES_A_DAY
) -> Rule:
    return Rule(holder, subject, *what, amount)


def amounts_of(rules: Sequence[Rule], roles: Sequence[int] = (EVERYONE, MODS, BOOSTERS)) -> dict[str, int]:
    return {each.name: each.amount for each in effective(Limits().rules(guild=True), rules, roles=roles)}


MINE, OF_ALL, OF_MODS, OF_BOOSTERS = (
    (Holder.USER, 1), (Holder.ROLE, EVERYONE), (Holder.ROLE, MODS), (Holder.ROLE, BOOSTERS)
)  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "day"),
    [
        ({}, 10),
        ({OF_ALL: 3}, 3),  # a role's rule may narrow the default
        ({OF_ALL: 30}, 30),
        ({OF_ALL: 3, OF_MODS: 20}, 20),  # the best role
        ({OF_ALL: 20, OF_MODS: 3}, 20),
        ({OF_MODS: 20, OF_BOOSTERS: 30}, 30),
        ({OF_MODS: 0, OF_ALL: 0}, 0),
        ({OF_MODS: None, OF_BOOSTERS: 30}, None),  # no limit is the best of all
        ({OF_MODS: 30, OF_BOOSTERS: None}, None),
        ({MINE: 2, OF_MODS: 30}, 2),  # a member's own beats their roles', both ways
        ({MINE: 2, OF_MODS: None}, 2),
        ({MINE: 50, OF_MODS: 3}, 50),
        ({MINE: None, OF_MODS: 3}, None),
        ({MINE: 0}, 0),
        ({(Holder.ROLE, 999): 99}, 10),  # a role that the member does not hold
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_members_own_rule_overrides_the_best_role_and_that_overrides_the_default(
    rules: dict[tuple[Holder, int], int | None],
    day: int | None,
    backwards: bool,  # noqa: FBT001
) -> None:
    found = [rule(holder, amount, subject) for (holder, subject), amount in rules.items()]
    assert amounts_of(found[::-1] if backwards else found).get("user_day_images") == day


def test_a_rule_for_one_window_or_unit_does_not_change_the_others() -> None:
    found = amounts_of([rule(Holder.USER, 7, 1, what=(Unit.IMAGES, Window.HOUR)), rule(Holder.ROLE, 5, MODS)])
    assert (found["user_hour_images"], found["user_day_images"], found["user_day_usd"]) == (7, 5, 1_000_000)


MONEY_A_MONTH = (Unit.MICRO_USD, Window.MONTH)


@pytest.mark.parametrize(
    ("amount", "month"), [(5, 5), (20_000_001, 20_000_001), (None, None), (0, 0)]
)  # an admin's rule, against 20 dollars by default
def test_an_admins_rule_for_the_server_replaces_the_default(amount: int | None, month: int | None) -> None:
    assert amounts_of([rule(Holder.GUILD, amount, what=MONEY_A_MONTH)]).get("guild_month_usd") == month


def test_the_operators_cap_applies_whatever_admins_set() -> None:
    found = amounts_of([rule(Holder.GUILD, None, what=MONEY_A_MONTH), rule(Holder.CAP, 9, what=MONEY_A_MONTH)])
    assert found["cap_month_usd"] == 9
    assert "guild_month_usd" not in found
    limits = effective(Limits().rules(guild=True), [rule(Holder.CAP, 9, what=MONEY_A_MONTH)])
    with pytest.raises(UserError, match=r"quota\.cap_month_usd"):
        check(limits, used(cap_month=held(0, 9)), asks=Amount(1, 1))


@pytest.mark.parametrize(("amount", "month"), [(5, 5), (50_000_001, 50_000_000), (None, 50_000_000), (0, 0)])
def test_a_rule_of_scope_host_can_only_lower_the_configured_limit(amount: int | None, month: int) -> None:
    assert amounts_of([rule(Holder.HOST, amount, what=MONEY_A_MONTH)])["host_month_usd"] == month


def test_a_rule_of_scope_host_can_limit_what_is_unlimited_by_configuration() -> None:
    assert amounts_of([rule(Holder.HOST, 100)])["host_day_images"] == 100


def test_a_rule_for_the_channel_and_one_for_all_direct_messages_have_no_default() -> None:
    assert amounts_of([rule(Holder.CHANNEL, 3, 6)])["channel_day_images"] == 3
    limits = effective(Limits().rules(guild=False), [rule(Holder.DIRECT, 4)])
    assert {each.name: each.amount for each in limits}["direct_day_images"] == 4


def test_limits_are_sorted_narrowest_first() -> None:
    everything = [
        Rule(holder, NOBODY, unit, window, 1)
        for holder in Holder
        for unit, windows in ((Unit.JOBS, [None]), (Unit.IMAGES, list(Window)), (Unit.MICRO_USD, list(Window)))
        for window in windows
    ]
    found = effective((), everything, roles=[NOBODY])
    scopes = [each.scope for each in found]
    assert scopes == sorted(scopes, key=list(Scope).index)
    own = [each.name for each in found if each.scope is Scope.USER]
    assert own[:5] == ["user_in_flight", "user_hour_images", "user_hour_usd", "user_day_images", "user_day_usd"]
    assert own[-1] == "user_total_usd"
    assert len(found) == len({each.name for each in found}) == 6 * 11


# --- blocks


@pytest.mark.parametrize(
    ("holders", "key"),
    [
        ([Holder.CHANNEL], "blocked.channel"),
        ([Holder.CHANNEL, Holder.ROLE], "blocked.role"),
        ([Holder.CHANNEL, Holder.ROLE, Holder.USER], "blocked.user"),
    ],
)
def test_the_narrowest_block_is_named(holders: Sequence[Holder], key: str) -> None:
    with pytest.raises(UserError) as caught:
        check_blocks([Block(each, 1) for each in holders])
    assert caught.value.key == key


def test_without_a_block_nothing_is_blocked() -> None:
    check_blocks([])


# --- alerts

HUNDRED = Limit(Scope.GUILD, Unit.IMAGES, Window.DAY, 100)


@pytest.mark.parametrize(
    ("before", "asks", "percents"),
    [
        (0, 79, []),
        (0, 80, [80]),
        (79, 1, [80]),
        (80, 1, []),
        (80, 19, []),
        (80, 20, [100]),
        (99, 1, [100]),
        (100, 1, []),
        (0, 100, [100]),  # both at once: the highest
        (79, 50, [100]),
    ],
)
def test_an_alert_is_raised_where_a_threshold_is_crossed(before: int, asks: int, percents: list[int]) -> None:
    found = list(alerts([HUNDRED], used(guild_day=held(before)), asks=Amount(asks)))
    assert [each.percent for each in found] == percents
    assert [(each.bucket, each.allowance.used, each.allowance.limit) for each in found] == [
        (DAY, before + asks, 100) for _ in percents
    ]


@pytest.mark.parametrize(
    "limit",
    [
        Limit(Scope.USER, Unit.IMAGES, Window.DAY, 1),  # not shared
        Limit(Scope.GUILD, Unit.JOBS, None, 1),
        Limit(Scope.GUILD, Unit.IMAGES, Window.DAY, 0),  # allows nothing, so it cannot be used up
    ],
)
def test_some_limits_raise_no_alert(limit: Limit) -> None:
    assert list(alerts([limit], used(), asks=Amount(1, 1))) == []


def test_each_limit_that_is_nearly_used_up_raises_its_own_alert() -> None:
    limits = [replace(HUNDRED, scope=scope) for scope in (Scope.CHANNEL, Scope.GUILD, Scope.CAP, Scope.HOST)]
    found = list(alerts([*limits, Limit(Scope.GUILD, Unit.MICRO_USD, Window.MONTH, 200)], used(), asks=Amount(85, 160)))
    assert [(each.allowance.name, each.percent, each.bucket) for each in found] == [
        ("channel_day_images", 80, DAY),
        ("guild_day_images", 80, DAY),
        ("cap_day_images", 80, DAY),
        ("host_day_images", 80, DAY),
        ("guild_month_usd", 80, MONTH),
    ]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 500), st.lists(st.integers(0, 60), max_size=30))
def test_each_threshold_is_crossed_once_while_a_window_fills(limit: int, asks: list[int]) -> None:
    passed, before = [], 0
    for each in asks:
        found = alerts([replace(HUNDRED, amount=limit)], used(guild_day=held(before)), asks=Amount(each))
        passed += [alert.percent for alert in found]
        before += each
    assert passed == sorted(set(passed))
    assert (100 in passed) is (before >= limit)
    assert bool(passed) is (before * 100 >= limit * 80)


# --- limits without effect

ALICE, BOB, ART = 1, 2, 31
IMAGES, DOLLARS = Unit.IMAGES, Unit.MICRO_USD
EIGHT_CENTS = 80_000


def set_for(
    holder: Holder, amount: int | None, window: Window | None = Window.DAY, *, subject: int = 0, unit: Unit = IMAGES
) -> Rule:
    return Rule(holder, subject, unit, window, amount)


def idles(
    new: Rule, *rules: Rule, roles: Sequence[int] = (), defaults: Limits = FREE, price: int = EIGHT_CENTS
) -> list[tuple[Rule, Rule]]:
    found = idle(
        new, defaults=list(defaults.rules(guild=True)), rules=rules, everyone=EVERYONE, roles=roles, price=price
    )
    return [(each.rule, each.first) for each in found]


def mine(amount: int | None, window: Window | None = Window.DAY, *, unit: Unit = IMAGES) -> Rule:
    return set_for(Holder.USER, amount, window, subject=ALICE, unit=unit)


def of_server(amount: int | None, window: Window | None = Window.DAY, *, unit: Unit = IMAGES) -> Rule:
    return set_for(Holder.GUILD, amount, window, unit=unit)


@pytest.mark.parametrize(
    ("limit", "other", "without_effect"),
    [
        (mine(13), mine(1_000_000, unit=DOLLARS), True),  # 12 pictures for a dollar
        (mine(12), mine(1_000_000, unit=DOLLARS), False),
        (mine(1_000_000, unit=DOLLARS), mine(11), True),
        (mine(1_000_000, unit=DOLLARS), mine(12), False),  # both refuse the 13th
        (mine(71, Window.WEEK), mine(10), True),
        (mine(70, Window.WEEK), mine(10), False),
        (mine(311, Window.MONTH), mine(10), True),
        (mine(310, Window.MONTH), mine(10), False),  # in a month of 31 days
        (mine(61, Window.MONTH), mine(10, Window.WEEK), True),
        (mine(60, Window.MONTH), mine(10, Window.WEEK), False),  # a month can touch six weeks
        (mine(26), mine(1, Window.HOUR), True),
        (mine(25), mine(1, Window.HOUR), False),  # on the day on which the clocks go back
        (mine(10**6, Window.TOTAL), mine(1), False),  # reached in the end
        (mine(6), mine(5, Window.TOTAL), True),
        (mine(6), of_server(5), True),
        (mine(5), of_server(5), False),
        (of_server(6), mine(5), False),  # of many members
        (mine(6), set_for(Holder.CAP, 5, Window.MONTH), True),
        (mine(6), set_for(Holder.HOST, 5, Window.MONTH), True),
        (set_for(Holder.CHANNEL, 6, subject=ART), of_server(5), True),
        (set_for(Holder.CHANNEL, 6, subject=ART), mine(5), False),
        (mine(6), set_for(Holder.CHANNEL, 5, subject=ART), False),
        (mine(6, None, unit=Unit.JOBS), of_server(5, None, unit=Unit.JOBS), True),
        (mine(6), of_server(5, None, unit=Unit.JOBS), False),
        (mine(None), of_server(5), False),
        (mine(6), of_server(None), False),
    ],
)
def test_a_limit_has_no_effect_if_another_is_always_reached_before_it(
    limit: Rule,
    other: Rule,
    without_effect: bool,  # noqa: FBT001
) -> None:
    assert idles(limit, other) == ([(limit, other)] if without_effect else [])
    operators = other.holder in (Holder.CAP, Holder.HOST)
    assert operators or idles(other, limit) == ([(limit, other)] if without_effect else [])


def test_an_operators_limit_is_never_said_to_have_no_effect() -> None:
    assert idles(of_server(5), set_for(Holder.CAP, 6), set_for(Holder.HOST, 6)) == []


def test_the_one_of_several_that_is_reached_first_is_named() -> None:
    first = of_server(400_000, unit=DOLLARS)  # 5 pictures
    assert idles(mine(100), of_server(6), first, set_for(Holder.CAP, 1, Window.TOTAL, unit=DOLLARS)) == [
        (mine(100), set_for(Holder.CAP, 1, Window.TOTAL, unit=DOLLARS))
    ]
    assert idles(mine(100), of_server(6), first, mine(1, Window.HOUR)) == [(mine(100), first)]


def test_the_rule_that_decides_for_a_member_is_the_one_compared() -> None:
    poor, rich = (set_for(Holder.ROLE, each, subject=role, unit=DOLLARS) for role, each in
                  ((EVERYONE, 400_000), (MODS, 4_000_000)))  # fmt: skip
    assert idles(mine(10), poor, rich) == [(mine(10), poor)]
    assert idles(mine(50), poor, rich, roles=[MODS]) == []
    assert idles(mine(51), poor, rich, roles=[MODS]) == [(mine(51), rich)]
    assert idles(mine(10), poor, rich, mine(80_000, unit=DOLLARS), roles=[MODS]) == [
        (mine(10), mine(80_000, unit=DOLLARS))
    ]
    assert idles(mine(10), poor, mine(None, unit=DOLLARS)) == []


def test_a_role_whose_limit_another_role_overrides_is_compared_with_nothing() -> None:
    generous, mods = set_for(Holder.ROLE, 50, subject=EVERYONE), set_for(Holder.ROLE, 20, subject=MODS)
    assert idles(mods, generous, of_server(10), roles=[MODS]) == []


def test_a_rule_replaces_the_one_before_it_and_the_default() -> None:
    shipped = Limits(user_day_images=3, user_day_micro_usd=None)
    assert idles(mine(10), mine(5), defaults=shipped) == []


def test_a_limit_for_the_server_or_for_everyone_is_compared_with_those_of_others_too() -> None:
    bobs, mods = set_for(Holder.USER, 7, subject=BOB), set_for(Holder.ROLE, 8, subject=MODS)
    art, week = set_for(Holder.CHANNEL, 9, subject=ART), set_for(Holder.ROLE, 90, Window.WEEK, subject=MODS)
    everyone = set_for(Holder.ROLE, 8, subject=EVERYONE)

    assert idles(of_server(7), bobs, mods, art, everyone) == [
        (each, of_server(7)) for each in (everyone, mods, art)
    ]  # fmt: skip
    assert idles(everyone, week, bobs, art) == [(week, everyone)]
    assert idles(everyone, week, set_for(Holder.ROLE, 20, subject=MODS)) == []  # which is what counts for mods
    assert idles(mine(1), week, bobs, art) == []


def test_a_limit_that_had_no_effect_before_is_not_mentioned_again() -> None:
    shipped = Limits(user_day_images=10, user_day_micro_usd=1_000_000)  # ten pictures cost $0.80
    assert idles(mine(5), defaults=shipped) == []
    assert idles(mine(5), defaults=replace(shipped, user_day_images=20)) == [
        (Rule(Holder.USER, 0, DOLLARS, Window.DAY, 1_000_000), mine(5))
    ]


LIMITED = st.lists(
    st.builds(
        set_for,
        st.sampled_from([Holder.USER, Holder.GUILD, Holder.CAP]),
        st.integers(0, 12),
        st.sampled_from([Window.HOUR, Window.DAY, Window.WEEK, Window.TOTAL]),
        unit=st.sampled_from([IMAGES, DOLLARS]),
    ),
    min_size=2,
    max_size=5,
    unique_by=lambda each: (each.holder, each.unit, each.window),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(LIMITED, st.integers(1, 4), st.lists(st.tuples(st.sampled_from([0, 1, 13, 70]), st.integers(1, 3)), max_size=40))
def test_requests_are_admitted_alike_without_a_limit_that_has_no_effect(
    rules: list[Rule], price: int, requests: list[tuple[int, int]]
) -> None:
    new, *others = rules
    useless = {each for each, _ in idles(new, *others, price=price)}
    with_all, without = effective((), rules), effective((), [each for each in rules if each not in useless])
    tallies: dict[tuple[Scope, str], Tally] = {}
    now = NOON
    for hours, pictures in requests:
        now += hours * HOUR
        asks = Amount(1, price)
        for _ in range(pictures):
            state = Used(now, tallies=tallies)
            admitted = _admits(with_all, state, asks)
            assert admitted is _admits(without, state, asks)
            if admitted:
                for scope in (Scope.USER, Scope.GUILD, Scope.CAP):
                    for bucket in state.moment(scope).buckets.values():
                        spent = tallies.get((scope, bucket), Tally()).spent
                        tallies[scope, bucket] = Tally(spent=spent + asks)


def _admits(limits: Sequence[Limit], state: Used, asks: Amount) -> bool:
    try:
        check(limits, state, asks=asks)
    except UserError:
        return False
    return True


# --- one layer never stands in for another


def test_amounts_paid_by_a_bonus_or_reset_do_not_count() -> None:
    tally = Tally(reserved=Amount(3, 30), spent=Amount(4, 40), exempt=Amount(2, 20))
    assert tally.counts == Amount(5, 50)
    assert used(user_day=tally).of(Limit(Scope.USER, *IMAGES_A_DAY, 10)) == 5


def test_direct_messages_count_in_the_servers_account_and_on_its_calendar_unlike_the_operators_limits() -> None:
    found = used(guild_day=held(7))
    for scope in (Scope.GUILD, Scope.DIRECT):
        assert found.of(Limit(scope, *IMAGES_A_DAY, 10)) == 7
    for scope in (Scope.CAP, Scope.HOST):
        assert found.of(Limit(scope, *IMAGES_A_DAY, 10)) == 0
