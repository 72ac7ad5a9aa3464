"""Reports on a server's ledger: `/quota history`, `/quota top` and `/quota export`.

Longer than other files: history, spending, top and export read the same rows.
"""

import csv
import io
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import discord
import pytest

from bot.core.errors import UserError
from bot.core.ledger_csv import HEADER, Names, escape_formulas, to_csv
from bot.core.quota import Amount, Block, Grant, Holder, Kind, Limits, Rule, Unit
from bot.core.windows import Window
from bot.store.quotas import By, Change
from bot.store.reports import Entry, Spender
from bot.ui.admin import quota_reports
from bot.ui.admin.quota_reports import period
from bot.ui.cards import reports as report_cards
from bot.ui.cards.reports import HistoryQuery
from tests.ui.cards.drawing import TEXTS
from tests.ui.stage import Stage, buttons, on_stage, text

EN = TEXTS.for_locale("en")
RICH = Limits(user_day_images=None, user_day_micro_usd=None, user_in_flight=None, guild_in_flight=None)
MANAGER = discord.Permissions(
    manage_guild=True, view_channel=True, send_messages=True, use_application_commands=True, attach_files=True
)
NOON = 1_795_176_000_000  # 2026-11-20 12:00 UTC, a Friday


def admin(on: Stage) -> Any:
    role = on.guild.create_role("admins", permissions=MANAGER)
    return on.guild.add_member(on.env.create_user("carol"), roles=[role])


def by(on: Stage, name: str, *, actor: int = 0) -> By:
    return By(name, on.guild.id, actor, on.rig.time.now)


async def change_often(on: Stage, times: int) -> None:
    for n in range(times):
        rule = Rule(Holder.USER, on.alice.id, Unit.IMAGES, Window.DAY, 1000 + n)
        await on.rig.services.quotas.set_rule(by(on, f"change {n}"), rule)


# --- history of changes


@on_stage()
async def test_every_kind_of_change_reads_as_a_sentence(on: Stage) -> None:
    carol, quotas, alice = admin(on), on.rig.services.quotas, on.alice.id
    everyone, ends = Rule(Holder.ROLE, on.guild.id, Unit.JOBS, None, None), on.rig.time.now + 86_400_000
    await quotas.set_rule(by(on, "1", actor=carol.id), Rule(Holder.GUILD, 0, Unit.MICRO_USD, Window.MONTH, 5_000_000))
    await quotas.set_rule(by(on, "2"), everyone)
    await quotas.clear_rules(by(on, "3"), [everyone])
    await quotas.grant(by(on, "4"), alice, Grant(0, Unit.IMAGES, 25, ends), reason="for **the** @everyone poster")
    (held,) = await quotas.grants(on.guild.id, now=on.rig.time.now)
    await quotas.revoke(by(on, "5"), held.grant.id)
    await quotas.reset(by(on, "6"), Holder.USER, alice)
    await quotas.block(by(on, "7"), Block(Holder.CHANNEL, on.channel.id), reason="noise")
    await quotas.unblock(by(on, "8"), Block(Holder.CHANNEL, on.channel.id))
    await quotas.block(by(on, "8b"), Block(Holder.USER, alice))
    await quotas.change_server_settings(
        by(on, "9"), lambda now: now.model_copy(update={"alerts": 5}), body={"setting": "alerts", "channel": 5}
    )

    shown = await carol.slash(on.channel, "quota history")

    assert shown.ephemeral
    said, reason = text(shown), "Reason: “for \\*\\*the\\*\\* @\u200beveryone poster”"
    for each in (
        f"<@{carol.id}> set the limit for this server to $5.00 per month.",
        "The operator removed the limit on active jobs for everyone.",
        "The operator cleared the limit that was set for everyone: no limit on active jobs.",
        f"The operator gave <@{alice}> a bonus of 25 pictures, valid until <t:{ends // 1000}:f>. {reason}",
        f"The operator removed the rest of <@{alice}>'s bonus (25 pictures).",
        f"The operator reset the usage of <@{alice}> (there was none).",
        f"The operator blocked pictures in <#{on.channel.id}>. Reason: “noise”",
        f"The operator unblocked pictures in <#{on.channel.id}>.",
        f"The operator blocked <@{alice}> from making pictures.",
        "The operator set <#5> as the channel for limit warnings.",
    ):
        assert f":f> · {each}\n" in f"{said}\n"


