"""The command `/demo`, which only the demo has."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.core.jobs import Job, State
from bot.sandbox import demo
from bot.sandbox.demo_server import sample_picture
from bot.sandbox.service import Pace

SLOW = Pace(queue_s=600, run_s=600)
HARBOUR = ("harbour.png", sample_picture())


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[demo.Scene]:
    """No fixture: the local Discord must end in the context that started it."""
    async with demo.stage(folder / "demo", port=0, pace=SLOW) as scene:
        yield scene


async def jobs_of(scene: demo.Scene, member: Any) -> list[Any]:
    return [each.job for each in (await scene.app.services.store.open_jobs(member.id, since=0))[0]]


async def test_the_menu_edits_the_newest_picture_by_somebody_else(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        at = scene.server
        first = await at.ben.send(at.pictures, "Our harbour", attachments=[HARBOUR])
        await at.ada.send(at.pictures, "Mine", attachments=[("mine.png", sample_picture())])

        form = await at.ada.slash(at.pictures, "demo menu", entry="Edit this")
        await at.ada.submit_modal(form, {"prompt": "at night"})

        (job,) = await jobs_of(scene, at.ada)
        assert [each.url for each in job.request.references] == [first.attachments[0].url]
        assert job.source == f"{at.id}/{at.pictures.id}/{first.id}"


async def test_the_menu_offers_the_messages_with_pictures_and_takes_the_chosen_one(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        at = scene.server
        older = await at.ben.send(at.pictures, "Our harbour", attachments=[HARBOUR])
        await at.mia.send(at.pictures, "Without a picture")
        await at.ben.send(at.pictures, "Again", attachments=[HARBOUR])

        offered = await at.ada.autocomplete(at.pictures, "demo menu", "message", "harb", entry="Add to tray")
        await at.ada.slash(at.pictures, "demo menu", entry="Add to tray", message=str(older.id))

        assert [(each["name"], each["value"]) for each in offered] == [("Ben: Our harbour", str(older.id))]
        tray = await scene.app.services.trays.read(at.ada.id, now=scene.app.services.clock())
        assert [each.url for _, each in tray] == [older.attachments[0].url]


async def test_without_a_picture_the_menu_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        at = scene.server
        await at.ada.send(at.pictures, "Mine", attachments=[HARBOUR])

        answer = await at.ada.slash(at.pictures, "demo menu", entry="Edit this")

        assert answer.response.ephemeral
        assert answer.response.content == "There's no picture by another member in this channel."


async def until(scene: demo.Scene, job_id: str, is_so: Callable[[Job], bool]) -> State:
    """Wait until *is_so* for the job, which is asked whenever a job has changed. Returns its state."""
    changed = asyncio.Event()
    scene.app.services.store.on_job(lambda _: changed.set())
    async with asyncio.timeout(30):
        while True:
            job = await scene.app.services.store.job(job_id)
            assert job is not None
            if is_so(job):
                return job.state
            await changed.wait()
            changed.clear()


async def imagined(scene: demo.Scene, prompt: str) -> str:
    at = scene.server
    known = {each.id for each in await jobs_of(scene, at.ada)}
    await at.ada.slash(at.pictures, "imagine", prompt=prompt)
    return next(str(each.id) for each in await jobs_of(scene, at.ada) if each.id not in known)


async def trouble(scene: demo.Scene, title: str) -> str:
    answer = await scene.server.noor.slash(scene.server.pictures, "demo trouble", service=title)
    assert answer.response.ephemeral
    return str(answer.response.content)


async def test_with_an_empty_account_jobs_wait_and_are_tried_again_once_it_is_back_to_normal(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        said = await trouble(scene, "Out of credit")
        job = await imagined(scene, "a fox")
        known, health = scene.app.services.availability, scene.app.jobs.health
        await until(scene, job, lambda each: len(known.outages) == 2 and each.state is State.ACCEPTED)
        before = health.accepts_at("runcomfy")

        await trouble(scene, "Back to normal")

        assert "empty" in said
        assert before is None
        assert health.accepts_at("runcomfy") is not None
        assert not list(scene.service.faults)


@pytest.mark.prove
async def test_one_request_is_refused_and_the_next_one_is_not(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        scene.service.pace = Pace(queue_s=0, run_s=0)
        await trouble(scene, "Refuse the next request")

        first = await imagined(scene, "a fox")
        assert await until(scene, first, lambda each: each.state.is_final) is State.REFUSED

        second = await imagined(scene, "an owl")
        assert await until(scene, second, lambda each: each.state.is_final) is State.SUCCEEDED


async def test_a_slow_service_gets_its_old_pace_back(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        scene.service.pace = before = Pace(queue_s=0, run_s=1)

        await trouble(scene, "Slow")
        slow = scene.service.pace
        await trouble(scene, "Down")

        assert slow.run_s > before.run_s
        assert scene.service.pace == before
        assert [each.do for each in scene.service.faults] == ["envelope_503"]
