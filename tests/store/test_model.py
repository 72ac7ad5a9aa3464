"""Random orders of events against a small model: the stored ledger equals it, and no limit is exceeded.

Longer than other files, for it is one machine whose rules share everything.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import permutations
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bot.core.errors import UserError
from bot.core.jobs import HOUR, NEXT, Job, Place, State
from bot.core.quota import Block, Grant, Holder, Rule, Unit, allowances
from bot.core.server_settings import ServerSettings
from bot.core.zones import calendar_of
from bot.store.housekeeping import Housekeeping
from bot.store.quotas import By, Quotas
from bot.store.store import AlreadySeen, Store
from tests import postgres
from tests.store.ledger_model import TwoProcesses, a_job, accept, faults, rows
from tests.store.model import LIMITS, Bonus, Entry, Model, account
from tests.store.strategies import JUMPS, ZONES, blocked, bonuses, drafts, holders, limits, lives, places, servers

T = TypeVar("T")
START = 1_792_886_400_000  # 2026-10-25 00:00 UTC: an hour before Europe's clocks go back, a week before a month ends
Ask = tuple[Job, int]  # a job and the price of one picture of it


class Darkroom(RuleBasedStateMachine):
    ids = Bundle("ids")

    def __init__(self, place: AbstractAsyncContextManager[str]) -> None:
        super().__init__()
        self.processes = TwoProcesses(place)
        self.do = self.processes.do
        self.now = START
        self.model = Model()
        self.number = 0
        self.touched: set[str] = set()  # jobs whose rows are still to be compared
        self.last = Place(1, 51, 5)

    @property
    def stores(self) -> Sequence[Store]:
        return self.processes.stores

    def teardown(self) -> None:
        self.processes.close()

    def next(self) -> int:
        self.number += 1
        return self.number

    @initialize(
        bonuses=st.lists(st.tuples(st.sampled_from([0, 5, 5]), bonuses, lives), min_size=1, max_size=4),
        limits=st.lists(st.tuples(holders, limits), max_size=4),
        zone=st.sampled_from(ZONES),
    )
    def some_things_are_set_from_the_beginning(self, bonuses: Any, limits: Any, zone: str) -> None:
        for server, what, hours in bonuses:
            self.a_bonus_is_granted(server, 1, what, hours)
        for whose, limit in limits:
            self.a_limit_is_set(whose, limit)
        self.a_server_moves(5, zone)

    # --- asking

    def _job(self, draft: tuple[Place, int, int]) -> Ask:
        place, count, price = draft
        self.last = place
        return a_job(f"job-{self.next()}", now=self.now, count=count, place=place), price

    async def _ask(self, ask: Ask, *, through: int) -> Job:
        job, price = ask
        store, number = self.stores[through], int(job.id[4:])
        calendar = calendar_of(await store.server_settings(job.place.server))
        return await accept(store, job, price=price, limits=LIMITS, interaction=number, calendar=calendar)

    async def _refusal(self, ask: Ask, *, through: int) -> UserError | None:
        try:
            await self._ask(ask, through=through)
        except UserError as refusal:
            return refusal
        return None

    @rule(target=ids, draft=drafts, through=st.integers(0, 1))
    def asks_once(self, draft: tuple[Place, int, int], through: int) -> Any:
        return self._asks(draft, through=through)[0]

    @rule(target=ids, drafts=st.lists(drafts, min_size=3, max_size=5), place=places, pictures=st.integers(0, 4))
    def is_busy(self, drafts: Sequence[tuple[Place, int, int]], place: Place, pictures: int) -> Any:
        """One member makes several requests, which are accepted."""
        asked = [self._asks((place, count, price % 60), through=0) for _, count, price in drafts]
        for _, each in asked[1:]:
            if each:
                self._finish(each, max(pictures, each.job.request.count - 1))
        return multiple(*(job_id for job_id, _ in asked))

    def _asks(self, draft: tuple[Place, int, int], *, through: int) -> tuple[str, Entry | None]:
        ask = self._job(draft)
        before = self._used()
        expected = self.model.asked(*ask)
        refusal = self.do(self._refusal(ask, through=through))
        if not isinstance(expected, Entry):
            assert refusal is not None
            assert refusal.key in expected
            return ask[0].id, None
        assert refusal is None
        self.touched.add(ask[0].id)
        for limit, (used, amount) in self._used().items():
            assert used <= amount or used == before[limit][0]
        return ask[0].id, expected

    def _used(self) -> dict[str, tuple[int, int]]:
        status = self.do(self.stores[0].quota_status(self.last, limits=LIMITS, now=self.now))
        return {each.name: (each.used, each.limit) for each in allowances(status.limits, status.used)}

    @rule(target=ids, drafts=st.lists(drafts, min_size=2, max_size=4))
    def several_ask_at_once(self, drafts: Sequence[tuple[Place, int, int]]) -> Any:
        """The outcome is that of some sequential order."""
        asks = [self._job(each) for each in drafts]

        async def together() -> Sequence[Job | BaseException]:
            work = (self._ask(each, through=n % 2) for n, each in enumerate(asks))
            return await asyncio.gather(*work, return_exceptions=True)

        answers = self.do(together())
        assert all(isinstance(each, Job | UserError) for each in answers)
        taken = {job.id for (job, _), answer in zip(asks, answers, strict=True) if isinstance(answer, Job)}
        drawn = self._drawn(taken)
        assert any(self._would(order, taken, drawn) for order in permutations(asks))
        self.touched |= taken
        return multiple(*(job.id for job, _ in asks))

    def _drawn(self, jobs: set[str]) -> dict[str, list[tuple[int, int]]]:
        found = self.do(rows(self.stores[0], "SELECT job, grant_id, pictures FROM draws ORDER BY job, n"))
        return {job: [(row["grant_id"], row["pictures"]) for row in found if row["job"] == job] for job in jobs}

    def _would(self, order: Sequence[Ask], taken: set[str], drawn: dict[str, list[tuple[int, int]]]) -> bool:
        """Whether the model has the same outcome in this *order*; if not, it is restored."""
        outcomes = [self.model.asked(*each) for each in order]
        made = {each.job.id: each for each in outcomes if isinstance(each, Entry)}
        if {job: [(bonus.id, n) for bonus, n in each.drawn] for job, each in made.items()} == drawn:
            return True
        for each in made.values():
            self.model.forget(each)
        return False

    # What is drawn may depend on no outcome: two that race do not win in the same order twice.
    is_busy_again = is_busy  # twice as likely as anything else
    many_ask_at_once = several_ask_at_once

    @rule(job_id=ids)
    def the_interaction_comes_again(self, job_id: str) -> None:
        try:
            self.do(self._ask((a_job(job_id, now=self.now), 1), through=0))
        except AlreadySeen:
            return
        raise AssertionError("accepted twice")

    # --- jobs

    @rule(job_id=ids)
    def is_acknowledged(self, job_id: str) -> None:
        entry = self.model.entries.get(job_id)
        if entry is None:
            return
        self.do(self.stores[0].acknowledge(job_id, message_id=1, ephemeral=False, now=self.now))
        seen = self.do(self.stores[0].job(job_id))
        assert seen is not None
        assert seen.acked_at is not None if entry.job.state is State.ACCEPTED else seen == entry.job
        entry.job = seen

    @rule(
        job_id=ids,
        n=st.integers(0, 11),
        pictures=st.integers(0, 5),
        cost=st.none() | st.integers(0, 200),
        billed=st.booleans(),
    )
    def moves(self, job_id: str, n: int, pictures: int, cost: int | None, billed: bool) -> None:  # noqa: FBT001
        entry = self.model.entries.get(job_id)
        if entry and entry.open:
            ways = sorted(NEXT[entry.job.state])
            self._move(entry, ways[n % len(ways)], pictures=pictures, cost=cost, billed=billed)

    @rule(job_id=ids, pictures=st.integers(0, 5))
    def finishes(self, job_id: str, pictures: int) -> None:
        if job_id in self.model.entries:
            self._finish(self.model.entries[job_id], pictures)

    def _finish(self, entry: Entry, pictures: int) -> None:
        for to in [State.SUBMITTING, State.QUEUED, State.COLLECTING, State.SUCCEEDED]:
            if to in NEXT[entry.job.state]:
                self._move(entry, to, pictures=pictures, cost=None, billed=False)

    def _move(self, entry: Entry, to: State, *, pictures: int, cost: int | None, billed: bool) -> None:
        changes = {"images": pictures} if to is State.SUCCEEDED else {}
        moved = self.do(
            self.stores[0].move(entry.job, to, now=self.now, cost_micro_usd=cost, may_be_billed=billed, **changes)
        )
        assert moved is not None
        self._moved(entry, moved)
        if cost is not None and not entry.cost_known:  # a known cost replaces an assumed one
            entry.cost, entry.cost_known = (entry.cost[0] if entry.cost else self.now, cost), True
        elif entry.cost is None and billed:
            entry.cost = (self.now, moved.request.count * entry.price)

    def _moved(self, entry: Entry, moved: Job) -> None:
        self.touched.add(moved.id)
        entry.older.append(entry.job)
        entry.job = moved
        if moved.state.is_final:
            entry.end(moved.images if moved.state is State.SUCCEEDED else 0)

    @rule(job_id=ids, picks=st.lists(st.integers(0, 5), min_size=2, max_size=4), pictures=st.integers(0, 5))
    def ends_at_several_places_at_once(self, job_id: str, picks: Sequence[int], pictures: int) -> None:
        entry = self.model.entries.get(job_id)
        ends = [each for each in sorted(NEXT[entry.job.state]) if each.is_final] if entry else []
        if entry is None or not ends:
            return
        tos = [ends[n % len(ends)] for n in picks]

        async def together() -> Sequence[Job | None]:
            return await asyncio.gather(
                *(self.stores[n % 2].move(entry.job, to, now=self.now, images=pictures) for n, to in enumerate(tos))
            )

        (won,) = [each for each in self.do(together()) if each is not None]
        self._moved(entry, won)

    @rule(job_id=ids, to=st.sampled_from(State), pictures=st.integers(0, 5))
    def somebody_moves_what_they_saw_long_ago(self, job_id: str, to: State, pictures: int) -> None:
        entry = self.model.entries.get(job_id)
        for old in entry.older[:1] if entry else []:
            if entry and old.state is not entry.job.state:
                work = self.stores[1].move(old, to, now=self.now, images=pictures, may_be_billed=True)
                assert self.do(work) is None

    @rule(job_id=consumes(ids))
    def is_cancelled_while_it_waits(self, job_id: str) -> None:
        entry = self.model.entries.get(job_id)
        if entry and entry.job.state is State.ACCEPTED:
            self._move(entry, State.CANCELLED, pictures=0, cost=None, billed=False)

    # --- admins

    def _by(self, server: int) -> By:
        return By(f"change-{self.next()}", server, 9, self.now)

    @property
    def quotas(self) -> Quotas:
        return Quotas(self.stores[0].database)

    @rule(whose=holders, limit=limits)
    def a_limit_is_set(self, whose: tuple[int, Holder, int], limit: Any) -> None:
        (server, holder, subject), ((unit, window), amount) = whose, limit
        self.do(self.quotas.set_rule(self._by(server), Rule(holder, subject, unit, window, amount)))
        self.model.rules[server, holder, subject, unit, window] = amount

    @precondition(lambda self: self.model.rules)
    @rule(data=st.data())
    def a_limit_is_taken_away(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.rules, key=str)))
        server, holder, subject, unit, window = key
        gone = Rule(holder, subject, unit, window, self.model.rules.pop(key))
        cleared = self.do(self.quotas.clear_rules(self._by(server), [gone]))
        assert [(each.holder, each.subject, each.unit, each.window) for each in cleared] == [key[1:]]

    @rule(whose=blocked)
    def is_blocked_or_unblocked(self, whose: tuple[int, Holder, int]) -> None:
        block = Block(*whose[1:])
        if whose in self.model.blocks:
            assert self.do(self.quotas.unblock(self._by(whose[0]), block))
        else:
            self.do(self.quotas.block(self._by(whose[0]), block))
        self.model.blocks ^= {whose}

    @rule(server=servers, user=st.integers(1, 2), what=bonuses, hours=lives)
    def a_bonus_is_granted(self, server: int, user: int, what: tuple[Unit, int], hours: int | None) -> None:
        expires_at = None if hours is None else self.now + hours * HOUR
        made = self.do(self.quotas.grant(self._by(server), user, Grant(0, *what, expires_at)))
        assert made is not None
        self.model.bonuses.append(Bonus(made, server, user, *what, expires_at))

    @precondition(lambda self: self.model.bonuses)
    @rule(data=st.data())
    def a_bonus_is_taken_back(self, data: st.DataObject) -> None:
        bonus = data.draw(st.sampled_from(self.model.bonuses))
        revoked = self.do(self.quotas.revoke(self._by(bonus.server), bonus.id))
        assert (revoked.grant.left if revoked else 0) == bonus.left
        if revoked:
            bonus.left, bonus.expires_at = 0, self.now

    @rule(job_id=ids, holder=st.sampled_from([Holder.USER, Holder.CHANNEL, Holder.GUILD]), pictures=st.integers(0, 4))
    def ends_and_all_begins_anew(self, job_id: str, holder: Holder, pictures: int) -> None:
        entry = self.model.entries.get(job_id)
        if entry is None:
            return
        self._finish(entry, pictures)
        of = account(entry.job.place, holder.scope)
        self.do(self.quotas.reset(self._by(of[1]), holder, of[2]))
        self.model.begin_anew(of, now=self.now)
        self.last = entry.job.place

    @rule(server=servers, zone=st.sampled_from(ZONES))
    def a_server_moves(self, server: int, zone: str) -> None:
        def change(server_settings: ServerSettings) -> ServerSettings:
            return server_settings.model_copy(update={"timezone": zone})

        before = self._used()
        self.do(self.quotas.change_server_settings(self._by(server), change, body={}))
        assert self._used() == before
        self.model.move(server, zone, now=self.now)

    # --- restarts and clocks

    @rule(hours=st.sampled_from(JUMPS))
    def the_clock_jumps(self, hours: int) -> None:
        self.now += hours * HOUR

    @rule()
    def restarts(self) -> None:
        self.processes.restart()

    @rule()
    def is_audited(self) -> None:
        assert self.do(Housekeeping(self.stores[0].database).end_orphaned_reservations(now=self.now)) == []

    # --- invariants

    @invariant()
    def the_books_are_in_order(self) -> None:
        assert self.do(faults(self.stores[0])) == []

    @invariant()
    def the_rows_say_what_the_model_says(self) -> None:
        for job_id in self.touched:
            entry = self.model.entries[job_id]
            record = self.do(self.stores[0].job_record(job_id))
            assert record is not None
            assert record.job == entry.job
            charge = record.charge
            assert charge.reserved.micro_usd == entry.job.request.count * entry.price
            assert (charge.settled.images if charge.settled else 0) == entry.paid
            assert (charge.settled.micro_usd if charge.settled else 0) == entry.paid * entry.price
            assert (charge.released is not None) is (not entry.open and entry.paid == 0)
            assert charge.bonus == entry.bonus
        self.touched.clear()

    @invariant()
    def the_limits_and_what_is_used_of_them_are_the_models(self) -> None:
        status = self.do(self.stores[1].quota_status(self.last, limits=LIMITS, now=self.now))
        ours = self.model.limits(self.last)
        assert {(each.scope, each.unit, each.window): each.amount for each in status.limits} == ours
        for limit in status.limits:
            kind = (limit.scope, limit.unit, limit.window)
            assert status.used.of(limit) == self.model.used(self.last, kind, now=self.now), kind

    @invariant()
    def what_is_left_of_each_bonus_is_the_models(self) -> None:
        found = self.do(rows(self.stores[0], "SELECT id, remaining FROM grants"))
        assert {row["id"]: row["remaining"] for row in found} == {each.id: each.left for each in self.model.bonuses}


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


@pytest.mark.parametrize("examples", [16, pytest.param(60, marks=pytest.mark.prove)])
def test_any_order_of_events_leaves_the_ledger_consistent_on_sqlite(examples: int) -> None:
    live(lambda: Darkroom(a_file()), examples=examples)


@pytest.mark.prove
def test_any_order_of_events_leaves_the_ledger_consistent_on_postgresql(postgres_server: str) -> None:
    live(lambda: Darkroom(postgres.fresh(postgres_server)), examples=20)
