"""`/imagine`, `/edit`, `/jobs`, `/usage` and `/help`."""

import logging
from typing import Any

import discord
import pytest

from bot.core.errors import UserError
from bot.core.jobs import Place, State, Verb
from bot.core.quota import Limits
from bot.ui.interactions.timeouts import AckDeadline
from tests.store.ledger_model import seen
from tests.ui.stage import PNG, Stage, buttons, field_value, gallery, on_stage, text

# --- /imagine


@on_stage()
async def test_imagine_is_answered_with_the_card_itself_and_only_then_may_be_submitted(on: Stage) -> None:
    shown, job = await on.imagine("a lighthouse", count=2, resolution="2K", aspect_ratio="16:9", seed=7)

    assert "a lighthouse" in text(shown)
    assert not shown.ephemeral
    assert (job.request.prompt, job.request.count) == ("a lighthouse", 2)
    assert (job.request.options["resolution"], job.request.options["seed"]) == ("2K", 7)
    reply = (await on.record(job.id)).reply
    assert (reply.message_id, job.acked_at) == (shown.response.id, on.rig.time.now)
    assert (reply.bot_can_edit, reply.bot_can_post, reply.ephemeral) == (True, True, False)
    assert f"j1:{job.id}:cancel" in buttons(shown)


@on_stage()
async def test_a_private_reply_is_seen_by_its_owner_only(on: Stage) -> None:
    shown, job = await on.imagine(private=True)

    assert shown.ephemeral
    assert (await on.record(job.id)).reply.ephemeral


@on_stage()
async def test_every_option_comes_from_the_catalogue(on: Stage) -> None:
    commands = {
        each["name"]: each for each in (command.to_dict(on.client.tree) for command in on.client.tree.get_commands())
    }

    assert set(commands) >= {"imagine", "edit", "jobs", "usage", "help", "Edit this"}
    options = {each["name"]: each for each in commands["imagine"]["options"]}
    completed = [name for name, each in options.items() if each.get("autocomplete")]
    assert completed == ["model", "style", "resolution", "count"]
    assert not any(options[each].get("choices") for each in completed)
    assert [each["value"] for each in options["format"]["choices"]] == ["png", "jpeg", "webp"]
    assert (options["count"]["min_value"], options["count"]["max_value"]) == (1, 4)
    assert options["safety"]["max_value"] == on.rig.services.catalog.ceilings.max_safety
    assert (options["prompt"]["max_length"], options["prompt"]["required"]) == (4000, True)
    assert "web_search" not in options  # the operator has it switched off
    edit = {each["name"]: each["required"] for each in commands["edit"]["options"]}
    assert [name for name, required in edit.items() if required] == ["prompt"]
    assert commands["imagine"]["integration_types"] == [0]
    assert commands["imagine"]["contexts"] == [0, 1]


@on_stage(host="runflow")
async def test_an_option_of_one_provider_is_offered_if_it_is_configured(on: Stage) -> None:
    for verb in ("imagine", "edit"):
        command = on.client.tree.get_command(verb)
        assert command is not None
        options = {each["name"]: each for each in command.to_dict(on.client.tree)["options"]}
        assert [each["value"] for each in options["thinking"]["choices"]] == ["off", "minimal", "high"]
        assert len(options["aspect_ratio"]["choices"]) == 15

    shown, job = await on.imagine("a lighthouse", thinking="high", aspect_ratio="8:1")

    assert (job.request.options["thinking"], job.provider) == ("high", "runflow")
    assert "thinking: high" in text(shown)
    assert (await on.record(job.id)).charge.reserved.micro_usd == 82_000
    refused = await on.alice.slash(on.channel, "imagine", prompt="x", model="nano-banana-pro", thinking="high")
    assert "Nano Banana Pro doesn't have the option `thinking`" in text(refused)


