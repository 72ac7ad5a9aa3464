"""A member's preferences and what is stored about them: chosen, applied, exported and erased."""

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import discord

from bot.core.preferences import Notify, Preferences
from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.store.quotas import By
from tests.ui.stage import PNG, Stage, field_value, on_stage, text, walk


async def choose(on: Stage, page: Any, name: str, value: str) -> None:
    await on.alice.select(page.response.message, [value], custom_id=f"p1:preferences:{name}")


async def preferring(on: Stage, **chosen: Any) -> None:
    await on.rig.services.preferences.put(on.alice.id, Preferences(**chosen))


async def server(on: Stage, **settings: Any) -> None:
    by = By("settings", on.guild.id, on.bob.id, on.rig.time.now)
    await on.rig.services.quotas.change_server_settings(
        by, lambda now: ServerSettings(**{**now.model_dump(), **settings}), body={"setting": "x"}
    )


# --- choosing


@on_stage()
async def test_what_is_chosen_applies_to_the_next_picture_and_is_shown_as_chosen(on: Stage) -> None:
    page = await on.alice.slash(on.channel, "preferences")
    for name, value in (("model", "nano-banana-pro"), ("resolution", "2K"), ("aspect_ratio", "16:9")):
        await choose(on, page, name, value)

    _, job = await on.imagine()

    assert job.request.model == "nano-banana-pro"
    assert (job.request.options["resolution"], job.request.options["aspect_ratio"]) == ("2K", "16:9")
    selects = [each for each in walk(page.response.components) if each.get("type") == 3]
    chosen = [option["value"] for each in selects for option in each["options"] if option.get("default")]
    assert chosen == ["nano-banana-pro", "2K", "16:9", "-", "-", "mention", "-"]


@on_stage()
async def test_a_commands_own_options_come_first_and_others_keep_theirs(on: Stage) -> None:
    await preferring(on, resolution="4K")

    _, asked = await on.imagine(resolution="1K")
    _, others = await on.imagine(by=on.bob)

    assert (asked.request.options["resolution"], others.request.options["resolution"]) == ("1K", "1K")


@on_stage()
async def test_a_preference_that_is_not_possible_here_is_left_out_without_a_refusal(on: Stage) -> None:
    await preferring(on, resolution="4K", model="gone", aspect_ratio="7:3", format="png")
    await server(on, caps={on.channel.id: ChannelCeiling(resolution="1K")})

    _, job = await on.imagine()

    assert job.request.options["resolution"] == "1K"
    assert job.request.options["format"] == "png"


@on_stage()
async def test_forms_begin_with_the_preferences(on: Stage) -> None:
    await preferring(on, resolution="2K")
    message = await on.bob.send(on.channel, attachments=[PNG])

    form = await on.alice.context_menu(on.channel, "Edit this", message)

    assert field_value(form, "resolution") == "2K"


@on_stage()
async def test_replies_are_private_by_preference_or_by_the_servers_default_unless_asked_otherwise(on: Stage) -> None:
    await preferring(on, private=True)
    preferred, _ = await on.imagine()
    public, _ = await on.imagine(private=False)
    await server(on, private=True)
    by_server, _ = await on.imagine(by=on.bob)

    assert (preferred.ephemeral, public.ephemeral, by_server.ephemeral) == (True, False, True)


@on_stage()
async def test_a_language_is_used_for_every_answer_and_after_a_restart(on: Stage) -> None:
    page = await on.alice.slash(on.channel, "preferences")

    await choose(on, page, "language", "de")
    await on.rig.services.preferences.load()

    assert "Deine Einstellungen" in text(page)
    assert "Deine Aufträge" in text(await on.alice.slash(on.channel, "jobs"))
    assert "Your jobs" in text(await on.bob.slash(on.channel, "jobs"))


@on_stage()
async def test_public_cards_are_in_the_servers_language_and_show_prices_if_it_wants_that(on: Stage) -> None:
    await server(on, language="fr", prices=True)

    public, _ = await on.imagine()
    private, _ = await on.imagine(private=True)

    assert "En attente" in text(public)
    assert "Waiting" in text(private)
    assert "$" in text(public)


@on_stage()
async def test_a_value_that_is_no_choice_changes_nothing(on: Stage) -> None:
    page = await on.alice.slash(on.channel, "preferences")

    await choose(on, page, "notify", "off")

    assert (await on.rig.services.preferences.get(on.alice.id)) == Preferences(notify=Notify.OFF)
    assert (await on.rig.services.preferences.get(on.bob.id)) == Preferences()


# --- the end of a slow job


@dataclass(frozen=True)
class Told:
    """A message about the end of a job: its request's path and body."""

    path: str
    body: dict[str, Any]


def told(on: Stage) -> list[Told]:
    sent = [each for each in on.env.http_requests if each.method == "POST" and isinstance(each.json, dict)]
    return [Told(each.path, each.json) for each in sent if "is ready" in json.dumps(each.json)]