@on_stage(limits=Limits(user_day_images=50))
async def test_a_changed_limit_says_from_what_to_what(on: Stage) -> None:
    carol, alice = admin(on), on.alice.id

    async def said_of(amount: str, **given: Any) -> str:
        await carol.slash(on.channel, "quota set", **{"unit": "images", "amount": amount, **given})
        return text(await carol.slash(on.channel, "quota history")).splitlines()[1].partition(" · ")[2]

    who = f"<@{carol.id}> "
    assert await said_of("25", member=on.alice) == f"{who}set the limit for <@{alice}> to 25 pictures per day (was 50)."
    assert await said_of("30", member=on.alice) == f"{who}set the limit for <@{alice}> to 30 pictures per day (was 25)."
    assert (
        await said_of("none", member=on.alice) == f"{who}removed the limit on pictures per day for <@{alice}> (was 30)."
    )
    lowered = await said_of("5", member=on.alice)
    assert lowered == f"{who}set the limit for <@{alice}> to 5 pictures per day (there was none)."
    money = await said_of("0.5", unit="micro_usd", per="total", role=on.guild.default_role)
    assert money == f"{who}set the limit for everyone to $0.50 in total."


@on_stage()
async def test_changed_settings_say_from_what_to_what(on: Stage) -> None:
    carol, other = admin(on), on.guild.create_text_channel("art")
    for command, given in (
        ("alerts", {"alerts_channel": on.channel}),
        ("alerts", {"alerts_channel": other}),
        ("channels limit", {"channel": other, "max_resolution": "2K"}),
        ("channels limit", {"channel": other, "max_resolution": "none", "max_count": "2"}),
    ):
        await carol.slash(on.channel, f"settings {command}", **given)

    lines = text(await carol.slash(on.channel, "quota history")).splitlines()

    assert [line.partition(f"<@{carol.id}> ")[2] for line in lines[1:]] == [
        f"changed the limits of <#{other.id}> (resolution: 2K → no limit, pictures at a time: no limit → 2).",
        f"changed the limits of <#{other.id}> (resolution: no limit → 2K).",
        f"moved limit warnings from <#{on.channel.id}> to <#{other.id}>.",
        f"set <#{on.channel.id}> as the channel for limit warnings.",
    ]


def test_entries_of_older_versions_are_still_sentences() -> None:
    def said(action: str, body: dict[str, Any]) -> str:
        entry = Change("1", NOON, 8, action, Holder.GUILD, 0, body)
        return report_cards.change(entry, EN, server=5).partition(" · ")[2]

    rule = {"unit": "images", "window": "day"}
    assert said("set", {**rule, "amount": 25}) == "<@8> set the limit for this server to 25 pictures per day."
    assert said("clear", {"rules": [{**rule, "amount": n} for n in range(1, 6)]}) == (
        "<@8> cleared 5 limits that were set for this server: "
        "1 picture per day, 2 pictures per day, 3 pictures per day, and 2 more."
    )
    cap = {"setting": "channels.limit", "channel": 6, "resolution": "1K", "count": None}
    assert said("settings", cap) == "<@8> changed the limits of <#6> (resolution: 1K, pictures at a time: no limit)."
    assert said("settings", {"setting": "alerts", "channel": None}) == "<@8> turned limit warnings off."
    assert said("settings", {"setting": "of a newer version"}) == "<@8> changed a setting of this server."
    assert said("unheard of", {}) == "<@8> changed something for this server."


@on_stage()
async def test_the_history_is_paged_by_buttons_that_change_the_message(on: Stage) -> None:
    carol = admin(on)
    await change_often(on, 25)

    first = await carol.slash(on.channel, "quota history")
    (older,), said = buttons(first), [text(first)]
    await on.rig.services.quotas.block(by(on, "meanwhile"), Block(Holder.USER, on.bob.id))
    second = await carol.click(first.response.message, custom_id=older)
    (newer, oldest), said = buttons(second), [*said, text(second)]
    third = await carol.click(second.response.message, custom_id=oldest)
    said, last = [*said, text(third)], buttons(third)
    back = await carol.click(third.response.message, custom_id=next(iter(last)))

    assert [(_numbers(each)[0], _numbers(each)[-1]) for each in said] == [(1024, 1015), (1014, 1005), (1004, 1000)]
    assert {first.response.id} == {each.response.id for each in (second, third, back)}
    assert list(last.values()) == ["Newer"]
    assert text(back) == said[1]
    assert max(map(len, (older, newer, oldest))) <= 100


