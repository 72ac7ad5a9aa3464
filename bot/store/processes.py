"""The processes that run on this database, and the leases by which a job and its reply belong to one of them.

A process that has just sent a heartbeat holds all its leases for `LEASE` more; others claim its jobs where they have
seen none for so long. Each claim raises the number of the lease, by which every write of the process is guarded: one
that has slept through its lease writes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bot.core.jobs import MINUTE, SECOND, Job
from bot.core.processes import Process, Role
from bot.store import jobs
from bot.store.database import Database, Row, Tx

LEASE = 30 * SECOND  # after a heartbeat
PAID_REQUEST = 5 * MINUTE  # longer than any submit takes: before, it may still be in progress in its process
MAX_CLAIMED = 200  # jobs in one transaction

_DUE = "SELECT id FROM jobs WHERE due_at IS NOT NULL UNION SELECT job FROM replies WHERE due_at IS NOT NULL"
_WORKERS = "SELECT id FROM processes WHERE leaving = 0 AND ' ' || roles || ' ' LIKE '% worker %'"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A process, how many jobs it holds, and when it was last seen (UTC milliseconds)."""

    process: Process
    jobs: int
    seen_at: int
    leaving: bool


class Processes:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, process: Process) -> int:
        """Enter *process*, whose id is ignored; returns its id."""

        async def unit(tx: Tx) -> int:
            row = await tx.one(
                """
                INSERT INTO processes (roles, host, machine, pid, version, started_at, seen_at)
                VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING id
                """,
                " ".join(process.roles),
                process.host,
                process.machine,
                process.pid,
                process.version,
                process.started_at,
            )
            assert row is not None
            return int(row["id"])

        return await self._database.write(unit)

    async def renew(self, process: int, *, now: int) -> bool:
        """Send a heartbeat: it renews every lease of *process*. False if nobody has it in mind any more."""

        async def unit(tx: Tx) -> bool:
            sql = "UPDATE processes SET seen_at = $2 WHERE id = $1 AND leaving = 0 RETURNING id"
            return await tx.one(sql, process, now) is not None

        return await self._database.write(unit)

    async def leave(self, process: int) -> None:
        """Record that *process* gets no new jobs, because it is about to end."""

        async def unit(tx: Tx) -> None:
            await tx.run("UPDATE processes SET leaving = 1 WHERE id = $1", process)

        await self._database.write(unit)

    async def forget(self, *, before: int) -> None:
        """Forget the processes that were last seen before *before* (UTC milliseconds)."""

        async def unit(tx: Tx) -> None:
            await tx.run("DELETE FROM processes WHERE seen_at <= $1", before)

        await self._database.write(unit)

    async def heartbeats(self) -> Sequence[tuple[Process, int]]:
        """The processes that were not told to stop, oldest first, each with its last heartbeat (UTC milliseconds)."""

        async def unit(tx: Tx) -> Sequence[tuple[Process, int]]:
            rows = await tx.fetch("SELECT * FROM processes WHERE leaving = 0 ORDER BY id")
            return [(_load(row), row["seen_at"]) for row in rows]

        return await self._database.read(unit)

    async def status(self) -> Sequence[ProcessStatus]:
        """Every process that is known, oldest first, with the unfinished jobs that it holds."""

        async def unit(tx: Tx) -> Sequence[ProcessStatus]:
            held = {
                row["worker"]: row["jobs"]
                for row in await tx.fetch(
                    "SELECT worker, count(*) AS jobs FROM jobs WHERE due_at IS NOT NULL GROUP BY worker"
                )
            }
            return [
                ProcessStatus(_load(row), held.get(row["id"], 0), row["seen_at"], bool(row["leaving"]))
                for row in await tx.fetch("SELECT * FROM processes ORDER BY id")
            ]

        return await self._database.read(unit)


async def claim(tx: Tx, process: int, *, dead: Collection[int], now: int, skip_locked: str) -> Sequence[Job]:
    """Take over up to `MAX_CLAIMED` jobs of nobody and of processes that are *dead* or unknown; returns them.

    A job that is being submitted is left alone for as long as its paid request may be in progress.
    """
    rows = await tx.fetch(
        f"""
        UPDATE jobs SET worker = $1, lease = lease + 1, version = version + 1
        WHERE id IN (
            SELECT id FROM jobs
            WHERE id IN ({_DUE}) AND worker <> $1
              AND worker NOT IN ({_WORKERS} AND id NOT IN ({", ".join(map(str, sorted({0, *dead})))}))
              AND (state <> 'submitting' OR submitted_at <= $2 OR worker = 0)
            LIMIT {MAX_CLAIMED} {skip_locked})
        RETURNING *
        """,  # noqa: S608 - fixed strings and numbers
        process,
        now - PAID_REQUEST,
    )
    return [jobs.load(row) for row in rows]


async def release(tx: Tx, process: int, *, ended: bool) -> Sequence[Job]:
    """Give up the jobs of *process*, so that others claim them; returns them.

    *ended*: it has ended, and so has every paid request of it; otherwise it keeps the jobs that are being submitted.
    """
    rows = await tx.fetch(
        f"""
        UPDATE jobs SET worker = 0, lease = lease + 1, version = version + 1
        WHERE id IN ({_DUE}) AND worker = $1 {"" if ended else "AND state <> 'submitting'"}
        RETURNING *
        """,  # noqa: S608 - fixed strings
        process,
    )
    if ended:
        await tx.run("DELETE FROM processes WHERE id = $1", process)
    return [jobs.load(row) for row in rows]


def _load(row: Row) -> Process:
    return Process(
        id=row["id"],
        roles=tuple(Role(each) for each in row["roles"].split()),
        host=row["host"],
        machine=row["machine"],
        pid=row["pid"],
        version=row["version"],
        started_at=row["started_at"],
    )
