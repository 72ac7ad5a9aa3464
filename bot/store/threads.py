"""Which result is edited next in a thread: the newest one there, unless a member went a step back.

A thread on a result's message has the message's id, so that no row is needed to know that it is one of ours.
"""

from dataclasses import dataclass

from bot.core.jobs import Job
from bot.store import jobs, queries
from bot.store.database import Database, Tx
from bot.store.queries import JobRecord

ROOT = "SELECT job AS id FROM replies WHERE message_id = $1"
NEWEST = """
    SELECT jobs.id AS id FROM jobs JOIN replies ON replies.job = jobs.id
    WHERE jobs.channel_id = $1 AND jobs.images > 0 AND jobs.deleted_at IS NULL AND jobs.hidden_at IS NULL
        AND replies.ephemeral = 0 AND replies.gone = 0
    ORDER BY jobs.id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class ThreadState:
    """A thread on the message of *root*, and the result that is edited next."""

    root: Job
    next: JobRecord


class Threads:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self, thread_id: int) -> ThreadState | None:
        """None for a thread that is not on a result's message."""

        async def unit(tx: Tx) -> ThreadState | None:
            root = await _root(tx, thread_id)
            if root is None:
                return None
            newest = await tx.one(NEWEST, thread_id)
            back = await tx.one("SELECT newest, job FROM threads WHERE channel_id = $1", thread_id)
            job_id = newest["id"] if newest else root.id
            if back is not None and back["newest"] == job_id:
                job_id = back["job"]
            record = await queries.job_record(tx, job_id)
            return ThreadState(root, record) if record is not None else None

        return await self._database.read(unit)

    async def step_back(self, thread_id: int, job: Job, *, now: int) -> bool:
        """Have the parent of *job* edited next, until there is a newer result; False if it is no thread of ours."""

        async def unit(tx: Tx) -> bool:
            root = await _root(tx, thread_id)
            if root is None or job.parent_id is None:
                return False
            newest = await tx.one(NEWEST, thread_id)
            await tx.run(
                """
                INSERT INTO threads (channel_id, at, newest, job) VALUES ($1, $2, $3, $4)
                ON CONFLICT (channel_id) DO UPDATE SET at = excluded.at, newest = excluded.newest, job = excluded.job
                """,
                thread_id,
                now,
                newest["id"] if newest else root.id,
                job.parent_id,
            )
            return True

        return await self._database.write(unit)


async def _root(tx: Tx, thread_id: int) -> Job | None:
    row = await tx.one(ROOT, thread_id)
    return await jobs.get(tx, row["id"]) if row else None
