"""Every order of a submit's answer, five copies of a callback and the worker's steps gives the same result."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count, permutations
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import RunNotKnownYet
from bot.core.jobs import WATCH_LIMIT, Observation, State
from bot.core.quota import Limits
from tests.kit import Rig, rig
from tests.web.test_callbacks import LINKS, WebServer, payload, web_server

STORED, CALL, TURN = "S", "C", "P"
ORDERS = sorted({"".join(each) for each in permutations(STORED + 5 * CALL + 2 * TURN)})
BEYOND = 200.0  # seconds: beyond the safety poll, so that the worker polls without a callback
SOON = 20_000  # milliseconds: far less than until the safety poll
NO_LIMITS = Limits(*[None] * 11)
RUNNING = Observation(State.RUNNING)


@dataclass(frozen=True)
class Ending:
    """What the provider reports about a run, and the expected result of its job."""

    event: str
    sees: Callable[[Rig], list[Any]]
    state: State
    reason: str | None
    ledger: tuple[tuple[str, int, int], ...]
    images: int = 0
    version: int = 3  # of its card: acknowledged, submitted, ended


RESERVED, SETTLED, RELEASED = ("reserve", 1, 80_000), ("settle", 1, 80_000), ("release", 1, 80_000)
ENDINGS = {
    "succeeded": Ending(
        "run.completed", lambda app: [app.ready()], State.SUCCEEDED, None, (RESERVED, SETTLED), images=1, version=4
    ),
    "failed": Ending(
        "run.failed", lambda _: [Observation(State.FAILED)], State.FAILED, "host_failed", (RESERVED, RELEASED)
    ),
    "cancelled by the host": Ending(
        "run.cancelled",
        lambda _: [Observation(State.CANCELLED)],
        State.CANCELLED,
        "cancelled_by_host",
        (RESERVED, RELEASED),
    ),
    "shown later than called for": Ending(
        "run.completed",
        lambda app: [RunNotKnownYet("not yet"), RUNNING, app.ready()],
        State.SUCCEEDED,
        None,
        (RESERVED, SETTLED),
        images=1,
        version=6,
    ),
}


@dataclass
class OrderedEvents:
    """One bot and its web server, where each job gets its own order of events."""

    at: WebServer
    numbers: "count[int]"

    @property
    def app(self) -> Rig:
        return self.at.app

    async def job(self, order: str, ending: Ending) -> str:
        """A job after *order*, and after the worker's step that the last event woke."""
        app, run_id, outcomes = self.app, f"run-of-{next(self.numbers)}", self.at.outcomes.copy()
        begun, answered = asyncio.Event(), asyncio.Event()

        async def wait(_: str) -> None:
            begun.set()
            await answered.wait()

        app.provider.while_submitting, app.provider.submits = wait, [run_id]
        app.provider.sees, app.provider.asked = ending.sees(app), 0
        job_id = await app.imagine()
        submitting = asyncio.create_task(app.worker.run_due())
        await begun.wait()
        for event in order:
            if event == CALL:
                assert await self.at.post(self.at.path(job_id), payload(run_id, event=ending.event)) == 200
            elif event == TURN:
                await app.turn(BEYOND)
            else:
                answered.set()
                await submitting
        await app.turn()
        counted = self.at.outcomes - outcomes
        assert counted.total() == order.count(CALL) == counted["early"] + counted["rung"] + counted["late"]
        assert (counted["early"] > 0) == (order.index(CALL) < order.index(STORED))
        return job_id

    async def result_of(self, job_id: str) -> tuple[Any, ...]:
        """Everything stored about a finished job except times."""
        record = await self.app.store.job_record(job_id)
        assert record is not None
        job, reply = record.job, record.reply
        ledger = await self._rows("SELECT kind, images, micro_usd FROM ledger WHERE job = $1 ORDER BY id", job_id)
        costs = await self._rows("SELECT basis, micro_usd FROM host_cost WHERE job = $1", job_id)
        assert len(record.pictures) == job.images
        return job.state, job.reason, job.images, ledger, costs, reply.wanted, reply.delivered

    async def _rows(self, sql: str, job_id: str) -> tuple[tuple[Any, ...], ...]:
        entries = await self.app.store.database.read(lambda tx: tx.fetch(sql, job_id))
        return tuple(tuple(each) for each in entries)


@pytest.fixture
async def events(tmp_path: Path) -> AsyncIterator[OrderedEvents]:
    async with (
        rig(tmp_path, host="runflow", limits=NO_LIMITS, callback_url=lambda job: LINKS(job.id)) as app,
        web_server(app) as at,
    ):
        yield OrderedEvents(at, count(1))


def test_there_are_168_orders_and_some_of_each_kind_are_tried_each_time() -> None:
    assert len(ORDERS) == 168
    for orders in (ORDERS, SOME):
        assert {order.index(STORED) for order in orders} == set(range(8)), "from before all calls until after them"


SOME = ORDERS[::5]


@pytest.mark.parametrize(
    ("ending", "orders"),
    [
        *(
            pytest.param(ENDINGS[name], SOME, id=f"{name}, some orders")
            for name in ("succeeded", "shown later than called for")
        ),
        *(
            pytest.param(ending, ORDERS, id=f"{name}, all orders", marks=pytest.mark.prove)
            for name, ending in ENDINGS.items()
        ),
    ],
)
async def test_every_order_gives_the_same_result(events: OrderedEvents, ending: Ending, orders: list[str]) -> None:
    app = events.app
    polls = len(ending.sees(app))
    for order in orders:
        job_id = await events.job(order, ending)
        before = app.time.now
        await app.until_final(job_id, step=5)
        assert app.time.now - before <= (0 if polls == 1 else SOON), order
        end = await events.result_of(job_id)

        assert end[:4] == (ending.state, ending.reason, ending.images, ending.ledger), order
        assert end[4] == (("assumed", 80_000),), order
        assert end[5] == end[6], order
        assert end[6] in (ending.version, ending.version - (polls > 1)), order  # it may have said that it is slow
        assert (app.messenger.last.job.id, app.messenger.last.job.state) == (job_id, ending.state), order
        assert app.provider.asked == polls, order

        app.time.go(WATCH_LIMIT / 1000)
        await app.turn()
        assert (app.provider.asked, await app.worker.overdue()) == (polls, 0), order
        assert (await events.result_of(job_id), app.services.wakeups.called_back, app.services.wakeups.jobs) == (
            end,
            set(),
            set(),
        ), order
    assert len(app.provider.submitted) == len(set(app.provider.submitted)) == len(orders)


async def test_five_concurrent_callbacks_during_a_poll_give_the_same_result(events: OrderedEvents) -> None:
    app, ending = events.app, ENDINGS["succeeded"]
    for early in (True, False):
        app.provider.sees, app.provider.asked = ending.sees(app), 0
        job_id = await app.imagine()
        run_id = f"run-{next(events.numbers)}"

        async def calls(_: str = "", *, job_id: str = job_id, run_id: str = run_id) -> None:
            path, body = events.at.path(job_id), payload(run_id)
            assert await asyncio.gather(*(events.at.post(path, body) for _ in range(5))) == [200] * 5

        app.provider.while_submitting = calls if early else None
        await app.turn()
        await asyncio.gather(calls(), app.turn(BEYOND))
        await app.turn()

        assert (await events.result_of(job_id))[:4] == (ending.state, ending.reason, ending.images, ending.ledger)
        assert (app.provider.asked, app.services.wakeups.called_back, app.services.wakeups.jobs) == (1, set(), set())
