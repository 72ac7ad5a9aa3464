"""Requests by message: what becomes a job, what the card is, and what is refused."""

import asyncio
from typing import Any

import pytest

from bot.core.cards import ReplyPath, paths
from bot.core.errors import DeliverLater, PathClosed
from bot.core.jobs import State, Verb
from bot.core.quota import Block, Holder, Limits, Rule, Unit
from bot.core.server_settings import ServerSettings
from bot.core.windows import Window
from bot.store.quotas import By
from bot.ui.messages import requests
from tests.ui.stage import PNG, Stage, buttons, gallery, on_stage, text


async def opened(on: Stage, *channels: Any) -> None:
    """Make *channels*, or the stage's, channels for requests by message."""
    ids = tuple(each.id for each in channels or (on.channel,))
    by = By(f"generation {ids}", on.guild.id, 1, on.rig.time.now)
    await on.rig.services.quotas.change_server_settings(
        by, lambda now: now.model_copy(update={"generation": ids}), body={"setting": "other"}
    )
    await on.client.interface.messages.load()


def said(on: Stage, *, channel: Any = None) -> list[Any]:
    """The messages of the bot in a channel, oldest first."""
    place = (channel or on.channel).id
    found = [each for each in on.env.backend.messages[place].values() if each.author_id == on.client.user.id]  # type: ignore[union-attr]
    return sorted(found, key=lambda each: each.id)


def mention(on: Stage, words: str) -> str:
    return f"{on.client.user.mention} {words}"  # type: ignore[union-attr]


@on_stage(mentions=True)
async def test_a_message_that_mentions_the_bot_gets_a_card_as_its_reply_that_works_like_any_other(on: Stage) -> None:
    await opened(on)
    asked = await on.alice.send(on.channel, mention(on, "a lighthouse --ar 16:9"))
    job = await on.newest()
    card, reply = await on.card(job), (await on.record(job.id)).reply

    assert (job.request.verb, job.request.prompt) == (Verb.IMAGINE, "a lighthouse")
    assert job.request.options["aspect_ratio"] == "16:9"
    assert (job.place.user_id, job.place.channel_id, job.place.guild_id) == (on.alice.id, on.channel.id, on.guild.id)
    assert job.acked_at is not None
    assert said(on)[0].reference["message_id"] == str(asked.id)
    assert not card.ephemeral
    assert paths(reply, now=on.rig.time.now, final=True) == (ReplyPath.CHANNEL,)

    await on.finish(job)
    assert len(gallery(await on.card(job))) == 1
    assert len(said(on)) == 1
    menu = await on.alice.click(await on.card(job), label="More…")
    assert "Full prompt" in buttons(menu).values()


@on_stage(mentions=True)
async def test_pictures_of_the_message_and_of_the_one_that_it_replies_to_are_edited(on: Stage) -> None:
    await opened(on)
    _, first = await on.imagine()
    await on.finish(first)
    result = await on.card(first)
    await on.alice.send(on.channel, mention(on, "at night"), attachments=[PNG], reply_to=result)

    job = await on.newest()

    assert job.request.verb is Verb.EDIT
    assert [each.filename for each in job.request.references] == ["in.png", f"{first.id}-1.png"]
    assert job.parent_id == first.id
    assert job.source == f"{on.guild.id}/{on.channel.id}/{result.id}"


@on_stage(mentions=True)
async def test_a_message_that_discord_sends_twice_makes_one_job_and_one_card(on: Stage) -> None:
    await opened(on)
    seen: list[Any] = []
    parse, state = on.client._connection.parsers["MESSAGE_CREATE"], on.client._connection

    def keep(data: Any) -> None:
        seen.append(data)
        parse(data)

    state.parsers["MESSAGE_CREATE"] = keep
    await on.alice.send(on.channel, mention(on, "a lighthouse"))
    parse(next(each for each in seen if each["author"]["id"] == str(on.alice.id)))
    await on.env.settle()

    assert await on.jobs() == 1
    assert len(said(on)) == 1


@on_stage(mentions=True)
async def test_messages_elsewhere_and_of_bots_are_no_requests(on: Stage) -> None:
    elsewhere = on.guild.create_text_channel("talk")
    await opened(on)
    await on.alice.send(elsewhere, mention(on, "a lighthouse"))
    await on.alice.send(on.channel, "a lighthouse")
    await on.alice.send(on.channel, f"{on.bob.mention} a lighthouse")

    assert await on.jobs() == 0
    assert said(on) == said(on, channel=elsewhere) == []


@on_stage(message_content=True)
async def test_with_message_content_words_need_no_mention(on: Stage) -> None:
    await opened(on)
    await on.alice.send(on.channel, "a lighthouse")
    await on.alice.send(on.channel, "", attachments=[PNG])  # without words it is no request

    assert (await on.newest()).request.prompt == "a lighthouse"
    assert len(said(on)) == 1


