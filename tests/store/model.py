"""A model of quotas and costs in plain lists: every answer is computed from all earlier events."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from bot.core.jobs import Job, Place
from bot.core.quota import Holder, Limits, Scope, Unit
from bot.core.windows import Calendar, Moment, Window, moment

LIMITS = Limits(
    user_day_images=6,
    user_day_micro_usd=500,
    guild_month_micro_usd=1200,
    host_month_micro_usd=1800,
    user_in_flight=4,
    guild_in_flight=9,
    host_in_flight=14,
    direct_day_images=5,
    direct_day_micro_usd=400,
    direct_month_micro_usd=900,
    direct_in_flight=2,
)
Kind = tuple[Scope, Unit, Window | None]
IN_SERVERS: Mapping[Kind, int] = {
    (Scope.USER, Unit.JOBS, None): 4,
    (Scope.USER, Unit.IMAGES, Window.DAY): 6,
    (Scope.USER, Unit.MICRO_USD, Window.DAY): 500,
    (Scope.GUILD, Unit.JOBS, None): 9,
    (Scope.GUILD, Unit.MICRO_USD, Window.MONTH): 1200,
    (Scope.HOST, Unit.JOBS, None): 14,
    (Scope.HOST, Unit.MICRO_USD, Window.MONTH): 1800,
}
OUTSIDE: Mapping[Kind, int] = {
    (Scope.USER, Unit.JOBS, None): 2,
    (Scope.USER, Unit.IMAGES, Window.DAY): 5,
    (Scope.USER, Unit.MICRO_USD, Window.DAY): 400,
    (Scope.DIRECT, Unit.MICRO_USD, Window.MONTH): 900,
    (Scope.HOST, Unit.JOBS, None): 14,
    (Scope.HOST, Unit.MICRO_USD, Window.MONTH): 1800,
}
UNITS = [(Unit.JOBS, None), *((unit, window) for unit in (Unit.IMAGES, Unit.MICRO_USD) for window in Window)]
NEVER = 10**15
Account = tuple[Scope, int, int]


def server_of(place: Place) -> int:
    """The server; 0 for direct messages and user installs."""
    return place.guild_id if place.guild_id and place.installed else 0


def channel_of(place: Place) -> int:
    return place.channel_id if place.parent_id is None else place.parent_id


def account(place: Place, scope: Scope) -> Account:
    match scope:
        case Scope.USER:
            return scope, server_of(place), place.user_id
        case Scope.CHANNEL:
            return scope, server_of(place), channel_of(place)
        case Scope.HOST:
            return scope, 0, 0
        case Scope.CAP:
            return scope, server_of(place), 0
        case _:
            return Scope.GUILD, server_of(place), 0


@dataclass
class Bonus:
    id: int
    server: int
    user: int
    unit: Unit
    left: int
    expires_at: int | None


@dataclass
class Entry:
    """One job in the model."""

    job: Job  # as last seen
    price: int  # for one picture
    counted: Moment  # on its server's calendar when it was accepted
    drawn: list[tuple[Bonus, int]] = field(default_factory=list)  # pictures that bonuses pay for
    older: list[Job] = field(default_factory=list)  # as it was seen before
    paid: int = 0  # pictures
    cost: tuple[int, int] | None = None  # when, how much
    cost_known: bool = False

    @property
    def open(self) -> bool:
        return not self.job.state.is_final

    @property
    def images(self) -> int:
        return self.job.request.count if self.open else self.paid

    @property
    def bonus(self) -> int:
        return sum(pictures for _, pictures in self.drawn)

    def end(self, pictures: int) -> None:
        """Pay for *pictures*; draws that are not needed are refunded, the last one first."""
        count = self.job.request.count
        self.paid = min(pictures, count)
        back = min(self.bonus, count - self.paid)
        for n, (bonus, drawn) in reversed(list(enumerate(self.drawn))):
            some = min(back, drawn)
            back -= some
            self.drawn[n] = (bonus, drawn - some)
            bonus.left += some * (1 if bonus.unit is Unit.IMAGES else self.price)


@dataclass
class Model:
    entries: dict[str, Entry] = field(default_factory=dict)
    rules: dict[tuple[int, Holder, int, Unit, Window | None], int | None] = field(default_factory=dict)
    blocks: set[tuple[int, Holder, int]] = field(default_factory=set)
    calendars: dict[int, Calendar] = field(default_factory=dict)
    bonuses: list[Bonus] = field(default_factory=list)
    begun_anew: dict[tuple[Account, str], tuple[int, int]] = field(default_factory=dict)  # images and money forgiven

    def calendar(self, server: int) -> Calendar:
        return self.calendars.get(server, Calendar())

    # --- limits

    def limits(self, place: Place) -> Mapping[Kind, int]:
        own = Scope.GUILD if server_of(place) else Scope.DIRECT
        kinds = [(scope, *each) for scope in (Scope.USER, Scope.CHANNEL, own, Scope.CAP, Scope.HOST) for each in UNITS]
        return {kind: amount for kind in kinds if (amount := self.limit(place, kind)) is not None}

    def limit(self, place: Place, kind: Kind) -> int | None:
        scope, *what = kind
        default = (IN_SERVERS if server_of(place) else OUTSIDE).get(kind)
        found = {
            each[1:3]: amount
            for each, amount in self.rules.items()
            if each[0] == server_of(place) and [*each[3:]] == what
        }
        if scope is Scope.HOST:
            theirs = self.rules.get((0, Holder.HOST, 0, *what))  # type: ignore[arg-type]
            return min((each for each in (theirs, default) if each is not None), default=None)
        if scope is Scope.USER:
            of_roles = [found[Holder.ROLE, role] for role in place.roles if (Holder.ROLE, role) in found]
            if of_roles:
                default = None if None in of_roles else max(each for each in of_roles if each is not None)
        return found.get((Holder(scope.value), self.subject(place, scope)), default)

    def subject(self, place: Place, scope: Scope) -> int:
        return account(place, scope)[2]

    # --- what is used

    def used(self, place: Place, kind: Kind, *, now: int) -> int:
        scope, unit, window = kind
        of = account(place, scope)
        mine = [each for each in self.entries.values() if account(each.job.place, scope) == of]
        if unit is Unit.JOBS:
            return sum(each.open for each in mine)
        theirs = Calendar() if scope in (Scope.CAP, Scope.HOST) else self.calendar(server_of(place))
        bucket = theirs.moment(now).buckets[window or Window.TOTAL]
        if scope is Scope.HOST and unit is Unit.MICRO_USD:
            return self._host(bucket, window or Window.TOTAL)
        counted = sum(self._counts(each, of, unit) for each in mine if bucket in self._buckets(each, scope))
        return counted - self.begun_anew.get((of, bucket), (0, 0))[unit is Unit.MICRO_USD]

    def _counts(self, entry: Entry, of: Account, unit: Unit) -> int:
        images = entry.images - (entry.bonus if of[0] is Scope.USER else 0)
        return images if unit is Unit.IMAGES else images * entry.price

    def _buckets(self, entry: Entry, scope: Scope) -> Sequence[str]:
        counted = moment(entry.job.created_at) if scope in (Scope.CAP, Scope.HOST) else entry.counted
        return list(counted.buckets.values())

    def _host(self, bucket: str, window: Window) -> int:
        """What is reserved in a window, and what was or may have been billed in it."""
        known = self.entries.values()
        held = sum(e.images * e.price for e in known if e.open and bucket in self._buckets(e, Scope.HOST))
        return held + sum(e.cost[1] for e in known if e.cost and moment(e.cost[0]).buckets[window] == bucket)

    # --- what changes it

    def move(self, server: int, zone: str, *, now: int) -> None:
        if str(self.calendar(server).zone) != zone:
            self.calendars[server] = self.calendar(server).with_timezone(ZoneInfo(zone), now=now)

    def begin_anew(self, of: Account, *, now: int) -> None:
        """Reset: ended jobs no longer count in the current windows."""
        for bucket in self.calendar(of[1]).moment(now).buckets.values():
            ended = [
                each
                for each in self.entries.values()
                if not each.open and account(each.job.place, of[0]) == of and bucket in self._buckets(each, of[0])
            ]
            self.begun_anew[of, bucket] = (
                sum(self._counts(each, of, Unit.IMAGES) for each in ended),
                sum(self._counts(each, of, Unit.MICRO_USD) for each in ended),
            )

    def asked(self, job: Job, price: int) -> set[str] | Entry:
        """Accept *job*, or return the keys that a refusal may have."""
        place, now, count = job.place, job.created_at, job.request.count
        if blocked := set(self._blocked(place)):
            return blocked
        left = {kind: amount - self.used(place, kind, now=now) for kind, amount in self.limits(place).items()}
        fits = count
        for (scope, unit, _), each in left.items():
            if scope is Scope.USER and unit is not Unit.JOBS and (price or unit is Unit.IMAGES):
                fits = min(fits, max(0, each) // (1 if unit is Unit.IMAGES else price))
        drawn = self._draw(place, count - fits, price, now=now)
        covered = sum(pictures for _, pictures in drawn) == count - fits
        wants = {Unit.IMAGES: count, Unit.MICRO_USD: count * price, Unit.JOBS: 1}
        broken = {
            name((scope, unit, window))
            for (scope, unit, window), each in left.items()
            if wants[unit] > max(0, each) and not (covered and scope is Scope.USER and unit is not Unit.JOBS)
        }
        if broken:
            return broken
        for bonus, pictures in drawn:
            bonus.left -= pictures * (1 if bonus.unit is Unit.IMAGES else price)
        self.entries[job.id] = entry = Entry(job, price, self.calendar(server_of(place)).moment(now), drawn)
        return entry

    def forget(self, entry: Entry) -> None:
        """Undo the acceptance."""
        entry.end(0)
        del self.entries[entry.job.id]

    def _blocked(self, place: Place) -> Iterator[str]:
        about = {Holder.USER: (place.user_id,), Holder.ROLE: place.roles, Holder.CHANNEL: (channel_of(place),)}
        for holder, subjects in about.items():
            if any((server_of(place), holder, each) in self.blocks for each in subjects):
                yield f"blocked.{holder}"
                return

    def _draw(self, place: Place, pictures: int, price: int, *, now: int) -> list[tuple[Bonus, int]]:
        drawn = []
        for bonus in sorted(self.bonuses, key=lambda each: (each.expires_at or NEVER, each.id)):
            if (bonus.server, bonus.user) != (server_of(place), place.user_id) or (bonus.expires_at or NEVER) <= now:
                continue
            each = 1 if bonus.unit is Unit.IMAGES else price
            some = min(pictures, bonus.left // each if each else pictures * (bonus.left > 0))
            if some:
                drawn.append((bonus, some))
                pictures -= some
        return drawn


def name(kind: Kind) -> str:
    scope, unit, window = kind
    unit_name = "usd" if unit is Unit.MICRO_USD else unit.value
    return f"quota.{scope}_in_flight" if window is None else f"quota.{scope}_{window}_{unit_name}"
