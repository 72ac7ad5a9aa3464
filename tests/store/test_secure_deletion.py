"""Deleted data is in no row and, on SQLite, at once in no byte of the database's files."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bot.core.jobs import Reference, Verb
from bot.core.request_draft import RequestDraft
from bot.maintenance.retention import Retention
from bot.store.database import Tx
from bot.store.drafts import Drafts
from tests.kit import ALICE, BOB, Rig, rig
from tests.store.ledger_model import faults

WORDS = "a lighthouse"  # what the rig asks for


def in_files(app: Rig, words: str = WORDS) -> list[str]:
    """The files of the SQLite database that contain *words*, including the WAL."""
    return [each.name for each in app.folder.glob("darkroom.db*") if words.encode() in each.read_bytes()]


async def in_tables(app: Rig, url: str, words: str = WORDS) -> list[str]:
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    if url.startswith("postgres"):
        tables = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"

    async def unit(tx: Tx) -> list[str]:
        content = {row["name"]: await tx.fetch(f'SELECT * FROM "{row["name"]}"') for row in await tx.fetch(tables)}  # noqa: S608
        return [
            name
            for name, table_rows in content.items()
            if any(words in str(tuple(row.values())) for row in map(dict, table_rows))
        ]

    return await app.store.database.read(unit)


async def ended(app: Rig) -> str:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await app.until_final(job_id)
    return job_id


async def test_after_delete_nothing_of_the_request_is_left(tmp_path: Path, url: str) -> None:
    async with rig(tmp_path, url=url) as app:
        job_id = await ended(app)
        job = await app.services.jobs.own_job(job_id, user_id=ALICE)
        requests = [
            app.services.drafts.repeat(job),
            replace(app.services.drafts.repeat(job), prompt=f"{WORDS} by night"),  # typed into the form over that job
            RequestDraft(verb=Verb.IMAGINE, prompt=f" {WORDS}\n"),  # what was refused before it was taken
        ]
        drafts = [await app.services.drafts.keep(each, user_id=ALICE) for each in requests]
        other = await app.services.drafts.keep(RequestDraft(verb=Verb.IMAGINE, prompt="a boat"), user_id=ALICE)
        theirs = await app.services.drafts.keep(RequestDraft(verb=Verb.IMAGINE, prompt="a buoy"), user_id=BOB)
        assert sorted(await in_tables(app, url)) == ["drafts", "jobs"]

        await app.services.jobs.delete(job_id, user_id=ALICE)

        assert (await in_tables(app, url), in_files(app)) == ([], [])
        for each in drafts:
            assert await Drafts(app.store.database).load(each, user_id=ALICE, now=app.time.now) is None
        assert (await app.services.drafts.load(other, user_id=ALICE)).prompt == "a boat"
        assert (await app.services.drafts.load(theirs, user_id=BOB)).prompt == "a buoy"


async def test_a_reader_delays_neither_the_answer_nor_writers_and_afterwards_the_text_is_gone(app: Rig) -> None:
    job_id = await ended(app)
    reading, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def unit(tx: Tx) -> None:
        await tx.fetch("SELECT request FROM jobs")
        loop.call_soon_threadsafe(reading.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)  # in its thread, with its snapshot

    scan = asyncio.create_task(app.store.database.scan(unit))
    await reading.wait()
    log = app.folder / "darkroom.db-wal"
    with closing(sqlite3.connect(app.folder / "darkroom.db")) as database:
        (pages,) = database.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    written = log.stat().st_size
    async with asyncio.timeout(5):
        await app.services.jobs.delete(job_id, user_id=ALICE)
        await app.notes.set("writers", "go on")
    left, grown = in_files(app), log.stat().st_size - written
    go_on.set()
    await scan
    assert left != []
    assert grown < 1.5 * pages, "it is written anew once, however often that is tried"
    async with asyncio.timeout(10):
        await asyncio.gather(*app.services.jobs._background)
    assert in_files(app) == []


async def test_a_copy_in_the_unused_part_of_a_page_is_removed_and_concurrent_deletions_are_served_together(
    app: Rig,
) -> None:
    ids = [await ended(app) for _ in range(5)]
    await app.store.database.purge_deleted()
    path = app.folder / "darkroom.db"
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'drafts'").fetchone()
    with path.open("r+b") as file:  # where SQLite leaves a row now and then that it moved to another page
        file.seek((page - 1) * 4096 + 2000)
        file.write(f"{WORDS}, once more".encode())

    await asyncio.gather(*(app.services.jobs.delete(each, user_id=ALICE) for each in ids))

    assert in_files(app) == []
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_our_own_vacuum_does_not_count_as_an_external_change(app: Rig) -> None:
    await ended(app)
    before = await app.store.database.external_changes()

    assert await app.store.database.purge_deleted(thoroughly=True)
    assert await app.store.database.purge_deleted()

    assert await app.store.database.external_changes() == before


async def test_expired_drafts_and_tokens_and_old_prompts_are_removed_from_the_files(app: Rig) -> None:
    retention = Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30)
    await retention.run_once()
    await ended(app)
    await app.services.drafts.keep(RequestDraft(verb=Verb.IMAGINE, prompt="a buoy"), user_id=BOB)
    app.time.go(14 * 60)
    await retention.run_once()
    assert [bool(in_files(app, each)) for each in ("a buoy", "token-7000", WORDS)] == [True, True, True]

    app.time.go(2 * 60)
    await retention.run_once()
    assert [bool(in_files(app, each)) for each in ("a buoy", "token-7000", WORDS)] == [False, False, True]

    app.time.go(31 * 24 * 3600)
    await retention.run_once()
    assert in_files(app) == []


async def test_erasing_a_member_leaves_no_byte_of_their_words_or_pictures(tmp_path: Path, url: str) -> None:
    async with rig(tmp_path, url=url) as app:
        theirs = [await ended(app) for _ in range(3)]
        job = await app.services.jobs.own_job(theirs[0], user_id=ALICE)
        await app.services.drafts.keep(app.services.drafts.repeat(job), user_id=ALICE)
        await app.services.trays.add(
            ALICE, [Reference(f"https://cdn.discordapp.com/{WORDS}.png", WORDS)], limit=3, now=app.time.now
        )
        others = await app.services.drafts.keep(RequestDraft(verb=Verb.IMAGINE, prompt="a boat"), user_id=BOB)
        pictures = [each for job_id in theirs for each in app.folder.glob(f"{job_id}-*")]
        assert len(pictures) == 3
        assert sorted(await in_tables(app, url)) == ["drafts", "jobs", "tray"]

        assert await app.services.privacy.erase(ALICE) == 3

        assert (await in_tables(app, url), in_files(app)) == ([], [])
        assert not any(each.exists() for each in pictures)
        assert (await app.services.drafts.load(others, user_id=BOB)).prompt == "a boat"
        kept = await app.services.privacy.kept(ALICE)
        assert (kept.prompts, kept.pictures, kept.tray, kept.jobs) == (0, 0, 0, 3)
        assert await faults(app.store) == []  # the books still add up
