"""Limits on a server's calendar: changes of clocks and timezones, midnights, ends of months, expiring bonuses."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from bot.core.errors import UserError
from bot.core.jobs import Job, Place, State
from bot.core.quota import Amount, Grant, Holder, Limit, Rule, Scope, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.core.zones import calendar_of, zone_of
from bot.store.quotas import By, Quotas
from bot.store.store import Store
from tests.store.ledger_model import FREE, a_job, accept, faults, rows, walk, way_to

BERLIN, TOKYO, NEW_YORK = (ZoneInfo(each) for each in ("Europe/Berlin", "Asia/Tokyo", "America/New_York"))
HERE = Place(1, 6, 5)
ONE_A_DAY = replace(FREE, user_day_images=1)
COLLECTED = way_to(State.COLLECTING)


def ms(text: str, zone: tzinfo = UTC) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp() * 1000)


async def one(store: Store, now: int, zone: tzinfo, *, count: int = 1) -> Job:
    """Accept a job under a limit of one picture a day; `UserError` has the time of the reset."""
    number = (await rows(store, "SELECT count(*) AS n FROM interactions"))[0]["n"]
    job = a_job(f"{number}", now=now, count=count)
    return await accept(store, job, limits=ONE_A_DAY, zone=zone, price=100)


async def resets_at(store: Store, now: int, zone: tzinfo) -> object:
    with pytest.raises(UserError) as caught:
        await one(store, now, zone)
    assert caught.value.key.startswith("quota.user_")
    return caught.value.values["resets_at"]


async def limit(store: Store, unit: Unit, window: Window, amount: int) -> None:
    by = By(f"{unit}-{window}-{amount}", 5, 9, 0)
    await Quotas(store.database).set_rule(by, Rule(Holder.USER, 1, unit, window, amount))


async def counted(store: Store, scope: Scope, window: Window, now: int) -> Amount:
    return (await store.quota_status(HERE, limits=FREE, now=now)).used.tally(scope, window).counts


async def set_alerts(store: Store, channel: int, *, at: int) -> None:
    await Quotas(store.database).change_server_settings(
        By(f"alerts-{channel}", 5, 9, at),
        lambda server_settings: ServerSettings(timezone=server_settings.timezone, alerts=channel),
        body={},
    )


async def settle_in(store: Store, zone: str, *, at: int = 0) -> None:
    def change(server_settings: ServerSettings) -> ServerSettings:
        return server_settings.model_copy(update={"timezone": zone})

    moved = (await rows(store, "SELECT count(*) AS times FROM changes"))[0]["times"]
    await Quotas(store.database).change_server_settings(By(f"move-{moved}", 5, 9, at), change, body={})


# --- days


@pytest.mark.parametrize(
    ("name", "used_up", "again"),
    [
        ("Europe/Berlin", "2026-03-28T23:30", "2026-03-29T00:00"),
        ("Europe/Berlin", "2026-03-29T00:30", "2026-03-30T00:00"),  # 23 hours
        ("Europe/Berlin", "2026-10-25T00:30", "2026-10-26T00:00"),  # 25 hours
        ("America/New_York", "2026-10-31T12:00", "2026-11-01T00:00"),
        ("Asia/Kathmandu", "2026-12-31T23:59", "2027-01-01T00:00"),
        ("Asia/Beirut", "2027-03-27T23:59", "2027-03-28T01:00"),  # whose midnight is leapt over
        ("Africa/Cairo", "2026-10-29T23:30", "2026-10-30T00:00"),
    ],
)
async def test_a_daily_limit_resets_at_the_servers_midnight(store: Store, name: str, used_up: str, again: str) -> None:
    zone = ZoneInfo(name)
    midnight = ms(again, zone)
    await one(store, ms(used_up, zone), zone)
    assert await resets_at(store, midnight - 1, zone) == midnight
    await one(store, midnight, zone)
    assert await faults(store) == []


async def test_an_hourly_limit_resets_with_the_utc_hour(store: Store) -> None:
    await limit(store, Unit.IMAGES, Window.HOUR, 1)
    await limit(store, Unit.IMAGES, Window.DAY, 9)
    kathmandu, at = ZoneInfo("Asia/Kathmandu"), ms("2026-11-21T05:10")  # its offset is a quarter of an hour off
    await one(store, at, kathmandu)
    assert await resets_at(store, ms("2026-11-21T05:59"), kathmandu) == ms("2026-11-21T06:00")
    await one(store, ms("2026-11-21T06:00"), kathmandu)
    assert await faults(store) == []


async def test_weeks_start_on_monday_and_months_on_the_first_in_the_servers_timezone(store: Store) -> None:
    await limit(store, Unit.IMAGES, Window.DAY, 9)
    await limit(store, Unit.MICRO_USD, Window.WEEK, 100)
    sunday, monday = ms("2026-11-29T23:59:59", TOKYO), ms("2026-11-30", TOKYO)
    await one(store, sunday, TOKYO)
    assert await resets_at(store, sunday, TOKYO) == monday
    await one(store, monday, TOKYO)
    await limit(store, Unit.IMAGES, Window.MONTH, 2)
    await limit(store, Unit.MICRO_USD, Window.WEEK, 10_000)
    assert await resets_at(store, monday + 1, TOKYO) == ms("2026-12-01", TOKYO)
    await one(store, ms("2026-12-01", TOKYO), TOKYO)


async def test_the_month_of_scope_host_ends_in_utc_for_every_server(store: Store) -> None:
    at = ms("2026-12-01T00:30", TOKYO)  # still November in UTC
    cap = replace(FREE, host_month_micro_usd=100)
    await accept(store, a_job("a", now=at), price=100, limits=cap, zone=TOKYO)
    with pytest.raises(UserError) as caught:
        await accept(store, a_job("b", now=at, guild=8), price=100, limits=cap, zone=NEW_YORK)
    assert (caught.value.key, caught.value.values["resets_at"]) == ("quota.host_month_usd", ms("2026-12-01"))
    await accept(store, a_job("c", now=ms("2026-12-01"), guild=8), price=100, limits=cap, zone=NEW_YORK)


# --- endings after midnight


@pytest.mark.parametrize(("ending", "kept"), [(State.FAILED, 0), (State.SUCCEEDED, 1)])
async def test_a_job_that_ends_after_midnight_counts_in_the_day_of_its_reservation(
    store: Store, ending: State, kept: int
) -> None:
    await settle_in(store, "Europe/Berlin")
    evening, night = (
        ms("2026-10-31T23:59", BERLIN),
        ms("2026-11-01T00:01", BERLIN),
    )  # a day, a month, not yet one in UTC
    job = await walk(store, await one(store, evening, BERLIN), COLLECTED, now=night)
    await store.move(job, ending, now=night, images=kept)

    for window in (Window.HOUR, Window.DAY, Window.MONTH):
        assert await counted(store, Scope.USER, window, evening) == Amount(kept, kept * 100)
        assert await counted(store, Scope.USER, window, night) == Amount()
    assert await counted(store, Scope.USER, Window.WEEK, night) == Amount(kept, kept * 100)
    await one(store, night, BERLIN)
    assert await faults(store) == []


# --- servers that change their timezone

WALKED = (
    "Pacific/Kiritimati",
    "Asia/Kathmandu",
    "Europe/Berlin",
    "America/St_Johns",
    "Pacific/Niue",
    "UTC",
    "Asia/Tokyo",
)
ANY_DAY = ms("2026-11-30T10:30")  # the 29th, the 30th and the 1st at once, by places


@pytest.mark.parametrize(
    ("holder", "window"),
    [
        (Holder.CAP, Window.HOUR),
        (Holder.CAP, Window.MONTH),
        (Holder.GUILD, Window.HOUR),
        (Holder.GUILD, Window.MONTH),
        (Holder.CHANNEL, Window.WEEK),
        (Holder.USER, Window.DAY),
    ],
)
async def test_a_server_that_changes_its_timezone_often_gets_no_more_pictures(
    store: Store, holder: Holder, window: Window
) -> None:
    subject = {Holder.CHANNEL: 6, Holder.USER: 1}.get(holder, 0)
    rule = Rule(holder, subject, Unit.IMAGES, window, 2)
    await Quotas(store.database).set_rule(By("limit", 5, 9, 0), rule)
    taken = 0
    for n, zone in enumerate(WALKED):
        at = ANY_DAY + n
        await settle_in(store, zone, at=at)
        await set_alerts(store, 100 + n, at=at)  # another setting leaves the day in force too
        calendar = calendar_of(await store.server_settings(5))
        for each in range(2):
            with suppress(UserError):
                await accept(store, a_job(f"{n}-{each}", now=at), calendar=calendar)
                taken += 1
    assert taken == 2
    assert await faults(store) == []


async def test_the_operators_cap_resets_in_utc_whatever_a_server_changes_or_resets(store: Store) -> None:
    quotas = Quotas(store.database)
    for window in (Window.DAY, Window.TOTAL):
        await quotas.set_rule(
            By(f"cap-{window}", 5, 0, 0), Rule(Holder.CAP, 0, Unit.IMAGES, window, 1 + 9 * (window is Window.TOTAL))
        )
    before, after = ms("2026-12-01T00:30", TOKYO), ms("2026-12-01T08:59", TOKYO)
    job = await walk(store, await accept(store, a_job("a", now=before), zone=TOKYO), COLLECTED, now=before)
    await store.move(job, State.SUCCEEDED, now=before, images=1)
    await quotas.reset(By("anew", 5, 9, after), Holder.GUILD, 0)
    with pytest.raises(UserError) as caught:
        await accept(store, a_job("b", now=after), zone=TOKYO)
    assert (caught.value.key, caught.value.values["resets_at"]) == ("quota.cap_day_images", ms("2026-12-01"))
    await accept(store, a_job("c", now=ms("2026-12-01")), zone=TOKYO)
    assert await counted(store, Scope.CAP, Window.TOTAL, after) == Amount(2, 160_000)
    assert await faults(store) == []


async def test_a_running_job_still_counts_after_a_change_of_timezone(store: Store) -> None:
    await settle_in(store, "Asia/Tokyo")
    at = ms("2026-11-30T16:00")  # the first of December in Tokyo, and for a while of the server
    job = await walk(store, await one(store, at, TOKYO), COLLECTED, now=at)
    await settle_in(store, "America/New_York", at=at)
    assert await counted(store, Scope.USER, Window.MONTH, at) == Amount(1, 100)
    await store.move(job, State.FAILED, now=at)
    assert await counted(store, Scope.USER, Window.MONTH, at) == Amount()
    assert await faults(store) == []


async def test_a_clock_that_goes_back_finds_earlier_usage(store: Store) -> None:
    yesterday, today = ms("2026-11-20T12:00"), ms("2026-11-21T12:00")
    await one(store, yesterday, UTC)
    await one(store, today, UTC)
    assert await resets_at(store, yesterday + 1, UTC) == ms("2026-11-21")
    assert await faults(store) == []


async def test_a_timezone_that_the_system_does_not_know_counts_as_utc(store: Store) -> None:
    await settle_in(store, "Atlantis/Lost")
    assert zone_of(await store.server_settings(5)) is UTC
    at = ms("2026-11-21T12:00")
    assert (await store.quota_status(HERE, limits=ONE_A_DAY, now=at)).used.resets_at(
        Limit(Scope.USER, Unit.IMAGES, Window.DAY, 1)
    ) == ms("2026-11-22")


# --- bonuses that expire


async def bonus_left(store: Store, now: int) -> int:
    return sum(each.left for each in (await store.quota_status(HERE, limits=FREE, now=now)).grants)


async def test_a_bonus_that_expires_during_a_job_still_pays_for_it(store: Store) -> None:
    at = ms("2026-11-21T12:00")
    await Quotas(store.database).grant(By("g", 5, 9, at), 1, Grant(0, Unit.IMAGES, 5, at + 1000))
    job = await walk(store, await one(store, at, UTC, count=4), COLLECTED, now=at + 2000)
    await store.move(job, State.SUCCEEDED, now=at + 2000, images=4)
    assert await counted(store, Scope.USER, Window.DAY, at) == Amount(1, 100)  # three were a bonus
    assert await counted(store, Scope.CHANNEL, Window.DAY, at) == Amount(4, 400)
    assert await faults(store) == []


async def test_a_refund_to_an_expired_bonus_cannot_be_used(store: Store) -> None:
    at = ms("2026-11-21T12:00")
    await Quotas(store.database).grant(By("g", 5, 9, at), 1, Grant(0, Unit.IMAGES, 5, at + 1000))
    job = await one(store, at, UTC, count=4)
    assert await bonus_left(store, at) == 2
    await store.move(job, State.FAILED, now=at + 1000)
    assert await bonus_left(store, at + 999) == 5
    assert await bonus_left(store, at + 1000) == 0
    await one(store, at + 1000, UTC)
    assert await resets_at(store, at + 1000, UTC) == ms("2026-11-22")
    assert await faults(store) == []


@pytest.mark.parametrize(("pictures", "from_bonus", "left"), [(4, 3, 2), (3, 2, 3), (1, 0, 5), (0, 0, 5)])
async def test_a_members_own_allowance_pays_first_and_the_bonus_for_the_rest(
    store: Store, pictures: int, from_bonus: int, left: int
) -> None:
    at = ms("2026-11-21T12:00")
    await Quotas(store.database).grant(By("g", 5, 9, at), 1, Grant(0, Unit.IMAGES, 5))
    job = await walk(store, await one(store, at, UTC, count=4), COLLECTED, now=at)
    await store.move(job, State.SUCCEEDED, now=at, images=pictures)
    assert await bonus_left(store, at) == left
    own = min(pictures, 1)
    assert await counted(store, Scope.USER, Window.DAY, at) == Amount(own, own * 100)
    record = await store.job_record(job.id)
    assert record is not None
    assert record.charge.bonus == from_bonus
    assert await faults(store) == []