@on_stage()
async def test_the_history_can_be_of_one_member_or_channel(on: Stage) -> None:
    carol = admin(on)
    await change_often(on, 12)
    await on.rig.services.quotas.block(by(on, "channel"), Block(Holder.CHANNEL, on.channel.id))

    of_alice = await carol.slash(on.channel, "quota history", member=on.alice)
    older, said = next(iter(buttons(of_alice))), text(of_alice)
    rest = await carol.click(of_alice.response.message, custom_id=older)
    of_channel = await carol.slash(on.channel, "quota history", channel=on.channel)
    of_bob = await carol.slash(on.channel, "quota history", member=on.bob)
    both = await carol.slash(on.channel, "quota history", member=on.bob, channel=on.channel)

    assert _numbers(text(rest)) == [1001, 1000]
    assert "blocked" not in said
    assert "blocked" in text(of_channel)
    assert "Nothing here yet." in text(of_bob)
    assert "not both" in text(both)


@pytest.mark.parametrize(
    "wrong", ["q1:history", "q1:history:c:u1:0:0:1000", "q1:history:x:-0:0:0:0", "q1:history:c:-0:zz:0:0"]
)
def test_a_malformed_button_is_answered_as_outdated(wrong: str) -> None:
    with pytest.raises(UserError, match="too_old"):
        HistoryQuery.read(wrong.split(":")[2:])


# --- history of spending


@on_stage(limits=RICH)
async def test_spending_shows_what_was_paid_and_what_was_refunded(on: Stage) -> None:
    carol = admin(on)
    _, job = await on.imagine(count=2)
    await on.finish(job, pictures=2, show=False)
    _, lost = await on.imagine(by=on.bob, count=3)
    await on.fail(lost)
    _, unwanted = await on.imagine(by=on.bob)
    await on.rig.store.cancel(unwanted.id, now=on.rig.time.now)
    await on.imagine()

    shown = await carol.slash(on.channel, "quota history", what="spending")
    of_bob = await carol.slash(on.channel, "quota history", what="spending", member=on.bob)
    of_channel = await carol.slash(on.channel, "quota history", what="spending", channel=on.channel)

    charge = (await on.record(job.id)).charge
    assert charge is not None
    assert charge.settled is not None
    price = EN.money(charge.settled.micro_usd)
    assert f"<@{on.alice.id}> spent {price} on 2 pictures in <#{on.channel.id}>" in text(shown)
    place = f"in <#{on.channel.id}>"
    assert f" · <@{on.bob.id}> was refunded $0.24 {place} (3 pictures failed).\n" in text(shown)
    assert f" · <@{on.bob.id}> was refunded $0.08 {place} (1 picture cancelled).\n" in text(shown)
    assert text(shown).count("<t:") == 3  # reserved amounts are not spent
    assert f"<@{on.alice.id}>" not in text(of_bob).replace(text(of_bob).splitlines()[0], "")
    assert text(of_channel).count("<t:") == 3


@on_stage(limits=RICH)
async def test_top_names_who_spent_most_with_shares_and_the_servers_sum(on: Stage) -> None:
    carol = admin(on)
    for who, count in ((on.alice, 1), (on.bob, 3)):
        _, job = await on.imagine(by=who, count=count)
        await on.finish(job, pictures=count, show=False)
    await on.imagine(by=on.bob)

    shown = await carol.slash(on.channel, "quota top")
    today = await carol.slash(on.channel, "quota top", window="day")

    lines = text(shown).splitlines()
    assert shown.ephemeral
    assert "this month" in lines[0]
    assert f"1\\. <@{on.bob.id}>: 3 pictures" in lines[1]
    assert "75%" in lines[1]
    assert "reserved" in lines[1]
    assert f"2\\. <@{on.alice.id}>: 1 picture" in lines[2]
    assert "This server:** 4 pictures" in text(shown)
    assert "today" in text(today)


@on_stage()
async def test_top_is_of_one_server_and_says_when_nobody_spent(on: Stage) -> None:
    shown = await admin(on).slash(on.channel, "quota top", window="total")

    assert "Nobody" in text(shown)


def test_no_share_is_shown_if_nothing_was_spent() -> None:
    free = [Spender(7, Amount(3, 0), Amount())]
    view = report_cards.top(free, EN, window=Window.DAY, spent=Amount(3, 0), reserved=Amount())

    assert "%" not in "".join(each.content for each in view.walk_children() if isinstance(each, discord.ui.TextDisplay))


# --- export


