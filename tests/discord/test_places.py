"""Proves who sees what where: hidden and quiet channels, other people's messages, user installs, direct channels."""

import discord as dpy
import httpx
import pytest

from tests.discord.cdn import Upload
from tests.discord.client import SILENT, Event, card, png, show
from tests.discord.conftest import Scene


async def test_a_hidden_channel_accepts_answers_by_token_only(scene: Scene) -> None:
    hidden = scene.guild.add_channel("hidden", bot_sees=False)

    async def answer(event: Event) -> dpy.Permissions:
        await show(event)
        return event.app_permissions

    scene.bot.handle = answer
    handle = await scene.alice.slash(hidden, "paint", prompt="a dog")
    permissions: dpy.Permissions = await scene.bot.outcome()

    assert not permissions.view_channel
    assert handle.message is not None
    with pytest.raises(dpy.Forbidden) as refused:
        await scene.edit_by_channel(handle.message)
    assert refused.value.code == 50001


async def test_a_message_needs_the_permission_to_post(scene: Scene) -> None:
    quiet = scene.guild.add_channel("quiet", bot_can_post=False)

    with pytest.raises(dpy.Forbidden) as refused:
        await scene.bot.get_partial_messageable(quiet.id).send(view=card(), allowed_mentions=SILENT)
    assert refused.value.code == 50013


async def test_other_peoples_messages_are_empty_to_read_but_complete_in_a_menu(scene: Scene) -> None:
    embed = {"image": Upload("cat.png", png("blue"))}
    message = scene.channel.post(scene.alice, "look", attachments=[Upload("dog.png", png())], embeds=[embed])

    async def keep(event: Event) -> dpy.Message:
        await show(event)
        read: dpy.Message = event.extras["message"]
        return read

    scene.bot.handle = keep
    await scene.alice.menu(scene.channel, "Edit this", message)
    target: dpy.Message = await scene.bot.outcome()
    read = await scene.bot.get_partial_messageable(scene.channel.id).fetch_message(message.id)

    assert (read.content, read.attachments, read.embeds) == ("", [], [])
    assert target.content == "look"
    assert await target.attachments[0].read() == png()
    async with httpx.AsyncClient() as client:
        assert (await client.get(str(target.embeds[0].image.proxy_url))).content == png("blue")
        scene.clock.ahead += 25 * 3600
        assert (await client.get(target.attachments[0].url)).status_code == 404


async def test_an_app_only_the_member_installed_gets_five_follow_ups_and_no_channel(scene: Scene) -> None:
    place = scene.discord.add_guild("Elsewhere", bot_in=False).add_channel("general", external_apps=False)
    assert place.guild is not None
    bob = scene.discord.add_member("bob", place.guild, installed=True)

    async def many(event: Event) -> None:
        await show(event)
        assert event.is_user_integration()
        assert not event.is_guild_integration()
        for _ in range(6):
            await event.followup.send(view=card(), allowed_mentions=SILENT)

    scene.bot.handle = many
    handle = await bob.slash(place, "paint", prompt="a dog")

    assert await scene.refusal() == (400, 40094)
    assert (await handle.acked()).ephemeral
    assert len(handle.followups) == 5
    with pytest.raises(dpy.Forbidden):
        await scene.bot.get_partial_messageable(place.id).send(view=card(), allowed_mentions=SILENT)


async def test_a_direct_channel_works_with_its_own_context(scene: Scene) -> None:
    async def answer(event: Event) -> dpy.Interaction[dpy.Client]:
        await show(event)
        return event

    scene.bot.handle = answer
    handle = await scene.alice.slash(scene.alice.dm(), "paint", prompt="a dog")
    event: Event = await scene.bot.outcome()

    assert event.context.dm_channel
    assert event.guild_id is None
    assert handle.message is not None
    await scene.edit_by_channel(handle.message)
    opened = await (await scene.bot.fetch_channel(handle.channel.id)).send(  # type: ignore[union-attr]
        view=card("news"), allowed_mentions=SILENT
    )
    assert opened.id == handle.channel.messages[-1].id
    scene.alice.user.takes_dms = False
    with pytest.raises(dpy.Forbidden) as refused:
        await opened.channel.send(view=card(), allowed_mentions=SILENT)
    assert refused.value.code == 50007


async def test_a_message_gets_one_thread_which_has_its_id(scene: Scene) -> None:
    message = scene.channel.post(scene.alice, "look")

    async def open_thread() -> str:
        opened = await scene.bot.http.start_thread_with_message(
            scene.channel.id, message.id, name="talk", auto_archive_duration=1440
        )
        return str(opened["id"])

    assert await open_thread() == str(message.id)
    with pytest.raises(dpy.HTTPException) as refused:
        await open_thread()
    assert refused.value.code == 160004
