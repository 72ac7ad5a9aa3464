"""Which jobs belong to this process, which processes are alive, and what is taken over from those that are not.

A process is alive while its heartbeats change as we look on, whatever its clock says or ours. On a database that is not
shared, every job belongs to the one process there is.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bot.core.clock import Clock
from bot.core.jobs import SECOND, Job
from bot.core.processes import Process, Role, next_worker
from bot.jobs import system_outages
from bot.jobs.system_outages import Outages
from bot.store.processes import LEASE, Processes
from bot.store.store import Store

log = logging.getLogger(__name__)

HEARTBEAT_EVERY = 8 * SECOND  # a lease outlasts three that fail
LOOK_EVERY = 1.0  # seconds between two looks at who is alive
CLAIM_EVERY = 30 * SECOND  # at the latest: jobs whose process is not alive are usually noticed at once
LONGEST_GAP = LEASE // 2  # between two looks that counts: what is longer, we have slept or our clock has jumped
PAID_REQUEST_NEEDS = 15 * SECOND  # left of the lease, so that the answer is still ours to store


@dataclass(slots=True)
class _Heartbeats:
    """What we have seen of a process: its last heartbeat, and for how many milliseconds there was no other one."""

    last: int
    silent: int


class Leases:
    def __init__(
        self,
        store: Store,
        processes: Processes,
        *,
        outages: Outages,
        clock: Clock,
        correct_clock: Callable[[int], None],
    ) -> None:
        self._store = store
        self._processes = processes
        self._outages = outages
        self._clock = clock
        self._correct_clock = correct_clock
        self._shared = store.database.shared
        self._process = Process(0, (), "", "", 0, "", 0)
        self._live: Sequence[Process] = ()
        self._heartbeats: dict[int, _Heartbeats] = {}
        self._looked_at = 0
        self._renewed_at = 0
        self._claimed_at = 0
        self._assigned = 0  # the worker that got the last new job
        self.wake = asyncio.Event()
        self._claim_now = False
        self._leaving = False
        self._on_claimed: list[Callable[[Sequence[Job]], None]] = []
        self._on_lapsed: list[Callable[[], None]] = []

    # --- questions

    @property
    def process(self) -> int:
        """The id of this process."""
        return self._process.id

    @property
    def worker(self) -> int | None:
        """The process whose jobs are read from the rows; None: all are ours."""
        return self.process if self._shared else None

    @property
    def workers(self) -> int:
        """How many workers are alive, this one included; 1 where nobody has looked yet."""
        return max(1, sum(Role.WORKER in each.roles for each in self._live))

    @property
    def others_work(self) -> bool:
        """Whether other workers are alive, which take over what this one gives up."""
        return any(Role.WORKER in each.roles and each.id != self.process for each in self._live)

    def owns(self, worker: int) -> bool:
        """Whether a job of the process *worker* is ours."""
        return not self._shared or worker == self.process

    @property
    def held(self) -> bool:
        """Whether our leases have not ended."""
        return self.left > 0

    @property
    def left(self) -> int:
        """Milliseconds until our leases end, if no heartbeat succeeds until then."""
        return self._renewed_at + LEASE - self._clock() if self._shared else LEASE

    @property
    def suffices_for_paid_request(self) -> bool:
        return self.left >= PAID_REQUEST_NEEDS

    def assign(self) -> int:
        """The process that a new job belongs to; 0 where no worker is alive."""
        if not self._shared:
            return self.process
        staying = [each for each in self._live if not (self._leaving and each.id == self.process)]
        self._assigned = next_worker(staying, before=self._assigned)
        return self._assigned

    # --- listeners

    def on_claimed(self, listener: Callable[[Sequence[Job]], None]) -> None:
        """Call *listener* with the jobs that this process has taken over."""
        self._on_claimed.append(listener)

    def on_lapsed(self, listener: Callable[[], None]) -> None:
        """Call *listener* when our leases had ended and are held again: others may have claimed our jobs meanwhile."""
        self._on_lapsed.append(listener)

    def check_owner(self, worker: int) -> None:
        """Something is due of a job of the process *worker*: if it is not alive, jobs are claimed soon."""
        if self._shared and worker not in {each.id for each in self._live}:
            self._claim_now = True
            self.wake.set()

    # --- life

    async def start(self, process: Process) -> None:
        """Enter this process, so that it gets jobs."""
        now = self._clock()
        if not self._shared:
            await self._processes.forget(before=now)
        for each, _ in await self._processes.heartbeats():
            if _has_ended(each, machine=process.machine):
                await self._store.release(each.id, ended=True)
        self._process = replace(process, id=await self._processes.add(process))
        self._renewed_at = now
        await self._look()

    async def run(self, stop: asyncio.Event) -> None:
        """Renew our leases, and claim the jobs of processes that are not alive any more, until *stop*."""
        while not stop.is_set():
            self.wake.clear()
            with self._outages.outlasting(system_outages.UNREAD):
                await self.run_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY if self._shared else HEARTBEAT_EVERY / SECOND):
                    await self.wake.wait()

    async def run_once(self) -> None:
        """Send a heartbeat if one is due, look who is alive, and claim what belongs to nobody alive."""
        now = self._clock()
        if now >= self._renewed_at + HEARTBEAT_EVERY:
            await self._renew(now)
        if not self._shared:
            return
        before = self._live
        await self._look()
        gone = {each.id for each in before} - {each.id for each in self._live}
        if gone or self._claim_now or now >= self._claimed_at + CLAIM_EVERY:
            self._claim_now = False
            await self.claim()

    async def _renew(self, now: int) -> None:
        lapsed = not self.held
        if not await self._processes.renew(self.process, now=now) and not self._leaving:
            # It was away for so long that it was forgotten: its jobs are others' now, and it enters anew.
            self._process = replace(self._process, id=await self._processes.add(self._process))
            await self._processes.renew(self.process, now=now)
        self._renewed_at = now  # when it was sent: not later than when the others count from
        if lapsed:
            log.warning("The leases of this process had ended", extra={"event": "lease_lapsed"})
            for each in self._on_lapsed:
                each()
        self._correct_clock(await self._store.database.now())

    async def _look(self) -> None:
        """Find out who is alive."""
        now, seen = self._clock(), await self._processes.heartbeats()
        passed = min(LONGEST_GAP, max(0, now - self._looked_at))
        self._looked_at = now
        before, self._heartbeats = self._heartbeats, {}
        for process, last in seen:
            known = before.get(process.id)
            if known is None or known.last != last:  # between the two looks, or before the first one
                silent = min(max(0, now - last), LEASE if known is None else passed)
            else:
                silent = known.silent + passed
            self._heartbeats[process.id] = _Heartbeats(last, silent)
        self._live = [process for process, _ in seen if self._heartbeats[process.id].silent < LEASE]

    async def claim(self) -> None:
        """Take over the jobs of nobody and of processes that are not alive, if this process is a worker."""
        self._claimed_at = self._clock()
        while self._shared and Role.WORKER in self._process.roles and not self._leaving:
            dead = self._heartbeats.keys() - {each.id for each in self._live}
            if not (claimed := await self._store.claim(self.process, dead=dead, now=self._clock())):
                return
            log.info("Jobs were taken over", extra={"event": "jobs_claimed", "jobs": len(claimed)})
            for each in self._on_claimed:
                each(claimed)

    async def leave(self) -> None:
        """Get no new jobs, and give up all jobs but those with a paid request in progress."""
        self._leaving = True
        await self._processes.leave(self.process)
        if self._shared:
            await self._store.release(self.process, ended=False)

    async def end(self) -> None:
        """Give up all jobs: this process is about to end, and sends no more requests."""
        self._leaving = True
        if self._shared:
            await self._store.release(self.process, ended=True)
        else:
            await self._processes.forget(before=self._clock())


def _has_ended(process: Process, *, machine: str) -> bool:
    """Whether *process* ran on this machine and does so no more, as after a crash: its lease need not be awaited."""
    if not machine or process.machine != machine:
        return False
    if process.pid == os.getpid():  # this one has its number now
        return True
    try:
        os.kill(process.pid, 0)  # sends nothing
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