@on_stage(limits=RICH)
async def test_an_export_contains_every_row_of_the_server_and_no_other(on: Stage) -> None:
    carol = admin(on)
    _, job = await on.imagine(count=2)
    await on.finish(job, pictures=2, show=False)
    reason = "=HYPERLINK(1); @x"
    await on.rig.services.quotas.grant(
        by(on, "1", actor=carol.id), on.alice.id, Grant(0, Unit.IMAGES, 5), reason=reason
    )
    await on.rig.services.quotas.grant(By("2", 77, 0, on.rig.time.now), on.alice.id, Grant(0, Unit.IMAGES, 99))
    await carol.slash(on.channel, "settings timezone", timezone="Asia/Tokyo")

    shown = await carol.slash(on.channel, "quota export", since="today")

    assert shown.ephemeral
    rows = _rows(await shown.response.attachments[0].read())
    assert [each["kind"] for each in rows] == ["reserve", "settle", "grant"]
    assert rows[1]["pictures"] == "2"
    assert float(rows[1]["dollars"]) > 0
    assert rows[2]["reason"] == "'=HYPERLINK(1); '@x"
    assert all(each["time"].endswith("+09:00") for each in rows)
    assert {each["user"] for each in rows} == {f"'{on.alice.id}"}
    assert {each["member_name"] for each in rows} == {"alice"}
    assert [(each["channel"], each["channel_name"]) for each in rows[:2]] == [(f"'{on.channel.id}", "pictures")] * 2
    assert [(each["actor"], each["actor_name"]) for each in rows[1:]] == [("", ""), (f"'{carol.id}", "carol")]
    assert "3 rows" in text(shown)
    assert "Asia/Tokyo" in text(shown)


@on_stage(limits=RICH)
async def test_names_that_are_not_known_are_left_empty_in_an_export(on: Stage) -> None:
    carol, elsewhere = admin(on), on.env.create_guild("Elsewhere")
    there, dora = elsewhere.create_text_channel("there"), elsewhere.add_member(on.env.create_user("dora"))
    await dora.slash(there, "usage")
    for n, user in enumerate((on.bob.id, dora.id)):
        await on.rig.services.quotas.grant(by(on, str(n)), user, Grant(0, Unit.IMAGES, 1))

    shown = await carol.slash(on.channel, "quota export", since="today")

    rows = _rows(await shown.response.attachments[0].read())
    assert [(each["member_name"], each["channel_name"], each["actor_name"]) for each in rows] == [("", "", "")] * 2


@on_stage(limits=RICH)
async def test_rows_are_read_in_batches_without_loss_or_duplicates(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_reports, "BATCH_SIZE", 3)
    carol = admin(on)
    for n in range(9):
        await on.rig.services.quotas.grant(by(on, str(n)), on.alice.id, Grant(0, Unit.IMAGES, n + 1))

    shown = await carol.slash(on.channel, "quota export", since="all")

    rows = _rows(await shown.response.attachments[0].read())
    assert [each["pictures"] for each in rows] == [str(n + 1) for n in range(9)]


