"""Quotas: which limits apply, how much of each is used, and whether a request is admitted.

Limits have layers: the member, the channel, the server, the operator's cap on the server, and everything this bot
spends (scope `host`). A request must fit all layers; a bonus that an admin granted can replace only the member's own.

Longer than other files: the layers decide together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bot.core.errors import UserError
from bot.core.windows import Calendar, Moment, Window

NO_SERVER = 0  # the server id of direct messages and user installs


class Kind(StrEnum):
    """The kind of a ledger row. Rows are never changed or deleted."""

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


class Scope(StrEnum):
    """What a limit applies to, narrowest first."""

    USER = "user"  # one member in one server
    CHANNEL = "channel"
    GUILD = "guild"
    DIRECT = "direct"  # all direct messages and user installs together
    CAP = "cap"  # the operator's limit on one server, which its admins cannot raise
    HOST = "host"  # everything this bot spends


OPERATORS = frozenset({Scope.CAP, Scope.HOST})  # their windows are in UTC, so that no server's timezone changes them
IN_UTC = Calendar()


class Unit(StrEnum):
    IMAGES = "images"
    MICRO_USD = "micro_usd"
    JOBS = "jobs"  # unfinished at the same time; has no window


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest amount that may be used in a window; *window* is None for jobs, which count until they end."""

    scope: Scope
    unit: Unit
    window: Window | None
    amount: int

    @property
    def name(self) -> str:
        """As in settings and message keys: `user_day_images`, `guild_month_usd`, `host_in_flight`."""
        if self.window is None:
            return f"{self.scope}_in_flight"
        return f"{self.scope}_{self.window}_{'usd' if self.unit is Unit.MICRO_USD else self.unit}"


class Holder(StrEnum):
    """What a rule or a block is set for."""

    USER = "user"
    ROLE = "role"
    CHANNEL = "channel"
    GUILD = "guild"
    DIRECT = "direct"
    CAP = "cap"
    HOST = "host"

    @property
    def scope(self) -> Scope:
        return Scope.USER if self is Holder.ROLE else Scope(self.value)


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit that an admin or the operator has set; *amount* None means unlimited.

    *subject* is the id of a member, role or channel, and 0 for the other holders.
    """

    holder: Holder
    subject: int
    unit: Unit
    window: Window | None
    amount: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """A member, role or channel that may not request pictures, until a time or until the block is removed."""

    holder: Holder
    subject: int
    until: int | None = field(default=None, compare=False)  # UTC milliseconds

    def applies(self, now: int) -> bool:
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Limits:
    """The operator's default limits; None is unlimited, 0 allows nothing. Money in micro-dollars."""

    user_day_images: int | None = 10
    user_day_micro_usd: int | None = 1_000_000
    guild_month_micro_usd: int | None = 20_000_000
    host_month_micro_usd: int | None = 50_000_000
    user_in_flight: int | None = 5
    guild_in_flight: int | None = 50
    host_in_flight: int | None = 500
    direct_day_images: int | None = 10  # per person in direct messages and user installs
    direct_day_micro_usd: int | None = 1_000_000
    direct_month_micro_usd: int | None = 20_000_000  # all persons together
    direct_in_flight: int | None = 5

    def rules(self, *, guild: bool) -> Iterator[Rule]:
        """The defaults as rules: for a server, or (not *guild*) for direct messages and user installs."""
        images, money = self.user_day_images, self.user_day_micro_usd
        month, in_flight = self.guild_month_micro_usd, self.user_in_flight
        if not guild:
            images, money = self.direct_day_images, self.direct_day_micro_usd
            month, in_flight = self.direct_month_micro_usd, self.direct_in_flight
        yield Rule(Holder.USER, 0, Unit.JOBS, None, in_flight)
        yield Rule(Holder.USER, 0, Unit.IMAGES, Window.DAY, images)
        yield Rule(Holder.USER, 0, Unit.MICRO_USD, Window.DAY, money)
        if guild:
            yield Rule(Holder.GUILD, 0, Unit.JOBS, None, self.guild_in_flight)
        yield Rule(Holder.GUILD if guild else Holder.DIRECT, 0, Unit.MICRO_USD, Window.MONTH, month)
        yield Rule(Holder.HOST, 0, Unit.JOBS, None, self.host_in_flight)
        yield Rule(Holder.HOST, 0, Unit.MICRO_USD, Window.MONTH, self.host_month_micro_usd)


