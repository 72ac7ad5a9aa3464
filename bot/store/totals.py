"""What is used in each window: kept beside the books in their own transactions, so that nobody ever sums up rows.

One statement counts an amount in every window of all five accounts: the member's, the channel's, the server's, the one
that the operator's cap on the server looks at, and the host's. It locks their rows in that order, and of each account
the row `total` first, so that two units never wait for each other in a circle; and it returns the new totals, which are
then held until the unit ends.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bot.core.jobs import Place
from bot.core.quota import IN_UTC, NO_SERVER, OPERATORS, Amount, Scope, Tally
from bot.core.windows import Moment, Window
from bot.store.database import Row, Tx

HOST = 0  # the one subject of scope `host`
NOTHING = Amount()
Account = tuple[Scope, int, int]  # scope, server, subject
Key = tuple[Scope, str]

_KEY = "scope, guild, bucket, subject"
COLUMNS = ("jobs", "reserved_images", "reserved_micro_usd", "spent_images", "spent_micro_usd", "aside_images",
           "aside_micro_usd")  # fmt: skip
_COLUMNS = ", ".join(COLUMNS)


def accounts(*, server: int, channel: int, user: int) -> Sequence[Account]:
    return (
        (Scope.USER, server, user),
        (Scope.CHANNEL, server, channel),
        (Scope.GUILD, server, 0),
        (Scope.CAP, server, 0),
        (Scope.HOST, NO_SERVER, HOST),
    )


def accounts_of(place: Place) -> Sequence[Account]:
    return accounts(server=place.server, channel=place.counted_channel, user=place.user_id)


async def count(
    tx: Tx,
    held_by: Sequence[Account],
    local: Moment,
    *,
    at: int,
    jobs: int = 0,
    reserved: Amount = NOTHING,
    spent: Amount = NOTHING,
    host_spent: Amount | None = None,
    exempt: Amount = NOTHING,
    tell: bool = True,
) -> "Tallies":
    """Add to every window of *held_by* that *local* lies in (the operator's: *at*, in UTC); what counts after it.

    *exempt* is the member's alone. *host_spent* is what the host's account gets in the place of *spent*. The answer
    tells of jobs and of what counts against limits, as reserved; it is empty where nobody wants to be told.
    """
    utc = IN_UTC.moment(at)
    values: list[object] = []
    for scope, guild, subject in held_by:
        ours = spent if scope is not Scope.HOST or host_spent is None else host_spent
        own_exempt = exempt if scope is Scope.USER else NOTHING
        amounts = (jobs, *_flat(reserved), *_flat(ours), *_flat(own_exempt))
        for bucket in (utc if scope in OPERATORS else local).buckets.values():
            values += (scope.value, guild, bucket, subject, *amounts)  # an enum's member is slower to hand over
    return Tallies(await tx.fetch(_UPSERT[len(held_by) * len(Window), tell], *values), _counting)


async def count_one(
    tx: Tx, account: Account, bucket: str, *, spent: Amount = NOTHING, exempt: Amount = NOTHING
) -> None:
    """Add to one window only, as a reset does."""
    await tx.run(_UPSERT[1, False], *account[:2], bucket, account[2], 0, 0, 0, *_flat(spent), *_flat(exempt))


async def look(tx: Tx, held_by: Sequence[Account], local: Moment, *, at: int) -> Mapping[Key, Tally]:
    """What every window of *held_by* holds, without holding on to it."""
    utc = IN_UTC.moment(at)
    values: list[object] = []
    for scope, guild, subject in held_by:
        buckets = (utc if scope in OPERATORS else local).buckets
        values += (scope, guild, subject, *(buckets[each] for each in buckets))
    return Tallies(await tx.fetch(_LOOK[len(held_by)], *values), _tally)


class Tallies(Mapping[Key, Tally]):
    """Totals as the database gave them, worked out when somebody looks: at most of them nobody does."""

    def __init__(self, rows: Iterable[Row], read: Callable[[Row], Tally], *, less: Amount | None = None) -> None:
        self._rows: Mapping[tuple[str, str], Row] = {(row["scope"], row["bucket"]): row for row in rows}
        self._read = read
        self._less = less
        self._known: dict[Key, Tally] = {}

    def before(self, reserved: Amount) -> "Tallies":
        """The same as they were before one job and *reserved* were added to each."""
        return Tallies(self._rows.values(), self._read, less=reserved)

    def __getitem__(self, key: Key) -> Tally:
        known = self._known.get(key)
        if known is None:
            known = self._read(self._rows[key])
            if self._less is not None:
                known = replace(known, jobs=known.jobs - 1, reserved=known.reserved - self._less)
            self._known[key] = known
        return known

    def __iter__(self) -> Iterator[Key]:
        return ((Scope(scope), bucket) for scope, bucket in self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _upsert(rows: int, *, tell: bool) -> str:
    width = 11
    values = ", ".join(
        "(" + ", ".join(f"${row * width + column}" for column in range(1, width + 1)) + ")" for row in range(rows)
    )
    added = ", ".join(f"{each} = totals.{each} + excluded.{each}" for each in COLUMNS)
    upsert = (
        f"INSERT INTO totals ({_KEY}, {_COLUMNS}) VALUES {values} "  # noqa: S608 - names and numbers of this file
        f"ON CONFLICT ({_KEY}) DO UPDATE SET {added}"
    )
    return upsert + RETURNING if tell else upsert


def _look(held: int) -> str:
    width = 3 + len(Window)
    one = (
        f"SELECT {_KEY}, {_COLUMNS} FROM totals "  # noqa: S608 - as above
        "WHERE scope = ${} AND guild = ${} AND subject = ${} "
        f"AND bucket IN ({', '.join(['${}'] * len(Window))})"
    )
    return " UNION ALL ".join(one.format(*range(n * width + 1, (n + 1) * width + 1)) for n in range(held))


# Made once: the same text is the same prepared statement.
RETURNING = (  # each column costs, so no more than limits are compared with
    " RETURNING scope, bucket, jobs, reserved_images + spent_images - aside_images AS images, "
    "reserved_micro_usd + spent_micro_usd - aside_micro_usd AS micro_usd"
)
_UPSERT = {
    (rows, tell): _upsert(rows, tell=tell) for rows in (1, len(Window), 5 * len(Window)) for tell in (True, False)
}
_LOOK = {held: _look(held) for held in (1, 5)}


def _flat(amount: Amount) -> tuple[int, int]:
    return amount.images, amount.micro_usd


def _counting(row: Row) -> Tally:
    return Tally(jobs=row["jobs"], reserved=Amount(row["images"], row["micro_usd"]))


def _tally(row: Row) -> Tally:
    return Tally(
        jobs=row["jobs"],
        reserved=Amount(row["reserved_images"], row["reserved_micro_usd"]),
        spent=Amount(row["spent_images"], row["spent_micro_usd"]),
        exempt=Amount(row["aside_images"], row["aside_micro_usd"]),
    )