@on_stage()
async def test_the_end_of_a_slow_job_is_told_once_to_its_member_alone(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.go(40)

    await on.finish(job)
    await on.rig.store.request_redraw([job.id], now=on.rig.time.now)
    await on.rig.delivery.run_due()

    (message,) = told(on)
    assert "/webhooks/" in message.path
    assert message.body["flags"] & discord.MessageFlags.ephemeral.flag
    assert message.body["allowed_mentions"]["users"] == [on.alice.id]
    assert f"/{shown.response.message.id}" in json.dumps(message.body)


@on_stage()
async def test_without_a_token_the_public_reply_is_answered(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.go(16 * 60)

    await on.finish(job)

    (message,) = told(on)
    assert message.path.endswith(f"/channels/{on.channel.id}/messages")
    assert str(message.body["message_reference"]["message_id"]) == str(shown.response.message.id)
    assert message.body["allowed_mentions"]["users"] == [on.alice.id]


@on_stage()
async def test_a_member_is_told_directly_or_not_at_all_if_they_prefer_that(on: Stage) -> None:
    for notify in (Notify.OFF, Notify.DIRECT):
        await preferring(on, notify=notify)
        _, job = await on.imagine()
        await on.go(40)
        await on.finish(job)

    (message,) = told(on)
    assert f"/channels/{on.channel.id}/" not in message.path
    assert message.body["allowed_mentions"] == {"parse": []}


@on_stage()
async def test_nobody_is_told_of_quick_jobs_or_of_old_ones_that_are_drawn_again(on: Stage) -> None:
    _, quick = await on.imagine()
    await on.go(20)
    await on.finish(quick)
    await preferring(on, notify=Notify.OFF)
    _, old = await on.imagine()
    await on.go(40)
    await on.finish(old)
    await preferring(on, notify=Notify.MENTION)

    await on.go(3600)
    await on.rig.store.request_redraw([quick.id, old.id], now=on.rig.time.now)
    await on.rig.delivery.run_due()

    assert told(on) == []


# --- privacy


@on_stage()
async def test_the_page_says_what_is_stored_and_for_how_long(on: Stage) -> None:
    _, job = await on.imagine()
    await on.finish(job, pictures=2)

    page = await on.alice.slash(on.channel, "privacy")

    said = text(page)
    assert page.ephemeral
    assert "1 request with its prompt" in said
    assert "2 pictures on the bot's disk (1 KB)" in said
    assert "after 72 hours" in said
    assert "after 30 days" in said


@on_stage()
async def test_the_export_has_every_prompt_and_picture_of_the_member_and_nothing_of_others(on: Stage) -> None:
    _, job = await on.imagine("my secret fox")
    await on.finish(job)
    _, theirs = await on.imagine("somebody else's", by=on.bob)
    await on.finish(theirs)
    page = await on.alice.slash(on.channel, "privacy")

    sent = await on.alice.click(page.response.message, label="Export")

    (attachment,) = sent.response.message.attachments or [None]
    url = next(each["file"]["url"] for each in walk(sent.response.components) if each.get("type") == 13)
    data = on.env.backend.cdn[url.partition("?")[0]] if attachment is None else await attachment.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert sorted(archive.namelist()) == [f"{job.id}-1.png", "data.json"]
        rows = json.loads(archive.read("data.json"))
    assert [each["request"]["prompt"] for each in rows["jobs"]] == ["my secret fox"]
    assert [each["kind"] for each in rows["ledger"]] == ["reserve", "settle"]


@on_stage()
async def test_erasing_asks_first_and_then_leaves_neither_words_pictures_nor_messages(on: Stage) -> None:
    _, job = await on.imagine("my secret fox")
    await on.finish(job)
    await on.rig.services.favorites.put(on.alice.id, job.id, favorite=True, now=on.rig.time.now)
    await preferring(on, resolution="2K")
    page = await on.alice.slash(on.channel, "privacy")

    asked = await on.alice.click(page.response.message, label="Erase…")
    assert "Erase everything about you, with 1 request?" in text(page)
    await on.alice.click(page.response.message, label="Erase everything")
    await on.rig.delivery.run_due()

    erased = await on.rig.job(job.id)
    assert asked.acknowledged
    assert "Erased, with 1 request." in text(page)
    assert (erased.request.prompt, erased.deleted_at) == ("", on.rig.time.now)
    assert not list(on.rig.folder.glob("*.png"))
    assert not on.channel.history()
    assert await on.rig.services.preferences.get(on.alice.id) == Preferences()
    assert not await on.rig.services.favorites.has(on.alice.id, job.id)


@on_stage()
async def test_nothing_is_erased_while_a_job_may_still_bring_a_picture(on: Stage) -> None:
    _, job = await on.imagine()
    page = await on.alice.slash(on.channel, "privacy")
    await on.alice.click(page.response.message, label="Erase…")

    refused = await on.alice.click(page.response.message, label="Erase everything")

    assert "haven't finished" in "".join(text(each) for each in refused.followups)
    assert (await on.rig.job(job.id)).request.prompt != ""