def effective(defaults: Iterable[Rule], rules: Iterable[Rule], *, roles: Iterable[int] = ()) -> Sequence[Limit]:
    """The limits that apply to one member in one place, narrowest first.

    *rules* are those of the place and the member. A member's rule overrides those of their *roles*, of which the most
    generous applies; both override the default. A rule of another holder overrides its default, except that a rule for
    the host can only lower it.
    """
    chosen: dict[tuple[Scope, Unit, Window | None], tuple[int, int | None]] = {}
    for rank, each in _ranked(defaults, rules, frozenset(roles)):
        key = (each.holder.scope, each.unit, each.window)
        current = chosen.get(key)
        if current is None or rank > current[0]:
            chosen[key] = (rank, each.amount)
        elif rank == current[0]:
            pick = _smaller if each.holder is Holder.HOST else _larger
            chosen[key] = (rank, pick(current[1], each.amount))
    limits = [Limit(scope, unit, window, amount) for (scope, unit, window), (_, amount) in chosen.items()
              if amount is not None]  # fmt: skip
    return sorted(limits, key=_narrowness)


def _ranked(
    defaults: Iterable[Rule], rules: Iterable[Rule], roles: frozenset[int]
) -> Iterator[tuple[int, Rule]]:  # fmt: skip
    """The rules that apply, each with its rank: the highest rank of a kind of limit decides."""
    for each in defaults:
        yield 0, each
    for each in rules:
        if each.holder is Holder.ROLE and each.subject not in roles:
            continue
        rank = {Holder.HOST: 0, Holder.ROLE: 1}.get(each.holder, 2)
        yield rank, each


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _smaller(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)


_SCOPES = {each: n for n, each in enumerate(Scope)}
_WINDOWS = {each: n for n, each in enumerate((None, *Window))}
_UNITS = {Unit.JOBS: 0, Unit.IMAGES: 1, Unit.MICRO_USD: 2}


def _narrowness(limit: Limit) -> tuple[int, int, int]:
    return _SCOPES[limit.scope], _WINDOWS[limit.window], _UNITS[limit.unit]


# --- usage


@dataclass(frozen=True, slots=True)
class Tally:
    """The totals of one bucket of one account."""

    jobs: int = 0  # unfinished
    reserved: Amount = Amount()
    spent: Amount = Amount()
    exempt: Amount = Amount()  # the part of both that counts against no limit: paid from a bonus, or reset by an admin

    @property
    def counts(self) -> Amount:
        """The amount that counts against limits."""
        return self.reserved + self.spent - self.exempt


NOTHING = Tally()


@dataclass(frozen=True, slots=True)
class Used:
    """Usage in one place at the time *now*, from the ledger's totals by scope and bucket; a missing bucket is empty.

    *calendar* is the server's: it gives the windows of the server, its channels and its members.
    """

    now: int
    calendar: Calendar = IN_UTC
    tallies: Mapping[tuple[Scope, str], Tally] = field(default_factory=dict)

    def tally(self, scope: Scope, window: Window | None) -> Tally:
        account = Scope.GUILD if scope is Scope.DIRECT else scope
        return self.tallies.get((account, self.moment(account).buckets[window or Window.TOTAL]), NOTHING)

    def moment(self, scope: Scope) -> Moment:
        return self._calendar(scope).moment(self.now)

    def left(self, limit: Limit) -> int:
        return max(0, limit.amount - self.of(limit))

    def of(self, limit: Limit) -> int:
        """How much of *limit* is used, in its unit."""
        tally = self.tally(limit.scope, limit.window)
        match limit.unit:
            case Unit.JOBS:
                return tally.jobs
            case Unit.IMAGES:
                return tally.counts.images
            case Unit.MICRO_USD:
                return tally.counts.micro_usd

    def resets_at(self, limit: Limit) -> int | None:
        return None if limit.window is None else self._calendar(limit.scope).ends_at(limit.window, self.now)

    def _calendar(self, scope: Scope) -> Calendar:
        return IN_UTC if scope in OPERATORS else self.calendar


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit and how much of it is used. *resets_at* is None where it does not reset by time."""

    name: str
    limit: int
    used: int
    unit: str  # images | micro_usd | jobs
    resets_at: int | None
    scope: Scope = Scope.USER
    window: Window | None = Window.DAY

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


def allowances(limits: Iterable[Limit], used: Used) -> Iterator[Allowance]:
    """The allowance of each limit, in the same order."""
    for each in limits:
        yield Allowance(
            each.name, each.amount, used.of(each), each.unit, used.resets_at(each), each.scope, each.window
        )  # fmt: skip


# --- bonuses


@dataclass(frozen=True, slots=True)
class Grant:
    """A member's bonus, and what is *left* of it: pictures at any price, or dollars."""

    id: int
    unit: Unit  # images | micro_usd
    left: int
    expires_at: int | None = None

    def covers(self, price: int) -> int:
        """How many pictures at *price* micro-dollars each it pays for."""
        if self.unit is Unit.IMAGES:
            return self.left
        return self.left // price if price else 10**9


