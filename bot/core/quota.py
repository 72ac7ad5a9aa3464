"""Quotas: which limits apply, how much of each is used, and whether a request is admitted.

Limits have layers: the member, the channel, the server, the operator's cap on the server, and everything this bot
spends (scope `host`). A request must fit all layers; a bonus that an admin granted can replace only the member's own.

Longer than other files: the layers decide together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

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
    """The limits that apply to one member in one place, narrowest first; *rules* and *roles* as in `deciding`."""
    return [Limit(each.holder.scope, each.unit, each.window, each.amount)
            for each in deciding(defaults, rules, roles=roles) if each.amount is not None]  # fmt: skip


def deciding(defaults: Iterable[Rule], rules: Iterable[Rule], *, roles: Iterable[int] = ()) -> Sequence[Rule]:
    """The rule that decides each kind of limit for one member in one place, narrowest first.

    *rules* are those of the place and the member. A member's rule overrides those of their *roles*, of which the most
    generous applies; both override the default. A rule of another holder overrides its default, except that a rule for
    the host can only lower it.
    """
    chosen: dict[tuple[Scope, Unit, Window | None], tuple[int, Rule]] = {}
    for rank, each in _ranked(defaults, rules, frozenset(roles)):
        key = (each.holder.scope, each.unit, each.window)
        current = chosen.get(key)
        if current is None or rank > current[0] or (rank == current[0] and _prevails(each, current[1])):
            chosen[key] = (rank, each)
    return sorted((rule for _, rule in chosen.values()), key=_narrowness)


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


def _prevails(rule: Rule, other: Rule) -> bool:
    """Whether *rule* decides rather than *other* of the same rank: the more generous, and for the host the stricter."""
    one, two = (inf if each.amount is None else each.amount for each in (rule, other))
    return one < two if rule.holder is Holder.HOST else one > two


_SCOPES = {each: n for n, each in enumerate(Scope)}
_WINDOWS = {each: n for n, each in enumerate((None, *Window))}
_UNITS = {Unit.JOBS: 0, Unit.IMAGES: 1, Unit.MICRO_USD: 2}


def _narrowness(rule: Rule) -> tuple[int, int, int]:
    return _SCOPES[rule.holder.scope], _WINDOWS[rule.window], _UNITS[rule.unit]


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


# --- limits without effect

# By scope: the scopes whose accounts contain all of its usage. The operator's are never without effect: they are there
# for the case that an admin lifts a stricter one.
_CONTAINING = {
    Scope.USER: frozenset({Scope.USER, Scope.GUILD, Scope.DIRECT, Scope.CAP, Scope.HOST}),
    Scope.CHANNEL: frozenset({Scope.CHANNEL, Scope.GUILD, Scope.CAP, Scope.HOST}),
    Scope.GUILD: frozenset({Scope.GUILD, Scope.CAP, Scope.HOST}),
    Scope.DIRECT: frozenset({Scope.DIRECT, Scope.HOST}),
    Scope.CAP: frozenset[Scope](),
    Scope.HOST: frozenset[Scope](),
}
# How many of a window the longer one can touch: a day has 25 hours when the clocks go back.
_FITTING = {
    (Window.HOUR, Window.DAY): 25,
    (Window.HOUR, Window.WEEK): 7 * 24 + 1,
    (Window.HOUR, Window.MONTH): 31 * 24 + 1,
    (Window.DAY, Window.WEEK): 7,
    (Window.DAY, Window.MONTH): 31,
    (Window.WEEK, Window.MONTH): 6,
}


@dataclass(frozen=True, slots=True)
class Idle:
    """The limit of *rule* has no effect, because that of *first* is always reached before it."""

    rule: Rule
    first: Rule


def idle(
    new: Rule, *, defaults: Sequence[Rule], rules: Iterable[Rule], everyone: int, roles: Iterable[int] = (), price: int
) -> Iterator[Idle]:  # fmt: skip
    """What has no effect once *new* is set: *new* itself, and then the limits that had one before.

    *rules*: all rules of the server and of scope `host`. *everyone*: the id of the role of all members. *roles*: those
    of the member or role that *new* is for. *price*: of one picture in micro-dollars; 0 compares no pictures with
    dollars. A role's limit is looked at for members without other roles and without a limit of their own. The calendars
    of the server and the operator count as one.
    """
    if new.amount is None:
        return
    before: dict[tuple[Holder, int], list[Rule]] = {}
    for each in rules:
        if _kind(each) != _kind(new):
            before.setdefault((each.holder, each.subject), []).append(each)
    own = (new.holder, new.subject)
    found: set[Rule] = set()
    for holder, subject in dict.fromkeys([own, *_affected(new, before, everyone=everyone)]):
        groups = {everyone, subject} if holder is Holder.ROLE else {everyone}
        groups |= set(roles) if (holder, subject) == own else set()
        applying = list(_applying(before, holder, subject, roles=groups))
        after = deciding(defaults, [*applying, new], roles=groups)
        if new not in after:
            continue
        earlier = deciding(defaults, applying, roles=groups)
        if (holder, subject) == own and (first := _reached_first(after, new, price=price)) is not None:
            yield Idle(new, first)
        for each in after:
            is_asked = (holder, subject) in (own, (each.holder, each.subject)) and each not in found
            if is_asked and _is_before(new, each, price=price) and not _reached_first(earlier, each, price=price):
                found.add(each)
                yield Idle(each, new)


def pictures_in(rule: Rule, *, price: int) -> int | None:
    """How many pictures at *price* a limit allows; None for active jobs, and for dollars at no price."""
    if rule.amount is None or rule.unit is Unit.JOBS or (rule.unit is Unit.MICRO_USD and not price):
        return None
    return rule.amount if rule.unit is Unit.IMAGES else rule.amount // price


def _affected(new: Rule, set_for: Iterable[tuple[Holder, int]], *, everyone: int) -> Iterator[tuple[Holder, int]]:
    """Whoever else *new* applies to, of those with limits of their own."""
    for holder, subject in set_for:
        to_all = new.holder is Holder.GUILD and holder in (Holder.USER, Holder.ROLE, Holder.CHANNEL)
        if to_all or ((new.holder, new.subject) == (Holder.ROLE, everyone) and holder is Holder.ROLE):
            yield holder, subject


def _applying(
    rules: Mapping[tuple[Holder, int], Sequence[Rule]], holder: Holder, subject: int, *, roles: Iterable[int]
) -> Iterator[Rule]:  # fmt: skip
    wide = ((each, 0) for each in (Holder.GUILD, Holder.CAP, Holder.HOST))
    for key in dict.fromkeys([(holder, subject), *((Holder.ROLE, each) for each in roles), *wide]):
        yield from rules.get(key, ())


def _reached_first(rules: Iterable[Rule], rule: Rule, *, price: int) -> Rule | None:
    """The one of *rules* that is reached first, if it always is before *rule*."""

    def most(each: Rule) -> int:
        pictures = pictures_in(each, price=price)
        return ((each.amount or 0) if pictures is None else pictures) * (_times(each.window, rule.window) or 1)

    return min((each for each in rules if _is_before(each, rule, price=price)), key=most, default=None)


def _is_before(first: Rule, rule: Rule, *, price: int) -> bool:
    """Whether the limit of *first* is always reached before that of *rule*, where both apply."""
    times = _times(first.window, rule.window)
    if times is None or first.holder.scope not in _CONTAINING[rule.holder.scope]:
        return False
    if first.unit is rule.unit:
        most, limit = first.amount, rule.amount
    else:
        most, limit = (pictures_in(each, price=price) for each in (first, rule))
    return most is not None and limit is not None and most * times < limit


def _times(window: Window | None, of: Window | None) -> int | None:
    """How often a limit per *window* can be used up in one *of*; None for any number of times, and beside jobs."""
    if window is None or of is None:
        return 1 if window is of else None
    return 1 if _WINDOWS[window] >= _WINDOWS[of] else _FITTING.get((window, of))


def _kind(rule: Rule) -> tuple[Holder, int, Unit, Window | None]:
    return rule.holder, rule.subject, rule.unit, rule.window


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


# --- totals that may rise before they are compared


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The largest amount, in *unit*, that the total of one bucket may reach."""

    scope: Scope  # of the account
    bucket: str
    unit: Unit
    amount: int


def ceilings(limits: Iterable[Limit], used: Used, *, asks: Amount) -> Iterator[Ceiling]:
    """How far the totals, with *asks*, may rise for what `check` and `alerts` say of *used* to be true of them too.

    For a request that is admitted without a bonus and causes no alert.
    """
    requested = {Unit.IMAGES: asks.images, Unit.MICRO_USD: asks.micro_usd, Unit.JOBS: 1}
    for each in limits:
        if requested[each.unit]:
            account = Scope.GUILD if each.scope is Scope.DIRECT else each.scope
            bucket = used.moment(account).buckets[each.window or Window.TOTAL]
            yield Ceiling(account, bucket, each.unit, _before_alert(each, used.of(each)))


def _before_alert(limit: Limit, used: int) -> int:
    """The largest amount that is admitted, and crosses no threshold above *used*."""
    if limit.scope is Scope.USER or limit.window is None:
        return limit.amount
    ahead = [each for each in THRESHOLDS if used * 100 < limit.amount * each]
    return (limit.amount * ahead[0] - 1) // 100 if ahead else limit.amount
