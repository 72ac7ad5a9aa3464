"""Timezones by name, as servers choose them; the data comes from `tzdata` where the system has none."""

from collections.abc import Sequence
from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from bot.core.errors import UserError
from bot.core.server_settings import ServerSettings
from bot.core.windows import Calendar

REGIONS = frozenset({"Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian",
                    "Pacific"})  # fmt: skip


@cache
def names() -> Sequence[str]:
    """UTC and every timezone that is named after a place."""
    return ["UTC", *sorted(each for each in available_timezones() if each.partition("/")[0] in REGIONS)]


def check_zone(name: str) -> str:
    """*name* in its canonical spelling; `UserError` where there is no such timezone."""
    by_key = {each.casefold(): each for each in names()}
    spelled = by_key.get(name.strip().casefold())
    if spelled is None:
        raise UserError("house.timezone", given=name)
    return spelled


def zone_of(server_settings: ServerSettings) -> tzinfo:
    """The timezone of a server; UTC where the system no longer knows it."""
    if server_settings.timezone == "UTC":
        return UTC
    try:
        return ZoneInfo(server_settings.timezone)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return UTC


def calendar_of(server_settings: ServerSettings) -> Calendar:
    return Calendar(zone_of(server_settings), server_settings.pin)


def pin_current_day(before: ServerSettings, after: ServerSettings, *, now: int) -> ServerSettings:
    """*after*, with a pin on the current day of *before* where the timezone has changed."""
    changed = after.timezone != before.timezone
    pin = calendar_of(before).with_timezone(zone_of(after), now=now).pin if changed else before.pin
    return after.model_copy(update={"pin": pin})
