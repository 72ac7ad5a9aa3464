"""Changes of quotas by admins: made once, recorded with their actor, effective for the next reservation."""

import asyncio
from collections.abc import Sequence

import pytest

from bot.core.errors import UserError
from bot.core.jobs import Job, Place, State
from bot.core.quota import Amount, Block, Grant, Holder, Limits, Rule, Scope, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.store.alerts import Alerts
from bot.store.quotas import By, Quotas
from bot.store.store import Store
from tests.store.ledger_model import FREE, NOON, a_job, accept, faults, opened, rows, walk, way_to

ADA, BEN = 91, 92  # admins
HERE = Place(1, 6, 5)
ONE_A_DAY = Limits(user_day_images=1)
THREE = Rule(Holder.USER, 1, Unit.IMAGES, Window.DAY, 3)


def by(number: str, actor: int = ADA, *, server: int = 5) -> By:
    return By(number, server, actor, NOON)


@pytest.fixture
def quotas(store: Store) -> Quotas:
    return Quotas(store.database)


async def history(store: Store) -> Sequence[tuple[object, ...]]:
    found = await rows(store, "SELECT actor, action, holder, subject FROM changes ORDER BY n")
    return [tuple(row[each] for each in ("actor", "action", "holder", "subject")) for row in found]


async def left(store: Store, place: Place = HERE) -> list[tuple[Unit, int]]:
    return [(each.unit, each.left) for each in (await store.quota_status(place, limits=FREE, now=NOON)).grants]


async def limits_at(store: Store, place: Place = HERE, limits: Limits = ONE_A_DAY) -> dict[str, int]:
    return {each.name: each.amount for each in (await store.quota_status(place, limits=limits, now=NOON)).limits}


# --- limits


async def test_a_rule_applies_to_the_next_reservation_and_not_to_other_servers(store: Store, quotas: Quotas) -> None:
    await quotas.set_rule(by("a"), THREE)
    await accept(store, a_job("j", count=3), limits=ONE_A_DAY)
    with pytest.raises(UserError, match="user_day_images") as caught:
        await accept(store, a_job("k"), limits=ONE_A_DAY)
    assert caught.value.values["limit"] == 3
    for place in (Place(1, 6, 8), Place(1, 6), Place(2, 6, 5)):
        assert (await limits_at(store, place))["user_day_images"] in (1, 10)


async def test_a_rule_that_is_set_again_replaces_the_previous_one_and_a_cleared_one_is_gone(
    store: Store, quotas: Quotas
) -> None:
    await quotas.set_rule(by("a"), THREE)
    await quotas.set_rule(by("b", BEN), Rule(Holder.USER, 1, Unit.IMAGES, Window.DAY, None))
    assert "user_day_images" not in await limits_at(store)
    hourly = Rule(Holder.USER, 1, Unit.IMAGES, Window.HOUR, 0)
    assert len(await quotas.clear_rules(by("c"), [THREE, hourly])) == 1  # the other was not set
    assert (await limits_at(store))["user_day_images"] == 1
    assert await quotas.clear_rules(by("d"), [THREE]) == []
    assert [each[:2] for each in await history(store)][:3] == [(ADA, "set"), (BEN, "set"), (ADA, "clear")]


async def test_a_block_refuses_reservations_until_it_is_removed(store: Store, quotas: Quotas) -> None:
    for holder, subject in ((Holder.CHANNEL, 6), (Holder.ROLE, 701), (Holder.USER, 1)):
        await quotas.block(by(f"{holder}"), Block(holder, subject))
        job = a_job("j", place=Place(1, 66, 5, parent_id=6, roles=(5, 701)))
        with pytest.raises(UserError, match=f"blocked.{holder}"):
            await accept(store, job, interaction=subject)
    for holder, subject in ((Holder.CHANNEL, 6), (Holder.ROLE, 701), (Holder.USER, 1)):
        assert await quotas.unblock(by(f"un-{holder}"), Block(holder, subject))
        assert not await quotas.unblock(by(f"again-{holder}"), Block(holder, subject))
    await accept(store, a_job("j", place=job.place))
    assert await faults(store) == []


