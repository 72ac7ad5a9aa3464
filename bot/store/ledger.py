"""The members' ledger (table `ledger`) and the providers' costs (`host_cost`), each row with its totals.

The functions are parts of units: they take the caller's transaction. Rows of the ledger are never changed or deleted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from bot.core import quota
from bot.core.cards import Charge
from bot.core.errors import UserError
from bot.core.jobs import Job, Place
from bot.core.quota import IN_UTC, NO_SERVER, Alert, Amount, Draw, Grant, Kind, Limits, Scope, Unit, Used
from bot.core.windows import Calendar, Moment, moment_on_day
from bot.store import grants, rules, strikes, totals
from bot.store.database import Tx, insert

DARKROOM = 0  # the actor of rows that no person caused


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a job reserves, and the member's limits, usage and bonuses with it."""

    charge: Charge
    limits: Sequence[quota.Limit]
    used: Used
    grants: Sequence[Grant]
    alerts: Sequence[Alert]  # the limit warnings that it causes


async def reserve(
    tx: Tx, job: Job, amount: Amount, *, limits: Limits, calendar: Calendar, price_version: str
) -> Reservation | UserError:  # fmt: skip
    """Reserve *amount* for *job*, or return the refusal, with nothing reserved.

    Counting comes first, because it locks the accounts against concurrent units (on PostgreSQL). A second reservation
    of one job is an integrity error.
    """
    place, now = job.place, job.created_at
    local, affected = calendar.moment(now), totals.accounts_of(place)
    counted = await totals.count(tx, affected, local, at=now, jobs=1, reserved=amount)
    before = Used(now, calendar, counted.before(amount))
    granted = await grants.remaining(tx, place.server, place.user_id, now=now)
    try:
        applying, draws = await _admit(tx, place, amount, used=before, limits=limits, granted=granted)
    except UserError as refusal:
        await totals.count(tx, affected, local, at=now, jobs=-1, reserved=Amount() - amount, returning=False)
        return refusal
    after, bonus_paid = Used(now, calendar, counted), _part(amount, sum(each.pictures for each in draws))
    if bonus_paid != Amount():
        await totals.count(tx, affected[:1], local, at=now, exempt=bonus_paid, returning=False)
        await grants.record_draws(tx, job.id, draws)
        after = await used(tx, place, now=now, calendar=calendar)
        granted = await grants.remaining(tx, place.server, place.user_id, now=now)
    row = job_row(
        Kind.RESERVE, job, amount, now=now, paid=bonus_paid, price_version=price_version, reason=None, local=local
    )
    await insert(tx, "ledger", row)
    charge = Charge(reserved=amount, bonus=bonus_paid.images)
    return Reservation(charge, applying, after, granted, tuple(quota.alerts(applying, before, asks=amount)))


async def _admit(
    tx: Tx, place: Place, amount: Amount, *, used: Used, limits: Limits, granted: Sequence[Grant]
) -> tuple[Sequence[quota.Limit], Sequence[Draw]]:
    found, blocks = await rules.applying_to(tx, place)
    expiries = await strikes.expiries(tx, place, now=used.now)
    return decide(
        place, amount, used=used, limits=limits, rules_set=found, blocks=blocks, strikes_until=expiries, granted=granted
    )


def decide(
    place: Place, amount: Amount, *, used: Used, limits: Limits, rules_set: Sequence[quota.Rule],
    blocks: Iterable[quota.Block], strikes_until: Iterable[int], granted: Sequence[Grant],
) -> tuple[Sequence[quota.Limit], Sequence[Draw]]:  # fmt: skip
    """The limits that apply at *place*, and what bonuses pay; `UserError` where *amount* is not admitted.

    *rules_set*, *blocks* and *strikes_until* (when each expires) are those of the place and the member.
    """
    quota.check_blocks(each for each in blocks if each.applies(used.now))
    strikes.check(place, strikes_until, now=used.now)
    guild = place.server != NO_SERVER
    applying = (
        quota.effective(limits.rules(guild=guild), rules_set, roles=place.roles)
        if rules_set
        else _defaults(limits, guild)
    )
    return applying, quota.check(applying, used, asks=amount, grants=granted)


