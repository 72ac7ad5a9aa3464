"""The members' book and the hosts' book: rows that are only ever added, and totals kept beside them.

The functions here are parts of units: they take the transaction of the verb that calls them.
"""

from bot.core.cards import Charge
from bot.core.jobs import Job, Place
from bot.core.quota import Amount, Kind, Used, day_of, month_of
from bot.store.database import Tx

DARKROOM = 0  # the actor of rows that no person caused
HOST = 0  # the one subject of scope `host`
ACCOUNT = "account"  # the bucket of rows that count nothing and are only held


async def hold(tx: Tx, place: Place) -> None:
    """Keep everybody else from reserving at *place* until this unit ends; called before `used` is read.

    PostgreSQL runs units side by side, so that two could read one total and both find room in it.
    """
    for scope, subject in _accounts(place):
        await _count(tx, scope, subject, ACCOUNT)


async def reserve(tx: Tx, job: Job, amount: Amount, *, price_version: str) -> None:
    """Hold *amount* for *job* from now on; a second reservation of one job is an integrity error."""
    await _add(tx, Kind.RESERVE, job, amount, now=job.created_at, price_version=price_version, reason=None)
    for scope, subject, bucket in _buckets(job.place, at=job.created_at):
        await _count(tx, scope, subject, bucket, reserved=amount)


async def end(tx: Tx, job: Job, *, now: int, pictures: int, reason: str | None) -> None:
    """End the reservation of *job*: settle for *pictures* in hand at the reserved price, release for none.

    A job without a reservation, or whose reservation has ended, is left alone.
    """
    held = await tx.one(
        """
        SELECT at, images, micro_usd, price_version FROM ledger
        WHERE job = $1 AND kind = 'reserve'
          AND NOT EXISTS (SELECT 1 FROM ledger ended WHERE ended.job = $1 AND ended.kind IN ('settle', 'release'))
        """,
        job.id,
    )
    if held is None:
        return
    whole = Amount(held["images"], held["micro_usd"])
    spent = share(whole, pictures)
    kind = Kind.SETTLE if spent.images else Kind.RELEASE
    version = held["price_version"]
    await _add(tx, kind, job, spent if spent.images else whole, now=now, price_version=version, reason=reason)
    for scope, subject, bucket in _buckets(job.place, at=held["at"]):
        kept = Amount() if scope == "host" else spent  # what the host gets is in the other book
        await _count(tx, scope, subject, bucket, reserved=Amount() - whole, spent=kept)


