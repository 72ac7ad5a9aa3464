"""Whether Darkroom does its work: not that the process is alive, but that jobs move and Discord hears us."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from bot.store.database import DATABASE_ERRORS

TICK = 0.25  # seconds between looks at the event loop
LAG_LIMIT = 1.0
HEARTBEAT_LIMIT = 90.0
OVERDUE_LIMIT = 300.0
TIMEOUT = 2.0  # seconds for a look at the rows
FRESH = 1.0  # seconds; whoever asks more often gets the same report


class Pulse:
    """How late the event loop was in the last few seconds."""

    def __init__(self, heard: Callable[[float], None]) -> None:
        """*heard* is told each time by how many seconds it was late."""
        self.worst = 0.0
        self._heard = heard

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            before = time.monotonic()
            await asyncio.sleep(TICK)
            late = max(0.0, time.monotonic() - before - TICK)
            self.worst = max(late, self.worst * 0.9)  # a stall shows for a few seconds, then fades
            self._heard(late)


class Health:
    def __init__(
        self,
        *,
        pulse: Pulse,
        heartbeat_age: Callable[[], float | None],
        overdue: Callable[[], Awaitable[float]],
        writable: Callable[[], Awaitable[bool]],
        accepts_requests: Callable[[], bool],
        outages: Callable[[], Sequence[str]],
        unsafe: Callable[[], str | None],
    ) -> None:
        """*heartbeat_age*: seconds since Discord last answered, None while not connected.

        *overdue*: seconds by which the oldest due job is late; it may ask the database. *writable*: whether a write
        reaches the disk. *intake_open*: whether new jobs are taken. *outages*: what only the operator can put right.
        *unsafe*: for which of them nothing is ordered.
        """
        self._pulse = pulse
        self._heartbeat_age = heartbeat_age
        self._overdue = overdue
        self._writable = writable
        self._intake_open = accepts_requests
        self._asking = asyncio.Lock()
        self._asked_at: float | None = None
        self._report: Mapping[str, object] = {}
        self._outages = outages
        self._unsafe = unsafe

    async def report(self) -> Mapping[str, object]:
        async with self._asking:
            if self._asked_at is None or time.monotonic() - self._asked_at >= FRESH:
                self._report = await self._look()
                self._asked_at = time.monotonic()
            return self._report

    async def _look(self) -> Mapping[str, object]:
        age = self._heartbeat_age()
        writable, overdue = await asyncio.gather(self._writable(), self._late())
        parts = {
            "gateway": self._connected(),
            "loop": self._pulse.worst < LAG_LIMIT,
            "database": writable,
            "jobs": overdue is not None and overdue < OVERDUE_LIMIT,
        }
        outages = list(self._outages())
        return {
            "ok": all(parts.values()) and not outages,
            "parts": parts,
            "outages": outages,
            "heartbeat_age_s": None if age is None else round(age, 1),
            "loop_lag_s": round(self._pulse.worst, 3),
            "oldest_due_s": None if overdue is None else round(overdue, 1),
        }

    async def _late(self) -> float | None:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._overdue()
        except DATABASE_ERRORS:  # running out of time is one of them
            return None

    async def unready(self) -> str | None:
        """Why a wish would not be taken on now; None where it would."""
        if not self._intake_open():
            return "the bot is about to end and takes no new jobs"
        if not self._connected():
            return "not connected to Discord"
        if outage := self._unsafe():
            return f"nothing can be ordered: {outage}"
        if not await self._writable():
            return "the database cannot be written"
        return None

    def _connected(self) -> bool:
        age = self._heartbeat_age()
        return age is not None and age < HEARTBEAT_LIMIT
