"""What has to be tidied up in the rows from time to time, and what must not be found there at all."""

import asyncio
from functools import partial

from bot.core.jobs import HOUR, MINUTE, State
from bot.store import jobs, ledger
from bot.store.database import Database, Tx

# Seconds between attempts to empty the log of writes; an export or an audit may read for ten minutes.
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, *[1.0] * 60, *[10.0] * 60)
LONGEST_WAIT = 16 * MINUTE  # nothing is ever due later than that, but for what a wrong clock wrote


class Housekeeping:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def not_from_the_future(self, *, now: int) -> None:
        """Bring what a clock that was ahead has written back to *now*, or it would wait until then."""
        latest = now + LONGEST_WAIT

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
        """Leave nothing of what was deleted in the engine's files; a reader who needs longer is left to the janitor."""
        thoroughly = True  # what is still to be done of that is remembered
        for pause in (*PAUSES, 0):
            if await self._database.purge_deleted(thoroughly=thoroughly):
                return
            thoroughly = False
            await asyncio.sleep(pause)

    async def forget_prompts(self, *, before: int) -> None:
        """Drop the words of jobs that ended before *before*."""

        async def unit(tx: Tx) -> None:
            sql = "UPDATE jobs SET request = $2 WHERE ended_at < $1 AND request <> $2"
            await tx.run(sql, before, jobs.FORGOTTEN)

        await self._database.write(unit)

    async def expired_pictures(self, *, before: int, unseen_before: int, limit: int = 500) -> list[str]:
        """Forget pictures made before *before* whose job has ended; their file names, for removal.

        Those of a job that is hidden, or whose reply is still to show them, stay until *unseen_before* is past its end.
        """

        async def unit(tx: Tx) -> list[str]:
            rows = await tx.fetch(
                """
                DELETE FROM pictures WHERE (job, n) IN (
                    SELECT pictures.job, pictures.n FROM pictures JOIN jobs ON jobs.id = pictures.job
                    WHERE pictures.made_at < $1 AND jobs.ended_at IS NOT NULL
                      AND (jobs.ended_at < $2 OR (jobs.hidden_at IS NULL AND NOT EXISTS (
                          SELECT 1 FROM replies
                          WHERE replies.job = jobs.id AND replies.gone = 0 AND replies.delivered < replies.wanted)))
                    LIMIT $3)
                RETURNING file
                """,
                before,
                unseen_before,
                limit,
            )
            return [row["file"] for row in rows]

        return await self._database.write(unit)

    async def kept_pictures(self, *, before: int) -> frozenset[str]:
        """File names of pictures made before *before* that are still somebody's."""

        async def unit(tx: Tx) -> frozenset[str]:
            rows = await tx.fetch("SELECT file FROM pictures WHERE made_at < $1", before)
            return frozenset(row["file"] for row in rows)

        return await self._database.read(unit)

    async def tidy(self, *, now: int) -> bool:
        """Drop what has outlived its use: tokens, drafts, old interaction ids; whether a token or a draft was there."""

        async def unit(tx: Tx) -> bool:
            tokens = await tx.fetch("DELETE FROM tokens WHERE expires_at <= $1 RETURNING job", now)
            drafts = await tx.fetch("DELETE FROM drafts WHERE expires_at < $1 RETURNING id", now)
            await tx.run("DELETE FROM interactions WHERE at < $1", now - 24 * HOUR)
            return bool(tokens or drafts)

        return await self._database.write(unit)

    async def end_forgotten(self, *, now: int) -> list[str]:
        """Release every reservation whose job has ended without ending it. There should be none: the caller alarms."""

        async def unit(tx: Tx, job_id: str) -> None:
            job = await jobs.hold(tx, job_id)
            if job is not None:
                made = job.images if job.state is State.SUCCEEDED else 0
                await ledger.end(tx, job, now=now, pictures=made, reason="audit")

        found = await self._database.read(ledger.forgotten)
        for job_id in found:  # one by one: a unit locks one job and its accounts
            await self._database.write(partial(unit, job_id=job_id))
        return found
