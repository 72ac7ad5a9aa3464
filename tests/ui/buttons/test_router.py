"""Buttons and forms, pressed by the job's owner and by others."""

from dataclasses import replace

import discord

from bot.core.jobs import Cancel, State, Verb
from bot.core.request_draft import RequestDraft
from bot.store.database import Tx
from bot.ui.commands.request_forms import apply_fields
from bot.ui.interactions.timeouts import AckDeadline
from tests.kit import catalog
from tests.ui.stage import PNG, Stage, field_value, gallery, on_stage, text, walk

LONG = "a *lighthouse* _at_ night, " * 145  # longer than a message, once it is escaped


# --- cancel


@on_stage()
async def test_a_waiting_job_is_cancelled_at_once_and_its_card_says_so(on: Stage) -> None:
    shown, job = await on.imagine(count=2)

    pressed = await on.alice.click(shown.response.message, label="Cancel")

    assert pressed.acknowledged
    assert "Cancelled" in text(await on.card(job))
    assert (await on.rig.job(job.id)).state is State.CANCELLED
    assert (await on.record(job.id)).charge.released is not None


@on_stage()
async def test_nobody_else_cancels_a_job(on: Stage) -> None:
    shown, job = await on.imagine()

    refused = await on.bob.click(shown.response.message, label="Cancel")

    assert refused.ephemeral
    assert "Only the person" in text(refused)
    assert (await on.rig.job(job.id)).state is State.ACCEPTED


@on_stage()
async def test_cancelling_a_job_in_the_providers_queue_leaves_the_card_to_delivery(on: Stage) -> None:
    shown, job = await on.imagine()
    for state in (State.SUBMITTING, State.QUEUED):
        moved = await on.rig.store.move(await on.rig.job(job.id), state, now=on.rig.time.now)
        assert moved is not None

    pressed = await on.alice.click(shown.response.message, label="Cancel")

    assert pressed.acknowledged
    assert pressed.response is None or pressed.response.id == shown.response.id
    assert (await on.rig.job(job.id)).cancel is Cancel.WANTED
    await on.rig.delivery.run_due()
    assert "Cancelling" in text(await on.card(job))


@on_stage()
async def test_cancel_in_the_list_of_jobs_leaves_the_list_alone(on: Stage) -> None:
    _, job = await on.imagine()
    listed = await on.alice.slash(on.channel, "jobs")

    await on.alice.click(listed.response.message, label="Cancel")

    assert (await on.rig.job(job.id)).state is State.CANCELLED
    assert "Your jobs" in text(listed)


# --- check now


@on_stage()
async def test_a_press_extends_the_replys_token_by_fifteen_minutes(on: Stage) -> None:
    shown, job = await on.imagine(private=True)
    await on.go(14 * 60)
    await on.finish(job, show=False)
    before = (await on.record(job.id)).reply
    assert on.rig.time.now > before.token_expires_at - 120_000

    pressed = await on.alice.click(shown.response.message, label="Check now")
    await on.rig.delivery.run_due()

    after = (await on.record(job.id)).reply
    assert pressed.acknowledged
    assert after.token_expires_at == on.rig.time.now + 15 * 60_000
    assert after.delivered == after.wanted
    assert len(gallery(await on.card(job))) == 1


@on_stage()
async def test_anybody_may_press_check_now_without_getting_the_pictures(on: Stage) -> None:
    shown, job = await on.imagine()

    pressed = await on.bob.click(shown.response.message, label="Check now")

    assert pressed.acknowledged
    assert not pressed.followups
    assert (await on.rig.job(job.id)).state is State.ACCEPTED


@on_stage()
async def test_check_now_in_the_list_delivers_a_finished_job_privately(on: Stage) -> None:
    _, job = await on.imagine(private=True)
    listed = await on.alice.slash(on.channel, "jobs")
    await on.finish(job, show=False)

    pressed = await on.alice.click(listed.response.message, label="Check now")

    (given,) = pressed.followups
    assert given.ephemeral
    assert len(gallery(given)) == 1