def share(whole: Amount, pictures: int) -> Amount:
    """The part of a reservation that *pictures* in hand cost: never more than was reserved."""
    images = min(pictures, whole.images)
    return Amount(images, whole.micro_usd * images // whole.images) if images else Amount()


async def add_host_cost(tx: Tx, job: Job, *, now: int, micro_usd: int, known: bool, reason: str | None) -> None:
    """Write down what the host billed (known) or may have billed for *job*: one row, and known replaces assumed."""
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
    await _count(tx, "host", HOST, month_of(at), spent=Amount(0, micro_usd - counted))


async def used(tx: Tx, place: Place, *, now: int) -> Used:
    """What counts against the limits at *place* now, open reservations included."""
    day = await _total(tx, "user", place.user_id, day_of(now))
    guild = await _total(tx, "guild", place.guild_id, month_of(now)) if place.guild_id is not None else Amount()
    host = await _total(tx, "host", HOST, month_of(now))
    flying = await tx.one(
        """
        SELECT count(*) AS all_jobs,
               count(CASE WHEN user_id = $1 THEN 1 END) AS of_user,
               count(CASE WHEN guild_id = $2 THEN 1 END) AS of_guild
        FROM jobs WHERE ended_at IS NULL
        """,
        place.user_id,
        place.guild_id,
    )
    assert flying is not None
    return Used(
        user_day=day,
        guild_month=guild,
        host_month=host,
        user_in_flight=flying["of_user"],
        guild_in_flight=flying["of_guild"],
        host_in_flight=flying["all_jobs"],
    )


async def reserved_of(tx: Tx, user_id: int, *, now: int) -> Amount:
    """What is held for a member's unfinished jobs of today."""
    row = await tx.one(
        "SELECT reserved_images, reserved_micro_usd FROM totals WHERE scope = 'user' AND subject = $1 AND bucket = $2",
        user_id,
        day_of(now),
    )
    return Amount(row["reserved_images"], row["reserved_micro_usd"]) if row else Amount()


async def charge(tx: Tx, job_id: str) -> Charge:
    """What the ledger says of one job: the only source of what a card says about money."""
    rows = await tx.fetch("SELECT kind, images, micro_usd FROM ledger WHERE job = $1", job_id)
    amounts = {row["kind"]: Amount(row["images"], row["micro_usd"]) for row in rows}
    return Charge(
        reserved=amounts.get(Kind.RESERVE, Amount()),
        settled=amounts.get(Kind.SETTLE),
        released=amounts.get(Kind.RELEASE),
    )


async def forgotten(tx: Tx) -> list[str]:
    """Jobs that have ended while their reservation has not: there must be none."""
    rows = await tx.fetch(
        """
        SELECT held.job AS job FROM ledger held JOIN jobs ON jobs.id = held.job
        WHERE held.kind = 'reserve' AND jobs.ended_at IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM ledger ended WHERE ended.job = held.job AND ended.kind IN ('settle', 'release'))
        """
    )
    return [row["job"] for row in rows]


def _accounts(place: Place) -> list[tuple[str, int]]:
    """Always user, guild, host, so that rows are locked in one order and nobody waits in a circle."""
    guild = [] if place.guild_id is None else [("guild", place.guild_id)]
    return [("user", place.user_id), *guild, ("host", HOST)]


def _buckets(place: Place, *, at: int) -> list[tuple[str, int, str]]:
    """Where a reservation made at *at* counts."""
    window = {"user": day_of(at), "guild": month_of(at), "host": month_of(at)}
    return [(scope, subject, window[scope]) for scope, subject in _accounts(place)]


async def _add(
    tx: Tx, kind: Kind, job: Job, amount: Amount, *, now: int, price_version: str, reason: str | None
) -> None:
    actor = job.place.user_id if kind is Kind.RESERVE else DARKROOM
    await tx.run(
        """
        INSERT INTO ledger
            (at, kind, job, actor, reason, guild, channel, "user", route, images, micro_usd, price_version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        now,
        kind,
        job.id,
        actor,
        reason,
        job.place.guild_id,
        job.place.channel_id,
        job.place.user_id,
        job.route,
        amount.images,
        amount.micro_usd,
        price_version,
    )


_NOTHING = Amount()


async def _count(
    tx: Tx, scope: str, subject: int, bucket: str, *, reserved: Amount = _NOTHING, spent: Amount = _NOTHING
) -> None:
    await tx.run(
        """
        INSERT INTO totals
            (scope, subject, bucket, reserved_images, reserved_micro_usd, spent_images, spent_micro_usd)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (scope, subject, bucket) DO UPDATE SET
            reserved_images = totals.reserved_images + excluded.reserved_images,
            reserved_micro_usd = totals.reserved_micro_usd + excluded.reserved_micro_usd,
            spent_images = totals.spent_images + excluded.spent_images,
            spent_micro_usd = totals.spent_micro_usd + excluded.spent_micro_usd
        """,
        scope,
        subject,
        bucket,
        reserved.images,
        reserved.micro_usd,
        spent.images,
        spent.micro_usd,
    )


async def _total(tx: Tx, scope: str, subject: int, bucket: str) -> Amount:
    row = await tx.one(
        """
        SELECT reserved_images + spent_images AS images, reserved_micro_usd + spent_micro_usd AS micro_usd
        FROM totals WHERE scope = $1 AND subject = $2 AND bucket = $3
        """,
        scope,
        subject,
        bucket,
    )
    return Amount(row["images"], row["micro_usd"]) if row else Amount()