@lru_cache(maxsize=16)
def _defaults(limits: Limits, guild: bool) -> Sequence[quota.Limit]:  # noqa: FBT001 - a key of the cache
    """The limits where no rule is set, which is the most frequent case."""
    return quota.effective(limits.rules(guild=guild), ())


async def end(tx: Tx, job: Job, *, now: int, pictures: int, reason: str | None) -> None:
    """End the reservation of *job*: settle *pictures* at the reserved price, or release all of it for zero.

    Does nothing for a job without an open reservation. Pictures that were not made are refunded to a bonus first.
    """
    held = await tx.one(
        """
        SELECT at, guild, channel, "user", day, images, micro_usd, bonus_images, bonus_micro_usd, price_version
        FROM ledger WHERE job = $1 AND kind = 'reserve'
          AND NOT EXISTS (SELECT 1 FROM ledger ended WHERE ended.job = $1 AND ended.kind IN ('settle', 'release'))
        """,
        job.id,
    )
    if held is None:
        return
    whole = Amount(held["images"], held["micro_usd"])
    spent = share(whole, pictures)
    from_bonus = max(0, spent.images - (whole.images - held["bonus_images"]))
    bonus_part = _part(whole, from_bonus)
    await totals.count(  # the scope `host` counts no money here: its dollars are the providers' costs
        tx,
        totals.accounts(
            server=held["guild"], channel=held["channel"], user=held["user"], shard=totals.shard_of(tx, job.id)
        ),
        moment_on_day(date.fromisoformat(held["day"]), held["at"]),
        at=held["at"],
        jobs=-1,
        reserved=Amount() - whole,
        spent=spent,
        host_spent=Amount(spent.images, 0),
        exempt=bonus_part - Amount(held["bonus_images"], held["bonus_micro_usd"]),
        returning=False,
    )
    if held["bonus_images"] > from_bonus:
        await grants.refund(tx, job.id, pictures=held["bonus_images"] - from_bonus)
    kind = Kind.SETTLE if spent.images else Kind.RELEASE
    row = job_row(
        kind, job, spent if spent.images else whole, now=now, paid=bonus_part, price_version=held["price_version"],
        reason=reason,
    )  # fmt: skip
    await insert(tx, "ledger", row)


def share(whole: Amount, pictures: int) -> Amount:
    """The part of a reservation that *pictures* cost, at most the whole."""
    return _part(whole, min(pictures, whole.images))


