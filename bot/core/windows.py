"""Which hour, day, week or month a moment counts in, and when the next one begins.

A *bucket* names one such window, as `day:2026-11-21`. Days are those of a timezone, weeks and months are made of
them; hours are those of UTC everywhere, so that no timezone begins one anew. A change of timezone leaves the day in
force as it is: see `Calendar.moved`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

MINUTE = 60_000
QUARTER = 900_000
HOUR = 3_600_000


class Window(StrEnum):
    """The period a limit counts in, shortest first; `TOTAL` never begins anew."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a moment counts; the ledger keeps *day* and *week* of it, and the hour follows from its time."""

    day: str  # 2026-11-21
    week: str  # its Monday
    hour: str  # 2026-11-21T05+0000

    @property
    def buckets(self) -> Mapping[Window, str]:
        """Always in this order: rows are locked in it."""
        return _buckets(self.day, self.week, self.hour)


def moment(now: int, zone: tzinfo = UTC) -> Moment:
    """The moment *now* (UTC milliseconds) on the calendar of *zone*."""
    return _moment(now // QUARTER, zone)


@lru_cache(maxsize=1024)  # clocks differ from UTC by whole quarters of an hour: nothing begins within one
def _moment(quarter: int, zone: tzinfo) -> Moment:
    return of_day(datetime.fromtimestamp(quarter * QUARTER / 1000, zone).date(), quarter * QUARTER)


def of_day(day: date, at: int) -> Moment:
    """The moment *at* (UTC milliseconds) where it counts in *day*."""
    monday = day - timedelta(days=day.weekday())
    hour = datetime.fromtimestamp(at / 1000, UTC)
    return Moment(day.isoformat(), monday.isoformat(), f"{hour:%Y-%m-%dT%H+0000}")


@lru_cache(maxsize=1024)
def _buckets(day: str, week: str, hour: str) -> Mapping[Window, str]:
    return MappingProxyType(
        {
            Window.TOTAL: "total",
            Window.MONTH: f"month:{day[:7]}",
            Window.WEEK: f"week:{week}",
            Window.DAY: f"day:{day}",
            Window.HOUR: f"hour:{hour}",
        }
    )


def ends_at(window: Window, now: int, zone: tzinfo = UTC) -> int | None:
    """When the window that *now* lies in is over (UTC milliseconds); None for one that never is."""
    local = datetime.fromtimestamp(now / 1000, zone)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    match window:
        case Window.HOUR:
            return now - now % HOUR + HOUR
        case Window.DAY:
            return _start(midnight, days=1)
        case Window.WEEK:
            return _start(midnight, days=7 - local.weekday())
        case Window.MONTH:
            return _start(midnight.replace(day=1) + timedelta(days=32), first=True)
        case Window.TOTAL:
            return None


def _start(midnight: datetime, *, days: int = 0, first: bool = False) -> int:
    """The midnight *days* later, by the clock on the wall; where a clock leaps over it, the moment of the leap."""
    day = midnight + timedelta(days=days)
    return int((day.replace(day=1) if first else day).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Pin:
    """A day that a change of timezone left in force, *since* and *until* when (UTC milliseconds).

    *since* is a minute before the change, for what was asked by then and is decided afterwards. It is there for clocks
    that were ahead, and have been put right.
    """

    day: date
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """A server's: the days of its timezone, but for the *pin* that its last change of timezone left behind."""

    zone: tzinfo = UTC
    pin: Pin | None = None

    def moment(self, now: int) -> Moment:
        pin = self._pin(now)
        return of_day(pin.day, now) if pin else moment(now, self.zone)

    def day(self, now: int) -> date:
        return date.fromisoformat(self.moment(now).day)

    def ends_at(self, window: Window, now: int) -> int | None:
        """When the window that *now* counts in is over (UTC milliseconds); None for one that never is."""
        pin = self._pin(now)
        if pin is None or window is Window.HOUR:
            return ends_at(window, now, self.zone)
        goes_on = self.moment(pin.until).buckets[window] == self.moment(now).buckets[window]
        return ends_at(window, pin.until, self.zone) if goes_on else pin.until

    def moved(self, zone: tzinfo, *, now: int) -> "Calendar":
        """The calendar of a server that changes to *zone*: the day goes on, and with it what was used in each window.

        Where *zone* is a day ahead, the day ends when it would have ended anyway; where *zone* is behind, it goes on
        until it is over there. So days follow each other, none begins twice, and none comes before it has begun
        somewhere on earth.
        """
        day, there = self.day(now), datetime.fromtimestamp(now / 1000, zone).date()
        if day == there:
            return Calendar(zone)
        if day < there:
            until = self.ends_at(Window.DAY, now)
            assert until is not None
        else:
            until = int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
        return Calendar(zone, Pin(day, now - MINUTE, until))

    def _pin(self, now: int) -> Pin | None:
        return self.pin if self.pin is not None and self.pin.since <= now < self.pin.until else None
