"""The panel of a server's defaults: each select changes one, at once, and the history says who did it."""

from collections.abc import Mapping
from typing import Any

from bot.core.server_settings import ServerSettings
from tests.ui.admin.test_settings import admin
from tests.ui.stage import Stage, on_stage, text, walk


async def panel(on: Stage) -> Any:
    boss = admin(on)
    return boss, await boss.slash(on.channel, "settings panel")


async def settings(on: Stage) -> ServerSettings:
    return await on.rig.store.server_settings(on.guild.id)


def chosen(page: Any, name: str) -> list[str]:
    select = next(each for each in walk(page.response.components) if each.get("custom_id") == f"q1:panel:{name}")
    return [each["value"] for each in select["options"] if each.get("default")]


CHOICES: Mapping[str, tuple[str, object]] = {  # what is chosen, and what is stored
    "default_model": ("nano-banana-pro", "nano-banana-pro"),
    "private": ("yes", True),
    "language": ("fr", "fr"),
    "prices": ("yes", True),
    "web_search": ("no", False),
    "max_safety": ("2", 2),
    "gallery_stars": ("5", 5),
}


@on_stage()
async def test_a_choice_is_stored_shown_and_recorded(on: Stage) -> None:
    boss, page = await panel(on)

    for name, (value, stored) in CHOICES.items():
        await boss.select(page.response.message, [value], custom_id=f"q1:panel:{name}")
        assert getattr(await settings(on), name) == stored
        assert chosen(page, name) == [value]

    history = text(await boss.slash(on.channel, "quota history"))
    assert history.count(f"<@{boss.id}> changed a default: ") == len(CHOICES)
    assert "changed a default: Language of public replies: Français." in history


@on_stage()
async def test_the_defaults_apply_to_the_next_request(on: Stage) -> None:
    boss, page = await panel(on)
    for name, value in (("default_model", "nano-banana-pro"), ("max_safety", "2"), ("private", "yes")):
        await boss.select(page.response.message, [value], custom_id=f"q1:panel:{name}")

    shown, job = await on.imagine()
    refused = await on.alice.slash(on.channel, "imagine", prompt="x", model="nano-banana-2", safety=3)

    assert job.request.model == "nano-banana-pro"
    assert shown.ephemeral
    assert "This server allows `safety` up to 2, and you asked for 3." in text(refused)


@on_stage()
async def test_a_gallery_channel_is_chosen_and_removed(on: Stage) -> None:
    boss, page = await panel(on)
    hall = on.guild.create_text_channel("hall")

    await boss.select(page.response.message, [hall], custom_id="q1:panel:gallery")
    assert (await settings(on)).gallery == hall.id
    await boss.select(page.response.message, [], custom_id="q1:panel:gallery")
    assert (await settings(on)).gallery is None
