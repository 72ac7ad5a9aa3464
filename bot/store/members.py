"""Everything that is stored about one member: counted, exported, and what is theirs alone erased on request."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.store import jobs
from bot.store.database import Database, Row, Tx

OWN_TABLES = ("favorites", "tray", "preferences", "drafts")  # what belongs to a member alone
EXPORTED = {
    "jobs": "SELECT * FROM jobs WHERE user_id = $1 ORDER BY id",
    "favorites": "SELECT job, at FROM favorites WHERE user_id = $1 ORDER BY job",
    "tray": "SELECT n, at, body FROM tray WHERE user_id = $1 ORDER BY n",
    "preferences": "SELECT body FROM preferences WHERE user_id = $1",
    "drafts": "SELECT id, expires_at, body FROM drafts WHERE user_id = $1",
    "reports": "SELECT job, guild, at, reason, outcome FROM reports WHERE reporter = $1 ORDER BY at",
    "strikes": "SELECT guild, at, expires_at, reason FROM strikes WHERE user_id = $1 ORDER BY at",
    "ledger": 'SELECT at, kind, job, guild, channel, images, micro_usd FROM ledger WHERE "user" = $1 ORDER BY at',
    "bonuses": 'SELECT guild, unit, amount, remaining, expires_at FROM grants WHERE "user" = $1',
}


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of a member is stored. *bytes*: of their pictures on the disk."""

    jobs: int
    active: int
    prompts: int
    pictures: int
    bytes: int
    favorites: int
    tray: int


class Members:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def kept(self, user_id: int) -> Kept:
        async def unit(tx: Tx) -> Kept:
            all_jobs = await _one(tx, _JOBS, user_id, jobs.ERASED_REQUEST)
            pictures = await _one(tx, _PICTURES, user_id)
            favorites = await _one(tx, "SELECT count(*) AS n FROM favorites WHERE user_id = $1", user_id)
            tray = await _one(tx, "SELECT count(*) AS n FROM tray WHERE user_id = $1", user_id)
            return Kept(
                jobs=int(all_jobs["n"]),
                active=int(all_jobs["active"] or 0),
                prompts=int(all_jobs["prompts"] or 0),
                pictures=int(pictures["n"]),
                bytes=int(pictures["size"] or 0),
                favorites=int(favorites["n"]),
                tray=int(tray["n"]),
            )

        return await self._database.read(unit)

    async def export(self, user_id: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Every row about a member, by kind; columns with JSON are parsed."""

        async def unit(tx: Tx) -> Mapping[str, Sequence[Mapping[str, Any]]]:
            return {name: [_readable(row) for row in await tx.fetch(sql, user_id)] for name, sql in EXPORTED.items()}

        return await self._database.read(unit)

    async def files(self, user_id: int) -> Sequence[str]:
        """The names of the member's pictures on the disk, newest first."""

        async def unit(tx: Tx) -> Sequence[str]:
            rows = await tx.fetch(
                """
                SELECT pictures.file AS file FROM pictures JOIN jobs ON jobs.id = pictures.job
                WHERE jobs.user_id = $1 ORDER BY pictures.made_at DESC
                """,
                user_id,
            )
            return [row["file"] for row in rows]

        return await self._database.read(unit)

    async def erase_own(self, user_id: int) -> None:
        """Delete the rows that belong to the member alone, and the reasons of their reports."""

        async def unit(tx: Tx) -> None:
            for table in OWN_TABLES:
                await tx.run(f"DELETE FROM {table} WHERE user_id = $1", user_id)  # noqa: S608 - fixed names
            await tx.run("UPDATE reports SET reason = '' WHERE reporter = $1", user_id)

        await self._database.write(unit)


_JOBS = """
    SELECT count(*) AS n, sum(CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END) AS active,
           sum(CASE WHEN request <> $2 THEN 1 ELSE 0 END) AS prompts
    FROM jobs WHERE user_id = $1
"""
_PICTURES = """
    SELECT count(*) AS n, sum(pictures.size) AS size FROM pictures JOIN jobs ON jobs.id = pictures.job
    WHERE jobs.user_id = $1
"""


async def _one(tx: Tx, sql: str, *args: object) -> Row:
    row = await tx.one(sql, *args)
    assert row is not None  # of an aggregate
    return row


def _readable(row: Row) -> Mapping[str, Any]:
    values = dict(row)
    for name in ("request", "body"):
        if isinstance(values.get(name), str):
            values[name] = json.loads(values[name])
    return values