def _part(whole: Amount, images: int) -> Amount:
    return Amount(images, whole.micro_usd * images // whole.images) if images else Amount()


async def add_host_cost(tx: Tx, job: Job, *, now: int, micro_usd: int, known: bool, reason: str | None) -> None:
    """Record what the provider billed (*known*) or may have billed for *job*, in one row; known replaces assumed."""
    before = await tx.one("SELECT at, micro_usd, basis FROM host_cost WHERE job = $1", job.id)
    if before is not None and (not known or before["basis"] == "known"):
        return
    await tx.run(
        """
        INSERT INTO host_cost (at, job, provider, route, micro_usd, basis, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (job) DO UPDATE SET micro_usd = excluded.micro_usd, basis = excluded.basis
        """,
        now,
        job.id,
        job.provider,
        job.route,
        micro_usd,
        "known" if known else "assumed",
        reason,
    )
    at, counted = (now, 0) if before is None else (before["at"], before["micro_usd"])
    host = ((Scope.HOST, NO_SERVER, totals.shard_of(tx, job.id)),)
    await totals.count(tx, host, IN_UTC.moment(at), at=at, spent=Amount(0, micro_usd - counted), returning=False)


async def used(tx: Tx, place: Place, *, now: int, calendar: Calendar) -> Used:
    """The current usage at *place*, including open reservations."""
    tallies = await totals.read(tx, totals.accounts_of(place), calendar.moment(now), at=now)
    return Used(now, calendar, tallies)


async def used_by_member(tx: Tx, place: Place, *, now: int, calendar: Calendar) -> Used:
    """What the member alone uses at *place*, including open reservations."""
    return Used(now, calendar, await totals.read(tx, totals.accounts_of(place)[:1], calendar.moment(now), at=now))


async def applying(tx: Tx, place: Place, *, limits: Limits) -> Sequence[quota.Limit]:
    """The limits that apply at *place*, narrowest first."""
    rules_set, _ = await rules.applying_to(tx, place)
    return quota.effective(limits.rules(guild=place.server != NO_SERVER), rules_set, roles=place.roles)


async def charge(tx: Tx, job_id: str) -> Charge:
    """The ledger's amounts for one job: the only source of the money on a card."""
    rows = await tx.fetch(
        """
        SELECT kind, images, micro_usd, bonus_images FROM ledger WHERE job = $1 AND kind = 'reserve'
        UNION ALL
        SELECT kind, images, micro_usd, bonus_images FROM ledger WHERE job = $1 AND kind IN ('settle', 'release')
        """,
        job_id,
    )
    amounts = {row["kind"]: Amount(row["images"], row["micro_usd"]) for row in rows}
    paid = {row["kind"]: row["bonus_images"] for row in rows}
    return Charge(
        reserved=amounts.get(Kind.RESERVE, Amount()),
        settled=amounts.get(Kind.SETTLE),
        released=amounts.get(Kind.RELEASE),
        bonus=paid.get(Kind.SETTLE, 0) if len(rows) > 1 else paid.get(Kind.RESERVE, 0),
    )


async def orphaned_reservations(tx: Tx) -> list[str]:
    """Ids of jobs that have ended while their reservation is open; any is a defect."""
    rows = await tx.fetch(
        """
        SELECT held.job AS job FROM ledger held JOIN jobs ON jobs.id = held.job
        WHERE held.kind = 'reserve' AND jobs.ended_at IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM ledger ended WHERE ended.job = held.job AND ended.kind IN ('settle', 'release'))
        """
    )
    return [row["job"] for row in rows]


async def add_grant(
    tx: Tx, grant: Grant, *, server: int, user: int, now: int, actor: int, reason: str | None
) -> int:  # fmt: skip
    """Give a member *grant*, whose id is ignored; returns the id of its row."""
    images, money = (grant.left, 0) if grant.unit is Unit.IMAGES else (0, grant.left)
    row = await tx.one(
        """
        INSERT INTO ledger (at, kind, actor, reason, guild, "user", images, micro_usd, expires_at)
        VALUES ($1, 'grant', $2, $3, $4, $5, $6, $7, $8) RETURNING id
        """,
        now, actor, reason, server, user, images, money, grant.expires_at,
    )  # fmt: skip
    assert row is not None
    await grants.open_grant(tx, row["id"], grant, server=server, user=user)
    return int(row["id"])


async def adjust(
    tx: Tx, account: totals.Account, bucket: str | None, *, by: Amount, now: int, actor: int, reason: str | None
) -> None:  # fmt: skip
    """Add *by*, which may be negative, to what *bucket* of an account counts; None records a revoked bonus."""
    scope, server, subject = account
    user, channel = (subject, 0) if scope is Scope.USER else (0, subject)
    await tx.run(
        """
        INSERT INTO ledger (at, kind, actor, reason, guild, channel, "user", images, micro_usd, bucket)
        VALUES ($1, 'adjust', $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        now, actor, reason, server, channel, user, by.images, by.micro_usd, bucket,
    )  # fmt: skip
    if bucket is not None:
        await totals.count_one(tx, account, bucket, exempt=Amount() - by)


def job_row(
    kind: Kind, job: Job, amount: Amount, *, now: int, paid: Amount, price_version: str, reason: str | None,
    local: Moment | None = None,
) -> dict[str, object]:  # fmt: skip
    """The row of a reservation or of its end, by column; *paid* is the part of *amount* that a bonus pays."""
    place = job.place
    return {
        "at": now,
        "kind": kind.value,
        "job": job.id,
        "actor": place.user_id if kind is Kind.RESERVE else DARKROOM,
        "reason": reason,
        "guild": place.server,
        "channel": place.counted_channel,
        "user": place.user_id,
        "route": job.route,
        "images": amount.images,
        "micro_usd": amount.micro_usd,
        "price_version": price_version,
        "bonus_images": paid.images,
        "bonus_micro_usd": paid.micro_usd,
        "day": local.day if local else None,
        "week": local.week if local else None,
    }
