"""Reads the amounts, times and periods that admins type; what cannot be meant is refused in one clear sentence."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal

from bot.core.errors import UserError
from bot.core.quota import Unit
from bot.core.windows import Window

NO_LIMIT = frozenset({"none", "unlimited", "∞", "-"})
MOST: Mapping[Unit, int] = {Unit.IMAGES: 1_000_000, Unit.MICRO_USD: 1_000_000_000_000, Unit.JOBS: 10_000}
NUMBER = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40}|,([0-9]{1,2}|[0-9]{4,40}))?|[.,][0-9]{1,40}")  # 1,000 may mean either
SPAN = re.compile(r"(\d{1,5})\s*([hdwm])", re.IGNORECASE)
HOURS = {"h": 1, "d": 24, "w": 24 * 7, "m": 24 * 30}
LONGEST = timedelta(days=3660)
PERIODS = ("today", "yesterday", "week", "month", "last month", "all")


def amount(text: str, unit: Unit) -> int | None:
    """*text* in the smallest parts of *unit* (micro-dollars); None for no limit at all."""
    typed = text.strip().casefold().removeprefix("$").removesuffix("$").strip()
    if typed in NO_LIMIT:
        return None
    if typed.startswith("-") and NUMBER.fullmatch(typed[1:]):
        raise UserError("amount.negative", given=text)
    if not NUMBER.fullmatch(typed):
        raise UserError("amount.number", given=text)
    number = Decimal(typed.replace(",", "."))
    parts = number * 1_000_000 if unit is Unit.MICRO_USD else number
    if parts > MOST[unit]:
        raise UserError("amount.enormous", given=text, limit=MOST[unit], unit=unit)
    if parts != int(parts):
        raise UserError("amount.fine" if unit is Unit.MICRO_USD else "amount.fraction", given=text)
    return int(parts)


def bonus(text: str, unit: Unit) -> int:
    """What is to be granted: more than nothing, and not without end."""
    found = amount(text, unit)
    if found is None:
        raise UserError("amount.number", given=text)
    if found == 0:
        raise UserError("amount.zero")
    return found


def window(unit: Unit, given: str | None) -> Window | None:
    """The window of a limit in *unit*: jobs have none, the others need one."""
    if unit is Unit.JOBS:
        return None
    try:
        return Window(given or Window.DAY)
    except ValueError:
        raise UserError("amount.window", given=given, choices=list(Window)) from None


def expiry(text: str | None, *, now: int, zone: tzinfo = UTC) -> int | None:
    """When a bonus ends (UTC milliseconds): `12h`, `7d`, `2w`, `3m`, or the end of a day such as `2026-12-31`."""
    typed = (text or "").strip().casefold()
    if not typed or typed in NO_LIMIT | {"never"}:
        return None
    if found := SPAN.fullmatch(typed):
        at = now + int(found[1]) * HOURS[found[2]] * 3_600_000
    else:
        at = _midnight(day(typed) + timedelta(days=1), zone)
    if at <= now:
        raise UserError("expiry.past", given=text)
    if at > now + LONGEST // timedelta(milliseconds=1):
        raise UserError("expiry.far", given=text)
    return at


def period(since: str | None, until: str | None, *, now: int, zone: tzinfo = UTC) -> tuple[int, int]:
    """From and to (UTC milliseconds, the end not included) of the days typed, or of a word such as `last month`.

    Without an end it reaches to now, without a beginning it begins with this month.
    """
    today = datetime.fromtimestamp(now / 1000, zone).date()
    first, last = _named((since or "month").strip().casefold(), today)
    if until is not None and until.strip():
        last = day(until.strip())
    if last < first:
        raise UserError("period.backwards", since=first.isoformat(), until=last.isoformat())
    return _midnight(first, zone), _midnight(last + timedelta(days=1), zone)


def _named(word: str, today: date) -> tuple[date, date]:
    match word:
        case "today":
            return today, today
        case "yesterday":
            return today - timedelta(days=1), today - timedelta(days=1)
        case "week":
            return today - timedelta(days=today.weekday()), today
        case "month":
            return today.replace(day=1), today
        case "last month":
            last = today.replace(day=1) - timedelta(days=1)
            return last.replace(day=1), last
        case "all":
            return date(2020, 1, 1), today
        case _:
            return day(word), today


def day(text: str) -> date:
    """A day typed as `2026-11-21`."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise UserError("period.day", given=text) from None
    if not 2000 <= found.year <= 2200:
        raise UserError("period.day", given=text)
    return found


def _midnight(at: date, zone: tzinfo) -> int:
    return int(datetime(at.year, at.month, at.day, tzinfo=zone).timestamp() * 1000)
