"""A refusal offers what mends it, and names only what is allowed in its place."""

from dataclasses import replace
from typing import Any

from bot.core.server_settings import ChannelCeiling, ServerSettings
from bot.store.quotas import By
from tests.store.ledger_model import FREE
from tests.ui.stage import PNG, Stage, buttons, field_value, on_stage, text, walk


async def server(on: Stage, **settings: Any) -> None:
    by = By("settings", on.guild.id, on.bob.id, on.rig.time.now)
    await on.rig.services.quotas.change_server_settings(
        by, lambda now: ServerSettings(**{**now.model_dump(), **settings}), body={"setting": "x"}
    )


def links(shown: Any) -> list[str]:
    return [each["url"] for each in walk(shown.response.components) if each.get("type") == 2 and each.get("url")]


@on_stage(limits=replace(FREE, user_in_flight=1))
async def test_too_many_jobs_are_shown_by_a_button(on: Stage) -> None:
    _, job = await on.imagine()

    refused = await on.alice.slash(on.channel, "imagine", prompt="another")
    listed = await on.alice.click(refused.response.message, label="My jobs")

    assert list(buttons(refused).values()) == ["My jobs", "Change prompt"]
    assert listed.ephemeral
    assert any(job.id in each for each in buttons(listed))


@on_stage()
async def test_a_closed_channel_links_to_an_open_one_and_offers_no_other_prompt(on: Stage) -> None:
    art = on.guild.create_text_channel("art")
    await server(on, allowed=(art.id,))

    refused = await on.alice.slash(on.channel, "imagine", prompt="x")

    assert links(refused) == [f"https://discord.com/channels/{on.guild.id}/{art.id}"]
    assert buttons(refused) == {}


@on_stage()
async def test_a_wrong_option_names_only_what_the_channel_and_the_server_allow(on: Stage) -> None:
    await server(on, caps={on.channel.id: ChannelCeiling(resolution="1K")}, models=("nano-banana-pro",))

    size = await on.alice.slash(on.channel, "imagine", prompt="x", resolution="9K")
    model = await on.alice.slash(on.channel, "imagine", prompt="x", model="no such")

    assert "1K" in text(size)
    assert "4K" not in text(size)
    assert "Nano Banana 2" in text(model)
    assert "Pro" not in text(model)


@on_stage()
async def test_a_form_offers_what_the_channel_allows_and_selects_what_will_be_made(on: Stage) -> None:
    await server(on, caps={on.channel.id: ChannelCeiling(resolution="0.5K")}, models=("nano-banana-pro",))
    message = await on.bob.send(on.channel, attachments=[PNG])

    form = await on.alice.context_menu(on.channel, "Edit this", message)

    options = {
        each["custom_id"]: [option["value"] for option in each["options"]]
        for each in walk(form.modal["components"])
        if each.get("options")
    }
    assert (options["resolution"], options["model"]) == (["0.5K"], ["nano-banana-2"])
    assert field_value(form, "resolution") == "0.5K"