# --- once


async def test_an_interaction_delivered_twice_or_many_times_at_once_changes_once(store: Store, quotas: Quotas) -> None:
    bonus = Grant(0, Unit.IMAGES, 5)
    made = await asyncio.gather(*(quotas.grant(by("one"), 1, bonus) for _ in range(10)))
    assert len([each for each in made if each is not None]) == 1
    assert await left(store) == [(Unit.IMAGES, 5)]

    await quotas.set_rule(by("two"), THREE)
    await quotas.set_rule(by("three"), Rule(Holder.USER, 1, Unit.IMAGES, Window.DAY, 9))
    await quotas.set_rule(by("two"), THREE)  # a late, repeated delivery
    assert (await limits_at(store))["user_day_images"] == 9
    assert len(await history(store)) == 3


async def test_a_bonus_revoked_by_two_admins_at_once_is_revoked_once(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        number = await Quotas(one.database).grant(by("g"), 1, Grant(0, Unit.MICRO_USD, 500))
        assert number is not None
        found = await asyncio.gather(
            *(Quotas(each.database).revoke(by(f"r{n}", BEN), number) for n, each in enumerate((one, other) * 3))
        )
        assert [each.grant.left for each in found if each] == [500]
        assert await left(one) == []
        adjusted = await rows(one, "SELECT actor, micro_usd FROM ledger WHERE kind = 'adjust'")
        assert [(row["actor"], row["micro_usd"]) for row in adjusted] == [(BEN, -500)]
        assert await faults(one) == []


async def test_another_servers_bonus_cannot_be_revoked(store: Store, quotas: Quotas) -> None:
    number = await quotas.grant(by("g"), 1, Grant(0, Unit.IMAGES, 5))
    assert number is not None
    assert await quotas.revoke(by("r", server=8), number) is None
    assert await left(store) == [(Unit.IMAGES, 5)]


# --- together with others


async def test_a_bonus_is_drawn_or_revoked_and_never_both(url: str) -> None:
    limits = Limits(user_day_images=0)
    async with opened(url) as one, opened(url) as other:
        for n in range(12):
            number = await Quotas(one.database).grant(by(f"g{n}"), n, Grant(0, Unit.IMAGES, 1))
            assert number is not None
            answers = await asyncio.gather(
                accept(one, a_job(f"j{n}", user=n), limits=limits),
                Quotas(other.database).revoke(by(f"r{n}"), number),
                return_exceptions=True,
            )
            drawn, taken = isinstance(answers[0], Job), answers[1] is not None
            assert drawn is not taken
        assert await faults(one) == []


async def test_concurrent_draws_on_one_bonus_draw_it_once(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        await Quotas(one.database).grant(by("g"), 1, Grant(0, Unit.IMAGES, 7))
        limits = Limits(user_day_images=3, user_in_flight=None)
        work = (accept((one, other)[n % 2], a_job(f"j{n}"), limits=limits, price=1) for n in range(30))
        answers = await asyncio.gather(*work, return_exceptions=True)
        assert sum(isinstance(each, Job) for each in answers) == 3 + 7
        assert await left(one) == []
        assert await faults(one) == []


async def test_a_reset_during_reservations_and_endings_leaves_the_ledger_consistent(url: str) -> None:
    async with opened(url) as one, opened(url) as other:

        async def live(n: int) -> None:
            store = (one, other)[n % 2]
            job = await accept(store, a_job(f"j{n}", user=n % 2 + 1, count=2), price=5)
            job = await walk(store, job, way_to(State.COLLECTING))
            await store.move(job, State.SUCCEEDED, now=NOON, images=n % 3)

        async def reset(n: int) -> None:
            holder, subject = ((Holder.USER, 1), (Holder.CHANNEL, 6), (Holder.GUILD, 0))[n % 3]
            await Quotas((one, other)[n % 2].database).reset(by(f"reset-{n}"), holder, subject)

        async with asyncio.timeout(30):
            await asyncio.gather(*(live(n) for n in range(30)), *(reset(n) for n in range(9)))
        assert await faults(one) == []
        await asyncio.gather(*(reset(n) for n in range(100, 103)))
        used = (await one.quota_status(HERE, limits=FREE, now=NOON)).used
        for scope in (Scope.USER, Scope.CHANNEL, Scope.GUILD):
            assert [used.tally(scope, window).counts for window in Window] == [Amount()] * len(Window)
        assert used.tally(Scope.HOST, Window.TOTAL).counts.images > 0  # still counts for the host
        assert await faults(one) == []


async def test_unfinished_jobs_still_count_after_a_reset_and_their_release_gives_no_more(
    store: Store, quotas: Quotas
) -> None:
    done = await walk(store, await accept(store, a_job("done", count=2)), way_to(State.COLLECTING))
    await store.move(done, State.SUCCEEDED, now=NOON, images=2)
    flying = await accept(store, a_job("flying", count=3))
    assert await quotas.reset(by("r"), Holder.USER, 1) == Amount(2, 160_000)
    assert await quotas.reset(by("r"), Holder.USER, 1) is None

    assert (await store.quota_status(HERE, limits=FREE, now=NOON)).used.tally(Scope.USER, Window.DAY).counts.images == 3
    await store.move(flying, State.FAILED, now=NOON)
    assert (await store.quota_status(HERE, limits=FREE, now=NOON)).used.tally(Scope.USER, Window.DAY).counts == Amount()
    assert await faults(store) == []


@pytest.mark.parametrize(("pictures", "counts"), [(0, 0), (1, 1), (4, 1)])
async def test_a_reset_does_not_count_the_part_that_a_bonus_pays(
    store: Store, quotas: Quotas, pictures: int, counts: int
) -> None:
    await quotas.grant(by("g"), 1, Grant(0, Unit.IMAGES, 9))
    job = await accept(store, a_job("j", count=4), price=1, limits=ONE_A_DAY)
    assert await left(store) == [(Unit.IMAGES, 6)]
    assert await quotas.reset(by("r"), Holder.USER, 1) == Amount()
    job = await walk(store, job, way_to(State.COLLECTING))
    await store.move(job, State.SUCCEEDED, now=NOON, images=pictures)
    used = (await store.quota_status(HERE, limits=FREE, now=NOON)).used
    assert used.tally(Scope.USER, Window.DAY).counts == Amount(counts, counts)
    assert await left(store) == [(Unit.IMAGES, 9 - max(0, pictures - 1))]
    assert await faults(store) == []


async def test_concurrent_changes_of_settings_by_two_admins_both_apply(url: str) -> None:
    async with opened(url) as one, opened(url) as other:

        async def deny(channel: int) -> None:
            def change(server_settings: ServerSettings) -> ServerSettings:
                return server_settings.model_copy(update={"denied": (*server_settings.denied, channel)})

            store = (one, other)[channel % 2]
            await Quotas(store.database).change_server_settings(by(f"c{channel}"), change, body={"denied": channel})

        await asyncio.gather(*(deny(n) for n in range(1, 9)))
        assert sorted((await one.server_settings(5)).denied) == list(range(1, 9))
        assert len(await history(one)) == 8


# --- alerts


async def test_a_threshold_raises_one_alert_however_often_it_is_crossed(store: Store) -> None:
    limits, alerts = Limits(guild_month_micro_usd=1000), Alerts(store.database)
    job = await accept(store, a_job("a"), price=850, limits=limits)
    (first,) = await alerts.pending(since=0)
    assert (first.server, first.body["percent"], first.body["used"]) == (5, 80, 850)
    await alerts.mark_notified(first.id, now=NOON)
    await store.move(job, State.FAILED, now=NOON)
    await accept(store, a_job("b"), price=850, limits=limits)
    assert await alerts.pending(since=0) == []
    await accept(store, a_job("c"), price=150, limits=limits)
    (second,) = await alerts.pending(since=0)
    assert second.body["percent"] == 100


async def test_a_refused_reservation_raises_no_alert(store: Store) -> None:
    with pytest.raises(UserError):
        await accept(store, a_job("a"), price=1001, limits=Limits(guild_month_micro_usd=1000))
    assert await Alerts(store.database).pending(since=0) == []