@on_stage(mentions=True, limits=Limits(user_day_images=1))
async def test_a_member_is_told_of_a_refusal_once_a_minute_and_only_for_a_while(on: Stage) -> None:
    await opened(on)
    await on.alice.send(on.channel, mention(on, "a lighthouse"))
    for _ in range(3):
        await on.alice.send(on.channel, mention(on, "a boat"))
    await on.bob.send(on.channel, mention(on, ""))

    _, limit, empty = [text(each) for each in said(on)]
    assert limit == f"⏸️ {on.alice.mention}: limit reached. `/usage` shows which one and when it resets."
    assert empty.startswith("Your prompt is empty.")
    await on.go(requests.SHOWN_FOR + 1)
    assert len(said(on)) == 1
    await on.go(requests.TOLD_EVERY / 1000)
    await on.alice.send(on.channel, mention(on, "a boat"))
    assert len(said(on)) == 2
    assert await on.jobs() == 1


@on_stage(mentions=True)
async def test_a_blocked_member_gets_a_reaction_and_no_words(on: Stage) -> None:
    await opened(on)
    by = By("block", on.guild.id, 1, on.rig.time.now)
    await on.rig.services.quotas.block(by, Block(Holder.USER, on.alice.id))
    asked = await on.alice.send(on.channel, mention(on, "a lighthouse"))

    shown = on.env.backend.get_message(on.channel.id, asked.id)
    assert [each.emoji for each in shown.reactions] == ["🚫"]
    assert said(on) == []


@on_stage(mentions=True)
async def test_channel_rules_and_limits_of_roles_apply(on: Stage) -> None:
    other = on.guild.create_text_channel("closed")
    await opened(on, on.channel, other)
    role = on.guild.create_role("none")
    carol = on.guild.add_member(on.env.create_user("carol"), roles=[role])
    quotas, by = on.rig.services.quotas, By("rule", on.guild.id, 1, on.rig.time.now)
    await quotas.set_rule(by, Rule(Holder.ROLE, role.id, Unit.IMAGES, Window.DAY, 0))
    await quotas.change_server_settings(
        By("deny", on.guild.id, 1, on.rig.time.now),
        lambda now: now.model_copy(update={"denied": (other.id,)}),
        body={"setting": "other"},
    )
    await on.alice.send(other, mention(on, "a lighthouse"))
    await carol.send(on.channel, mention(on, "a lighthouse"))

    assert [text(each).split(".")[0] for each in said(on, channel=other)] == ["Pictures aren't enabled in this channel"]
    assert ["limit reached" in text(each) for each in said(on)] == [True]
    assert await on.jobs() == 0


@on_stage(mentions=True)
async def test_nothing_is_ordered_without_a_shown_card(on: Stage) -> None:
    """Refused by Discord: withdrawn at once. Not known: the worker is left to look for the card."""
    await opened(on)
    errors: list[Exception] = [PathClosed("no"), DeliverLater("lost")]

    async def fail(*_: object) -> int:
        raise errors.pop(0)

    on.client.interface.messages._answer_message = fail
    await on.alice.send(on.channel, mention(on, "a lighthouse"))
    await on.bob.send(on.channel, mention(on, "a boat"))

    states = {job.place.user_id: job for each in await on.rig.store.due_jobs() for job in [await on.rig.job(each)]}
    assert states.keys() == {on.bob.id}
    assert states[on.bob.id].acked_at is None
    assert [text(each).startswith("Discord doesn't let the bot answer here") for each in said(on)] == [True]
    lost = await on.record(states[on.bob.id].id)
    assert await on.messenger.find(lost.reply) is None


@on_stage(mentions=True)
async def test_a_card_whose_acknowledgement_was_lost_is_found_after_the_message(on: Stage) -> None:
    await opened(on)
    post = on.client.interface.messages._answer_message

    async def lose(*args: Any) -> int:
        await post(*args)
        raise DeliverLater("lost")

    on.client.interface.messages._answer_message = lose
    await on.alice.send(on.channel, mention(on, "a lighthouse"))
    job = await on.newest()
    reply = (await on.record(job.id)).reply

    assert (job.state, reply.message_id) == (State.ACCEPTED, None)
    assert await on.messenger.find(reply) == (said(on)[0].id, False)


@on_stage(mentions=True)
async def test_channels_that_another_process_has_added_are_noticed(on: Stage) -> None:
    settings = ServerSettings(generation=(on.channel.id,))
    by = By("other", on.guild.id, 1, on.rig.time.now)
    await on.rig.services.quotas.change_server_settings(by, lambda _: settings, body={"setting": "other"})

    await on.alice.send(on.channel, mention(on, "a lighthouse"))

    assert await on.jobs() == 1


@on_stage(mentions=True)
async def test_other_messages_cost_no_task_and_no_query(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await opened(on)
    state, tasks = on.client._connection, len(asyncio.all_tasks())
    reads: list[object] = []
    monkeypatch.setattr(type(on.rig.store.database), "read", reads.append)
    raw = {"id": "1", "channel_id": str(on.channel.id), "guild_id": str(on.guild.id), "author": {"id": "2"}}
    for each in ({}, {"mentions": [{"id": "3"}]}, {"mentions": None}):
        state.parsers["MESSAGE_CREATE"](raw | each)
    for event in ("MESSAGE_UPDATE", "MESSAGE_DELETE", "MESSAGE_DELETE_BULK"):
        state.parsers[event](raw)

    assert len(asyncio.all_tasks()) == tasks
    assert reads == []
