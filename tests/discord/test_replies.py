"""Tests replies: first answer, edits, time limits, and access."""

import asyncio

import discord as dpy
import pytest
from discord.webhook.async_ import async_context

from tests.discord.cdn import Upload
from tests.discord.client import SILENT, Event, card, file, png, show
from tests.discord.conftest import Scene


async def test_a_command_arrives_with_every_field_of_discord(scene: Scene) -> None:
    async def keep(event: Event) -> Event:
        await show(event)
        return event

    scene.bot.handle = keep
    picture = Upload("a.png", png(size=(8, 6)))
    await scene.alice.slash(scene.channel, "paint", prompt="a dog", count=2, image1=picture, friend=scene.alice)
    event: Event = await scene.bot.outcome()

    assert (event.extras["prompt"], event.extras["count"]) == ("a dog", 2)
    assert event.extras["friend"].id == event.user.id == scene.alice.id
    assert (event.guild_id, event.channel_id) == (scene.guild.id, scene.channel.id)
    assert event.app_permissions.attach_files
    assert event.filesize_limit == 10 * 1024 * 1024
    assert event.is_guild_integration()
    assert event.extras["image1"].content_type == "image/png"
    assert (event.extras["image1"].width, event.extras["image1"].height) == (8, 6)
    assert await event.extras["image1"].read() == picture.data


async def test_the_first_answer_is_the_card_and_its_files_are_hidden_from_the_attachments(scene: Scene) -> None:
    async def paint(event: Event) -> dpy.Message:
        parts = {"buttons": [("Again", "j1:again")], "pictures": ["attachment://p.png"], "alt": "a dog"}
        await show(event, "done", files=[file("p.png")], **parts)
        return await event.original_response()

    scene.bot.handle = paint
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    ack = await handle.acked()
    read: dpy.Message = await scene.bot.outcome()

    assert (ack.type, ack.ephemeral) == (4, False)
    assert ack.message is handle.message is scene.channel.messages[0]
    assert ack.ms < 3000
    assert handle.message is not None
    assert handle.message.text == "done"
    assert handle.message.buttons == [("Again", "j1:again", False)]
    assert handle.message.gallery[0].alt == "a dog"
    assert handle.message.files() == [png()]
    assert read.attachments == []
    gallery = read.components[0]
    assert isinstance(gallery, dpy.MediaGalleryComponent)
    media = gallery.items[0].media
    assert (media.attachment_id, media.content_type) == (handle.message.attachments[0].id, "image/png")
    assert (media.width, media.height) == (8, 6)
    assert scene.discord.violations == []


async def test_a_deferred_answer_becomes_the_card_and_every_version_is_kept(scene: Scene) -> None:
    async def paint(event: Event) -> None:
        await event.response.defer()
        for text in ("queued", "drawing"):
            await event.edit_original_response(view=card(text), allowed_mentions=SILENT)
        await event.edit_original_response(
            view=card("done", pictures=["attachment://p.png"]), attachments=[file("p.png")], allowed_mentions=SILENT
        )

    scene.bot.handle = paint
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    passing = asyncio.create_task(handle.until(lambda m: m.text == "queued", within=3))
    final = await handle.until(lambda m: bool(m.gallery), within=3)

    assert (await handle.acked()).type == 5
    assert (await passing) is final
    assert [each.text for each in final.history] == ["", "queued", "drawing", "done"]
    assert final.history[0].thinking


async def test_a_file_is_kept_by_its_id_and_dropped_when_it_is_not_listed(scene: Scene) -> None:
    class Kept:
        def __init__(self, attachment_id: int) -> None:
            self.id = attachment_id

        def to_dict(self) -> dict[str, int]:
            return {"id": self.id}

    async def paint(event: Event) -> None:
        await show(event, files=[file("p.png")], pictures=["attachment://p.png"])
        message = handle.message
        assert message is not None
        kept: list[object] = [Kept(message.attachments[0].id)]
        await event.edit_original_response(
            view=card("kept", pictures=["attachment://p.png"]),
            attachments=kept,  # type: ignore[arg-type]
            allowed_mentions=SILENT,
        )
        await event.edit_original_response(
            view=card("dropped", pictures=["attachment://p.png"]), attachments=[], allowed_mentions=SILENT
        )

    scene.bot.handle = paint
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")

    assert await scene.refusal() == (400, 50035)
    assert handle.message is not None
    assert handle.message.text == "kept"
    assert handle.message.files() == [png()]


