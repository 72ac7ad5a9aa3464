"""Parses the amounts, times and periods that admins type; raises `UserError` for input that is not valid."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal

from bot.core.errors import UserError
from bot.core.quota import Unit
from bot.core.windows import Window

NO_LIMIT = frozenset({"none", "unlimited", "∞", "-"})
MAX_AMOUNTS: Mapping[Unit, int] = {Unit.IMAGES: 1_000_000, Unit.MICRO_USD: 1_000_000_000_000, Unit.JOBS: 10_000}
NUMBER = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40}|,([0-9]{1,2}|[0-9]{4,40}))?|[.,][0-9]{1,40}")  # 1,000 may mean either
DURATION = re.compile(r"(\d{1,5})\s*([hdwm])", re.IGNORECASE)
HOURS = {"h": 1, "d": 24, "w": 24 * 7, "m": 24 * 30}
MAX_DURATION = timedelta(days=3660)
PERIODS = ("today", "yesterday", "week", "month", "last month", "all")


def amount(text: str, unit: Unit) -> int | None:
    """Parse *text* as an amount of *unit*, dollars as micro-dollars; None for words that mean no limit (`NO_LIMIT`).

    `UserError` with key `amount.negative`, `.number`, `.enormous`, `.fine` or `.fraction`.
    """
    typed = text.strip().casefold().removeprefix("$").removesuffix("$").strip()
    if typed in NO_LIMIT:
        return None
    if typed.startswith("-") and NUMBER.fullmatch(typed[1:]):
        raise UserError("amount.negative", given=text)
    if not NUMBER.fullmatch(typed):
        raise UserError("amount.number", given=text)
    number = Decimal(typed.replace(",", "."))
    parts = number * 1_000_000 if unit is Unit.MICRO_USD else number
    if parts > MAX_AMOUNTS[unit]:
        raise UserError("amount.enormous", given=text, limit=MAX_AMOUNTS[unit], unit=unit)
    if parts != int(parts):
        raise UserError("amount.fine" if unit is Unit.MICRO_USD else "amount.fraction", given=text)
    return int(parts)


def bonus(text: str, unit: Unit) -> int:
    """Parse *text* as an amount to grant: `UserError` where it is zero or unlimited."""
    granted = amount(text, unit)
    if granted is None:
        raise UserError("amount.number", given=text)
    if granted == 0:
        raise UserError("amount.zero")
    return granted


def window(unit: Unit, given: str | None) -> Window | None:
    """The window of a limit in *unit*, a day by default; None for jobs, whose limit has no window."""
    if unit is Unit.JOBS:
        return None
    try:
        return Window(given or Window.DAY)
    except ValueError:
        raise UserError("amount.window", given=given, choices=list(Window)) from None


def expiry(text: str | None, *, now: int, zone: tzinfo = UTC) -> int | None:
    """Parse when a bonus expires, in UTC milliseconds; None for never.

    *text* is a duration (`12h`, `7d`, `2w`, `3m`), or a day such as `2026-12-31`, at whose end the bonus expires.
    """
    typed = (text or "").strip().casefold()
    if not typed or typed in NO_LIMIT | {"never"}:
        return None
    if match := DURATION.fullmatch(typed):
        at = now + int(match[1]) * HOURS[match[2]] * 3_600_000
    else:
        at = _midnight(day(typed) + timedelta(days=1), zone)
    if at <= now:
        raise UserError("expiry.past", given=text)
    if at > now + MAX_DURATION // timedelta(milliseconds=1):
        raise UserError("expiry.far", given=text)
    return at


def period(since: str | None, until: str | None, *, now: int, zone: tzinfo = UTC) -> tuple[int, int]:
    """Parse a period of days, or a word of `PERIODS`: start and exclusive end, in UTC milliseconds.

    Without *until* it ends with today or with the named period; without *since* it starts with this month.
    """
    today = datetime.fromtimestamp(now / 1000, zone).date()
    first, last = _named_days((since or "month").strip().casefold(), today)
    if until is not None and until.strip():
        last = day(until.strip())
    if last < first:
        raise UserError("period.backwards", since=first.isoformat(), until=last.isoformat())
    return _midnight(first, zone), _midnight(last + timedelta(days=1), zone)


def _named_days(word: str, today: date) -> tuple[date, date]:
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
    """Parse a day such as `2026-11-21`, of the years 2000 to 2200."""
    try:
        parsed = date.fromisoformat(text)
    except ValueError:
        raise UserError("period.day", given=text) from None
    if not 2000 <= parsed.year <= 2200:
        raise UserError("period.day", given=text)
    return parsed


def _midnight(of: date, zone: tzinfo) -> int:
    return int(datetime(of.year, of.month, of.day, tzinfo=zone).timestamp() * 1000)
