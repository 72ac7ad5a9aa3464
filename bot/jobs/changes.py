"""Passes on to the other processes what this one has changed, and takes over what they have changed.

Messages are sent after the commit, many at once, and a lost one costs time only: the rows have it all. Of its own jobs,
a process sends only what the others decide by: that one waits, has a slot, or has neither. On a database that is not
shared, nothing is sent; what a command of the operator has changed is read again there as well.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import astuple
from enum import StrEnum
from typing import Any

from bot.core.jobs import Job, JobSummary, Lease, State
from bot.jobs import system_outages
from bot.jobs.leases import Leases
from bot.jobs.system_outages import Outages
from bot.jobs.wakeups import Wakeups
from bot.store.database import Database
from bot.store.replies import DueReply
from bot.store.store import Store

log = logging.getLogger(__name__)

LONGEST_MESSAGE = 7_000  # bytes; PostgreSQL takes 8,000
MANY = 20_000  # unsent changes, from which on the others read everything again
LOOK_EVERY = 1.0  # seconds between two looks whether something was changed unnoticed
SPACING = 0.05  # seconds between two messages that nobody waits for
RETRY_DELAY = 0.5  # seconds, where the database did not take the messages


class Topic(StrEnum):
    JOB = "job"
    REPLY = "reply"
    CALLED_BACK = "called_back"
    PROVIDER = "provider"
    DURATION = "duration"
    LANGUAGE = "language"
    GENERATION = "generation"
    BALANCES = "balances"
    EVERYTHING = "everything"


Reread = Callable[[], Awaitable[None]]


class Changes:
    def __init__(self, store: Store, leases: Leases, *, wakeups: Wakeups, outages: Outages) -> None:
        self._database: Database = store.database
        self._leases = leases
        self._wakeups = wakeups
        self._outages = outages
        self._outbox: list[tuple[str, Any]] = []
        self._is_urgent = False  # whether a part of it is awaited
        self._told: dict[str, tuple[bool, bool, Lease]] = {}  # of our unfinished jobs: waits, has a slot, lease
        self._inbox: list[tuple[str, Any]] = []
        self.wake = asyncio.Event()
        self._listeners: dict[str, list[Callable[[Any], None]]] = {}
        self._job_listeners: list[Callable[[JobSummary], None]] = []
        self._rereads: list[Reread] = []
        self._known: int | None = None  # `external_changes` when everything was read last
        self._reread_now = False
        if self.shared:
            store.on_job(self._send_job)
            store.on_reply_due(self._send_reply_due)
        self._database.on_message(self._receive)
        self.on(Topic.JOB, self._job_changed)
        self.on(Topic.CALLED_BACK, self._called_back)
        leases.on_lapsed(self._told.clear)
        leases.on_lapsed(self.reread_soon)

    @property
    def shared(self) -> bool:
        """Whether there may be other processes."""
        return self._database.shared

    # --- subscriptions

    def on(self, topic: str, listener: Callable[[Any], None]) -> None:
        """Call *listener* with what other processes send about *topic*."""
        self._listeners.setdefault(topic, []).append(listener)

    def on_job(self, listener: Callable[[JobSummary], None]) -> None:
        """Call *listener* with each job whose row another process has written."""
        self._job_listeners.append(listener)

    def on_reply_due(self, listener: Callable[[DueReply], None]) -> None:
        """Call *listener* when another process has changed when a reply is due."""
        self.on(Topic.REPLY, lambda value: listener(DueReply(*value)))

    def on_reread(self, reread: Reread) -> None:
        """Have *reread* read its rows again whenever changes may have been missed."""
        self._rereads.append(reread)

    # --- what this process has changed

    def send(self, topic: str, value: object, *, urgent: bool = False) -> None:
        """Send *value* to the other processes within `SPACING`; *urgent*: at once, because one of them waits for it."""
        if not self.shared:
            return
        self._outbox.append((topic, value))
        self._is_urgent = self._is_urgent or urgent
        if len(self._outbox) > MANY:
            self._outbox = [(Topic.EVERYTHING, None)]
        self.wake.set()

    def accepted(self, job: Job) -> None:
        """Have the process that a new job belongs to notice if its card is never acknowledged."""
        if self._leases.owns(job.lease.worker):
            self._wakeups.wake(job.id)
        else:
            self._send_job(job)

    def _send_job(self, job: Job) -> None:
        summary = JobSummary.of(job)
        if not self._leases.owns(job.lease.worker):
            self._told.pop(job.id, None)
            self.send(Topic.JOB, astuple(summary), urgent=True)
            return
        told = summary.waits, summary.has_slot, job.lease
        if self._told.get(job.id) != told:
            self.send(Topic.JOB, astuple(summary))
        self._told[job.id] = told
        if job.state.is_final:
            del self._told[job.id]

    def _send_reply_due(self, due: DueReply) -> None:
        if not self._leases.owns(due.worker):
            self.send(Topic.REPLY, astuple(due), urgent=True)

    def _job_changed(self, value: Sequence[Any]) -> None:
        job_id, version, worker, provider, state, *others = value
        job = JobSummary(job_id, version, worker, provider, State(state), *others)
        self._told.pop(job_id, None)
        for each in self._job_listeners:
            each(job)

    def called_back(self, job: Job) -> None:
        """Have the process that an unfinished job belongs to know that its provider has sent a callback."""
        if self._leases.owns(job.lease.worker):
            self._wakeups.mark_called_back(job.id)
        else:
            self.send(Topic.CALLED_BACK, [job.id, job.lease.worker], urgent=True)

    def _called_back(self, value: tuple[str, int]) -> None:
        job_id, worker = value
        if self._leases.owns(worker):
            self._wakeups.mark_called_back(job_id)

    async def flush(self) -> None:
        """Send what is to be sent; kept where the database does not take it."""
        if not (sent := self._outbox):
            return
        self._outbox, self._is_urgent = [], False
        try:
            await self._database.publish(_messages(self._leases.process, sent))
        except BaseException:
            self._outbox = [*sent, *self._outbox]
            raise

    # --- what other processes have changed

    def _receive(self, message: str) -> None:
        sender, changes = json.loads(message)
        if sender != self._leases.process:
            self._inbox += [(topic, value) for topic, value in changes]
            self.wake.set()

    def take_over(self) -> None:
        """Tell the listeners what other processes have sent."""
        received, self._inbox = self._inbox, []
        for topic, value in received:
            if topic == Topic.EVERYTHING:
                self._reread_now = True
            for each in self._listeners.get(topic, ()):
                each(value)

    def reread_soon(self) -> None:
        """Read everything again: this process may have missed changes."""
        self._reread_now = True
        self.wake.set()

    async def look(self) -> None:
        """Read everything again if something may have been changed unnoticed since the last time."""
        changes = await self._database.external_changes()
        if changes != self._known or self._reread_now:
            self._reread_now = False
            for each in self._rereads:
                await each()
            self._known = changes

    async def run(self, stop: asyncio.Event) -> None:
        """Send and take over changes until *stop*."""
        looked_at, send_at, loop = 0.0, 0.0, asyncio.get_running_loop()
        while not stop.is_set():
            self.wake.clear()
            self.take_over()
            if self._outbox and (self._is_urgent or loop.time() >= send_at):
                send_at = loop.time() + RETRY_DELAY
                with self._outages.outlasting(system_outages.UNREAD):
                    await self.flush()
                    send_at = loop.time() + SPACING
            if self._reread_now or loop.time() >= looked_at + LOOK_EVERY:
                with self._outages.outlasting(system_outages.UNREAD):
                    await self.look()
                looked_at = loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0, send_at - loop.time()) if self._outbox else LOOK_EVERY):
                    await self.wake.wait()


def _messages(process: int, changes: Sequence[tuple[str, Any]]) -> list[str]:
    """*changes* as JSON texts that are short enough to be sent."""
    texts, room = [], 0
    parts: list[str] = []
    for change in changes:
        part = json.dumps(change, separators=(",", ":"))
        if parts and len(part) > room:
            texts.append(f"[{process},[{','.join(parts)}]]")
            parts = []
        room = (room if parts else LONGEST_MESSAGE) - len(part) - 1
        parts.append(part)
    return [*texts, f"[{process},[{','.join(parts)}]]"]
