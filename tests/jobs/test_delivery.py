"""What deliveries cost: reads of the database, and requests to Discord."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from bot.core.jobs import Observation, State
from bot.jobs.delivery import FILE_SLACK
from bot.store.connect import open_database
from bot.store.database import Database, Unit
from bot.store.store import Store
from tests.kit import ALICE, BOB, Rig, Time, rig

T = TypeVar("T")


class CountedReads:
    """A database that counts what is read from it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reads = 0
        self.writes = 0
        self.unavailable_because: BaseException | None = None
        self.shared = database.shared
        self.scan = database.scan
        self.run_statements = database.run_statements
        self.abandon = database.abandon
        self.now = database.now
        self.publish = database.publish
        self.try_lock = database.try_lock
        self.unlock = database.unlock
        self.on_message = database.on_message
        self.external_changes = database.external_changes
        self.wait_for_abandoned = database.wait_for_abandoned
        self.purge_deleted = database.purge_deleted
        self.writable = database.writable
        self.aclose = database.aclose

    async def write(self, unit: Unit[T], *, on_commit: Callable[[T], None] | None = None) -> T:
        self.writes += 1
        return await self._database.write(unit, on_commit=on_commit)

    async def read(self, unit: Unit[T]) -> T:
        self.reads += 1
        return await self._database.read(unit)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as built:
        yield built


async def test_a_delivery_is_one_read_and_one_write_and_nothing_due_is_none(app: Rig) -> None:
    app.provider.sees = [Observation(State.RUNNING)]
    jobs = [await app.imagine(ALICE), await app.imagine(BOB)]
    await app.turn(5)
    await app.store.request_redraw(jobs, now=app.time.now)
    app.time.go(5)
    app.store.database = database = CountedReads(app.store.database)

    assert await app.delivery.run_due() == 2
    assert (database.reads, database.writes) == (2, 2)

    for _ in range(20):
        app.time.go(1)
        assert await app.delivery.run_due() == 0
    assert (database.reads, database.writes) == (2, 2)


async def test_cards_of_an_unfinished_job_are_spaced_and_its_final_card_is_not(app: Rig) -> None:
    app.provider.sees = [Observation(State.RUNNING)]
    job_id = await app.imagine()
    await app.turn(5)
    shown = len(app.messenger.shown)
    for _ in range(29):
        app.time.go(0.1)
        await app.store.request_redraw([job_id], now=app.time.now)
        await app.delivery.run_due()
    assert len(app.messenger.shown) == shown
    app.time.go(0.1)
    await app.delivery.run_due()
    assert len(app.messenger.shown) == shown + 1

    await app.store.move(await app.job(job_id), State.FAILED, now=app.time.now, reason="down")
    await app.delivery.run_due()
    assert app.messenger.last.job.state is State.FAILED


async def test_a_card_that_discords_limits_delay_is_no_failed_attempt_and_delays_no_final_card(app: Rig) -> None:
    app.provider.sees = [Observation(State.RUNNING)]
    running, ended = await app.imagine(ALICE), await app.imagine(BOB)
    await app.turn(5)
    app.messenger.waits, shown = 4.0, len(app.messenger.shown)
    await app.store.request_redraw([running, ended], now=app.time.now)
    app.time.go(5)
    assert [await app.delivery.run_due() for _ in range(2)] == [2, 0]
    await app.store.move(await app.job(ended), State.FAILED, now=app.time.now, reason="down")
    await app.delivery.run_due()
    app.time.go(3.9)
    assert await app.delivery.run_due() == 0
    app.messenger.waits = 0.0
    app.time.go(0.1)
    assert await app.delivery.run_due() == 1

    assert [card.job.id for _, card, _ in app.messenger.shown[shown:]] == [ended, running]
    record = await app.store.job_record(running)
    assert record is not None
    assert (record.reply.attempts, record.reply.delivered) == (0, record.reply.wanted)


async def test_pictures_that_must_be_made_smaller_do_not_delay_other_final_cards(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    large = [await app.imagine(user, filesize_limit=FILE_SLACK + 50) for user in range(3)]
    small = await app.imagine(ALICE)
    for each in (*large, small):
        while not (await app.job(each)).state.is_final:
            app.time.go(5)
            await app.worker.run_due()

    assert [await app.delivery.run_due() for _ in range(4)] == [4, 2, 1, 0]
    first, *others = [card.job.id for _, card, _ in app.messenger.shown]
    assert (first, set(others)) == (small, set(large))


async def test_replies_that_were_due_before_a_restart_are_sent_after_it(tmp_path: Path) -> None:
    clock = Time()
    async with rig(tmp_path, time=clock) as before:
        ended, running = await before.imagine(ALICE), await before.imagine(BOB)
        await before.worker.run_due()
        await before.store.move(await before.job(ended), State.CANCELLED, now=clock.now)
    async with rig(tmp_path, time=clock) as after:
        await after.delivery.run_due()
        assert [card.job.id for _, card, _ in after.messenger.shown] == [ended, running]


async def test_a_card_that_another_process_requests_is_sent_within_seconds(app: Rig) -> None:
    app.provider.sees = [Observation(State.RUNNING)]
    job_id = await app.imagine()
    await app.turn(5)
    stop, shown = asyncio.Event(), len(app.messenger.shown)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for loop in (app.worker, app.delivery):
            group.create_task(loop.run(stop))
        other = await open_database(f"sqlite:///{app.folder}/darkroom.db")
        app.time.go(5)
        await Store(other).request_redraw([job_id], now=app.time.now)
        await other.aclose()
        while len(app.messenger.shown) == shown:
            await app.services.wakeups.replies.wait()
            await asyncio.sleep(0)
        stop.set()
        app.services.wakeups.wake_all()


async def test_a_due_reply_that_the_schedule_has_lost_is_found_and_logged(
    app: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    app.provider.sees = [Observation(State.RUNNING)]
    job_id = await app.imagine()
    await app.turn(5)
    await app.store.request_redraw([job_id], now=app.time.now)
    app.delivery._schedule.drop(job_id)
    app.time.go(10)
    assert await app.delivery.run_due() == 0

    app.time.go(25)
    with caplog.at_level(logging.WARNING):
        assert await app.delivery.run_due() == 1
    assert [getattr(each, "event", None) for each in caplog.records] == ["reply_found"]
