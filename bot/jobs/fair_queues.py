"""The fair queues of all providers in memory: built from rows at start, changed with each row that is written.

The rows are authoritative. `repair` compares them with what is in memory.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from bot.core.fair_queue import FairQueue, QueueCounts, Waiting
from bot.core.jobs import SLOT_STATES, Job, State
from bot.core.quota import NO_SERVER
from bot.observability.metrics import Metrics
from bot.store.queries import QueueRows
from bot.store.store import Store

log = logging.getLogger(__name__)

NO_ROWS = QueueRows()


class FairQueues:
    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._queues: dict[str, FairQueue] = defaultdict(FairQueue)
        self._provider_of: dict[str, str] = {}  # job → the provider whose queue it is in
        self._server_of: dict[str, int] = {}  # job → its server, which never changes
        self._counted: dict[str, tuple[int, bool]] = {}  # job → its server, and whether it has a slot
        self._counts: Counter[tuple[int | None, bool]] = Counter()  # of those, None for all servers
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

    def place(self, job: Job) -> int | None:
        """The job's place, 1 is next; None when it no longer waits."""
        return self.of(job.provider).place(_waiting(job)) if job.state is State.ACCEPTED else None

    def counts(self, server: int | None = None) -> QueueCounts:
        """How many jobs of *server* wait and run, or of all servers and direct messages together."""
        return QueueCounts(waiting=self._counts[server, False], running=self._counts[server, True])

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

    async def _differences(self) -> tuple[Mapping[str, QueueRows], AbstractSet[str]]:
        """The rows, and the jobs that are different in memory.

        What this process writes while the rows are read is newer than they are.
        """
        changed: set[str] = set()
        self._changed_while_reading.append(changed)
        try:
            rows = await self._store.queues()
        finally:
            self._changed_while_reading.remove(changed)
        different = set()
        for provider in self._queues.keys() | rows.keys():
            read = rows.get(provider, NO_ROWS)
            different |= self.of(provider).differences(read.waiting, read.running)
        return rows, different - changed - self._kept

    def _take_over(self, rows: Mapping[str, QueueRows], different: AbstractSet[str]) -> None:
        for job_id in different:
            self._provider_of.pop(job_id, None)
            self._count(job_id, None)
            for queue in self._queues.values():
                queue.leave(job_id)
        for provider, read in rows.items():
            self._server_of |= {job_id: read.servers[job_id] for job_id in read.servers.keys() & different}
            for job in read.waiting:
                if job.job_id in different:
                    self._wait(provider, job)
            for job_id in read.running.keys() & different:
                self._run(provider, job_id, read.running[job_id])

    @contextmanager
    def slot_kept(self, job: Job) -> Iterator[None]:
        """Count a waiting job as one with a slot, until its row says so or the block ends."""
        self._kept.add(job.id)
        self._note_change(job.id)
        self._run(job.provider, job.id, job.place.user_id)
        try:
            yield
        finally:
            if job.id in self._kept:  # nothing was written: it still waits
                self._kept.discard(job.id)
                self._note_change(job.id)
                self._wait(job.provider, _waiting(job))

    def _note_change(self, job_id: str) -> None:
        for changed in self._changed_while_reading:
            changed.add(job_id)

    def _on_job(self, job: Job) -> None:
        self._kept.discard(job.id)
        self._note_change(job.id)
        self._server_of[job.id] = job.place.server
        if job.state is State.ACCEPTED and job.acked_at is not None:
            self._wait(job.provider, _waiting(job))
        elif job.state in SLOT_STATES:
            self._run(job.provider, job.id, job.place.user_id)
        else:
            self._leave(job.id)
        if job.state.is_final:
            self._server_of.pop(job.id, None)

    def _wait(self, provider: str, job: Waiting) -> None:
        if self._provider_of.get(job.job_id, provider) != provider:
            self._leave(job.job_id)
        self._provider_of[job.job_id] = provider
        self.of(provider).wait(job)
        self._count(job.job_id, False)

    def _run(self, provider: str, job_id: str, user_id: int) -> None:
        if self._provider_of.get(job_id, provider) != provider:
            self._leave(job_id)
        self._provider_of[job_id] = provider
        self.of(provider).run(job_id, user_id)
        self._count(job_id, True)

    def _leave(self, job_id: str) -> None:
        if (provider := self._provider_of.pop(job_id, None)) is not None:
            self.of(provider).leave(job_id)
        self._count(job_id, None)

    def _count(self, job_id: str, running: bool | None) -> None:  # noqa: FBT001 - the value that is counted
        """Count a job as one with a slot, as a waiting one, or for None not at all."""
        if (before := self._counted.pop(job_id, None)) is not None:
            self._counts.subtract([before, (None, before[1])])
        if running is not None:
            self._counted[job_id] = now = (self._server_of.get(job_id, NO_SERVER), running)
            self._counts.update([now, (None, running)])


def _waiting(job: Job) -> Waiting:
    return Waiting(job.id, job.place.user_id, job.created_at)