async def test_the_first_follow_up_takes_the_place_of_a_deferred_answer(scene: Scene) -> None:
    async def paint(event: Event) -> None:
        await event.response.defer(ephemeral=True)
        for text in ("first", "second"):
            await event.followup.send(view=card(text), allowed_mentions=SILENT)
        await event.delete_original_response()
        await event.original_response()

    scene.bot.handle = paint
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")

    assert await scene.refusal() == (404, 10008)
    assert handle.message is not None
    assert (handle.message.text, handle.message.ephemeral, handle.message.deleted) == ("first", True, True)
    assert [each.text for each in handle.followups] == ["second"]
    assert [each.text for each in scene.channel.messages] == ["second"]


async def test_an_answer_after_three_seconds_is_refused(scene: Scene) -> None:
    async def late(event: Event) -> None:
        scene.clock.ahead += 3.5
        await show(event)

    scene.bot.handle = late
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")

    assert await scene.refusal() == (404, 10062)
    assert handle.message is None
    with pytest.raises(TimeoutError, match="unanswered"):
        await handle.acked(within=0.01)


async def test_a_second_answer_is_refused(scene: Scene) -> None:
    async def twice(event: Event) -> None:
        await show(event)
        adapter = async_context.get()
        body = {"type": 5}
        await adapter.create_interaction_response(
            event.id,
            event.token,
            session=scene.bot.http._HTTPClient__session,  # type: ignore[attr-defined]
            params=dpy.http.MultipartParameters(payload=body, multipart=None, files=None),
        )

    scene.bot.handle = twice
    await scene.alice.slash(scene.channel, "paint", prompt="a dog")

    assert await scene.refusal() == (400, 40060)


async def test_a_token_expires_after_fifteen_minutes_and_the_channel_route_does_not(scene: Scene) -> None:
    async def late(event: Event) -> None:
        await show(event)
        scene.clock.ahead += 15 * 60
        await event.edit_original_response(view=card("late"), allowed_mentions=SILENT)

    scene.bot.handle = late
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")

    assert await scene.refusal() == (401, 50027)
    assert handle.message is not None
    await scene.edit_by_channel(handle.message)
    assert handle.message.text == "late"


async def test_an_ephemeral_answer_is_unknown_to_the_channel_route(scene: Scene) -> None:
    scene.bot.handle = lambda event: show(event, ephemeral=True)
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    ack = await handle.acked()

    assert ack.ephemeral
    assert handle.message is not None
    assert scene.channel.messages == []
    with pytest.raises(dpy.NotFound) as refused:
        await scene.edit_by_channel(handle.message)
    assert refused.value.code == 10008


async def test_a_deleted_answer_is_unknown_to_both_routes(scene: Scene) -> None:
    async def deleted(event: Event) -> None:
        await show(event)
        assert handle.message is not None
        await scene.alice.delete(handle.message)
        await event.edit_original_response(view=card("late"), allowed_mentions=SILENT)

    scene.bot.handle = deleted
    handle = await scene.alice.slash(scene.channel, "paint", prompt="a dog")

    assert await scene.refusal() == (404, 10008)
    assert handle.message is not None
    with pytest.raises(dpy.NotFound):
        await scene.edit_by_channel(handle.message)


@pytest.mark.parametrize(("sizes", "limit"), [([2000], 1999), ([9 * 2**20] * 3, 10 * 2**20)])
async def test_files_too_large_alone_or_together_are_refused(scene: Scene, sizes: list[int], limit: int) -> None:
    scene.guild.size_limit = limit
    files = [file(f"p{n}.bin", bytes(size)) for n, size in enumerate(sizes)]
    scene.bot.handle = lambda event: show(event, files=files)
    await scene.alice.slash(scene.channel, "paint", prompt="a dog")

    assert await scene.refusal() == (413, 40005)


async def test_the_same_nonce_makes_one_message(scene: Scene) -> None:
    place = scene.bot.get_partial_messageable(scene.channel.id)
    first = await place.send(view=card("once"), nonce="job-1", allowed_mentions=SILENT)
    again = await place.send(view=card("once"), nonce="job-1", allowed_mentions=SILENT)

    assert first.id == again.id
    assert len(scene.channel.messages) == 1


async def test_a_message_that_could_mention_people_is_a_violation(scene: Scene) -> None:
    sent = await scene.bot.get_partial_messageable(scene.channel.id).send(view=card(), allowed_mentions=SILENT)
    assert scene.discord.violations == []

    await sent.edit(view=card("again"))

    assert len(scene.discord.violations) == 1
