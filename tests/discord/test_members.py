"""Proves what members can do: options as the client checks them, buttons, forms, autocomplete, permissions."""

from typing import Any

import discord as dpy
import pytest
from discord import ui

from tests.discord.cdn import Upload
from tests.discord.client import Event, card, form, png, show
from tests.discord.conftest import Scene
from tests.discord.world import MANAGE_GUILD


async def test_a_choice_outside_the_declared_ones_is_not_sent_unless_forced(scene: Scene) -> None:
    async def keep(event: Event) -> int:
        await show(event)
        count: int = event.extras["count"]
        return count

    scene.bot.handle = keep
    with pytest.raises(ValueError, match="takes one of"):
        await scene.alice.slash(scene.channel, "paint", prompt="a dog", count=3)
    await scene.alice.slash(scene.channel, "paint", force=True, prompt="a dog", count=3)

    assert await scene.bot.outcome() == 3


@pytest.mark.parametrize("options", [{}, {"prompt": ""}, {"prompt": "x" * 21}, {"prompt": 5}])
async def test_options_the_client_would_hold_back_are_not_sent(scene: Scene, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="prompt"):
        await scene.alice.slash(scene.channel, "paint", **options)
    with pytest.raises(LookupError):
        await scene.alice.slash(scene.channel, "paint", prompt="x", colour="red")
    with pytest.raises(LookupError, match="no command"):
        await scene.alice.slash(scene.channel, "sculpt")


async def test_a_subcommand_reaches_those_with_the_permission(scene: Scene) -> None:
    async def keep(event: Event) -> str:
        await show(event)
        assert event.permissions.manage_guild
        who: str = event.extras["who"]
        return who

    scene.bot.handle = keep
    boss = scene.discord.add_member("boss", scene.guild, permissions=MANAGE_GUILD)
    with pytest.raises(PermissionError):
        await scene.alice.slash(scene.channel, "quota show")
    with pytest.raises(PermissionError):
        await boss.slash(boss.dm(), "quota show")
    await boss.slash(scene.channel, "quota show", who="me")

    assert await scene.bot.outcome() == "me"


async def test_autocomplete_offers_choices(scene: Scene) -> None:
    handle = await scene.alice.complete(scene.channel, "paint", option="style", typed="oil")

    assert [each["name"] for each in (await handle.acked()).choices] == ["OIL"]


async def test_a_button_updates_its_own_message(scene: Scene) -> None:
    async def answer(event: Event) -> None:
        if event.type is dpy.InteractionType.component:
            await event.response.edit_message(view=card("again"), allowed_mentions=dpy.AllowedMentions.none())
            await event.followup.send(view=card("more"), ephemeral=True)
        else:
            await show(event, buttons=[("Again", "j1:again"), ("Stop", "j1:stop")])

    scene.bot.handle = answer
    painted = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    message = (await painted.acked()).message
    assert message is not None
    clicked = await scene.alice.click(message, label="Again")
    ack = await clicked.acked()

    assert (ack.type, ack.message) == (7, message)
    assert message.text == "again"
    assert (await clicked.followed_up(lambda m: m.ephemeral, within=3)).text == "more"
    with pytest.raises(LookupError):
        await scene.alice.click(message, "j1:again")
    assert (await (await scene.alice.click(message, "j1:again", force=True)).acked()).type == 7


async def test_only_its_reader_clicks_an_ephemeral_message_and_nobody_a_disabled_button(scene: Scene) -> None:
    view = ui.LayoutView(timeout=None)
    row: ui.ActionRow[ui.LayoutView] = ui.ActionRow()
    row.add_item(ui.Button(label="Off", custom_id="off", disabled=True)).add_item(ui.Button(label="On", custom_id="on"))
    view.add_item(row)
    view.stop()
    scene.bot.handle = lambda event: event.response.send_message(view=view, ephemeral=True)
    message = (await (await scene.alice.slash(scene.channel, "paint", prompt="a dog")).acked()).message
    assert message is not None

    bob = scene.discord.add_member("bob", scene.guild)
    with pytest.raises(ValueError, match="cannot be pressed"):
        await bob.click(message, label="On")
    with pytest.raises(ValueError, match="cannot be pressed"):
        await scene.alice.click(message, label="Off")


async def test_a_form_opens_prefilled_and_its_values_come_back(scene: Scene) -> None:
    async def answer(event: Event) -> object:
        if event.type is dpy.InteractionType.modal_submit:
            await show(event, "thanks")
            return event.data
        return await event.response.send_modal(form(with_file=True))

    scene.bot.handle = answer
    opened = await scene.alice.slash(scene.channel, "paint", prompt="a dog")
    ack = await opened.acked()
    assert ack.modal is not None
    await scene.bot.outcome()

    assert (ack.type, opened.message, ack.modal.title) == (9, None, "Change")
    assert [(each.custom_id, each.label, each.value) for each in ack.modal.fields] == [
        ("prompt", "Prompt", "a cat"),
        ("files", "Pictures", []),
    ]
    sent = await scene.alice.submit(opened, {"files": [Upload("a.png", png())]})
    data = await scene.bot.outcome()
    assert (await sent.acked()).type == 4
    assert sent.message is not None
    assert sent.message.text == "thanks"
    assert [each["type"] for each in data["components"]] == [10, 18, 18]
    assert data["components"][1]["component"]["value"] == "a cat"
    assert [data["components"][2]["component"]["values"]] == [list(data["resolved"]["attachments"])]
    with pytest.raises(ValueError, match="must be filled in"):
        await scene.alice.submit(opened, {"prompt": ""})
    with pytest.raises(ValueError, match="0 to 2"):
        await scene.alice.submit(opened, {"files": [Upload("a.png", png())] * 3})


async def test_a_form_behind_a_button_updates_the_message_of_the_button(scene: Scene) -> None:
    async def answer(event: Event) -> None:
        match event.type:
            case dpy.InteractionType.component:
                await event.response.send_modal(form())
            case dpy.InteractionType.modal_submit:
                assert event.message is not None
                await event.response.edit_message(view=card("changed"))
            case _:
                await show(event, buttons=[("Change", "change")])

    scene.bot.handle = answer
    message = (await (await scene.alice.slash(scene.channel, "paint", prompt="a dog")).acked()).message
    assert message is not None
    modal = (await (await scene.alice.click(message, label="Change")).acked()).modal
    assert modal is not None
    await (await scene.alice.submit(modal, {"prompt": "a fish"})).acked()

    assert message.text == "changed"