@on_stage()
async def test_an_option_that_no_configured_provider_has_is_not_offered(on: Stage) -> None:
    imagine = on.client.tree.get_command("imagine")
    assert imagine is not None
    options = {each["name"]: each for each in imagine.to_dict(on.client.tree)["options"]}
    assert "thinking" not in options
    assert len(options["aspect_ratio"]["choices"]) == 11


@on_stage(user_install=True)
async def test_user_installs_are_offered_only_when_the_operator_switched_them_on(on: Stage) -> None:
    imagine = on.client.tree.get_command("imagine")

    assert imagine is not None
    assert imagine.to_dict(on.client.tree)["integration_types"] == [0, 1]
    assert imagine.to_dict(on.client.tree)["contexts"] == [0, 1, 2]


@on_stage(limits=Limits(user_day_images=1))
async def test_a_refusal_is_private_and_keeps_the_prompt_as_a_draft(on: Stage) -> None:
    refused = await on.alice.slash(on.channel, "imagine", prompt="four lighthouses", count=4)

    assert refused.ephemeral
    assert "1" in text(refused)
    assert await on.jobs() == 0
    (change,) = buttons(refused)
    form = await on.alice.click(refused.response.message, custom_id=change)
    assert field_value(form, "prompt") == "four lighthouses"
    assert field_value(form, "count") == "4"
    shown = await on.alice.submit_modal(form, {"prompt": "one lighthouse", "count": ["1"]})
    assert "one lighthouse" in text(shown)
    assert (await on.newest()).request.count == 1


@on_stage()
async def test_an_option_that_a_model_lacks_is_refused_with_what_would_work(on: Stage) -> None:
    refused = await on.alice.slash(on.channel, "imagine", prompt="x", model="nano-banana-pro", resolution="0.5K")

    assert refused.ephemeral
    assert "0.5K" in text(refused)
    assert "4K" in text(refused)
    assert await on.jobs() == 0


@on_stage()
async def test_the_same_interaction_delivered_twice_makes_one_job(on: Stage) -> None:
    captured: list[discord.Interaction[Any]] = []
    inner = on.client.responder.submit_request

    async def twice(interaction: Any, draft: Any, *, received_at: int, **_: Any) -> None:
        captured.append(interaction)
        await inner(interaction, draft, received_at=received_at)
        await inner(interaction, draft, received_at=received_at)

    on.client.responder.submit_request = twice  # type: ignore[method-assign]
    shown, _ = await on.imagine()

    assert len(captured) == 1
    assert not shown.followups
    assert await on.jobs() == 1


@on_stage()
async def test_a_job_whose_card_discord_rejected_is_withdrawn(on: Stage) -> None:
    on.env.inject_error("POST", "/interactions/*/callback", status=404, code=10062, message="Unknown interaction")

    shown = await on.alice.slash(on.channel, "imagine", prompt="too late")

    assert not shown.acknowledged
    used = await seen(on.rig.store, _place(on), now=on.rig.time.now)
    assert (used.user_day.images, used.user_in_flight) == (0, 0)


@on_stage()
async def test_a_job_whose_response_was_lost_is_confirmed_by_the_worker(on: Stage) -> None:
    on.env.inject_error("POST", "/interactions/*/callback", status=400, code=40060, message="Already acknowledged")

    _, job = await on.imagine()

    assert (job.state, job.acked_at) == (State.ACCEPTED, None)


@on_stage()
async def test_a_card_that_discord_finds_malformed_costs_nothing_and_is_answered(on: Stage) -> None:
    on.env.inject_error("POST", "/interactions/*/callback", status=400, code=50035, message="Invalid Form Body")

    shown = await on.alice.slash(on.channel, "imagine", prompt="x")

    assert shown.ephemeral
    used = await seen(on.rig.store, _place(on), now=on.rig.time.now)
    assert used.user_day.images == 0


@on_stage()
async def test_an_interaction_that_arrives_too_late_is_not_handled(on: Stage) -> None:
    await on.imagine()
    on.rig.time.go(2.6)

    shown = await on.alice.slash(on.channel, "imagine", prompt="late")

    assert not shown.acknowledged
    assert await on.jobs() == 1


