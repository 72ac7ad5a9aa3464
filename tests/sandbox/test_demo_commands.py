"""The command `/demo`, which only the demo has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

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
