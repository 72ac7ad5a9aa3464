"""Pictures from anywhere: the tray, avatars, stickers, forms with files, and ten attachments."""

from typing import Any

import discord

from bot.core.jobs import Verb
from bot.ui.interactions.parsing import pictures_in
from bot.ui.transport import payloads
from tests.ui.stage import PNG, Stage, gallery, on_stage, text, walk

LINK_LIFE = 24 * 3600


def selects(shown: Any) -> dict[str, dict[str, str]]:
    """The labels of each select's options by value, by the select's action."""
    message = getattr(shown, "response", shown)
    return {
        each["custom_id"].rpartition(":")[2]: {option["value"]: option["label"] for option in each["options"]}
        for each in walk(message.components)
        if each.get("type") == 3
    }


async def filled(on: Stage, *names: str) -> Any:
    """The page after *names* were put into Alice's tray."""
    message = await on.bob.send(on.channel, attachments=[(name, PNG[1]) for name in names])
    return await on.alice.context_menu(on.channel, "Add to tray", message)


# --- the tray


@on_stage()
async def test_pictures_of_several_messages_are_edited_together(on: Stage) -> None:
    await filled(on, "a.png")
    page = await filled(on, "b.png", "c.png")

    shown = await on.alice.slash(on.channel, "edit", prompt="as one poster", image=PNG, use_tray=True)

    job = await on.newest()
    assert [each.filename for each in job.request.references] == ["in.png", "a.png", "b.png", "c.png"]
    assert "as one poster" in text(shown)
    assert page.ephemeral
    assert "2 pictures were added." in text(page)
    assert len(gallery(page)) == 3


@on_stage()
async def test_the_form_of_the_tray_edits_what_is_in_it(on: Stage) -> None:
    page = await filled(on, "a.png", "b.png")

    form = await on.alice.click(page.response.message, label="Edit")
    await on.alice.submit_modal(form, {"prompt": "side by side"})

    assert [each.filename for each in (await on.newest()).request.references] == ["a.png", "b.png"]


@on_stage()
async def test_pictures_are_removed_moved_first_and_cleared(on: Stage) -> None:
    shown = await filled(on, "a.png", "b.png", "c.png")
    page = shown.response.message
    second = list(selects(shown)["remove"])[1]

    await on.alice.select(page, [second], custom_id="t1:tray:first")
    moved = [each for _, each in await on.rig.services.trays.read(on.alice.id, now=on.rig.time.now)]
    await on.alice.select(page, ["0"], custom_id="t1:tray:remove")  # it has a new number now
    left = [each for _, each in await on.rig.services.trays.read(on.alice.id, now=on.rig.time.now)]
    await on.alice.click(page, label="Clear")

    assert [each.filename for each in moved] == ["b.png", "a.png", "c.png"]
    assert [each.filename for each in left] == ["a.png", "c.png"]
    assert "It's empty." in text(await on.alice.slash(on.channel, "tray"))


@on_stage()
async def test_the_same_picture_is_in_the_tray_once_and_a_full_tray_takes_no_more(on: Stage) -> None:
    limit = max(each.edit.references for each in on.rig.services.catalog.models.values() if each.edit)
    message = await on.bob.send(on.channel, attachments=[(f"{n}.png", PNG[1]) for n in range(10)])
    await on.alice.context_menu(on.channel, "Add to tray", message)
    again = await on.alice.context_menu(on.channel, "Add to tray", message)
    await filled(on, *(f"more-{n}.png" for n in range(10)))
    refused = await filled(on, "last.png")

    tray = await on.rig.services.trays.read(on.alice.id, now=on.rig.time.now)
    assert "already" in text(again)
    assert len(tray) == limit
    assert f"holds {limit} pictures" in text(refused)


@on_stage()
async def test_a_tray_is_its_members_alone_and_empties_itself_after_a_day(on: Stage) -> None:
    await filled(on, "a.png")

    assert "It's empty." in text(await on.bob.slash(on.channel, "tray"))
    refused = await on.bob.slash(on.channel, "edit", prompt="x", use_tray=True)
    on.rig.time.go(LINK_LIFE + 1)

    assert "Your tray is empty" in text(refused)
    assert await on.rig.services.trays.read(on.alice.id, now=on.rig.time.now) == []


# --- other sources


@on_stage()
async def test_an_avatar_is_edited_from_the_menu_of_its_user(on: Stage) -> None:
    form = await on.alice.context_menu(on.channel, "Edit avatar", on.bob)
    await on.alice.submit_modal(form, {"prompt": "as a knight"})

    job = await on.newest()
    assert (job.request.verb, job.place.user_id) == (Verb.EDIT, on.alice.id)
    assert job.request.references[0].url.startswith("https://cdn.discordapp.com/embed/avatars/")


@on_stage()
async def test_a_sticker_is_a_picture_unless_it_is_an_animation(on: Stage) -> None:
    sent = await on.bob.send(on.channel, "look")
    stickers = [{"id": str(n), "name": f"fox{n}", "format_type": n} for n in (1, 3, 4)]  # PNG, Lottie, GIF
    payload = {"id": str(sent.id), "channel_id": str(on.channel.id), "sticker_items": stickers}

    message = discord.Message(
        state=on.client._connection,
        channel=on.client.get_partial_messageable(on.channel.id),
        data=payloads._message(payload),  # type: ignore[arg-type]
    )

    (reference,) = pictures_in(message)
    assert reference.url.endswith("/stickers/1.png")
    assert reference.filename == "fox1.png"


@on_stage()
async def test_an_edit_takes_ten_attachments(on: Stage) -> None:
    names = ["image", *(f"image{n}" for n in range(2, 11))]

    await on.alice.slash(on.channel, "edit", prompt="x", **{name: (f"{name}.png", PNG[1]) for name in names})

    assert [each.filename for each in (await on.newest()).request.references] == [f"{name}.png" for name in names]


@on_stage()
async def test_an_edit_of_nothing_says_where_pictures_come_from(on: Stage) -> None:
    refused = await on.alice.slash(on.channel, "edit", prompt="x")

    assert refused.ephemeral
    assert "There's no picture to edit" in text(refused)


@on_stage()
async def test_files_added_to_a_form_are_edited_with_its_picture(on: Stage) -> None:
    _, job = await on.imagine()
    await on.finish(job)

    form = await on.alice.click(await on.card(job), label="Edit")
    await on.alice.submit_modal(
        form, {"prompt": "wearing these", "files": [("hat.png", PNG[1]), ("scarf.png", PNG[1])]}
    )

    edited = await on.newest()
    assert [each.filename for each in edited.request.references] == [f"{job.id}-1.png", "hat.png", "scarf.png"]
    assert (edited.parent_id, edited.parent_picture) == (job.id, 1)
