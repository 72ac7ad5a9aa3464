"""What retention deletes, and what it keeps."""

import os
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from bot.core.cards import Picture
from bot.core.jobs import HOUR, Job, State, Verb
from bot.core.processes import EVERY_ROLE, Process
from bot.core.request_draft import RequestDraft
from bot.jobs import converted_references
from bot.maintenance.retention import Retention
from bot.store.processes import Processes
from tests.kit import ALICE, NOON, Rig, rig
from tests.store.ledger_model import rows

JOB = "01M7Y0XSNXXPA2WVYTX3MESRVG"


def _write(path: Path, *, hours_ago: int) -> None:
    path.write_bytes(b"bytes")
    at = (NOON - hours_ago * HOUR) / 1000
    os.utime(path, (at, at))


async def test_files_without_a_row_are_deleted_after_an_hour(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await app.until_final(job_id)
    _write(app.folder / f"{job_id}-1.png", hours_ago=2)
    _write(app.folder / f"{JOB}-1.png", hours_ago=2)
    _write(app.folder / f"{JOB}-2.webp.part", hours_ago=2)
    _write(app.folder / f"{JOB}-3.png", hours_ago=0)
    _write(app.folder / "the operator's own.png", hours_ago=490)
    retention = Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30)

    await retention.run_once()

    assert sorted(each.name for each in app.folder.glob("*.*g*")) == sorted(
        [f"{job_id}-1.png", f"{JOB}-3.png", "the operator's own.png"]
    )


async def test_converted_references_are_deleted_when_their_job_has_ended_or_their_links_expire(app: Rig) -> None:
    kinds = ("-r1.jpg", "-r2.png", "-r3.png.part")
    active, ended, lost = await app.edit(), await app.edit(), JOB
    await app.services.jobs.cancel(ended, user_id=ALICE)
    folder = app.folder / converted_references.FOLDER
    folder.mkdir()
    for job_id in (active, ended, lost):
        for kind in kinds:
            (folder / (job_id + kind)).write_bytes(b"bytes")
    retention = Retention(app.services, storage=app.storage, keep_hours=48, keep_prompts_days=30)

    await retention.run_once()
    assert sorted(each.name for each in folder.glob("*-r*")) == [active + kind for kind in kinds]
    app.time.go(24 * 3600)
    await retention.run_once()
    assert list(folder.glob("*-r*")) == []


async def test_a_picture_is_deleted_with_its_row_after_its_retention_time(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await app.until_final(job_id)
    retention = Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30)

    app.time.go(23 * 3600)
    await retention.run_once()
    assert (app.folder / f"{job_id}-1.png").exists()
    app.time.go(2 * 3600)
    await retention.run_once()

    assert not (app.folder / f"{job_id}-1.png").exists()
    assert (await app.services.jobs.card(job_id)).pictures == ()


async def test_pictures_of_an_active_job_are_kept_however_long_the_bot_was_stopped(app: Rig) -> None:
    job_id = await app.imagine(count=2)
    job: Job | None = await app.job(job_id)
    for state in (State.SUBMITTING, State.QUEUED, State.COLLECTING):
        assert job is not None
        job = await app.store.move(job, state, now=app.time.now)
    assert job is not None
    await app.store.add_picture(job, Picture(1, f"{job_id}-1.png", "png", 1, 1, 5), now=app.time.now)
    _write(app.folder / f"{job_id}-1.png", hours_ago=0)
    await app.delivery.run_due()
    retention = Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30)

    app.time.go(49 * 3600)
    await retention.run_once()

    assert (app.folder / f"{job_id}-1.png").exists()
    assert len((await app.services.jobs.card(job_id)).pictures) == 1


async def test_prompts_are_deleted_after_their_retention_time_from_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_sqlite_keep_what_it_frees(monkeypatch)
    async with rig(tmp_path) as app:
        ended = await _ask(app, "a heron")
        await app.services.jobs.cancel(ended, user_id=ALICE)
        going_on = await _ask(app, "an otter")
        retention = Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30)

        app.time.go(30 * 24 * 3600)
        await retention.run_once()
        assert (await app.job(ended)).request.prompt == "a heron"
        assert _files_with(app.folder, "a heron")

        app.time.go(3600)
        await retention.run_once()
        assert [(await app.job(each)).request.prompt for each in (ended, going_on)] == ["", "an otter"]
        assert _files_with(app.folder, "an otter")
        assert not _files_with(app.folder, "a heron")


def _let_sqlite_keep_what_it_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in most builds of SQLite, where secure deletion is off by default; in Debian's it is on."""
    connect = aiosqlite.connect

    async def opened(*given: Any, **more: Any) -> aiosqlite.Connection:
        connection = await connect(*given, **more)
        await connection.execute_fetchall("PRAGMA secure_delete = OFF")
        return connection

    monkeypatch.setattr(aiosqlite, "connect", opened)


async def _ask(app: Rig, prompt: str) -> str:
    card = await app.services.requests.accept(app.context(), RequestDraft(verb=Verb.IMAGINE, prompt=prompt))
    return card.job.id


def _files_with(folder: Path, words: str) -> list[str]:
    return [each.name for each in folder.iterdir() if words.encode() in each.read_bytes()]


async def test_tokens_and_drafts_are_deleted_when_they_expire(app: Rig) -> None:
    job_id = await app.imagine()
    await app.services.drafts.keep(RequestDraft(verb=Verb.IMAGINE, prompt="a heron"), user_id=ALICE)
    retention = Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30)

    async def left() -> list[int]:
        counts = "SELECT (SELECT count(*) FROM {}) AS n"
        return [(await rows(app.store, counts.format(each)))[0]["n"] for each in ("tokens", "drafts", "interactions")]

    app.time.go(899)
    await retention.run_once()
    assert await left() == [1, 1, 1]
    app.time.go(2)
    await retention.run_once()
    assert await left() == [0, 0, 1]  # the interaction's id stays: Discord may deliver it again
    app.time.go(24 * 3600)
    await retention.run_once()
    assert await left() == [0, 0, 0]
    assert (await app.job(job_id)).request.prompt == "a lighthouse"


async def test_a_process_that_died_is_forgotten_after_a_day(app: Rig) -> None:
    processes = Processes(app.store.database)
    await processes.add(Process(0, EVERY_ROLE, "gone", "", 1, "0", NOON - 25 * HOUR))
    await processes.add(Process(0, EVERY_ROLE, "away", "", 1, "0", NOON - 23 * HOUR))
    await Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30).run_once()
    assert [each.process.host for each in await processes.status()] == ["here", "away"]
