"""Polls without news cost no database, stay within the budget, and do not hold up each other's hosts."""

import asyncio
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bot.core.durations import DurationKey
from bot.core.errors import ProviderUnavailable
from bot.core.jobs import HOUR, SECOND, Observation, State
from bot.core.polling import Timing
from bot.core.processes import Process, Role
from bot.core.quota import Limits
from bot.jobs.poll_timing import PolledRun
from bot.store.processes import Processes
from tests.kit import ALICE, BOB, NOON, Rig, rig

RUNNING = Observation(State.RUNNING)
NO_LIMITS = Limits(*[10**15] * 11)


class Counted:
    """How often the database was used since the last reset."""

    def __init__(self, app: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        for name in ("read", "write"):
            monkeypatch.setattr(app.store.database, name, self._counting(getattr(app.store.database, name)))

    def _counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*args: Any, **options: Any) -> Any:
            self.calls += 1
            return await call(*args, **options)

        return counted


async def polled(app: Rig, seconds: float) -> int:
    """Let time pass and poll what is due, without anything else that a turn does; returns the number of polls."""
    before = app.provider.asked
    app.time.go(seconds)
    while await app.worker.run_due():
        pass
    return app.provider.asked - before


async def test_a_poll_without_news_uses_no_database(app: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    app.provider.sees = [RUNNING]
    for user in (ALICE, BOB):
        await app.imagine(user)
    await app.turn(5, times=2)
    database = Counted(app, monkeypatch)

    assert [await polled(app, 10) for _ in range(3)] == [2, 2, 2]
    assert database.calls == 0


async def test_news_between_two_polls_is_found_although_no_row_was_read(app: Rig) -> None:
    app.provider.sees = [RUNNING, RUNNING, RUNNING, app.ready()]
    job_id = await app.imagine()
    for _ in range(5):
        await polled(app, 10)
    assert (await app.job(job_id)).state is State.SUCCEEDED


async def test_a_turn_in_the_queue_reads_neither_queue_nor_other_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, slots=1) as app:
        app.provider.sees = [RUNNING]
        ids = [await app.imagine(user) for user in range(1, 21)]
        await app.turn(5, times=2)
        app.provider.sees = [app.ready(), RUNNING]
        database = Counted(app, monkeypatch)

        await polled(app, 10)  # one ends, and the next is submitted

        assert [(await app.job(each)).state for each in ids[:3]] == [State.SUCCEEDED, State.QUEUED, State.ACCEPTED]
        assert database.calls < 25
        database.calls = 0
        await app.services.queues.load()
        assert database.calls == 1


def test_a_polled_run_takes_less_than_two_kilobytes() -> None:
    size = sys.getsizeof
    own = ("job_id", "run_id", "submitted_at", "deadline", "seen_at", "started_after", "started_before")
    key = DurationKey("runcomfy", "nano-banana-2", "1K", 1, "imagine")
    run = PolledRun("01M8CEWA3B9WRMMJ6WA87PGTPH", "runcomfy", "r" * 36, State.RUNNING, 1, NOON, NOON, Timing(), key,
                    calls_back=False, seen_at=NOON, started_after=NOON, started_before=NOON)  # fmt: skip
    assert size(run) + sum(size(getattr(run, name)) for name in own) < 1_000


async def test_the_budget_of_polls_holds_whatever_is_due(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=100, polls_per_second=5) as app:
        app.provider.sees = [RUNNING]
        for user in range(1, 41):
            await app.imagine(user)
        await app.turn()
        polls = [await polled(app, 0.5) for _ in range(60)]
        assert all(first + second <= 5 for first, second in pairwise(polls))
        assert sum(polls) > 80  # the budget is used


async def test_processes_share_the_budget_of_polls(tmp_path: Path, postgres_url: str) -> None:
    async with rig(tmp_path, url=postgres_url, slots=100, polls_per_second=10) as app:
        app.provider.sees = [RUNNING]
        for user in range(1, 41):
            await app.imagine(user)
        await app.turn()
        other = Process(0, (Role.WORKER,), "elsewhere", "", 1, "0", app.time.now + HOUR)
        await Processes(app.store.database).add(other)
        await app.services.leases.run_once()
        await polled(app, 1)
        polls = [await polled(app, 0.5) for _ in range(30)]
        assert all(first + second <= 5 for first, second in pairwise(polls))
        assert sum(polls) > 40


async def test_a_callback_is_served_before_polls_that_have_been_due_for_longer(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=100, polls_per_second=1) as app:
        app.provider.sees = [RUNNING]
        ids = [await app.imagine(user) for user in range(1, 11)]
        await app.turn()
        await polled(app, 3)
        app.time.go(20)
        await app.worker.run_due()  # all are due, one is polled
        app.services.wakeups.wake(ids[-1])
        asked: list[str] = []
        app.provider.seen_by = asked.append

        await polled(app, 1)

        assert asked == [(await app.job(ids[-1])).run_id]


async def test_a_host_that_does_not_answer_does_not_hold_up_another(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=100, beside="runflow", limits=NO_LIMITS) as app:
        app.provider.sees = app.beside.sees = [RUNNING]
        app.provider.submits = [ProviderUnavailable("reset")]
        theirs = await app.imagine()
        await app.turn()
        assert app.beside.submitted == [theirs]
        for user in range(1, 51):
            await app.imagine(user)
        await app.turn(5)
        app.provider.waits_for = stuck = asyncio.Event()  # more polls and submits hang than the host may have at a time

        async def hang(_: str) -> None:
            await stuck.wait()

        app.provider.while_submitting = hang
        for user in range(51, 101):
            await app.imagine(user)
        app.beside.sees = [app.ready()]
        app.time.go(60)
        stop = asyncio.Event()
        working = asyncio.create_task(app.worker.run(stop))
        async with asyncio.timeout(10):
            while not (await app.job(theirs)).state.is_final:
                app.services.wakeups.worker.set()
        stop.set()
        stuck.set()
        app.services.wakeups.worker.set()
        await working
        assert (await app.job(theirs)).state is State.SUCCEEDED


async def test_a_start_polls_every_run_within_the_budget(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=100) as app:
        app.provider.sees = [RUNNING]
        for user in range(1, 31):
            await app.imagine(user)
        await app.turn(5)
        time = app.time
    async with rig(tmp_path, slots=100, polls_per_second=10, time=time) as again:
        again.provider.sees = [RUNNING]
        assert [await polled(again, 0), await polled(again, 1), await polled(again, 1)] == [10, 10, 10]
        assert time.now < app.time.now + 3 * SECOND
