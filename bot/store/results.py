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
MAX_ANCESTORS = 20
MAX_CHILDREN = 25


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


@dataclass(frozen=True, slots=True)
class Tree:
    """The results around one: *ancestors*, nearest first, and *children*, oldest first."""

    ancestors: Sequence[JobRecord]
    children: Sequence[JobRecord]


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

    async def tree(self, job: Job) -> Tree:
        """The results that *job* was made from, up to 20, and up to 25 that were made from it."""

        async def unit(tx: Tx) -> Tree:
            ancestors: list[JobRecord] = []
            above = job.parent_id
            while above is not None and len(ancestors) < MAX_ANCESTORS:
                parent = await queries.job_record(tx, above)
                if parent is None:
                    break
                ancestors.append(parent)
                above = parent.job.parent_id
            made = await tx.fetch(CHILDREN, job.id, MAX_CHILDREN)
            return Tree(ancestors, await _records(tx, [row["id"] for row in made]))

        return await self._database.read(unit)


OWN = """
    SELECT * FROM jobs WHERE user_id = $1 AND images > 0 AND deleted_at IS NULL AND id < $2 ORDER BY id DESC LIMIT $3
"""
CHILDREN = "SELECT id FROM jobs WHERE parent_id = $1 AND images > 0 AND deleted_at IS NULL ORDER BY id LIMIT $2"
FAVORITES = """
    SELECT jobs.* FROM favorites JOIN jobs ON jobs.id = favorites.job
    WHERE favorites.user_id = $1 AND favorites.job < $2 AND jobs.deleted_at IS NULL
    ORDER BY favorites.job DESC LIMIT $3
"""


async def _records(tx: Tx, job_ids: Sequence[str]) -> Sequence[JobRecord]:
    found = [await queries.job_record(tx, each) for each in job_ids]
    return [each for each in found if each is not None]
