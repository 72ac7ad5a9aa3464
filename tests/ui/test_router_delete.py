"""*Delete*: who may press it, and what is gone then."""

import discord

from tests.ui.stage import Stage, on_stage

# --- delete


@on_stage()
async def test_delete_takes_the_message_and_the_files_away(on: Stage) -> None:
    shown, job = await on.imagine(count=2)
    await on.finish(job, pictures=2)

    await on.alice.click(shown.response.message, label="Delete")

    assert not on.channel.history()
    assert on.removed == [f"{job.id}-1.png", f"{job.id}-2.png"]
    assert (await on.rig.job(job.id)).deleted_at is not None


@on_stage()
async def test_a_member_deletes_nobody_elses_pictures(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.finish(job)

    refused = await on.bob.click(shown.response.message, label="Delete")

    assert refused.ephemeral
    assert not on.removed
    assert len(on.channel.history()) == 1


@on_stage()
async def test_a_moderator_deletes_what_members_made(on: Stage) -> None:
    role = on.guild.create_role("mods", permissions=discord.Permissions(manage_messages=True))
    mod = on.guild.add_member(on.env.create_user("mod"), roles=[role])
    shown, job = await on.imagine()
    await on.finish(job)

    await mod.click(shown.response.message, label="Delete")

    assert on.removed == [f"{job.id}-1.png"]
    assert not on.channel.history()
