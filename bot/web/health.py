"""Health and readiness: event loop, gateway, database, overdue jobs and outages."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from bot.store.database import DATABASE_ERRORS

TICK = 0.25  # seconds between measurements of the event loop
LAG_LIMIT = 1.0  # seconds
HEARTBEAT_LIMIT = 90.0  # seconds
OVERDUE_LIMIT = 300.0  # seconds
TIMEOUT = 2.0  # seconds for the database query
CACHE_TIME = 1.0  # seconds for which a report is reused


class Pulse:
    """Measures the event loop's lag; `worst` is the largest of the last few seconds, decaying."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        """*observe* receives every measured lag in seconds."""
        self.worst = 0.0
        self._observe = observe

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            before = time.monotonic()
            await asyncio.sleep(TICK)
            late = max(0.0, time.monotonic() - before - TICK)
            self.worst = max(late, self.worst * 0.9)  # a stall decays over a few seconds
            self._observe(late)


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
        """*heartbeat_age*: seconds since Discord's last heartbeat answer, None while not connected.

        *overdue*: seconds by which the oldest due job is late; may query the database. *writable*: whether a write
        reaches the disk. *accepts_requests*: whether new jobs are accepted. *outages*: names of current outages that
        only the operator can end. *unsafe*: the outage that prevents paid requests, None if there is none.
        """
        self._pulse = pulse
        self._heartbeat_age = heartbeat_age
        self._overdue = overdue
        self._writable = writable
        self._accepts_requests = accepts_requests
        self._lock = asyncio.Lock()
        self._reported_at: float | None = None
        self._report: Mapping[str, object] = {}
        self._outages = outages
        self._unsafe = unsafe

    async def report(self) -> Mapping[str, object]:
        async with self._lock:
            if self._reported_at is None or time.monotonic() - self._reported_at >= CACHE_TIME:
                self._report = await self._measure()
                self._reported_at = time.monotonic()
            return self._report

    async def _measure(self) -> Mapping[str, object]:
        age = self._heartbeat_age()
        writable, overdue = await asyncio.gather(self._writable(), self._seconds_overdue())
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

    async def _seconds_overdue(self) -> float | None:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._overdue()
        except DATABASE_ERRORS:  # TimeoutError included
            return None

    async def unready(self) -> str | None:
        """Return why a request would not be accepted now, None if it would be."""
        if not self._accepts_requests():
            return "the bot is shutting down and accepts no new jobs"
        if not self._connected():
            return "not connected to Discord"
        if outage := self._unsafe():
            return f"no run can be submitted: {outage}"
        if not await self._writable():
            return "the database cannot be written"
        return None

    def _connected(self) -> bool:
        age = self._heartbeat_age()
        return age is not None and age < HEARTBEAT_LIMIT
