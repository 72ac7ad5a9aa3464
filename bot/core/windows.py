"""Limit windows: the hour, day, week and month that a moment counts in, and when each of them ends.

A *bucket* is the name of one window, such as `day:2026-11-21`. Days follow a server's timezone, weeks and months
are made of such days. Hours are UTC hours everywhere, so that a change of timezone never starts a new one. A change of
timezone does not end the current day: see `Calendar.with_timezone`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

MINUTE = 60_000
QUARTER_HOUR = 900_000
HOUR = 3_600_000


class Window(StrEnum):
    """The period in which a limit counts, shortest first; `TOTAL` never resets."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Moment:
    """The windows that a point in time counts in. The ledger stores *day* and *week*; *hour* follows from the time."""

    day: str  # 2026-11-21
    week: str  # the Monday of its week, as day
    hour: str  # 2026-11-21T05+0000

    @property
    def buckets(self) -> Mapping[Window, str]:
        """The bucket of each window. The order is fixed, because rows are locked in it."""
        return _buckets(self.day, self.week, self.hour)


def moment(now: int, zone: tzinfo = UTC) -> Moment:
    """The windows that *now* (UTC milliseconds) counts in, with the days of *zone*."""
    return _moment(now // QUARTER_HOUR, zone)


@lru_cache(maxsize=1024)  # UTC offsets are multiples of 15 minutes, so no window starts within a quarter of an hour
def _moment(quarter: int, zone: tzinfo) -> Moment:
    return moment_on_day(datetime.fromtimestamp(quarter * QUARTER_HOUR / 1000, zone).date(), quarter * QUARTER_HOUR)


def moment_on_day(day: date, at: int) -> Moment:
    """The windows of the time *at* (UTC milliseconds) if it counts in *day*."""
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
    """When the current window ends, in UTC milliseconds; None for `TOTAL`."""
    local = datetime.fromtimestamp(now / 1000, zone)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    match window:
        case Window.HOUR:
            return now - now % HOUR + HOUR
        case Window.DAY:
            return _midnight_after(midnight, days=1)
        case Window.WEEK:
            return _midnight_after(midnight, days=7 - local.weekday())
        case Window.MONTH:
            return _midnight_after(midnight.replace(day=1) + timedelta(days=32), first_of_month=True)
        case Window.TOTAL:
            return None


def _midnight_after(midnight: datetime, *, days: int = 0, first_of_month: bool = False) -> int:
    """The local midnight *days* later, in UTC milliseconds; where clocks skip it, the time of the change."""
    day = midnight + timedelta(days=days)
    return int((day.replace(day=1) if first_of_month else day).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Pin:
    """The day that was current at a change of timezone; it stays the current day until *until* (UTC milliseconds).

    *since* is one minute before the change, so that the pin covers requests that were received before the change and
    are counted after it. Times before *since* occur where the system clock was ahead and has been corrected.
    """

    day: date
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """The calendar of a server: the days of *zone*, except while *pin* is in force."""

    zone: tzinfo = UTC
    pin: Pin | None = None

    def moment(self, now: int) -> Moment:
        pin = self._pin(now)
        return moment_on_day(pin.day, now) if pin else moment(now, self.zone)

    def day(self, now: int) -> date:
        return date.fromisoformat(self.moment(now).day)

    def ends_at(self, window: Window, now: int) -> int | None:
        """When the current window ends, in UTC milliseconds; None for `TOTAL`."""
        pin = self._pin(now)
        if pin is None or window is Window.HOUR:
            return ends_at(window, now, self.zone)
        continues = self.moment(pin.until).buckets[window] == self.moment(now).buckets[window]
        return ends_at(window, pin.until, self.zone) if continues else pin.until

    def with_timezone(self, zone: tzinfo, *, now: int) -> "Calendar":
        """The calendar after a change to *zone* at *now*. The current day continues, so no limit resets by the change.

        Where *zone* is a day ahead, the current day ends when it would have ended before. Where *zone* is a day behind,
        the current day continues until it ends in *zone*. So days are consecutive, no day starts twice, and no day
        starts before it has started somewhere on earth.
        """
        day, local_day = self.day(now), datetime.fromtimestamp(now / 1000, zone).date()
        if day == local_day:
            return Calendar(zone)
        if day < local_day:
            until = self.ends_at(Window.DAY, now)
            assert until is not None
        else:
            until = int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
        return Calendar(zone, Pin(day, now - MINUTE, until))

    def _pin(self, now: int) -> Pin | None:
        return self.pin if self.pin is not None and self.pin.since <= now < self.pin.until else None
