"""Threads on results: opening them, and editing in them by mentioning the bot."""

from typing import Any

import discord
import pytest

from bot.core.jobs import Job, Verb
from bot.core.server_settings import ServerSettings
from bot.store.quotas import By
from bot.ui.transport.threads import MAX_NAME_LENGTH, thread_name
from tests.ui.messages.test_requests import mention, said
from tests.ui.stage import PNG, Stage, buttons, on_stage, text

NO_THREADS = discord.PermissionOverwrite(create_public_threads=False)


async def threads_on(on: Stage) -> None:
    by = By("threads", on.guild.id, 1, on.rig.time.now)
    await on.rig.services.quotas.change_server_settings(
        by, lambda _: ServerSettings(threads=True), body={"setting": "other"}
    )


async def root(on: Stage, prompt: str = "a lighthouse in a storm") -> tuple[Job, Any]:
    """A finished result in the channel, and the thread on it."""
    await threads_on(on)
    _, job = await on.imagine(prompt)
    await on.finish(job)
    (thread,) = on.channel.threads
    return job, thread


async def edit_in(on: Stage, thread: Any, words: str, *, by: Any = None, finish: bool = True) -> Job:
    await (by or on.alice).send(thread, mention(on, words))
    job = await on.newest()
    if finish:
        await on.finish(job)
    return job


async def press_in_menu(on: Stage, who: Any, job: Job, label: str) -> Any:
    menu = await who.click(await on.card(job), label="More…")
    return await who.click(menu.response.message, label=label)


@on_stage()
async def test_an_edit_with_a_thread_gets_one_on_its_finished_card_and_only_one(on: Stage) -> None:
    pending = await on.alice.slash(on.channel, "edit", prompt="at night", image=PNG, thread=True)
    job = await on.newest()
    assert on.channel.threads == []
    await on.finish(job)

    (thread,) = on.channel.threads
    assert (thread.name, thread.id) == ("at night", (await on.record(job.id)).reply.message_id)
    await on.rig.store.request_redraw([job.id], now=on.rig.time.now)
    await on.rig.delivery.run_due()
    assert len(on.channel.threads) == 1
    assert not (await on.record(job.id)).reply.thread
    assert not pending.ephemeral


@on_stage()
async def test_a_thread_that_cannot_be_opened_is_refused_before_anything_is_made(on: Stage) -> None:
    closed = on.guild.create_text_channel("closed", overwrites={on.guild.default_role: NO_THREADS})
    refusals = [
        await on.alice.slash(closed, "edit", prompt="at night", image=PNG, thread=True),
        await on.alice.slash(on.channel, "edit", prompt="at night", image=PNG, thread=True, private=True),
    ]

    assert all("**Create Public Threads**" in text(each) and each.ephemeral for each in refusals)
    assert await on.jobs() == 0


@on_stage()
async def test_with_threads_on_each_public_result_gets_one_and_no_other_job_does(on: Stage) -> None:
    job, thread = await root(on)
    _, private = await on.imagine("secret", private=True)
    await on.finish(private)
    _, failed = await on.imagine("failing")
    await on.fail(failed)
    await on.alice.slash(thread, "imagine", prompt="inside")
    inside = await on.newest()
    await on.finish(inside)

    assert thread.name == "a lighthouse in a storm"
    assert len(on.channel.threads) == 1
    assert (await on.record(job.id)).reply.message_id == thread.id


@on_stage(mentions=True)
async def test_a_mention_in_the_thread_edits_its_newest_picture_for_the_writer(on: Stage) -> None:
    first, thread = await root(on)

    second = await edit_in(on, thread, "at night")
    third = await edit_in(on, thread, "with a boat --seed 7", by=on.bob, finish=False)

    assert (second.request.verb, second.request.prompt, second.parent_id) == (Verb.EDIT, "at night", first.id)
    assert [each.filename for each in second.request.references] == [f"{first.id}-1.png"]
    assert (second.place.channel_id, second.place.parent_id) == (thread.id, on.channel.id)
    assert (third.parent_id, third.place.user_id) == (second.id, on.bob.id)
    assert third.request.options["seed"] == 7
    assert third.source == f"{on.guild.id}/{thread.id}/{(await on.record(second.id)).reply.message_id}"
    assert len(said(on, channel=thread)) == 2


@on_stage(mentions=True)
async def test_a_reply_in_the_thread_edits_the_picture_that_it_replies_to(on: Stage) -> None:
    first, thread = await root(on)
    second = await edit_in(on, thread, "at night")
    await edit_in(on, thread, "with a boat")
    await on.bob.send(thread, mention(on, "in snow"), reply_to=await on.card(second))

    assert (await on.newest()).parent_id == second.id
    assert first.parent_id is None


@on_stage(mentions=True)
async def test_back_a_step_edits_the_parent_until_there_is_a_newer_result(on: Stage) -> None:
    first, thread = await root(on)
    second = await edit_in(on, thread, "at night")

    pressed = await press_in_menu(on, on.bob, second, "Back a step")
    again = await edit_in(on, thread, "with a boat")
    after = await edit_in(on, thread, "in snow", finish=False)

    reply = (await on.record(first.id)).reply
    assert f"/{reply.channel_id}/{reply.message_id})" in text(pressed)
    assert pressed.response.ephemeral
    assert (second.parent_id, again.parent_id, after.parent_id) == (first.id, first.id, again.id)


@on_stage(mentions=True)
async def test_mentions_in_other_threads_are_no_requests(on: Stage) -> None:
    started = await on.alice.send(on.channel, "about lighthouses")
    backend = on.env.backend
    backend.create_thread(on.channel.id, "talk", on.alice.id, message_id=started.id)
    (thread,) = on.channel.threads
    await on.alice.slash(thread, "imagine", prompt="a boat")
    job = await on.newest()
    await on.finish(job)
    await on.alice.send(thread, mention(on, "at night"))

    assert await on.jobs() == 0


@on_stage(mentions=True)
async def test_more_offers_to_continue_in_a_thread_where_it_can_be_opened(on: Stage) -> None:
    closed = on.guild.create_text_channel("closed", overwrites={on.guild.default_role: NO_THREADS})
    _, job = await on.imagine()
    await on.finish(job)
    await on.alice.slash(closed, "imagine", prompt="a boat")
    there = await on.newest()
    await on.finish(there)

    opened = await press_in_menu(on, on.bob, job, "Continue in a thread")
    again = await press_in_menu(on, on.alice, job, "Continue in a thread")
    menu = await on.alice.click(await on.card(there), label="More…")

    (thread,) = on.channel.threads
    assert f"Opened <#{thread.id}>" in text(opened) == text(again)
    assert "Continue in a thread" not in buttons(menu).values()


@on_stage()
async def test_without_messages_a_result_is_not_continued_in_a_thread(on: Stage) -> None:
    job, _ = await root(on)

    menu = await on.alice.click(await on.card(job), label="More…")
    forced = await on.alice.click(menu.response.message, custom_id=f"j1:{job.id}:files")

    assert not {"Continue in a thread", "Back a step"} & set(buttons(menu).values())
    assert forced.ephemeral


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a\nboat\u202e ", "a boat"),
        ("\u200b", "🖼️"),
        ("word " * 30, "word word word word word word word word word word word…"),
        ("x" * 200, "x" * (MAX_NAME_LENGTH - 1) + "…"),
    ],
)
def test_a_thread_is_named_by_the_first_words(prompt: str, name: str) -> None:
    assert thread_name(prompt) == name
