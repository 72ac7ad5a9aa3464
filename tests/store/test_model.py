"""Any order of events against a model of a few lines: the books on disk never differ from it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from bot.core.errors import UserError
from bot.core.jobs import NEXT, Job, State
from bot.core.quota import Limits, day_of, month_of
from bot.store.housekeeping import Housekeeping
from bot.store.opening import open_database
from bot.store.store import AlreadySeen, Store
from tests import postgres
from tests.store.books import DAY, NOON, a_job, accept, faults, rows

T = TypeVar("T")
LIMITS = Limits(
    user_day_images=6,
    user_day_micro_usd=500,
    guild_month_micro_usd=1200,
    host_month_micro_usd=1500,
    user_in_flight=3,
    guild_in_flight=5,
    host_in_flight=6,
)


@dataclass
class Entry:
    """One job as the model sees it."""

    job: Job  # as last seen
    price: int  # for one picture
    older: list[Job] = field(default_factory=list)  # as it was seen before
    paid: int = 0  # pictures
    cost: tuple[int, int] | None = None  # when, how much
    cost_known: bool = False

    @property
    def open(self) -> bool:
        return not self.job.state.is_final

    @property
    def images(self) -> int:
        return self.job.request.count if self.open else self.paid


class Darkroom(RuleBasedStateMachine):
    ids = Bundle("ids")

    def __init__(self, place: AbstractAsyncContextManager[str]) -> None:
        super().__init__()
        self.place = place  # of the database
        self.runner = asyncio.Runner()
        self.url = self.do(self.place.__aenter__())
        self.now = NOON + DAY // 2 + 9 * DAY  # the last day of a month begins
        self.entries: dict[str, Entry] = {}
        self.store = self._open()

    def _open(self) -> Store:
        return Store(self.do(open_database(self.url)))

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.do(self.store.database.aclose())
        self.do(self.place.__aexit__(None, None, None))
        self.runner.close()

    # --- the model

    def fits(self, job: Job, price: int) -> bool:
        user, guild = job.place.user_id, job.place.guild_id
        known = list(self.entries.values())
        today = [e for e in known if day_of(e.job.created_at) == day_of(self.now)]
        month = [e for e in known if month_of(e.job.created_at) == month_of(self.now)]
        count, money = job.request.count, job.request.count * price
        verdicts = [
            sum(e.images for e in today if e.job.place.user_id == user) + count <= 6,
            sum(e.images * e.price for e in today if e.job.place.user_id == user) + money <= 500,
            sum(e.open for e in known if e.job.place.user_id == user) < 3,
            self.host_month() + money <= 1500,
            sum(e.open for e in known) < 6,
        ]
        if guild is not None:
            mine = [e for e in known if e.job.place.guild_id == guild]
            verdicts.append(sum(e.images * e.price for e in month if e in mine) + money <= 1200)
            verdicts.append(sum(e.open for e in mine) < 5)
        return all(verdicts)

    def host_month(self) -> int:
        """What is held this month, and what was or may have been billed in it."""
        month = month_of(self.now)
        held = sum(e.images * e.price for e in self.entries.values() if e.open and month_of(e.job.created_at) == month)
        return held + sum(e.cost[1] for e in self.entries.values() if e.cost and month_of(e.cost[0]) == month)

    # --- what may happen

    @rule(
        target=ids,
        user=st.integers(1, 3),
        guild=st.sampled_from([None, 5, 6]),
        count=st.integers(1, 4),
        price=st.integers(0, 150),
    )
    def asks(self, user: int, guild: int | None, count: int, price: int) -> Any:
        number = len(self.entries)
        job = a_job(f"job-{number}", user=user, guild=guild, now=self.now, count=count)
        work = accept(self.store, job, price=price, limits=LIMITS, interaction=self.next_interaction())
        allowed = self.fits(job, price)
        try:
            self.do(work)
        except UserError:
            assert not allowed
            return multiple()
        assert allowed
        self.entries[job.id] = Entry(job, price)
        return job.id

    def next_interaction(self) -> int:
        return int(self.do(rows(self.store, "SELECT count(*) AS n FROM interactions"))[0]["n"])

    @rule(job_id=ids)
    def the_interaction_comes_again(self, job_id: str) -> None:
        row = self.do(rows(self.store, "SELECT id FROM interactions WHERE job = $1", job_id))[0]
        try:
            self.do(accept(self.store, a_job("again", now=self.now), interaction=row["id"]))
        except AlreadySeen:
            return
        raise AssertionError("accepted twice")

    @rule(job_id=ids)
    def is_acknowledged(self, job_id: str) -> None:
        entry = self.entries[job_id]
        self.do(self.store.acknowledged(job_id, message_id=1, ephemeral=False, now=self.now))
        seen = self.do(self.store.job(job_id))
        assert seen is not None
        if entry.job.state is State.ACCEPTED:
            assert seen.acked_at is not None
        else:
            assert seen == entry.job
        entry.job = seen

    @rule(
        job_id=ids,
        data=st.data(),
        pictures=st.integers(0, 5),
        cost=st.none() | st.integers(0, 200),
        billed=st.booleans(),
    )
    def moves(self, job_id: str, data: st.DataObject, pictures: int, cost: int | None, billed: bool) -> None:  # noqa: FBT001
        entry = self.entries[job_id]
        if not entry.open:
            return
        to = data.draw(st.sampled_from(sorted(NEXT[entry.job.state])))
        self._move(entry, to, pictures=pictures, cost=cost, billed=billed)

    @rule(job_id=ids, pictures=st.integers(0, 5))
    def finishes(self, job_id: str, pictures: int) -> None:
        entry = self.entries[job_id]
        way = [State.SUBMITTING, State.QUEUED, State.COLLECTING, State.SUCCEEDED]
        for to in way:
            if to in NEXT[entry.job.state]:
                self._move(entry, to, pictures=pictures, cost=None, billed=False)

    def _move(self, entry: Entry, to: State, *, pictures: int, cost: int | None, billed: bool) -> None:
        changes = {"images": pictures} if to is State.SUCCEEDED else {}
        moved = self.do(
            self.store.move(entry.job, to, now=self.now, cost_micro_usd=cost, may_be_billed=billed, **changes)
        )
        assert moved is not None
        assert moved.state is to
        entry.older.append(entry.job)
        entry.job = moved
        if to is State.SUCCEEDED:
            entry.paid = min(pictures, moved.request.count)
        if cost is not None and not entry.cost_known:  # what the host says takes the place of what was assumed
            entry.cost, entry.cost_known = (entry.cost[0] if entry.cost else self.now, cost), True
        elif entry.cost is None and billed:
            entry.cost = (self.now, moved.request.count * entry.price)

    @rule(job_id=ids, to=st.sampled_from(State), pictures=st.integers(0, 5))
    def somebody_moves_what_they_saw_long_ago(self, job_id: str, to: State, pictures: int) -> None:
        entry = self.entries[job_id]
        for old in entry.older:
            if old.state is not entry.job.state:
                assert self.do(self.store.move(old, to, now=self.now, images=pictures, may_be_billed=True)) is None

    @rule(job_id=consumes(ids))
    def is_cancelled_while_it_waits(self, job_id: str) -> None:
        entry = self.entries[job_id]
        if entry.job.state is State.ACCEPTED:
            self._move(entry, State.CANCELLED, pictures=0, cost=None, billed=False)

    @rule(hours=st.sampled_from([1, 13, 24, 24 * 20]))
    def time_goes_by(self, hours: int) -> None:
        self.now += hours * DAY // 24

    @rule()
    def restarts(self) -> None:
        self.do(self.store.database.aclose())
        self.store = self._open()

    @rule()
    def is_audited(self) -> None:
        assert self.do(Housekeeping(self.store.database).end_forgotten(now=self.now)) == []

    # --- what is always so

    @invariant()
    def the_books_are_in_order(self) -> None:
        assert self.do(faults(self.store)) == []

    @invariant()
    def the_rows_say_what_the_model_says(self) -> None:
        for job_id, entry in self.entries.items():
            dossier = self.do(self.store.dossier(job_id))
            assert dossier is not None
            assert dossier.job == entry.job
            charge = dossier.charge
            assert charge.reserved.micro_usd == entry.job.request.count * entry.price
            assert (charge.settled.images if charge.settled else 0) == entry.paid
            assert (charge.settled.micro_usd if charge.settled else 0) == entry.paid * entry.price
            assert (charge.released is not None) is (not entry.open and entry.paid == 0)

    @invariant()
    def nobody_is_over_a_limit(self) -> None:
        for entry in self.entries.values():
            used, _ = self.do(self.store.used(entry.job.place, now=self.now))
            assert used.user_day.images <= 6
            assert used.user_day.micro_usd <= 500
            assert used.user_in_flight <= 3
            assert entry.job.place.guild_id is None or used.guild_month.micro_usd <= 1200
            assert used.host_in_flight <= 6
            assert used.host_month.micro_usd == self.host_month()


@asynccontextmanager
async def a_file() -> AsyncIterator[str]:
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/darkroom.db"


def live(machine: Any, *, examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, derandomize=True, database=None
        ),
    )


def test_any_order_of_events_leaves_the_books_in_order_on_sqlite() -> None:
    live(lambda: Darkroom(a_file()), examples=60)


def test_any_order_of_events_leaves_the_books_in_order_on_postgresql(postgres_server: str) -> None:
    live(lambda: Darkroom(postgres.fresh(postgres_server)), examples=25)
