"""`/moderate`, and *Take down* in the menu of a message."""

import discord

from bot.core.quota import Block, Holder
from bot.store.quotas import By
from tests.store.ledger_model import rows
from tests.ui.moderation.moderators import PERMISSIONS, history, log_channel, moderator, posted, result, strikes
from tests.ui.stage import Stage, on_stage, text

DAY = 24 * 60 * 60
ADMIN = PERMISSIONS | discord.Permissions(manage_guild=True)


# --- results


@on_stage()
async def test_a_result_named_by_its_reference_is_deleted_recorded_and_logged(on: Stage) -> None:
    mona, log = moderator(on), await log_channel(on)
    _, job_id = await result(on)

    shown = await mona.slash(on.channel, "moderate delete", result=job_id[-8:])
    await on.rig.delivery.run_due()

    job = await on.rig.job(job_id)
    assert shown.ephemeral
    assert job_id[-8:] in text(shown)
    assert (job.deleted_at, job.request.prompt) == (on.rig.time.now, "")
    assert on.removed == [f"{job_id}-1.png"]
    assert (await on.record(job_id)).reply.gone
    assert await history(on) == [("delete", mona.id, on.alice.id, {"job": job_id})]
    assert await strikes(on) == []
    (line,) = posted(on, log)
    assert f"<@{mona.id}> deleted a result of <@{on.alice.id}>" in text(line)


@on_stage()
async def test_a_result_of_another_server_cannot_be_named(on: Stage) -> None:
    other = on.env.create_guild("Other")
    mona, stranger = moderator(on), other.add_member(on.env.create_user("stranger"))
    channel = other.create_text_channel("pictures")
    await stranger.slash(channel, "imagine", prompt="a red fox")
    job = await on.newest()
    await on.finish(job)
    reply = (await on.record(job.id)).reply
    link = f"https://discord.com/channels/{other.id}/{reply.channel_id}/{reply.message_id}"

    for given in (job.id, job.id[-8:], link):
        refused = await mona.slash(on.channel, "moderate delete", result=given)
        assert "no such result in this server" in text(refused)

    assert (await on.rig.job(job.id)).deleted_at is None
    assert await history(on) == []


@on_stage()
async def test_a_result_is_covered_once(on: Stage) -> None:
    mona = moderator(on)
    shown, job_id = await result(on)
    link = f"https://discord.com/channels/{on.guild.id}/{on.channel.id}/{shown.id}"

    await mona.slash(on.channel, "moderate spoiler", result=link)
    again = await mona.slash(on.channel, "moderate spoiler", result=link)

    assert (await on.rig.job(job_id)).spoiler
    assert "already covered" in text(again)
    assert [each[0] for each in await history(on)] == ["spoiler"]


@on_stage()
async def test_the_menu_of_a_result_takes_it_down_after_asking(on: Stage) -> None:
    mona = moderator(on)
    shown, job_id = await result(on)

    asked = await mona.context_menu(on.channel, "Take down", shown.message)
    assert (await on.rig.job(job_id)).deleted_at is None
    await mona.click(asked.response.message, label="Take down")

    assert (await on.rig.job(job_id)).deleted_at is not None
    assert await strikes(on) == [(on.alice.id, "takedown", 30)]
    assert await history(on) == [("takedown", mona.id, on.alice.id, {"job": job_id})]


# --- members


@on_stage()
async def test_a_block_with_days_ends_by_itself(on: Stage) -> None:
    mona, log = moderator(on), await log_channel(on)

    shown = await mona.slash(on.channel, "moderate block", member=on.alice, days=2, reason="spam")
    ends = on.rig.time.now // 1000 + 2 * DAY
    refused = await on.alice.slash(on.channel, "imagine", prompt="x")
    again = await mona.slash(on.channel, "moderate block", member=on.alice)
    await on.go(2 * DAY)
    await on.imagine()

    assert "Reason: “spam”" in text(shown)
    assert f"<t:{ends}:R>" in text(refused)
    assert "already blocked" in text(again)
    assert [each[:3] for each in await history(on)] == [("block", mona.id, on.alice.id)]
    assert len(posted(on, log)) == 1
    overview = await on.rig.services.quotas.overview(on.guild.id, now=on.rig.time.now)
    assert overview.blocks == []


