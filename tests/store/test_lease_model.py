"""Random orders of what several processes do with jobs: each job has one owner, and nobody else writes anything."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from bot.core.jobs import MINUTE, NEXT, Job, Lease, State
from bot.core.processes import Process, Role
from bot.store.processes import PAID_REQUEST, Processes
from bot.store.store import SlotsTaken
from tests import postgres
from tests.store.ledger_model import NOON, TwoProcesses, a_job, accept, faults, rows
from tests.store.test_model import a_file, live

T = TypeVar("T")
SLOTS = 2
WITH_SLOT = {State.SUBMITTING, State.QUEUED, State.RUNNING}
NOBODY = 0
DUE = "SELECT id FROM jobs WHERE due_at IS NOT NULL UNION SELECT job FROM replies WHERE due_at IS NOT NULL"
STORES = st.integers(0, 1)


@dataclass
class Held:
    """A job as its owner knows it, and as owners before have known it."""

    job: Job
    submitted_at: int = 0
    outdated: list[Job] = field(default_factory=list)


class Workers(RuleBasedStateMachine):
    """Processes enter, die, leave and end; jobs are accepted, claimed, and written by those who may and who may not."""

    processes = Bundle("processes")
    jobs = Bundle("jobs")

    def __init__(self, place: AbstractAsyncContextManager[str]) -> None:
        super().__init__()
        self.both = TwoProcesses(place)
        self.do, self.stores = self.both.do, self.both.stores
        self.known = Processes(self.stores[0].database)
        self.now = NOON
        self.alive: set[int] = set()
        self.dead: set[int] = set()
        self.held: dict[str, Held] = {}

    def teardown(self) -> None:
        self.both.close()

    # --- processes

    @initialize(target=processes)
    def two_workers_run(self) -> Any:
        return multiple(self.enters(), self.enters())

    @rule(target=processes)
    def enters(self) -> int:
        number = self.do(self.known.add(Process(0, (Role.WORKER,), "here", "", 1, "0", self.now)))
        self.alive.add(number)
        return number

    @rule(process=processes)
    def dies(self, process: int) -> None:
        """Nobody sees a heartbeat of it any more."""
        if process in self.alive:
            self.alive.remove(process)
            self.dead.add(process)

    @rule(process=processes)
    def comes_back(self, process: int) -> None:
        """It was only asleep."""
        if process in self.dead:
            self.dead.remove(process)
            self.alive.add(process)

    @rule(process=processes, through=STORES)
    def leaves(self, process: int, through: int) -> None:
        self.alive.discard(process)
        self.dead.discard(process)
        self.do(self.known.leave(process))
        self.do(self.stores[through].release(process, ended=False))
        self._given_up(process, but={State.SUBMITTING})

    @rule(process=processes, through=STORES)
    def ends(self, process: int, through: int) -> None:
        self.alive.discard(process)
        self.dead.discard(process)
        self.do(self.stores[through].release(process, ended=True))
        self._given_up(process, but=set())

    def _given_up(self, process: int, *, but: set[State]) -> None:
        due = self._due()
        for name, each in self.held.items():
            if each.job.lease.worker == process and each.job.state not in but and name in due:
                self._changes_hands(name, Lease(NOBODY, each.job.lease.number + 1))

    def _changes_hands(self, name: str, lease: Lease) -> None:
        held = self.held[name]
        held.outdated.append(held.job)
        held.job = self._row(name)
        assert held.job.lease == lease

    def _due(self) -> set[str]:
        return {row["id"] for row in self.do(rows(self.stores[0], DUE))}

    def _row(self, name: str) -> Job:
        found = self.do(self.stores[1].job(name))
        assert found is not None
        return found

    # --- jobs

    @initialize(target=jobs)
    def three_jobs_are_accepted(self) -> Any:
        owners = [*sorted(self.alive), NOBODY][:3]
        return multiple(*(self.is_accepted(each, nobody=False, through=0) for each in owners))

    @rule(target=jobs, owner=processes, nobody=st.booleans(), through=STORES)
    def is_accepted(self, owner: int, nobody: bool, through: int) -> str:  # noqa: FBT001 - a drawn value
        name, store = f"job-{len(self.held)}", self.stores[through]
        owner = NOBODY if nobody or owner not in self.alive else owner
        self.do(accept(store, a_job(name, now=self.now, lease=Lease(owner, 0))))
        self.do(store.acknowledge(name, message_id=8, ephemeral=False, now=self.now))
        self.held[name] = Held(self._row(name))
        return name

    @rule(name=jobs, through=STORES)
    def is_submitted(self, name: str, through: int) -> None:
        held = self.held[name]
        if held.job.state is not State.ACCEPTED:
            return
        in_use = sum(each.job.state in WITH_SLOT for each in self.held.values())
        begun = self.stores[through].begin_submit(held.job, slots=SLOTS, now=self.now, due_at=self.now + MINUTE)
        if in_use >= SLOTS:
            with pytest.raises(SlotsTaken):
                self.do(begun)
            return
        moved = self.do(begun)
        assert moved is not None
        held.job, held.submitted_at = moved, self.now

    @rule(name=jobs, to=st.sampled_from(State), through=STORES)
    def goes_on(self, name: str, to: State, through: int) -> None:
        held = self.held[name]
        if held.job.state is State.ACCEPTED or to not in NEXT[held.job.state]:
            return
        due_at = None if to.is_final else self.now
        moved = self.do(self.stores[through].move(held.job, to, now=self.now, due_at=due_at))
        assert moved is not None
        held.job = moved

    @rule(name=jobs, to=st.sampled_from(State), through=STORES)
    def is_written_by_who_had_it_before(self, name: str, to: State, through: int) -> None:
        held, store = self.held[name], self.stores[through]
        for each in held.outdated:
            if to in NEXT[each.state]:
                assert self.do(store.move(each, to, now=self.now)) is None
            assert self.do(store.update(each, now=self.now, show=True, position=3)) is None
            assert not self.do(store.mark_notified(name, lease=each.lease))
        assert self._row(name) == held.job

    # --- claims

    @rule(process=processes, through=STORES)
    def claims(self, process: int, through: int) -> None:
        if process in self.alive:
            expected = self._free_for({process})
            claimed = self.do(self.stores[through].claim(process, dead=self.dead, now=self.now))
            assert {each.id for each in claimed} == expected
            self._are_claimed(claimed, by=process)

    @rule(first=processes, second=processes)
    def two_claim_at_once(self, first: int, second: int) -> None:
        if not {first, second} <= self.alive or first == second:
            return
        expected = self._free_for({first, second})

        async def both() -> Sequence[Sequence[Job]]:
            work = zip(self.stores, (first, second), strict=True)
            return await asyncio.gather(*(store.claim(each, dead=self.dead, now=self.now) for store, each in work))

        found = self.do(both())
        names = [each.id for claimed in found for each in claimed]
        assert len(names) == len(set(names))
        assert set(names) == expected
        for claimed, process in zip(found, (first, second), strict=True):
            self._are_claimed(claimed, by=process)

    def _free_for(self, processes: set[int]) -> set[str]:
        """The jobs that any of *processes* may claim: nobody's, and those of processes that are not alive."""
        return {
            name
            for name, each in self.held.items()
            if name in self._due()
            and each.job.lease.worker not in self.alive
            and (
                each.job.state is not State.SUBMITTING
                or each.job.lease.worker == NOBODY
                or self.now >= each.submitted_at + PAID_REQUEST
            )
        } - {name for name, each in self.held.items() if each.job.lease.worker in processes}

    def _are_claimed(self, claimed: Sequence[Job], *, by: int) -> None:
        for each in claimed:
            self._changes_hands(each.id, Lease(by, self.held[each.id].job.lease.number + 1))
            assert self.held[each.id].job == each

    @rule(minutes=st.integers(1, 6))
    def time_passes(self, minutes: int) -> None:
        self.now += minutes * MINUTE

    # --- invariants

    @invariant()
    def every_job_is_as_its_owner_knows_it(self) -> None:
        for name, each in self.held.items():
            assert self._row(name) == each.job

    @invariant()
    def no_more_slots_are_taken_than_there_are(self) -> None:
        assert sum(self._row(name).state in WITH_SLOT for name in self.held) <= SLOTS

    @invariant()
    def the_books_are_in_order(self) -> None:
        assert self.do(faults(self.stores[0])) == []


@pytest.mark.parametrize("examples", [8, pytest.param(80, marks=pytest.mark.prove)])
def test_each_job_has_one_owner_on_sqlite(examples: int) -> None:
    live(lambda: Workers(a_file()), examples=examples)


@pytest.mark.parametrize("examples", [2, pytest.param(40, marks=pytest.mark.prove)])
def test_each_job_has_one_owner_on_postgresql(postgres_server: str, examples: int) -> None:
    live(lambda: Workers(postgres.fresh(postgres_server)), examples=examples)
