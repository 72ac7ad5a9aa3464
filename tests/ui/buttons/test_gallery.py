"""A result that enough members like is copied to the gallery once, and its deletion takes the copy down."""

from typing import Any

from bot.core.jobs import Job
from tests.ui.interactions.test_helping_buttons import server
from tests.ui.stage import Stage, on_stage, walk


async def liked(on: Stage, job: Job, *who: Any) -> None:
    for each in who:
        menu = await each.click(await on.card(job), label="More…")
        await each.click(menu.response.message, label="Favorite")


async def made(on: Stage, **options: Any) -> Job:
    _, job = await on.imagine("a red fox", **options)
    await on.finish(job)
    return job


def said(message: Any) -> str:
    components = [each.to_dict() for each in message.components]
    return "\n".join(each["content"] for each in walk(components) if each.get("type") == 10)


@on_stage()
async def test_the_second_of_two_favorites_copies_a_result_with_author_and_link(on: Stage) -> None:
    hall = on.guild.create_text_channel("hall")
    await server(on, gallery=hall.id, gallery_stars=2)
    job = await made(on)

    await liked(on, job, on.alice)
    assert hall.history() == []
    await liked(on, job, on.bob)

    (copy,) = hall.history()
    message_id = (await on.record(job.id)).reply.message_id
    assert "**a red fox**" in said(copy)
    assert f"<@{on.alice.id}>" in said(copy)
    assert f"/{on.channel.id}/{message_id}" in said(copy)


@on_stage()
async def test_a_result_is_copied_once_however_often_it_is_liked(on: Stage) -> None:
    hall = on.guild.create_text_channel("hall")
    await server(on, gallery=hall.id, gallery_stars=1)
    job = await made(on)

    await liked(on, job, on.alice)
    menu = await on.alice.click(await on.card(job), label="More…")
    await on.alice.click(menu.response.message, label="Remove favorite")
    await liked(on, job, on.alice, on.bob)

    assert len(hall.history()) == 1


@on_stage()
async def test_deleting_a_result_takes_its_copy_down(on: Stage) -> None:
    hall = on.guild.create_text_channel("hall")
    await server(on, gallery=hall.id, gallery_stars=1)
    job = await made(on)
    await liked(on, job, on.bob)
    assert len(hall.history()) == 1

    await on.delete(on.alice, await on.card(job))

    assert hall.history() == []
    assert await on.rig.services.gallery.find(job.id) is None


@on_stage()
async def test_private_results_and_servers_without_a_gallery_have_no_copies(on: Stage) -> None:
    hall = on.guild.create_text_channel("hall")
    job = await made(on)
    await liked(on, job, on.alice, on.bob)
    await server(on, gallery=hall.id, gallery_stars=1)
    await liked(on, await made(on, private=True), on.alice)

    assert hall.history() == []


@on_stage()
async def test_a_copy_that_cannot_be_posted_is_tried_again_with_the_next_favorite(on: Stage) -> None:
    hall = on.guild.create_text_channel("hall")
    await server(on, gallery=hall.id, gallery_stars=1)
    job = await made(on)
    on.env.inject_error("POST", f"/channels/{hall.id}/messages", status=403, code=50013, message="Missing Permissions")

    await liked(on, job, on.alice)
    assert hall.history() == []
    await liked(on, job, on.bob)

    assert len(hall.history()) == 1