def test_a_wrong_clock_does_not_make_interactions_late() -> None:
    lateness, sent = AckDeadline(), discord.utils.time_snowflake(discord.utils.utcnow())
    at = int(discord.utils.snowflake_time(sent).timestamp() * 1000) + 60_000

    lateness.has_passed(sent, now=at)

    assert not lateness.has_passed(sent, now=at + 1_000)
    assert lateness.has_passed(sent, now=at + 2_600)


@on_stage()
async def test_new_jobs_are_refused_while_the_program_ends(on: Stage) -> None:
    on.client.stop_accepting()

    shown = await on.alice.slash(on.channel, "imagine", prompt="one more")

    assert shown.ephemeral
    assert await on.jobs() == 0


@on_stage()
async def test_an_unexpected_error_gets_a_reference_that_is_in_the_log(
    on: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> list[Any]:
        raise KeyError("inside")

    on.rig.services.jobs.open_jobs = broken  # type: ignore[method-assign, assignment]

    with caplog.at_level(logging.ERROR):
        shown = await on.alice.slash(on.channel, "jobs")

    assert shown.ephemeral
    (record,) = [each for each in caplog.records if getattr(each, "event", "") == "interaction_failed"]
    reference = record.__dict__["reference"]
    assert len(reference) == 8
    assert reference in text(shown)


# --- /edit


@on_stage()
async def test_edit_looks_at_the_pictures_before_it_accepts(on: Stage) -> None:
    shown = await on.alice.slash(on.channel, "edit", prompt="at night", image=PNG, image2=("b.png", PNG[1]))

    job = await on.newest()
    assert (job.request.verb, job.checked) == (Verb.EDIT, False)  # only the first bytes have been checked
    assert [each.filename for each in job.request.references] == ["in.png", "b.png"]
    assert [len(each) for each in on.checked_references] == [2]
    assert not shown.ephemeral


@on_stage()
async def test_a_file_with_a_false_type_is_refused_privately_and_reserves_nothing(on: Stage) -> None:
    on.reference_errors.append(UserError("references.type", file="in.png"))

    shown = await on.alice.slash(on.channel, "edit", prompt="at night", image=PNG)

    assert shown.ephemeral
    assert "in.png" in text(shown)
    assert await on.jobs() == 0


# --- /jobs, /usage, /help


@on_stage()
async def test_jobs_delivers_undelivered_results(on: Stage) -> None:
    _, job = await on.imagine(private=True)
    await on.finish(job, pictures=2, show=False)

    shown = await on.alice.slash(on.channel, "jobs")

    assert shown.ephemeral
    (given,) = shown.followups
    assert given.ephemeral
    assert len(gallery(given)) == 2
    reply = (await on.record(job.id)).reply
    assert reply.delivered == reply.wanted


@on_stage()
async def test_a_result_that_could_not_be_delivered_privately_stays_undelivered(on: Stage) -> None:
    _, job = await on.imagine(private=True)
    await on.finish(job, show=False)
    on.env.inject_error("POST", "/webhooks/*", status=400, code=40005, message="Request entity too large")

    await on.alice.slash(on.channel, "jobs")

    reply = (await on.record(job.id)).reply
    assert reply.delivered < reply.wanted


@on_stage()
async def test_jobs_shows_only_the_members_own_jobs(on: Stage) -> None:
    await on.imagine("alice's own")

    shown = await on.bob.slash(on.channel, "jobs")

    assert "alice's own" not in text(shown)


@on_stage()
async def test_usage_and_help_are_private(on: Stage) -> None:
    await on.imagine(count=3)

    used = await on.alice.slash(on.channel, "usage")
    told = await on.alice.slash(on.channel, "help")

    assert used.ephemeral
    assert "3 of 10" in text(used)
    assert told.ephemeral
    assert "Nano Banana 2" in text(told)
    assert "RunComfy" in text(told)


def _place(on: Stage) -> Place:
    return Place(on.alice.id, on.channel.id, on.guild.id)
