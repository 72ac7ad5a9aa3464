"""The admins' view of quotas: the limits that apply, within Discord's limits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.catalog import Quote
from bot.core.quota import Amount as Sum
from bot.core.quota import (
    Block,
    Grant,
    Holder,
    Limit,
    Limits,
    Rule,
    Scope,
    Tally,
    Unit,
    Used,
    effective,
)
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.ui.admin.quota_targets import SERVER
from bot.ui.cards.quota import (
    PicturePrice,
    QuotaView,
    changed,
    idle_notes,
    limit_lines,
    overview_of_one,
    overview_of_server,
)
from bot.ui.cards.targets import Target
from tests.ui.cards.drawing import EN, NOW, TEXTS, read, text_of
from tests.ui.cards.test_hostile_input import HEADING

GUILD, ALICE, BOB, ARTISTS, MODS, PICTURES = 9, 7, 8, 21, 22, 31
MEMBER = Target(Holder.USER, ALICE, roles=(GUILD, ARTISTS))
ROLE = Target(Holder.ROLE, ARTISTS, roles=(GUILD, ARTISTS))
CHANNEL = Target(Holder.CHANNEL, PICTURES)
DEFAULTS = tuple(Limits().rules(guild=True))
IMAGES, DAY = Unit.IMAGES, Window.DAY


def look(target: Target = MEMBER, *rules: Rule, **others: Any) -> QuotaView:
    tally = Tally(spent=Sum(3, 240_000))
    used = Used(NOW, tallies={(Scope.USER, Used(NOW).moment(Scope.USER).buckets[DAY]): tally})
    given_: dict[str, Any] = {
        "server_settings": ServerSettings(),
        "blocks": (),
        "defaults": DEFAULTS,
        "used": used,
        **others,
    }
    return QuotaView(server=GUILD, target=target, rules=rules, **given_)


def rule(holder: Holder, subject: int, amount: int | None, *, unit: Unit = IMAGES, window: Window | None = DAY) -> Rule:
    return Rule(holder, subject, unit, window, amount)


def test_a_members_overview_shows_every_limit_with_its_source() -> None:
    shown = overview_of_one(
        EN, look(MEMBER, rule(Holder.ROLE, ARTISTS, 30), rule(Holder.CAP, 0, None, window=Window.WEEK))
    )

    assert read(shown)[:9] == [
        "### 📏 Limits: <@7>",
        "**active jobs** · bot default",
        "`░░░░░░░░░░` 0 of 5 · 5 left",
        "**pictures per day** · from <@&21>",
        "`█░░░░░░░░░` 3 of 30 · 27 left · resets <t:1700006400:R>",
        "**spending per day** · bot default",
        "`██░░░░░░░░` $0.24 of $1.00 · $0.76 left · resets <t:1700006400:R>",
        "**This server · active jobs** · bot default",
        "`░░░░░░░░░░` 0 of 50 · 50 left",
    ]
    assert "**This server (set by the operator) · pictures per week: no limit**" in text_of(shown)


def test_a_lifted_limit_is_shown_as_such() -> None:
    shown = text_of(overview_of_one(EN, look(MEMBER, rule(Holder.USER, ALICE, None))))

    assert "**pictures per day: no limit** · set for this member" in shown


def test_the_operators_total_limit_is_not_shown() -> None:
    for target in (MEMBER, ROLE, CHANNEL):
        assert "everywhere" not in text_of(overview_of_one(EN, look(target)))
    assert "everywhere" not in text_of(overview_of_server(EN, look(SERVER), bonuses=0))


AMOUNTS = st.none() | st.integers(0, 20)
RULES = st.lists(
    st.builds(
        Rule,
        st.sampled_from([Holder.USER, Holder.ROLE, Holder.GUILD, Holder.CAP]),
        st.sampled_from([0, ALICE, GUILD, ARTISTS, MODS]),
        st.just(IMAGES),
        st.sampled_from([DAY, Window.MONTH]),
        AMOUNTS,
    ),
    unique_by=lambda one: (one.holder, one.subject, one.window),
)


@given(RULES)
def test_the_limits_shown_are_the_limits_that_apply(rules: list[Rule]) -> None:
    at_place = [each for each in rules if each.holder is Holder.ROLE or each.subject in (0, ALICE)]
    at_place = [each for each in at_place if each.subject == (ALICE if each.holder is Holder.USER else each.subject)]
    at_place = [each for each in at_place if each.holder in (Holder.USER, Holder.ROLE) or each.subject == 0]

    shown = [
        Limit(each.scope, each.unit, each.window, each.amount)
        for each in limit_lines(look(MEMBER, *at_place))
        if each.amount is not None
    ]

    holds = effective(DEFAULTS, at_place, roles=MEMBER.roles)
    assert shown == [each for each in holds if each.scope is not Scope.HOST]


# --- limits without effect

EIGHT_CENTS = PicturePrice("Nano Banana 2", Quote(80_000, "v", estimated=True))


def test_a_limit_of_the_host_that_the_operator_lowered_is_found_among_the_limits_that_apply() -> None:
    lowered = (Limit(Scope.HOST, Unit.MICRO_USD, Window.MONTH, 800_000),)

    told = idle_notes(EN, rule(Holder.USER, ALICE, 11), look(limits=lowered), picture=EIGHT_CENTS)

    assert told == [
        "⚠️ This limit has no effect, because another one is reached first: **$0.80 per month** (for the whole bot).",
        "At about $0.08 per picture (Nano Banana 2), $0.80 per month is enough for 10 pictures.",
    ]


def test_of_many_limits_without_effect_some_are_named_with_whom_they_are_set_for() -> None:
    others = [rule(Holder.USER, BOB, 9), rule(Holder.ROLE, ARTISTS, 8), rule(Holder.CHANNEL, PICTURES, 7),
              rule(Holder.ROLE, GUILD, 6)]  # fmt: skip

    (told,) = idle_notes(EN, rule(Holder.GUILD, 0, 5), look(SERVER, *others), picture=None)

    count, _, named = told.partition(": ")
    assert count == "⚠️ This limit is reached first, so 4 others no longer have any effect"
    assert named.split(", ") == [
        "**6 pictures per day** (from everyone)",
        "**9 pictures per day** (set for <@8>)",
        "**8 pictures per day** (from <@&21>)",
        "and 1 more.",
    ]


def test_without_a_price_pictures_and_dollars_are_not_compared() -> None:
    free = PicturePrice("Local", Quote(0, "v", estimated=False))
    for picture in (None, free):
        assert idle_notes(EN, rule(Holder.USER, ALICE, 9999), look(), picture=picture) == []
    assert idle_notes(EN, rule(Holder.USER, ALICE, 9999), look(), picture=EIGHT_CENTS) != []


# --- roles, blocks, sizes


def test_a_roles_overview_shows_no_usage_and_says_if_it_was_deleted() -> None:
    gone = Target(Holder.ROLE, ARTISTS, here=False, roles=(GUILD, ARTISTS))
    shown = text_of(overview_of_one(EN, look(gone, rule(Holder.ROLE, ARTISTS, 30), rule(Holder.ROLE, GUILD, 5))))

    assert "This role no longer exists." in shown
    assert "**pictures per day: 30** · from <@&21>" in shown
    assert "█" not in shown


def test_blocks_of_a_members_roles_are_named() -> None:
    blocks = (Block(Holder.ROLE, ARTISTS), Block(Holder.ROLE, MODS), Block(Holder.USER, 8), Block(Holder.ROLE, GUILD))

    shown = text_of(overview_of_one(EN, look(blocks=blocks)))

    assert "🚫 <@&21> is blocked" in shown
    assert "🚫 everyone is blocked" in shown
    assert "<@&22>" not in shown
    assert "<@8>" not in shown


@pytest.mark.parametrize("locale", TEXTS.locales)
def test_a_page_with_very_many_rules_fits_and_counts_what_is_left_out(locale: str) -> None:
    words = TEXTS.for_locale(locale)
    many = [
        rule(holder, 10**18 + n, 10**12, unit=unit, window=window)
        for holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL)
        for n in range(60)
        for unit in (IMAGES, Unit.MICRO_USD)
        for window in Window
    ]
    roles = tuple(10**18 + n for n in range(60))
    every = [rule(each, 0, 10**12, unit=unit, window=window) for each in (Holder.GUILD, Holder.CAP)
             for unit in (IMAGES, Unit.MICRO_USD) for window in Window]  # fmt: skip
    blocks = [Block(holder, n) for holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL) for n in roles]
    grants = [Grant(n, Unit.MICRO_USD, 10**12, NOW) for n in range(100)]
    server_settings = ServerSettings.model_validate(
        {"timezone": "America/" + "x" * 300, "caps": {roles[0]: {"resolution": "4K", "count": 1}}}
    )

    for target in (
        Target(Holder.USER, roles[0], roles=roles), Target(Holder.ROLE, roles[0], roles=roles[:1], here=False),
        Target(Holder.CHANNEL, roles[0]), SERVER,
    ):  # fmt: skip
        whole = look(target, *many, *every, blocks=blocks, grants=grants, server_settings=server_settings)
        told = ["x" * 200] * 30
        pages = [
            overview_of_one(words, whole) if target != SERVER else overview_of_server(words, whole, bonuses=100),
            *(changed(words, key, whole, lines=told, notes=told, marked=many[0])
              for key in ("set", "clear", "revoke", "grant", "reset", "block", "unblock")),
        ]  # fmt: skip
        for page in pages:
            assert 0 < len(text_of(page)) <= 4000
            assert len(HEADING.findall(text_of(page))) == 1
        assert words.say("quota.more", count="\x00").partition("\x00")[0] in text_of(pages[0])