@dataclass(frozen=True, slots=True)
class Draw:
    """*pictures* of a job are paid from the grant with id *grant*; *taken* is in the grant's unit."""

    grant: int
    pictures: int
    taken: int


def draw(grants: Iterable[Grant], *, pictures: int, price: int, now: int) -> tuple[Draw, ...]:
    """Pay for *pictures* from *grants*, first to expire first; for fewer where they do not cover all."""
    drawn = []
    unexpired = [each for each in grants if each.expires_at is None or each.expires_at > now]
    for each in sorted(unexpired, key=lambda one: (one.expires_at is None, one.expires_at or 0, one.id)):
        covered = min(pictures, each.covers(price))
        if covered:
            drawn.append(Draw(each.id, covered, covered if each.unit is Unit.IMAGES else covered * price))
            pictures -= covered
    return tuple(drawn)


# --- admission


def check_blocks(blocks: Iterable[Block]) -> None:
    """Raise `UserError` with key `blocked.<holder>` for the narrowest of *blocks* (of one place and member)."""
    found = {each.holder: each for each in blocks}
    for holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL):
        if holder is Holder.USER and holder in found and (until := found[holder].until) is not None:
            raise UserError("blocked.user_until", until_at=until)
        if holder in found:
            raise UserError(f"blocked.{holder}")


def fits_own_limits(limits: Iterable[Limit], used: Used, *, asks: Amount) -> int:
    """How many of the requested pictures fit in the member's own limits."""
    price = asks.micro_usd // asks.images
    fits = asks.images
    for each in limits:
        if each.scope is not Scope.USER:
            continue
        if each.unit is Unit.IMAGES:
            fits = min(fits, used.left(each))
        elif each.unit is Unit.MICRO_USD and price:
            fits = min(fits, used.left(each) // price)
    return fits


def check(
    limits: Iterable[Limit], used: Used, *, asks: Amount, grants: Iterable[Grant] = ()
) -> tuple[Draw, ...]:  # fmt: skip
    """Admit a request for *asks*: the draws from *grants* that pay for pictures beyond the member's own limits.

    `UserError` with key `quota.<limit name>` for the narrowest limit that it would exceed.
    """
    applying = list(limits)
    missing = asks.images - fits_own_limits(applying, used, asks=asks)
    drawn = draw(grants, pictures=missing, price=asks.micro_usd // asks.images, now=used.now) if missing else ()
    bonus = sum(each.pictures for each in drawn)
    requested = {Unit.IMAGES: asks.images, Unit.MICRO_USD: asks.micro_usd, Unit.JOBS: 1}
    for each in applying:
        paid_by_bonus = bonus == missing and each.scope is Scope.USER and each.unit is not Unit.JOBS
        if not paid_by_bonus and requested[each.unit] > used.left(each):
            (allowance,) = allowances([each], used)
            raise _refusal(allowance, asked=requested[each.unit], bonus=bonus)
    return drawn


def _refusal(allowance: Allowance, *, asked: int, bonus: int) -> UserError:
    return UserError(
        f"quota.{allowance.name}",
        scope=allowance.scope,
        window=allowance.window,
        unit=allowance.unit,
        limit=allowance.limit,
        left=allowance.left,
        asked=asked,
        bonus=bonus,
        resets_at=allowance.resets_at,
    )


# --- alerts

THRESHOLDS = (80, 100)  # per cent


@dataclass(frozen=True, slots=True)
class Alert:
    """A limit that several members share is used up to *percent*."""

    allowance: Allowance
    bucket: str
    percent: int


def alerts(limits: Iterable[Limit], used: Used, *, asks: Amount) -> Iterator[Alert]:
    """The highest threshold of each shared limit that adding *asks* to *used* crosses."""
    requested = {Unit.IMAGES: asks.images, Unit.MICRO_USD: asks.micro_usd}
    for limit in limits:
        if limit.scope is Scope.USER or limit.window is None or not limit.amount:
            continue
        before = used.of(limit)
        after = before + requested[limit.unit]
        crossed = [each for each in THRESHOLDS if before * 100 < limit.amount * each <= after * 100]
        if crossed:
            (allowance,) = allowances([limit], used)
            bucket = used.moment(limit.scope).buckets[limit.window]
            yield Alert(replace(allowance, used=after), bucket, crossed[-1])
