"""Timezones by name, as servers choose them; the data comes with the program (`tzdata`) where the system has none."""

from collections.abc import Sequence
from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from bot.core.errors import UserError
from bot.core.server_settings import ServerSettings
from bot.core.windows import Calendar

PLACES = frozenset({"Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian",
                    "Pacific"})  # fmt: skip


@cache
def names() -> Sequence[str]:
    """Every timezone that people know by a place, and UTC."""
    return ["UTC", *sorted(each for each in available_timezones() if each.partition("/")[0] in PLACES)]


def check_zone(name: str) -> str:
    """*name* as it is spelled; `UserError` where there is no such timezone."""
    known = {each.casefold(): each for each in names()}
    found = known.get(name.strip().casefold())
    if found is None:
        raise UserError("house.timezone", given=name)
    return found


def zone_of(server_settings: ServerSettings) -> tzinfo:
    """The timezone of a server; one that this system does not know any more counts as UTC."""
    if server_settings.timezone == "UTC":
        return UTC
    try:
        return ZoneInfo(server_settings.timezone)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return UTC


def calendar_of(server_settings: ServerSettings) -> Calendar:
    return Calendar(zone_of(server_settings), server_settings.pin)


def keep_day(before: ServerSettings, after: ServerSettings, *, now: int) -> ServerSettings:
    """*after* with the day that was in force *before*, should its timezone be another."""
    moved = after.timezone != before.timezone
    pin = calendar_of(before).moved(zone_of(after), now=now).pin if moved else before.pin
    return after.model_copy(update={"pin": pin})
