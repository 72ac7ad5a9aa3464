"""The fair queues of all providers in memory: built from rows at start, changed with each row that is written.

They hold the jobs of all processes, so that each knows whose turn it is. The rows are authoritative: `repair` compares
them with what is in memory.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace

from bot.core.clock import Clock
from bot.core.fair_queue import FairQueue, QueueCounts, Waiting
from bot.core.jobs import MINUTE, Job, JobSummary, State
from bot.observability.metrics import Metrics
from bot.store.store import Store

log = logging.getLogger(__name__)

MESSAGES_LAST = 1 * MINUTE  # longer than a message of another process takes, which may be about a job that has ended


class FairQueues:
    def __init__(self, store: Store, metrics: Metrics, *, clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._queues: dict[str, FairQueue] = defaultdict(FairQueue)
        self._known: dict[str, JobSummary] = {}  # the jobs that wait for a slot or have one
        self._left: dict[str, tuple[int, int]] = {}  # job that left not long ago → version of its row, time
        self._counts: Counter[tuple[int | None, bool]] = Counter()  # server (None: all) and whether with a slot → jobs
        self._suspected: AbstractSet[str] = frozenset()  # jobs that differed from their rows at the last comparison
        self._kept: set[str] = set()  # jobs with a slot that their rows do not show yet
        self._changed_while_reading: list[set[str]] = []  # one set of jobs for each reading of the rows in progress
        store.on_job(self._on_job)

    def of(self, provider: str) -> FairQueue:
        return self._queues[provider]

    @property
    def providers(self) -> Sequence[str]:
        """Those that jobs wait for or have slots at."""
        return list(self._queues)

    def worker_of(self, job_id: str) -> int | None:
        """The process that a job belongs to; None where it is in no queue."""
        known = self._known.get(job_id)
        return None if known is None else known.worker

    def place(self, job: Job) -> int | None:
        """The job's place, 1 is next; None when it no longer waits."""
        return self.of(job.provider).place(_waiting(JobSummary.of(job))) if job.state is State.ACCEPTED else None

    def counts(self, server: int | None = None) -> QueueCounts:
        """How many jobs of *server* wait and run, or of all servers and direct messages together."""
        return QueueCounts(waiting=self._counts[server, False], running=self._counts[server, True])

    # --- rows

    async def load(self) -> None:
        """Take over what the rows say: at start, and after another process has changed some."""
        rows, different = await self._differences()
        self._take_over(rows, different)

    async def repair(self) -> int:
        """Take over the jobs that differ from their rows at two calls in a row; returns how many. There should be none.

        A single difference may be a row that another process has just written.
        """
        rows, different = await self._differences()
        lasting, self._suspected = different & self._suspected, different
        for job_id in lasting:
            log.warning("A job was wrong in the queue", extra={"event": "queue_repaired", "job_id": job_id})
        self._take_over(rows, lasting)
        self._metrics.queue_repaired(len(lasting))
        return len(lasting)

    async def _differences(self) -> tuple[Mapping[str, JobSummary], AbstractSet[str]]:
        """The rows, and the jobs that are different in memory.

        What is written while the rows are read is newer than they are.
        """
        changed: set[str] = set()
        self._changed_while_reading.append(changed)
        try:
            rows = await self._store.queued_jobs()
        finally:
            self._changed_while_reading.remove(changed)
        different = {
            job_id for job_id in rows.keys() & self._known.keys() if _differ(rows[job_id], self._known[job_id])
        }
        for provider in self._queues.keys() | {each.provider for each in rows.values()}:
            there = [each for each in rows.values() if each.provider == provider]
            waiting = [_waiting(each) for each in there if each.waits]
            running = {each.job_id: each.user_id for each in there if each.has_slot}
            different |= self.of(provider).differences(waiting, running)
        return rows, different - changed - self._kept

    def _take_over(self, rows: Mapping[str, JobSummary], different: AbstractSet[str]) -> None:
        for job_id in different:
            for queue in self._queues.values():
                queue.leave(job_id)
            self._put(job_id, rows.get(job_id))

    def _on_job(self, job: Job) -> None:
        self.apply(JobSummary.of(job))

    def apply(self, job: JobSummary) -> bool:
        """Take over a row that this process or another one has written; False if a newer one is known."""
        known = self._known.get(job.job_id)
        version = known.version if known is not None else self._left.get(job.job_id, (-1, 0))[0]
        if job.version < version:
            return False
        self._kept.discard(job.job_id)
        self._note_change(job.job_id)
        if job.waits or job.has_slot:
            self._put(job.job_id, job)
        else:
            self._put(job.job_id, None)
            self._forget_left()
            self._left.pop(job.job_id, None)
            self._left[job.job_id] = job.version, self._clock()
        return True

    def _forget_left(self) -> None:
        """Forget what left so long ago that no message about it is on the way."""
        before = self._clock() - MESSAGES_LAST
        while self._left and self._left[oldest := next(iter(self._left))][1] < before:
            del self._left[oldest]

    # --- changes in memory

    @contextmanager
    def slot_kept(self, job: Job) -> Iterator[None]:
        """Count a waiting job as one with a slot, until its row says so or the block ends."""
        summary = JobSummary.of(job)
        self._kept.add(job.id)
        self._note_change(job.id)
        self._put(job.id, replace(summary, state=State.SUBMITTING))
        try:
            yield
        finally:
            if job.id in self._kept:  # nothing was written: it still waits
                self._kept.discard(job.id)
                self._note_change(job.id)
                self._put(job.id, summary)

    def _note_change(self, job_id: str) -> None:
        for changed in self._changed_while_reading:
            changed.add(job_id)

    def _put(self, job_id: str, job: JobSummary | None) -> None:
        """Let a job wait or have a slot where *job* says so; None: neither."""
        if (before := self._known.pop(job_id, None)) is not None:
            self._counts.subtract([(before.server, before.has_slot), (None, before.has_slot)])
            if job is None or before.provider != job.provider:
                self.of(before.provider).leave(job_id)
        if job is None:
            return
        self._known[job_id] = job
        self._counts.update([(job.server, job.has_slot), (None, job.has_slot)])
        if job.has_slot:
            self.of(job.provider).run(job_id, job.user_id)
        else:
            self.of(job.provider).wait(_waiting(job))


def _waiting(job: JobSummary) -> Waiting:
    return Waiting(job.job_id, job.user_id, job.created_at)


def _differ(job: JobSummary, other: JobSummary) -> bool:
    """Whether what is counted of a job, or whose it is, differs."""
    return (job.server, job.worker, job.has_slot) != (other.server, other.worker, other.has_slot)