@on_stage()
async def test_a_block_without_days_lasts_until_the_member_is_unblocked(on: Stage) -> None:
    mona = moderator(on)

    await mona.slash(on.channel, "moderate block", member=on.alice)
    await on.go(400 * DAY)
    refused = await on.alice.slash(on.channel, "imagine", prompt="x")
    await mona.slash(on.channel, "moderate unblock", member=on.alice)
    again = await mona.slash(on.channel, "moderate unblock", member=on.alice)
    await on.imagine()

    assert "You're blocked" in text(refused)
    assert "isn't blocked" in text(again)
    assert [each[0] for each in await history(on)] == ["block", "unblock"]


@on_stage()
async def test_the_record_of_a_member_shows_strikes_and_who_did_what_in_this_server_only(on: Stage) -> None:
    mona, other = moderator(on), on.env.create_guild("Other")
    _, job_id = await result(on)
    by = By("1", on.guild.id, mona.id, on.rig.time.now)
    await on.rig.services.jobs.take_down(by, job_id, strike=True)
    elsewhere = By("2", other.id, mona.id, on.rig.time.now)
    await on.rig.services.quotas.block(elsewhere, Block(Holder.USER, on.alice.id), reason="elsewhere")

    shown = await mona.slash(on.channel, "moderate history", member=on.alice)

    assert shown.ephemeral
    assert "Strikes: 1 of 3" in text(shown)
    assert f"<@{mona.id}> took down a result of <@{on.alice.id}>" in text(shown)
    assert "elsewhere" not in text(shown)


@on_stage()
async def test_cleared_strikes_block_nobody_any_more(on: Stage) -> None:
    mona = moderator(on)
    for n in range(3):
        _, job_id = await result(on)
        by = By(str(n), on.guild.id, mona.id, on.rig.time.now)
        await on.rig.services.jobs.take_down(by, job_id, strike=True)
    refused = await on.alice.slash(on.channel, "imagine", prompt="x")

    await mona.slash(on.channel, "moderate strikes clear", member=on.alice)
    again = await mona.slash(on.channel, "moderate strikes clear", member=on.alice)
    await on.imagine()

    assert "You can again" in text(refused)
    assert "has no strikes" in text(again)
    assert (await history(on))[-1] == ("strikes", mona.id, on.alice.id, {"count": 3})


# --- words


@on_stage()
async def test_admins_change_the_list_and_only_they_see_it(on: Stage) -> None:
    ada, log = moderator(on, "ada", permissions=ADMIN), await log_channel(on)

    shown = await ada.slash(on.channel, "moderate words add", word="  Gore* ")
    same = await ada.slash(on.channel, "moderate words add", word="GORE*")
    refused = await on.alice.slash(on.channel, "imagine", prompt="goreish")
    listed = await ada.slash(on.channel, "moderate words list")
    offered = await ada.autocomplete(on.channel, "moderate words remove", "listed_word", "go")
    await ada.slash(on.channel, "moderate words remove", listed_word="Gore*")
    await on.imagine("goreish")

    assert all(each.ephemeral for each in (shown, same, listed))
    assert "Gore" in text(listed)
    assert "nothing changed" in text(same)
    assert "doesn't allow some of the words" in text(refused)
    assert [each["value"] for each in offered] == ["Gore*"]
    assert [each[3]["setting"] for each in await history(on)] == ["words.add", "words.remove"]
    assert all("gore" not in text(each).casefold() for each in posted(on, log))
    assert len(posted(on, log)) == 2


@on_stage()
async def test_moderators_who_do_not_manage_the_server_neither_see_nor_change_the_list(on: Stage) -> None:
    ada, mona = moderator(on, "ada", permissions=ADMIN), moderator(on)
    await ada.slash(on.channel, "moderate words add", word="gore")

    listed = await mona.slash(on.channel, "moderate words list")
    await mona.slash(on.channel, "moderate words remove", listed_word="gore")
    offered = await mona.autocomplete(on.channel, "moderate words remove", "listed_word", "")

    assert "Manage Server" in text(listed)
    assert "gore" not in text(listed)
    assert offered == []
    assert (await on.rig.store.server_settings(on.guild.id)).words == ("gore",)


@on_stage()
async def test_an_entry_without_letters_and_one_that_is_not_listed_are_refused(on: Stage) -> None:
    ada = moderator(on, "ada", permissions=ADMIN)

    empty = await ada.slash(on.channel, "moderate words add", word="*!")
    unknown = await ada.slash(on.channel, "moderate words remove", listed_word="gore")

    assert "at least one letter" in text(empty)
    assert "isn't on the list" in text(unknown)
    assert await rows(on.rig.store, "SELECT * FROM changes") == []
