"""`/usage`: the limits as text, then a chart of the last 30 days."""

import logging
from datetime import date

import pytest

from bot.core.jobs import Place
from bot.core.quota import Grant, Holder, Limits, Rule, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.store.quotas import By
from tests.ui.cards.drawing import TEXTS
from tests.ui.stage import Stage, gallery, on_stage, spend, text, walk

DAY = 24 * 60 * 60


def here(on: Stage) -> Place:
    return Place(on.alice.id, on.channel.id, on.guild.id, roles=(on.guild.id,))


def by_admin(on: Stage, number: int) -> By:
    return By(id=str(number), server=on.guild.id, actor=1, at=on.rig.time.now)


@on_stage()
async def test_every_limit_that_applies_is_shown_to_the_one_who_asks(on: Stage) -> None:
    quotas = on.rig.services.quotas
    await quotas.set_rule(by_admin(on, 1), Rule(Holder.CHANNEL, on.channel.id, Unit.IMAGES, Window.WEEK, 40))
    await quotas.set_rule(by_admin(on, 2), Rule(Holder.USER, on.alice.id, Unit.IMAGES, Window.DAY, 20))
    await quotas.grant(by_admin(on, 3), on.alice.id, Grant(0, Unit.IMAGES, 5))
    await on.imagine(count=3)

    shown = await on.alice.slash(on.channel, "usage")

    assert shown.ephemeral
    told = text(shown).splitlines()
    for called, facts in (
        ("You · active jobs", "1 of 5 · 4 left"),
        ("You · pictures today", "3 of 20 · 17 left · 3 reserved · resets <t:"),
        ("You · spending today", "$0.24 of $1.00 · $0.76 left · $0.24 reserved · resets <t:"),
        ("This channel · pictures this week", "3 of 40 · 37 left · 3 reserved"),
        ("This server · active jobs", "1 of 50 · 49 left"),
        ("This server · spending this month", "$0.24 of $20.00 · $19.76 left"),
    ):
        assert facts in told[told.index(f"**{called}**") + 1]
    assert told[-3:-1] == ["**🎁 Your bonus**", "- 5 pictures"]
    assert "The whole bot" not in text(shown)


@on_stage(limits=Limits(host_month_micro_usd=160_000))
async def test_the_operators_total_limit_is_shown_once_it_is_used_up(on: Stage) -> None:
    await on.imagine(count=2)

    assert "The whole bot · spending this month" in text(await on.alice.slash(on.channel, "usage"))


@on_stage(limits=Limits(user_day_images=1))
async def test_a_card_says_what_a_bonus_paid_and_what_is_left_of_it(on: Stage) -> None:
    await on.rig.services.quotas.grant(by_admin(on, 1), on.alice.id, Grant(0, Unit.IMAGES, 3))

    asked, job = await on.imagine(count=3, private=True)
    assert text(asked).endswith("about $0.24 reserved · 0 pictures left today · bonus: 1 picture")

    await on.finish(job, pictures=3)
    card = text(await on.card(job))
    assert "Cost: about $0.24 · 2 pictures from a bonus" in card
    assert card.endswith("0 pictures left today · bonus: 1 picture")


@on_stage()
async def test_without_spending_there_is_a_sentence_and_no_chart(on: Stage) -> None:
    await on.imagine()  # reserved, not spent

    shown = await on.alice.slash(on.channel, "usage")

    assert text(shown).endswith("You haven't used anything here in the last 30 days.")
    assert on.charts == []
    assert gallery(shown) == []


@on_stage()
async def test_the_chart_follows_the_text_and_states_the_totals(on: Stage) -> None:
    on.rig.time.go(-3 * DAY)
    await spend(on.rig, here(on), pictures=2)
    on.rig.time.go(3 * DAY)
    await spend(on.rig, here(on))

    shown = await on.alice.slash(on.channel, "usage")

    (chart,) = on.charts
    spent = {n: (each.images, each.micro_usd) for n, each in enumerate(chart.days) if each.images}
    assert len(chart.days) == 30
    assert spent == {26: (2, 160_000), 29: (1, 80_000)}
    assert len(gallery(shown)) == 1
    (item,) = [item for each in walk(shown.response.components) for item in each.get("items") or []]
    assert item["description"] == "Your last 30 days: 3 pictures for $0.24."
    assert "1 of 10" in text(shown)  # the text stays


@on_stage()
async def test_the_days_are_those_of_the_servers_calendar(on: Stage) -> None:
    kiritimati = ServerSettings(timezone="Pacific/Kiritimati")  # fourteen hours ahead of UTC
    await on.rig.services.quotas.change_server_settings(by_admin(on, 1), lambda _: kiritimati, body={})
    now = on.rig.time.now
    on.rig.time.now = now - now % (DAY * 1000) + 11 * 60 * 60 * 1000  # past midnight there, noon is near here
    await spend(on.rig, here(on))

    days = await on.rig.services.usage.last_days(here(on), kiritimati, days=30)
    in_utc = await on.rig.services.usage.last_days(here(on), ServerSettings(), days=30)

    assert (days[-1][0] - in_utc[-1][0]).days == 1
    assert days[-1][1].images == 1
    assert in_utc[-1][1].images == 0


@on_stage()
async def test_what_was_spent_in_another_server_is_not_shown_here(on: Stage) -> None:
    await spend(on.rig, Place(on.alice.id, 1, on.guild.id + 1))
    await spend(on.rig, Place(on.bob.id, on.channel.id, on.guild.id))

    await on.alice.slash(on.channel, "usage")

    assert on.charts == []


@pytest.mark.parametrize("trouble", [TimeoutError(), RuntimeError("the picture pool is closed"), ValueError("days")])
@on_stage()
async def test_if_the_chart_cannot_be_drawn_the_text_stays(
    on: Stage, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    on.chart_results.append(trouble)
    await spend(on.rig, here(on))

    with caplog.at_level(logging.WARNING):
        shown = await on.alice.slash(on.channel, "usage")

    assert "1 of 10" in text(shown)
    assert (gallery(shown), shown.followups) == ([], [])
    assert [each.__dict__["event"] for each in caplog.records] == ["chart_failed"]


@on_stage()
async def test_if_discord_rejects_the_chart_the_text_stays(on: Stage, caplog: pytest.LogCaptureFixture) -> None:
    on.env.inject_error("PATCH", "/webhooks/*", status=400, code=40005, message="Request entity too large")
    await spend(on.rig, here(on))

    with caplog.at_level(logging.WARNING):
        shown = await on.alice.slash(on.channel, "usage")

    assert "1 of 10" in text(shown)
    assert (gallery(shown), shown.followups) == ([], [])
    assert "chart_failed" in [getattr(each, "event", "") for each in caplog.records]


@on_stage()
async def test_outside_of_servers_their_own_limits_are_shown(on: Stage) -> None:
    shown = await on.env.create_user("carol").slash("usage")

    assert "Everyone outside servers · spending this month" in text(shown)


def test_dates_are_short_in_every_language() -> None:
    told = [TEXTS.for_locale(each).day(date(2026, 3, 9)) for each in ("en", "de", "fr", "es", "ru")]

    assert told == ["Mar 9", "9. März", "9 mars", "9 mar", "9 мар."]