@on_stage()
async def test_a_press_acknowledges_a_card_whose_response_was_lost(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.rig.store.database.write(_forget_message)

    await on.alice.click(shown.response.message, label="Check now")

    assert (await on.record(job.id)).reply.message_id == shown.response.id
    assert (await on.rig.job(job.id)).acked_at == on.rig.time.now


# --- full prompt


@on_stage()
async def test_the_full_prompt_is_for_its_owner(on: Stage) -> None:
    shown, _ = await on.imagine("a lighthouse " * 60)

    own = await on.alice.click(shown.response.message, label="Full prompt")
    others = await on.bob.click(shown.response.message, label="Full prompt")

    assert own.ephemeral
    assert len(text(own)) > 600
    assert others.ephemeral
    assert "lighthouse" not in text(others)


@on_stage()
async def test_a_prompt_too_long_for_a_message_comes_as_a_file(on: Stage) -> None:
    shown, _ = await on.imagine(LONG)

    own = await on.alice.click(shown.response.message, label="Full prompt")

    (url,) = [each["file"]["url"] for each in walk(own.response.components) if each.get("type") == 13]
    assert url.endswith("/prompt.txt")
    assert on.env.backend.cdn.get(url).decode() == LONG


# --- again, change


@on_stage()
async def test_again_makes_a_new_job_in_a_new_reply(on: Stage) -> None:
    shown, job = await on.imagine("a lighthouse", count=2)
    await on.finish(job)

    again = await on.alice.click(shown.response.message, custom_id=f"j1:{job.id}:again")

    fresh = await on.newest()
    assert again.response.id != shown.response.id
    assert (fresh.parent_id, fresh.request.prompt, fresh.request.count) == (job.id, "a lighthouse", 2)
    assert fresh.acked_at is not None


@on_stage()
async def test_again_on_a_private_reply_stays_private(on: Stage) -> None:
    shown, job = await on.imagine(private=True)
    await on.finish(job)

    again = await on.alice.click(shown.response.message, custom_id=f"j1:{job.id}:again")

    assert again.ephemeral


@on_stage()
async def test_again_and_change_are_for_the_owner(on: Stage) -> None:
    _, job = await on.imagine()
    await on.fail(job)

    for action in ("again", "change"):
        message = await _with_button(on, f"j1:{job.id}:{action}")  # also from another message than the reply
        refused = await on.bob.click(message, custom_id=f"j1:{job.id}:{action}")
        assert refused.ephemeral
        assert refused.modal is None
    assert await on.jobs() == 0


@on_stage()
async def test_change_opens_the_prompt_and_what_was_chosen(on: Stage) -> None:
    shown, job = await on.imagine("a lighthouse", resolution="2K", aspect_ratio="16:9")
    await on.fail(job)

    form = await on.in_menu(on.alice, shown.response.message, "Change prompt")
    assert field_value(form, "prompt") == "a lighthouse"
    assert field_value(form, "resolution") == "2K"
    await on.alice.submit_modal(form, {"prompt": "a windmill", "resolution": ["2K"], "aspect_ratio": ["16:9"]})

    fresh = await on.newest()
    assert (fresh.request.prompt, fresh.parent_id) == ("a windmill", job.id)
    assert (fresh.request.options["resolution"], fresh.request.options["aspect_ratio"]) == ("2K", "16:9")


@on_stage(host="runflow")
async def test_again_and_change_keep_what_the_form_has_no_field_for(on: Stage) -> None:
    shown, job = await on.imagine("a lighthouse", thinking="high", aspect_ratio="4:1", safety=3)
    await on.fail(job)
    chosen = {name: value for name, value in job.request.options.items() if name != "seed"}

    await on.alice.click(shown.response.message, custom_id=f"j1:{job.id}:again")
    again = await on.newest()
    form = await on.in_menu(on.alice, shown.response.message, "Change prompt")
    await on.alice.submit_modal(form, {"prompt": "a windmill", "model": ["nano-banana-2"], "aspect_ratio": ["1:8"]})
    changed = await on.newest()

    assert {name: value for name, value in again.request.options.items() if name != "seed"} == chosen
    kept = {name: changed.request.options[name] for name in ("thinking", "safety", "aspect_ratio")}
    assert kept == {"thinking": "high", "safety": 3, "aspect_ratio": "1:8"}


@on_stage()
async def test_another_model_does_not_inherit_options_it_may_not_have(on: Stage) -> None:
    shown, job = await on.imagine("a lighthouse", aspect_ratio="16:9", seed=3, safety=2)
    await on.fail(job)

    form = await on.in_menu(on.alice, shown.response.message, "Change prompt")
    fields = {"prompt": "a windmill", "model": ["nano-banana-pro"], "aspect_ratio": ["3:2"]}
    await on.alice.submit_modal(form, fields)

    fresh = await on.newest()
    assert (fresh.request.model, fresh.request.options["aspect_ratio"]) == ("nano-banana-pro", "3:2")


def test_a_form_with_only_a_prompt_leaves_everything_else_as_it_was() -> None:
    draft = RequestDraft(verb=Verb.IMAGINE, prompt="old", model="m")

    assert apply_fields(draft, {"prompt": "new"}, catalog("runcomfy"), default_model=None) == replace(
        draft, prompt="new"
    )


# --- edit


@on_stage()
async def test_edit_uses_the_numbered_picture_and_charges_the_member_who_presses(on: Stage) -> None:
    shown, job = await on.imagine(count=2)
    await on.finish(job, pictures=2)

    form = await on.bob.click(shown.response.message, label="Edit")
    edited = await on.bob.submit_modal(form, {"prompt": "in winter", "picture": ["2"]})

    fresh = await on.newest()
    assert [each.url for each in fresh.request.references] == [gallery(await on.card(job))[1]]
    assert (fresh.place.user_id, fresh.parent_id) == (on.bob.id, job.id)
    assert edited.response.id != shown.response.id


# --- outdated and unknown buttons


@on_stage()
async def test_buttons_work_after_a_restart(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.env.restart_bot()

    await on.alice.click(shown.response.message, label="Cancel")

    assert (await on.rig.job(job.id)).state is State.CANCELLED


@on_stage()
async def test_buttons_and_forms_of_another_version_say_so(on: Stage) -> None:
    for custom_id in ("j0:x:cancel", "j1:x:dance", "q9", "d1:x:dance", ":::", "j1"):
        message = await _with_button(on, custom_id)

        refused = await on.alice.click(message, custom_id=custom_id)

        assert refused.ephemeral, custom_id
        assert "older version" in text(refused), custom_id


@on_stage()
async def test_a_button_of_a_job_that_is_gone_says_so(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.finish(job)
    await on.rig.services.jobs.delete(job.id, user_id=on.alice.id)

    refused = await on.alice.click(shown.response.message, custom_id=f"j1:{job.id}:again")

    assert refused.ephemeral
    assert "isn't yours, or it was deleted" in text(refused)


@on_stage()
async def test_a_draft_can_be_used_by_its_owner_only(on: Stage) -> None:
    draft_id = await on.rig.services.drafts.keep(RequestDraft(verb=Verb.IMAGINE, prompt="mine"), user_id=on.alice.id)
    message = await _with_button(on, f"d1:{draft_id}:change")

    refused = await on.bob.click(message, custom_id=f"d1:{draft_id}:change")
    own = await on.alice.click(message, custom_id=f"d1:{draft_id}:change")

    assert refused.ephemeral
    assert refused.modal is None
    assert field_value(own, "prompt") == "mine"


@on_stage()
async def test_a_draft_lives_for_a_quarter_of_an_hour(on: Stage) -> None:
    draft_id = await on.rig.services.drafts.keep(RequestDraft(verb=Verb.IMAGINE, prompt="mine"), user_id=on.alice.id)
    message = await _with_button(on, f"d1:{draft_id}:change")
    await on.go(15 * 60)

    refused = await on.alice.click(message, custom_id=f"d1:{draft_id}:change")

    assert refused.modal is None
    assert "15 minutes" in text(refused)


# --- places


@on_stage()
async def test_every_press_is_checked_against_where_it_happens(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.finish(job)
    card, menu = shown.response.message, (await on.alice.click(shown.response.message, label="More…")).response.message
    on.client.access._all_open = False

    for message, action in ((card, "again"), (menu, "change"), (card, "edit:1")):
        refused = await on.alice.click(message, custom_id=f"j1:{job.id}:{action}")
        assert refused.ephemeral
        assert refused.modal is None
        assert str(on.guild.id) in text(refused)


@on_stage()
async def test_a_form_sent_after_a_place_was_closed_makes_nothing(on: Stage) -> None:
    message = await on.bob.send(on.channel, attachments=[PNG])
    form = await on.alice.context_menu(on.channel, "Edit this", message)
    on.client.access._all_open = False

    refused = await on.alice.submit_modal(form, {"prompt": "in winter"})

    assert refused.ephemeral
    assert await on.jobs() == 0


@on_stage()
async def test_a_press_that_comes_too_late_changes_nothing(on: Stage) -> None:
    shown, job = await on.imagine()
    on.client.responder._deadline = AckDeadline()
    on.rig.time.go(2.6)

    pressed = await on.alice.click(shown.response.message, label="Cancel")

    assert not pressed.acknowledged
    assert (await on.rig.job(job.id)).state is State.ACCEPTED


async def _forget_message(tx: Tx) -> None:
    await tx.run("UPDATE replies SET message_id = NULL")
    await tx.run("UPDATE jobs SET acked_at = NULL")


async def _with_button(on: Stage, custom_id: str) -> discord.Message:
    view = discord.ui.LayoutView(timeout=None)
    button: discord.ui.Button[discord.ui.LayoutView] = discord.ui.Button(label="Change", custom_id=custom_id)
    view.add_item(discord.ui.ActionRow(button))
    view.stop()
    channel = on.client.get_partial_messageable(on.channel.id)
    return await channel.send(view=view, allowed_mentions=discord.AllowedMentions.none())
