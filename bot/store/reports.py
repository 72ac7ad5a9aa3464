"""Reports for admins: history of changes, spending, top spenders, and all ledger rows of a period."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.quota import Amount, Holder, Kind
from bot.store.database import Database, Row, Tx
from bot.store.quotas import Change

Cursor = tuple[int, int]  # time and id of the last row seen, at which the next page starts
NEWEST: Cursor = (2**62, 2**62)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger: a settled row has what was paid, a released row what was refunded."""

    id: int
    at: int
    server: int  # 0: direct messages and user installs
    kind: Kind
    user: int  # 0: none
    channel: int
    actor: int
    job: str | None
    images: int
    micro_usd: int
    bonus_images: int
    reason: str | None
    route: str | None
    price_version: str | None


@dataclass(frozen=True, slots=True)
class Spender:
    user: int
    spent: Amount
    reserved: Amount


class Reports:
    """Queries for one server at a time; the caller has checked that it may be shown."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes(
        self, server: int, *, holder: Holder | None = None, subject: int = 0, before: Cursor | None = None, limit: int
    ) -> Sequence[tuple[Change, Cursor]]:
        """Changes, newest first, each with its cursor; *holder* and *subject* select one member, role or channel."""
        at, number = before or NEWEST

        async def unit(tx: Tx) -> Sequence[tuple[Change, Cursor]]:
            rows = await tx.fetch(
                """
                SELECT n, id, at, actor, action, holder, subject, body FROM changes
                WHERE guild = $1 AND (at < $2 OR (at = $2 AND n < $3))
                  AND ($4 = '' OR (holder = $4 AND subject = $5))
                ORDER BY at DESC, n DESC LIMIT $6
                """,
                server, at, number, holder or "", subject, limit,
            )  # fmt: skip
            return [(_change(row), (row["at"], row["n"])) for row in rows]

        return await self._database.read(unit)

    async def spending(
        self, server: int, *, user: int | None = None, channel: int | None = None, before: Cursor | None = None,
        limit: int,
    ) -> Sequence[Entry]:  # fmt: skip
        """Settled and released rows, newest first; of one member or channel where given."""
        at, number = before or NEWEST
        who, where = ('"user" = $4', user) if user is not None else ("channel = $4", channel)
        narrowed = who if user is not None or channel is not None else "$4 = 0"

        async def unit(tx: Tx) -> Sequence[Entry]:
            rows = await tx.fetch(
                f"""
                SELECT {_COLUMNS} FROM ledger
                WHERE guild = $1 AND (at < $2 OR (at = $2 AND id < $3)) AND {narrowed} AND kind IN ('settle', 'release')
                ORDER BY at DESC, id DESC LIMIT $5
                """,  # noqa: S608 - fixed strings
                server, at, number, where or 0, limit,
            )  # fmt: skip
            return [_entry(row) for row in rows]

        return await self._database.read(unit)

    async def top(self, server: int, bucket: str, *, limit: int) -> Sequence[Spender]:
        """The top spenders in *bucket*, by dollars and then by pictures."""

        async def unit(tx: Tx) -> Sequence[Spender]:
            rows = await tx.fetch(
                """
                SELECT subject, spent_images, spent_micro_usd, reserved_images, reserved_micro_usd FROM totals
                WHERE scope = 'user' AND guild = $1 AND bucket = $2 AND spent_images + reserved_images > 0
                ORDER BY spent_micro_usd DESC, spent_images DESC, reserved_micro_usd DESC, subject LIMIT $3
                """,
                server, bucket, limit,
            )  # fmt: skip
            return [
                Spender(
                    row["subject"],
                    Amount(row["spent_images"], row["spent_micro_usd"]),
                    Amount(row["reserved_images"], row["reserved_micro_usd"]),
                )
                for row in rows
            ]

        return await self._database.read(unit)

    async def export(
        self, server: int | None, *, since: int, until: int, after: Cursor = (0, 0), limit: int
    ) -> Sequence[Entry]:  # fmt: skip
        """At most *limit* rows from *since* to before *until*, oldest first, starting *after* a cursor.

        *server* None means all servers. Times are UTC milliseconds.
        """
        of_server = "guild = $1" if server is not None else "$1 = 0"
        start, number = max((since, 0), after)

        async def unit(tx: Tx) -> Sequence[Entry]:
            rows = await tx.fetch(
                f"""
                SELECT {_COLUMNS} FROM ledger
                WHERE {of_server} AND (at > $2 OR (at = $2 AND id > $3)) AND at < $4
                ORDER BY at, id LIMIT $5
                """,  # noqa: S608 - as above
                server or 0, start, number, until, limit,
            )  # fmt: skip
            return [_entry(row) for row in rows]

        return await self._database.read(unit)


_COLUMNS = """id, at, guild AS server, kind, "user", channel, actor, job, images, micro_usd, bonus_images, reason,
              route, price_version"""


def _entry(row: Row) -> Entry:
    fields = dict(row)
    return Entry(**{**fields, "kind": Kind(fields["kind"]), "channel": fields["channel"] or 0})


def _change(row: Row) -> Change:
    holder, body = Holder(row["holder"]), json.loads(row["body"])
    return Change(row["id"], row["at"], row["actor"], row["action"], holder, row["subject"], body)
