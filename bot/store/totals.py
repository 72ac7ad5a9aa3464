"""Totals of what is used in each window, updated in the transaction of each ledger row.

One statement counts an amount in every window of all five accounts: member, channel, server, the operator's cap on the
server, and host. It locks their rows in that order, and of each account the row `total` first, so that units cannot
deadlock. It returns the new totals, which stay locked until the unit ends.

On PostgreSQL the totals of the host are the sums of several rows, its shards, so that acceptances need not wait for
each other (docs/decisions/0017-accepted-together.md).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from zlib import crc32

from bot.core.jobs import Place
from bot.core.quota import IN_UTC, NO_SERVER, OPERATORS, Amount, Scope, Tally
from bot.core.windows import Moment, Window
from bot.store.database import Row, Tx

HOST = 0  # the first subject of scope `host`; the others are further shards of it
NOTHING = Amount()
Account = tuple[Scope, int, int]  # scope, server, subject
Key = tuple[Scope, str]

_KEY = "scope, guild, bucket, subject"
COLUMNS = ("jobs", "reserved_images", "reserved_micro_usd", "spent_images", "spent_micro_usd", "aside_images",
           "aside_micro_usd")  # fmt: skip
_COLUMNS = ", ".join(COLUMNS)


def accounts(*, server: int, channel: int, user: int, shard: int = HOST) -> Sequence[Account]:
    return (
        (Scope.USER, server, user),
        (Scope.CHANNEL, server, channel),
        (Scope.GUILD, server, 0),
        (Scope.CAP, server, 0),
        (Scope.HOST, NO_SERVER, shard),
    )


def accounts_of(place: Place, *, shard: int = HOST) -> Sequence[Account]:
    return accounts(server=place.server, channel=place.counted_channel, user=place.user_id, shard=shard)


def shard_of(tx: Tx, job_id: str) -> int:
    """The shard of the host's totals in which a unit about this job counts."""
    return crc32(job_id.encode()) % tx.host_shards


async def count(
    tx: Tx,
    affected: Sequence[Account],
    local: Moment,
    *,
    at: int,
    jobs: int = 0,
    reserved: Amount = NOTHING,
    spent: Amount = NOTHING,
    host_spent: Amount | None = None,
    exempt: Amount = NOTHING,
    returning: bool = True,
) -> "Tallies":
    """Add to the windows of *local* in the accounts *affected* (for cap and host: to the windows of *at* in UTC).

    *exempt* is added to the member's account only, and *host_spent* to the host's in place of *spent*. With
    *returning*, the result has the new totals: jobs, and what counts against limits, as *reserved*; of the host, the
    sums of all shards, which are locked as well.
    """
    utc = IN_UTC.moment(at)
    values: list[object] = []
    for scope, guild, subject in affected:
        own_spent = spent if scope is not Scope.HOST or host_spent is None else host_spent
        own_exempt = exempt if scope is Scope.USER else NOTHING
        amounts = (jobs, *_flat(reserved), *_flat(own_spent), *_flat(own_exempt))
        for bucket in (utc if scope in OPERATORS else local).buckets.values():
            values += (scope.value, guild, bucket, subject, *amounts)  # binding an enum member is slower than a str
    rows = await tx.fetch(_UPSERT[len(affected) * len(Window), returning], *values)
    if returning and affected[-1][0] is Scope.HOST and tx.host_shards > 1:
        await lock_shards(tx)
        rows = [*rows, *await tx.fetch(_HOST_COUNTED, *utc.buckets.values())]
    return Tallies(rows, _counted_tally)


async def count_one(
    tx: Tx, account: Account, bucket: str, *, spent: Amount = NOTHING, exempt: Amount = NOTHING
) -> None:
    """Add to one window of one account, as a reset does."""
    await tx.run(_UPSERT[1, False], *account[:2], bucket, account[2], 0, 0, 0, *_flat(spent), *_flat(exempt))


async def read(tx: Tx, affected: Sequence[Account], local: Moment, *, at: int) -> Mapping[Key, Tally]:
    """Read every window of the accounts *affected*, without locking it; of the host, the sums of its shards."""
    utc = IN_UTC.moment(at)
    values: list[object] = []
    for scope, guild, subject in affected:
        buckets = (utc if scope in OPERATORS else local).buckets
        values += (scope, guild, *(() if scope is Scope.HOST else (subject,)), *buckets.values())
    sql = _select(tuple(scope is Scope.HOST for scope, _, _ in affected))
    return Tallies(await tx.fetch(sql, *values), _tally)


