"""Copies of results in a server's gallery channel: at most one of each result."""

from dataclasses import dataclass

from bot.core.jobs import MINUTE
from bot.store.database import Database, Tx

POST_LIMIT = 5 * MINUTE  # after which a copy that has no message is taken as never posted


@dataclass(frozen=True, slots=True)
class Copy:
    channel_id: int
    message_id: int


class GalleryCopies:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, job_id: str, *, guild: int, channel: int, now: int) -> bool:
        """Record that a copy of *job_id* is about to be posted; False if there is one, or will be in a moment."""

        async def unit(tx: Tx) -> bool:
            row = await tx.one(
                """
                INSERT INTO gallery (job, guild, channel_id, message_id, at) VALUES ($1, $2, $3, NULL, $4)
                ON CONFLICT (job) DO UPDATE
                SET guild = excluded.guild, channel_id = excluded.channel_id, at = excluded.at
                WHERE gallery.message_id IS NULL AND gallery.at < $5
                RETURNING job
                """,
                job_id,
                guild,
                channel,
                now,
                now - POST_LIMIT,
            )
            return row is not None

        return await self._database.write(unit)

    async def posted(self, job_id: str, *, message: int) -> None:
        async def unit(tx: Tx) -> None:
            await tx.run("UPDATE gallery SET message_id = $2 WHERE job = $1", job_id, message)

        await self._database.write(unit)

    async def find(self, job_id: str) -> Copy | None:
        """The posted copy of a job."""

        async def unit(tx: Tx) -> Copy | None:
            row = await tx.one(
                "SELECT channel_id, message_id FROM gallery WHERE job = $1 AND message_id IS NOT NULL", job_id
            )
            return Copy(row["channel_id"], row["message_id"]) if row else None

        return await self._database.read(unit)

    async def forget(self, job_id: str) -> None:
        """Remove the record of a copy that is deleted, or could not be posted."""

        async def unit(tx: Tx) -> None:
            await tx.run("DELETE FROM gallery WHERE job = $1", job_id)

        await self._database.write(unit)
