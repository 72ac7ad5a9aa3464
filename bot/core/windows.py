"""Which hour, day, week or month a moment counts in, and when the next one begins: calendar windows in one timezone.

A *bucket* names one such window, as `day:2026-11-21`. It is written down when an amount is counted, so a server
that moves to another timezone keeps what it has counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

QUARTER = 900_000


class Window(StrEnum):
    """The period a limit counts in, shortest first; `TOTAL` never begins anew."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Moment:
    """What the ledger keeps of a moment: all its buckets follow from these two.

    *hour* carries its offset, for the hour that a clock repeats in autumn is another one; *week* is its Monday.
    """

    hour: str  # 2026-11-21T05+0100
    week: str  # 2026-11-16

    @property
    def buckets(self) -> Mapping[Window, str]:
        """Always in this order: rows are locked in it."""
        return _buckets(self.hour, self.week)


def moment(now: int, zone: tzinfo = UTC) -> Moment:
    """The moment *now* (UTC milliseconds) on the calendar of *zone*."""
    return _moment(now // QUARTER, zone)


@lru_cache(maxsize=1024)  # clocks differ from UTC by whole quarters of an hour: nothing begins within one
def _moment(quarter: int, zone: tzinfo) -> Moment:
    local = datetime.fromtimestamp(quarter * QUARTER / 1000, zone)
    monday = local.date() - timedelta(days=local.weekday())
    return Moment(hour=f"{local:%Y-%m-%dT%H%z}"[:18], week=monday.isoformat())


@lru_cache(maxsize=1024)
def _buckets(hour: str, week: str) -> Mapping[Window, str]:
    return MappingProxyType(
        {
            Window.TOTAL: "total",
            Window.MONTH: f"month:{hour[:7]}",
            Window.WEEK: f"week:{week}",
            Window.DAY: f"day:{hour[:10]}",
            Window.HOUR: f"hour:{hour}",
        }
    )


def ends_at(window: Window, now: int, zone: tzinfo = UTC) -> int | None:
    """When the window that *now* lies in is over (UTC milliseconds); None for one that never is."""
    local = datetime.fromtimestamp(now / 1000, zone)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    match window:
        case Window.HOUR:  # by the clock on the wall, whose hours begin at half past ours in some places
            end = now - (local.minute * 60 + local.second) * 1000 - local.microsecond // 1000 + 3_600_000
            quarters = range(now - now % QUARTER + QUARTER, end, QUARTER)  # Chatham's clocks leap at a quarter to
            return next((at for at in quarters if moment(at, zone).hour != moment(now, zone).hour), end)
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
