"""Who may spend what: the limits, what has been used of them, and which one says no."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from bot.core.errors import UserError


class Kind(StrEnum):
    """What a ledger row does. Rows are only ever added."""

    GRANT = "grant"
    RESERVE = "reserve"
    SETTLE = "settle"
    RELEASE = "release"
    ADJUST = "adjust"


@dataclass(frozen=True, slots=True)
class Amount:
    images: int = 0
    micro_usd: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.images + other.images, self.micro_usd + other.micro_usd)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.images - other.images, self.micro_usd - other.micro_usd)


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's limits; None is no limit, 0 is nothing allowed. Money in micro-dollars."""

    user_day_images: int | None = 10
    user_day_micro_usd: int | None = 1_000_000
    guild_month_micro_usd: int | None = 20_000_000
    host_month_micro_usd: int | None = 50_000_000
    user_in_flight: int | None = 5
    guild_in_flight: int | None = 50
    host_in_flight: int | None = 500


@dataclass(frozen=True, slots=True)
class Used:
    """What the store found in the ledger's totals, reserved amounts included."""

    user_day: Amount = Amount()
    guild_month: Amount = Amount()
    host_month: Amount = Amount()  # open reservations plus what the hosts billed or may have billed
    user_in_flight: int = 0
    guild_in_flight: int = 0
    host_in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit with what is used of it. *resets_at* is None where finishing a job, not time, frees it."""

    name: str
    limit: int
    used: int
    unit: str  # images | micro_usd | jobs
    resets_at: int | None

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


def day_of(now: int) -> str:
    """The UTC day that a row at *now* (milliseconds) counts in."""
    return f"day:{_utc(now):%Y-%m-%d}"


def month_of(now: int) -> str:
    return f"month:{_utc(now):%Y-%m}"


def day_ends(now: int) -> int:
    start = _utc(now).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((start + timedelta(days=1)).timestamp() * 1000)


def month_ends(now: int) -> int:
    start = _utc(now).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int((start + timedelta(days=32)).replace(day=1).timestamp() * 1000)


def allowances(limits: Limits, used: Used, *, guild: bool, now: int) -> Iterator[Allowance]:
    """Every limit that applies, narrowest first. *guild* is False in direct messages."""
    day, month = day_ends(now), month_ends(now)
    rows: list[tuple[str, int | None, int, str, int | None]] = [
        ("user_in_flight", limits.user_in_flight, used.user_in_flight, "jobs", None),
        ("user_day_images", limits.user_day_images, used.user_day.images, "images", day),
        ("user_day_usd", limits.user_day_micro_usd, used.user_day.micro_usd, "micro_usd", day),
    ]
    if guild:
        rows += [
            ("guild_in_flight", limits.guild_in_flight, used.guild_in_flight, "jobs", None),
            ("guild_month_usd", limits.guild_month_micro_usd, used.guild_month.micro_usd, "micro_usd", month),
        ]
    rows += [
        ("host_in_flight", limits.host_in_flight, used.host_in_flight, "jobs", None),
        ("host_month_usd", limits.host_month_micro_usd, used.host_month.micro_usd, "micro_usd", month),
    ]
    for name, limit, so_far, unit, resets_at in rows:
        if limit is not None:
            yield Allowance(name, limit, so_far, unit, resets_at)


def check(limits: Limits, used: Used, *, asks: Amount, guild: bool, now: int) -> None:
    """Raise `UserError` naming the narrowest limit that *asks* would break; its key is `quota.<limit>`."""
    wants: Mapping[str, int] = {"images": asks.images, "micro_usd": asks.micro_usd, "jobs": 1}
    for each in allowances(limits, used, guild=guild, now=now):
        if wants[each.unit] > each.left:
            raise UserError(
                f"quota.{each.name}",
                limit=each.limit,
                left=each.left,
                asked=wants[each.unit],
                unit=each.unit,
                resets_at=each.resets_at,
            )


def _utc(now: int) -> datetime:
    return datetime.fromtimestamp(now / 1000, UTC)
