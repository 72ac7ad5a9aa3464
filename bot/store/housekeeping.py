"""Deletion of expired rows, and repair of rows that must not exist."""

import asyncio
from functools import partial

from bot.core.jobs import HOUR, MINUTE, State
from bot.store import jobs, ledger
from bot.store.database import Database, Tx
from bot.store.queries import WITHHELD
from bot.store.tray import TRAY_LIFE

# Seconds between attempts to truncate the WAL; an export or an audit may read for ten minutes.
PURGE_DELAYS = (0.02, 0.05, 0.1, 0.2, 0.5, *[1.0] * 60, *[10.0] * 60)
MAX_DUE_DELAY = 16 * MINUTE  # longer than any delay that the program schedules


class Housekeeping:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def clamp_future_times(self, *, now: int) -> None:
        """Set times in the future, written while the system clock was ahead, to *now* (UTC milliseconds)."""
        latest = now + MAX_DUE_DELAY

        async def unit(tx: Tx) -> None:
            await tx.run("UPDATE jobs SET due_at = $1 WHERE due_at > $2", now, latest)
            await tx.run("UPDATE replies SET due_at = $1 WHERE due_at > $2", now, latest)
            await tx.run(
                """
                UPDATE jobs SET created_at = CASE WHEN created_at > $1 THEN CAST($1 AS BIGINT) ELSE created_at END,
                    changed_at = CASE WHEN changed_at > $1 THEN CAST($1 AS BIGINT) ELSE changed_at END,
                    submitted_at = CASE WHEN submitted_at > $1 THEN CAST($1 AS BIGINT) ELSE submitted_at END
                WHERE ended_at IS NULL AND changed_at > $1
                """,
                now,
            )

        await self._database.write(unit)

    async def purge_deleted(self) -> None:
        """Remove deleted data from the engine's files; retries for eleven minutes where readers prevent it."""
        thoroughly = True  # the engine remembers it until it is done
        for delay in (*PURGE_DELAYS, 0):
            if await self._database.purge_deleted(thoroughly=thoroughly):
                return
            thoroughly = False
            await asyncio.sleep(delay)

    async def erase_prompts(self, *, before: int) -> None:
        """Erase the requests (prompt, options, references) of jobs that ended before *before* (UTC milliseconds)."""

        async def unit(tx: Tx) -> None:
            sql = "UPDATE jobs SET request = $2 WHERE ended_at < $1 AND request <> $2"
            await tx.run(sql, before, jobs.ERASED_REQUEST)

        await self._database.write(unit)

    async def delete_expired_pictures(self, *, before: int, unseen_before: int, limit: int = 500) -> list[str]:
        """Delete the rows of pictures made before *before* whose job has ended; returns their file names, for removal.

        Pictures that a reply does not show yet, or that are hidden or withheld, stay until *unseen_before* is past the
        job's end.
        """

        async def unit(tx: Tx) -> list[str]:
            rows = await tx.fetch(
                f"""
                DELETE FROM pictures WHERE (job, n) IN (
                    SELECT pictures.job, pictures.n FROM pictures JOIN jobs ON jobs.id = pictures.job
                    WHERE pictures.made_at < $1 AND jobs.ended_at IS NOT NULL
                      AND (jobs.ended_at < $2 OR (jobs.hidden_at IS NULL AND NOT {WITHHELD} AND NOT EXISTS (
                          SELECT 1 FROM replies
                          WHERE replies.job = jobs.id AND replies.gone = 0 AND replies.delivered < replies.wanted)))
                    LIMIT $3)
                RETURNING file
                """,  # noqa: S608 - a fixed string
                before,
                unseen_before,
                limit,
            )
            return [row["file"] for row in rows]

        return await self._database.write(unit)

    async def referenced_pictures(self) -> frozenset[str]:
        """File names of the pictures that have a row."""

        async def unit(tx: Tx) -> frozenset[str]:
            rows = await tx.fetch("SELECT file FROM pictures")
            return frozenset(row["file"] for row in rows)

        return await self._database.read(unit)

    async def delete_expired(self, *, now: int) -> bool:
        """Delete expired tokens, drafts and trays (True if there were any), and interaction ids older than a day."""

        async def unit(tx: Tx) -> bool:
            tokens = await tx.fetch("DELETE FROM tokens WHERE expires_at <= $1 RETURNING job", now)
            drafts = await tx.fetch("DELETE FROM drafts WHERE expires_at < $1 RETURNING id", now)
            tray = await tx.fetch("DELETE FROM tray WHERE at < $1 RETURNING n", now - TRAY_LIFE)
            await tx.run("DELETE FROM interactions WHERE at < $1", now - 24 * HOUR)
            return bool(tokens or drafts or tray)

        return await self._database.write(unit)

    async def end_orphaned_reservations(self, *, now: int) -> list[str]:
        """End reservations whose job has ended, and return the job ids. Any is a defect, which the caller reports."""

        async def unit(tx: Tx, job_id: str) -> None:
            job = await jobs.lock(tx, job_id)
            if job is not None:
                pictures = job.images if job.state is State.SUCCEEDED else 0
                await ledger.end(tx, job, now=now, pictures=pictures, reason="audit")

        orphaned = await self._database.read(ledger.orphaned_reservations)
        for job_id in orphaned:  # in a unit each, since a unit locks one job and its accounts
            await self._database.write(partial(unit, job_id=job_id))
        return orphaned
