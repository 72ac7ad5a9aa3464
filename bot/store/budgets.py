"""Limits that hold for all processes together: the database has one timeline of slots for each.

A process takes a chunk of slots by one statement. The time is the server's. On a database that is not shared, the
timelines are in memory and cost no statement.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from bot.core.budgets import LocalTimeline, Pace, RemoteClock, Slot
from bot.store.database import Database, Tx

MICROSECOND = 1_000_000
CLOCK = f"(extract(epoch FROM clock_timestamp()) * {MICROSECOND})::bigint"
MAX_AHEAD = 60 * MICROSECOND  # a timeline that is further ahead is so because the server's clock was set back


class Budget(Protocol):
    """The slots of one limit."""

    async def take(self, units: int) -> Sequence[Slot]:
        """Take up to so many slots, which nobody else has; at least one."""
        ...


class Budgets:
    def __init__(self, database: Database | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        """*now*: the clock of the slots, in seconds. Without a *database*, no limit is shared."""
        self._shared = database if database is not None and database.shared else None
        self._now = now
        self._clock = RemoteClock()

    @property
    def shared(self) -> bool:
        """Whether other processes may use the same limits."""
        return self._shared is not None

    async def forget(self, *, before: int) -> None:
        """Forget the limits whose last slot was taken before *before* (UTC milliseconds)."""
        if self._shared is not None:

            async def unit(tx: Tx) -> None:
                await tx.run("DELETE FROM budgets WHERE next_at < $1", before * 1000)

            await self._shared.write(unit)

    def budget(self, name: str, pace: Pace) -> Budget:
        """The limit called *name*, which has this *pace* in every process."""
        if self._shared is None:
            return _LocalBudget(pace, now=self._now)
        return _SharedBudget(self._shared, name, pace=pace, clock=self._clock, now=self._now)


class _LocalBudget:
    def __init__(self, pace: Pace, *, now: Callable[[], float]) -> None:
        self._timeline = LocalTimeline(pace)
        self._now = now

    async def take(self, units: int) -> Sequence[Slot]:  # noqa: ARG002 - a chunk would only waste slots
        return (self._timeline.take(self._now()),)


class _SharedBudget:
    def __init__(
        self, database: Database, name: str, *, pace: Pace, clock: RemoteClock, now: Callable[[], float]
    ) -> None:  # fmt: skip
        self._database = database
        self._name = name
        self._pace = pace
        self._clock = clock
        self._now = now

    async def take(self, units: int) -> Sequence[Slot]:
        async def unit(tx: Tx) -> int:
            asked = self._now()  # here, because the unit may have waited for a connection
            row = await tx.one(
                f"""
                INSERT INTO budgets (name, next_at) VALUES ($1, {CLOCK} + $2)
                ON CONFLICT (name) DO UPDATE SET next_at = $2 + CASE
                    WHEN budgets.next_at BETWEEN {CLOCK} AND {CLOCK} + {MAX_AHEAD} THEN budgets.next_at
                    ELSE {CLOCK}
                END
                RETURNING next_at - $2 AS first, {CLOCK} AS now
                """,  # noqa: S608 - fixed strings
                self._name,
                round(units * self._pace.gap * MICROSECOND),
            )
            assert row is not None
            self._clock.read(row["now"] / MICROSECOND, asked=asked, answered=self._now())
            return int(row["first"])

        first = await self._database.write(unit)
        return self._clock.slots(first / MICROSECOND, units, pace=self._pace)
