"""*Delete*: who may press it, and what it removes."""

import discord
from simcord.results import ResponseMessage

from tests.ui.stage import Stage, buttons, on_stage

# --- delete


@on_stage()
async def test_delete_removes_the_message_and_the_files(on: Stage) -> None:
    shown, job = await on.imagine(count=2)
    await on.finish(job, pictures=2)

    await on.delete(on.alice, shown.response.message)

    assert not on.channel.history()
    assert on.removed == [f"{job.id}-1.png", f"{job.id}-2.png"]
    assert (await on.rig.job(job.id)).deleted_at is not None


@on_stage()
async def test_a_member_deletes_nobody_elses_pictures(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.finish(job)

    menu = await on.bob.click(shown.response.message, label="More…")

    assert list(buttons(menu).values()) == ["Original files", "Favorite", "Report"]
    assert not on.removed
    assert len(on.channel.history()) == 1


@on_stage()
async def test_a_moderator_deletes_what_members_made(on: Stage) -> None:
    role = on.guild.create_role("mods", permissions=discord.Permissions(manage_messages=True))
    mod = on.guild.add_member(on.env.create_user("mod"), roles=[role])
    shown, job = await on.imagine()
    await on.finish(job)

    await on.delete(mod, shown.response.message)

    assert on.removed == [f"{job.id}-1.png"]
    assert not on.channel.history()


@on_stage()
async def test_a_moderator_of_another_server_cannot_delete_here(on: Stage) -> None:
    _, job = await on.imagine()
    await on.finish(job)
    other = on.env.create_guild("Elsewhere")
    hall = other.create_text_channel("hall")
    role = other.create_role("mods", permissions=discord.Permissions(manage_messages=True))
    mod = other.add_member(on.env.create_user("mod"), roles=[role])
    view = discord.ui.View()
    view.add_item(discord.ui.Button(label="Delete", custom_id=f"j1:{job.id}:delete"))
    sent = await on.client.get_partial_messageable(hall.id).send(view=view)

    refused = await mod.click(
        ResponseMessage(on.env, on.env.backend.get_message(hall.id, sent.id)).message, label="Delete"
    )

    assert refused.ephemeral
    assert not on.removed
    assert (await on.rig.job(job.id)).deleted_at is None