async def lock_shards(tx: Tx) -> None:
    """Lock all shards of the host's totals, of which the unit may have locked the first."""
    for shard in range(1, tx.host_shards):
        await count_one(tx, (Scope.HOST, NO_SERVER, shard), "total")


class Tallies(Mapping[Key, Tally]):
    """Totals by scope and bucket, parsed on access, because most of them are not needed."""

    def __init__(self, rows: Iterable[Row], read: Callable[[Row], Tally], *, minus: Amount | None = None) -> None:
        self._rows: Mapping[tuple[str, str], Row] = {(row["scope"], row["bucket"]): row for row in rows}
        self._read = read
        self._minus = minus
        self._cache: dict[Key, Tally] = {}

    def before(self, reserved: Amount) -> "Tallies":
        """The totals before one job and *reserved* were added to each."""
        return Tallies(self._rows.values(), self._read, minus=reserved)

    def __getitem__(self, key: Key) -> Tally:
        tally = self._cache.get(key)
        if tally is None:
            tally = self._read(self._rows[key])
            if self._minus is not None:
                tally = replace(tally, jobs=tally.jobs - 1, reserved=tally.reserved - self._minus)
            self._cache[key] = tally
        return tally

    def __iter__(self) -> Iterator[Key]:
        return ((Scope(scope), bucket) for scope, bucket in self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _upsert(rows: int, *, returning: bool) -> str:
    width = 11
    values = ", ".join(
        "(" + ", ".join(f"${row * width + column}" for column in range(1, width + 1)) + ")" for row in range(rows)
    )
    added = ", ".join(f"{each} = totals.{each} + excluded.{each}" for each in COLUMNS)
    upsert = (
        f"INSERT INTO totals ({_KEY}, {_COLUMNS}) VALUES {values} "  # noqa: S608 - names and numbers of this file
        f"ON CONFLICT ({_KEY}) DO UPDATE SET {added}"
    )
    return upsert + RETURNING if returning else upsert


@cache
def _select(host: tuple[bool, ...]) -> str:
    """A text that reads one account for each of *host*, which says whether it is the host's."""
    buckets, sums = (
        ", ".join(["${}"] * len(Window)),
        ", ".join(f"CAST(sum({each}) AS BIGINT) AS {each}" for each in COLUMNS),
    )
    parts = [
        f"SELECT scope, bucket, {sums} FROM totals WHERE scope = ${{}} AND guild = ${{}} AND bucket IN ({buckets}) "  # noqa: S608 - as above
        "GROUP BY scope, bucket"
        if is_host
        else f"SELECT scope, bucket, {_COLUMNS} FROM totals "  # noqa: S608 - as above
        f"WHERE scope = ${{}} AND guild = ${{}} AND subject = ${{}} AND bucket IN ({buckets})"
        for is_host in host
    ]
    sql = " UNION ALL ".join(parts)
    return sql.format(*range(1, sql.count("{}") + 1))


# Built once, since an identical text reuses a prepared statement.
RETURNING = (  # only what limits are compared with, since each column costs time
    " RETURNING scope, bucket, jobs, reserved_images + spent_images - aside_images AS images, "
    "reserved_micro_usd + spent_micro_usd - aside_micro_usd AS micro_usd"
)
_HOST_COUNTED = f"""
    SELECT scope, bucket, CAST(sum(jobs) AS BIGINT) AS jobs,
        CAST(sum(reserved_images + spent_images - aside_images) AS BIGINT) AS images,
        CAST(sum(reserved_micro_usd + spent_micro_usd - aside_micro_usd) AS BIGINT) AS micro_usd
    FROM totals WHERE scope = 'host' AND guild = 0 AND bucket IN ({", ".join(f"${n + 1}" for n in range(len(Window)))})
    GROUP BY scope, bucket
"""  # noqa: S608 - numbers of this file
_UPSERT = {
    (rows, returning): _upsert(rows, returning=returning)
    for rows in (1, len(Window), 5 * len(Window))
    for returning in (True, False)
}


def _flat(amount: Amount) -> tuple[int, int]:
    return amount.images, amount.micro_usd


def _counted_tally(row: Row) -> Tally:
    return Tally(jobs=row["jobs"], reserved=Amount(row["images"], row["micro_usd"]))


def _tally(row: Row) -> Tally:
    return Tally(
        jobs=row["jobs"],
        reserved=Amount(row["reserved_images"], row["reserved_micro_usd"]),
        spent=Amount(row["spent_images"], row["spent_micro_usd"]),
        exempt=Amount(row["aside_images"], row["aside_micro_usd"]),
    )