@on_stage()
async def test_a_period_with_too_many_rows_asks_for_a_shorter_one(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    carol = admin(on)
    for n in range(3):
        await on.rig.services.quotas.grant(by(on, str(n)), on.alice.id, Grant(0, Unit.IMAGES, 1))

    monkeypatch.setattr(quota_reports, "MAX_ROWS", 2)
    many = await carol.slash(on.channel, "quota export", since="all")
    monkeypatch.setattr(quota_reports, "MAX_ROWS", 50_000)
    monkeypatch.setattr(quota_reports, "room_for_files", lambda _: 200)
    large = await carol.slash(on.channel, "quota export", since="all")

    for each, said in ((many, "more than 2 rows"), (large, "shorter period")):
        assert each.ephemeral
        assert said in _all_text(each)
        assert not each.response.attachments


@on_stage()
async def test_an_empty_period_and_an_invalid_one_are_answered(on: Stage) -> None:
    carol = admin(on)

    empty = await carol.slash(on.channel, "quota export", since="yesterday")
    wrong = await carol.slash(on.channel, "quota export", since="soon")
    backwards = await carol.slash(on.channel, "quota export", since="2026-11-02", until="2026-11-01")

    assert "no rows" in text(empty)
    assert not empty.response.attachments
    assert "soon" in text(wrong)
    assert "2026-11-01" in text(backwards)
    assert all(each.ephemeral for each in (empty, wrong, backwards))


@on_stage()
async def test_periods_are_completed_in_the_admins_language_and_days_by_the_servers_clock(on: Stage) -> None:
    carol = admin(on)
    today = datetime.fromtimestamp(on.rig.time.now / 1000, UTC).date()

    words = await carol.autocomplete(on.channel, "quota export", "since", "month")
    days = await carol.autocomplete(on.channel, "quota export", "until", "")

    assert [each["value"] for each in words] == ["month", "last month"]
    assert [each["value"] for each in days[:2]] == [today.isoformat(), (today - timedelta(days=1)).isoformat()]


def test_the_end_of_a_period_may_be_a_named_period() -> None:
    def days(since: str | None, until: str | None) -> tuple[str, str]:
        first, end = period(since, until, now=NOON)
        return quota_reports.day_of(first, UTC), quota_reports.day_of(end - 1, UTC)

    assert days("2026-11-01", "yesterday") == ("2026-11-01", "2026-11-19")
    assert days("last month", None) == ("2026-10-01", "2026-10-31")
    assert days(None, "Today") == ("2026-11-01", "2026-11-20")
    with pytest.raises(UserError, match="backwards"):
        days("today", "last  month")


@on_stage()
async def test_an_export_is_encoded_in_a_thread(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    written_in: list[threading.Thread] = []

    def noting(entries: Sequence[Entry], zone: tzinfo, *, names: Names, header: bool) -> str:
        written_in.append(threading.current_thread())
        return to_csv(entries, zone, names=names, header=header)

    monkeypatch.setattr(quota_reports, "to_csv", noting)
    await on.rig.services.quotas.grant(by(on, "1"), on.alice.id, Grant(0, Unit.IMAGES, 1))

    await admin(on).slash(on.channel, "quota export", since="all")

    assert written_in
    assert threading.main_thread() not in written_in


# --- cells


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\uff1d", " =", '"=', "\n+"])
def test_no_cell_begins_a_formula(start: str) -> None:
    assert (
        escape_formulas(f"{start}cmd|' /C calc'!A0").lstrip(' \t\r\n"').startswith("'")
        or escape_formulas(start)[0] == "'"
    )


@pytest.mark.parametrize("before", [";", ",", "\t", "|", '";"', ";  "])
def test_no_cell_begins_a_formula_with_another_locales_separators(before: str) -> None:
    assert f"{before}'=1+1" in escape_formulas(f"a{before}=1+1")


def test_plain_text_is_not_changed() -> None:
    assert escape_formulas("a well-meant gift: 3 = three") == "a well-meant gift: 3 = three"
    assert escape_formulas(None) == ""


def test_times_are_those_of_the_zone_and_dollars_are_decimals() -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv([_entry(1)], ZoneInfo("America/New_York"))))

    assert tuple(row) == HEADER
    assert (row["time"], row["dollars"]) == ("2026-11-20T07:00:00-05:00", "-0.670001")
    assert to_csv([_entry(1)], UTC, header=False).count("\n") == 1
    assert row["actor"] == ""


def test_ids_are_text_and_names_begin_no_formula() -> None:
    names = Names({5: "=HYPERLINK(1)", 8: "+1"}, {6: "@here"})
    entry = replace(_entry(1), user=5, channel=6, actor=8, job="01K")

    (row,) = csv.DictReader(io.StringIO(to_csv([entry], UTC, names=names)))

    ids = {each: row[each] for each in ("server", "user", "channel", "actor")}
    assert ids == {"server": "'5001", "user": "'5", "channel": "'6", "actor": "'8"}
    assert (row["member_name"], row["channel_name"], row["actor_name"]) == ("'=HYPERLINK(1)", "'@here", "'+1")
    formulas = {name for name, cell in row.items() if cell[:1] in tuple("=+-@")}
    assert formulas == {"pictures", "dollars"}  # negative numbers, which nobody but the bot writes


def _entry(n: int) -> Entry:
    return Entry(
        n, NOON, 5001, Kind.ADJUST, user=5, channel=6, actor=0, job=None, images=-1, micro_usd=-670_001, bonus_images=0,
        reason="a reason of the usual length", route=None, price_version=None,
    )  # fmt: skip


def _numbers(said: str) -> list[int]:
    return [int(line.split(" to ")[-1].split()[0]) for line in said.splitlines() if line.startswith("- ")]


def _rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def _all_text(shown: Any) -> str:
    return "\n".join(text(each) for each in (shown, *shown.followups))
