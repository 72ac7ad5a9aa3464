"""Members' finished results: their history, their favorites, and the tree of results made from one another.

Every query follows an index and reads at most a fixed number of rows, however long a history is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.jobs import Job
from bot.core.references import result_of
from bot.store import jobs, queries
from bot.store.database import Database, Tx
from bot.store.queries import JobRecord

NEWEST = "Z" * 26  # sorts after every id, in any collation
MAX_SCANNED = 1_000  # jobs that one page of a search reads; the next page goes on from there
CHUNK = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """Which results: *words* that the prompt contains, ignoring case; a *model*'s key; only *favorites*."""

    words: str = ""
    model: str = ""
    favorites: bool = False

    def keeps(self, job: Job) -> bool:
        prompt = job.request.prompt.casefold()
        return all(each in prompt for each in self.words.casefold().split()) and self.model in ("", job.request.model)


@dataclass(frozen=True, slots=True)
class Page:
    """Results, newest first. *before*: the id from which the next page goes on; None at the end."""

    records: Sequence[JobRecord]
    before: str | None


class Results:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, user_id: int, wanted: Filter, *, before: str = NEWEST, limit: int = 10) -> Page:
        """The next *limit* results of a member that match, older than the job *before*."""

        async def unit(tx: Tx) -> Page:
            found: list[str] = []
            at, scanned = before, 0
            while scanned < MAX_SCANNED:
                rows = await tx.fetch(FAVORITES if wanted.favorites else OWN, user_id, at, CHUNK)
                for row in rows:
                    if len(found) == limit:
                        return Page(await _records(tx, found), found[-1])
                    if wanted.keeps(jobs.load(row)):
                        found.append(row["id"])
                if len(rows) < CHUNK:
                    return Page(await _records(tx, found), None)
                at, scanned = rows[-1]["id"], scanned + len(rows)
            return Page(await _records(tx, found), at)

        return await self._database.read(unit)

    async def record(self, job_id: str) -> JobRecord | None:
        async def unit(tx: Tx) -> JobRecord | None:
            return await queries.job_record(tx, job_id)

        return await self._database.read(unit)

    async def find(self, given: str, *, user_id: int = 0, server: int = 0) -> str | None:
        """The id of the job that *given* names: its id, one of its files, its message's link, or its reference.

        A reference, the last eight characters of the id, names only jobs of the member, or of all in *server*.
        """
        text = given.strip().strip("<>").rstrip("/")
        if (named := result_of(f"{text.upper()}.png") or result_of(text)) is not None:
            return named[0]
        if len(text) == 26:
            return text.upper()
        parts = text.split("/")
        channel, message = (parts[-2], parts[-1]) if len(parts) > 2 else ("", "")
        by_message = "SELECT job AS id FROM replies WHERE message_id = $1 AND channel_id = $2"
        whose = "guild_id" if server else "user_id"
        by_reference = f"SELECT id FROM jobs WHERE {whose} = $1 AND id LIKE '%' || CAST($2 AS TEXT) LIMIT 1"  # noqa: S608

        async def unit(tx: Tx) -> str | None:
            if channel.isdecimal() and message.isdecimal() and len(message) < 20 and len(channel) < 20:
                row = await tx.one(by_message, int(message), int(channel))
            elif text.isalnum() and text.isascii() and 6 <= len(text) < 26:
                row = await tx.one(by_reference, server or user_id, text.upper())
            else:
                return None
            return row["id"] if row else None

        return await self._database.read(unit)

    async def ancestors(self, job_id: str, *, limit: int = 20) -> Sequence[Job]:
        """The job's parent, its parent and so on, nearest first."""

        async def unit(tx: Tx) -> Sequence[Job]:
            found: list[Job] = []
            job = await jobs.get(tx, job_id)
            while job is not None and job.parent_id is not None and len(found) < limit:
                job = await jobs.get(tx, job.parent_id)
                if job is not None:
                    found.append(job)
            return found

        return await self._database.read(unit)

    async def children(self, job_id: str, *, limit: int = 25) -> Sequence[Job]:
        """The results made from the job, oldest first."""

        async def unit(tx: Tx) -> Sequence[Job]:
            rows = await tx.fetch(
                "SELECT * FROM jobs WHERE parent_id = $1 AND images > 0 AND deleted_at IS NULL ORDER BY id LIMIT $2",
                job_id,
                limit,
            )
            return [jobs.load(row) for row in rows]

        return await self._database.read(unit)

    async def cost(self, job_ids: Sequence[str]) -> int:
        """What these jobs cost their members, in micro-dollars."""

        async def unit(tx: Tx) -> int:
            total = 0
            for each in job_ids:
                row = await tx.one("SELECT micro_usd FROM ledger WHERE job = $1 AND kind = 'settle'", each)
                total += int(row["micro_usd"]) if row else 0
            return total

        return await self._database.read(unit)


OWN = """
    SELECT * FROM jobs WHERE user_id = $1 AND images > 0 AND deleted_at IS NULL AND id < $2 ORDER BY id DESC LIMIT $3
"""
FAVORITES = """
    SELECT jobs.* FROM favorites JOIN jobs ON jobs.id = favorites.job
    WHERE favorites.user_id = $1 AND favorites.job < $2 AND jobs.deleted_at IS NULL
    ORDER BY favorites.job DESC LIMIT $3
"""


async def _records(tx: Tx, job_ids: Sequence[str]) -> Sequence[JobRecord]:
    found = [await queries.job_record(tx, each) for each in job_ids]
    return [each for each in found if each is not None]
