"""Pictures that the provider flags as not safe for work, in servers that do not show them."""

from typing import Any

import discord

from bot.core.jobs import State
from bot.store.housekeeping import Housekeeping
from tests.ui.moderation.moderators import PERMISSIONS, moderator
from tests.ui.stage import Stage, buttons, gallery, on_stage, text

ADMIN = PERMISSIONS | discord.Permissions(manage_guild=True)
HOUR = 60 * 60


async def withheld(on: Stage, **options: Any) -> tuple[Any, str]:
    """A flagged result in a server that withholds those: its message and its job id."""
    ada = moderator(on, "ada", permissions=ADMIN)
    await ada.slash(on.channel, "settings flagged", choice="withhold")
    _, job = await on.imagine("a red fox", **options)
    flagged = await on.rig.store.update_ended(job, flagged=True)
    assert flagged is not None
    assert flagged.state is State.ACCEPTED
    await on.finish(flagged)
    return await on.card(job), job.id


@on_stage()
async def test_the_public_card_shows_no_picture_and_says_why(on: Stage) -> None:
    shown, _ = await withheld(on)

    assert gallery(shown) == []
    assert "withheld by this server's rules" in text(shown)
    assert "can see them in `/jobs`" in text(shown)
    assert list(buttons(shown).values()) == ["Again", "More…"]


@on_stage()
async def test_the_member_finds_them_in_jobs_for_a_day(on: Stage) -> None:
    _, job_id = await withheld(on)
    rows = Housekeeping(on.rig.store.database)

    await on.go(23 * HOUR)
    now = on.rig.time.now
    assert await rows.delete_expired_pictures(before=now, unseen_before=now - 24 * HOUR * 1000) == []
    listed = await on.alice.slash(on.channel, "jobs")
    found = await on.alice.click(listed.response.message, label="Check now")
    others = await on.bob.slash(on.channel, "jobs")
    await on.go(HOUR + 1)
    now = on.rig.time.now
    later = await on.alice.slash(on.channel, "jobs")

    assert "Withheld in its channel" in text(listed)
    assert not listed.followups
    (delivered,) = found.followups
    assert [each.rpartition("/")[2].partition("?")[0] for each in gallery(delivered)] == [f"{job_id}-1.png"]
    assert "no active" in text(others)
    assert "no active" in text(later)
    assert await rows.delete_expired_pictures(before=now, unseen_before=now - 24 * HOUR * 1000) == [f"{job_id}-1.png"]


@on_stage()
async def test_only_the_member_gets_the_original_files(on: Stage) -> None:
    shown, _ = await withheld(on)

    theirs = await on.bob.click(shown, label="More…")
    mine = await on.alice.click(shown, label="More…")
    sent = await on.alice.click(mine.response.message, label="Original files")

    assert "Original files" not in buttons(theirs).values()
    assert sent.ephemeral


@on_stage()
async def test_a_private_reply_shows_them(on: Stage) -> None:
    shown, _ = await withheld(on, private=True)

    assert len(gallery(shown)) == 1


@on_stage()
async def test_a_menu_that_was_opened_before_hands_out_nothing_any_more(on: Stage) -> None:
    ada = moderator(on, "ada", permissions=ADMIN)
    _, job = await on.imagine("a red fox")
    await on.finish(job)
    await on.rig.store.update_ended(job, flagged=True)
    menu = await on.bob.click(await on.card(job), label="More…")

    await ada.slash(on.channel, "settings flagged", choice="withhold")
    refused = await on.bob.click(menu.response.message, label="Original files")

    assert "withheld by this server's rules" in text(refused)
