"""*Report* behind *More…*, and what moderators do with reports in the log channel."""

import asyncio
from typing import Any

from bot.store.quotas import By
from tests.store.ledger_model import rows
from tests.ui.moderation.moderators import history, log_channel, moderator, posted, result, strikes
from tests.ui.stage import Stage, buttons, on_stage, text


async def report(on: Stage, shown: Any, *, by: Any = None, reason: str = "not nice") -> Any:
    who = by or on.bob
    menu = await who.click(shown, label="More…")
    form = await who.click(menu.response.message, label="Report")
    return await who.submit_modal(form, {"reason": reason}) if form.modal else form


async def outcomes(on: Stage) -> list[tuple[int, str, str | None, int | None]]:
    found = await rows(on.rig.store, "SELECT reporter, reason, outcome, settled_by FROM reports ORDER BY at, id")
    return [(each["reporter"], each["reason"], each["outcome"], each["settled_by"]) for each in found]


def told(on: Stage, who: Any) -> list[str]:
    """The direct messages that a member has got."""
    return [text(each) for each in posted(on, who.user.dm_channel, viewer=who.user)]


# --- members


@on_stage()
async def test_a_report_is_posted_in_the_log_channel_with_who_why_and_where(on: Stage) -> None:
    log = await log_channel(on)
    shown, job_id = await result(on)

    thanks = await report(on, shown, reason="my *face*")

    (card,) = posted(on, log)
    assert thanks.ephemeral
    assert f"https://discord.com/channels/{on.guild.id}/{on.channel.id}/{shown.id}" in text(card)
    assert f"<@{on.alice.id}>" in text(card)
    assert f"<@{on.bob.id}>" in text(card)
    assert r"my \*face\*" in text(card)
    assert buttons(card) == {f"m1:{job_id}:takedown": "Take down", f"m1:{job_id}:dismiss": "Dismiss"}
    assert await outcomes(on) == [(on.bob.id, "my *face*", None, None)]


@on_stage()
async def test_a_member_reports_a_result_once_and_never_their_own(on: Stage) -> None:
    log = await log_channel(on)
    shown, _ = await result(on)

    await report(on, shown)
    again = await report(on, shown)
    menu = await on.alice.click(shown, label="More…")

    assert "already reported" in text(again)
    assert "Report" not in buttons(menu).values()
    assert len(posted(on, log)) == 1


@on_stage()
async def test_without_a_log_channel_a_report_is_refused_before_it_is_written(on: Stage) -> None:
    shown, _ = await result(on)

    refused = await report(on, shown)

    assert "doesn't take reports here" in text(refused)
    assert await outcomes(on) == []


@on_stage()
async def test_a_report_that_cannot_be_posted_is_not_kept_and_can_be_repeated(on: Stage) -> None:
    log = await log_channel(on)
    shown, _ = await result(on)
    on.env.inject_error("POST", f"/channels/{log.id}/messages", status=403, code=50013, message="Missing Permissions")

    refused = await report(on, shown)
    repeated = await report(on, shown)

    assert "can't post" in text(refused)
    assert "have your report" in text(repeated)
    assert len(await outcomes(on)) == 1


# --- moderators


@on_stage()
async def test_a_takedown_deletes_the_result_and_its_copy_and_tells_everybody_concerned(on: Stage) -> None:
    mona, log = moderator(on), await log_channel(on)
    gallery = on.guild.create_text_channel("gallery")
    shown, job_id = await result(on)
    copy = await on.client.get_partial_messageable(gallery.id).send("copy")
    await on.rig.store.database.write(
        lambda tx: tx.run(
            "INSERT INTO gallery (job, guild, channel_id, message_id, at) VALUES ($1, $2, $3, $4, 5)",
            job_id, on.guild.id, gallery.id, copy.id,
        )
    )  # fmt: skip
    await report(on, shown)
    await report(on, shown, by=mona, reason="gore")

    first, second = posted(on, log)
    await mona.click(first, label="Take down")
    await on.rig.delivery.run_due()
    late = await mona.click(second, label="Dismiss")

    assert (await on.rig.job(job_id)).deleted_at is not None
    assert on.removed == [f"{job_id}-1.png"]
    assert (await on.record(job_id)).reply.gone
    assert posted(on, gallery) == []
    assert await strikes(on) == [(on.alice.id, "takedown", 30)]
    assert [each[2:] for each in await outcomes(on)] == [("taken_down", mona.id)] * 2
    edited, _ = posted(on, log)
    assert f"<@{mona.id}> took down a result of <@{on.alice.id}>" in text(edited)
    assert "not nice" in text(edited)
    assert buttons(edited) == {}
    (message,) = told(on, on.alice)
    assert "took down one of your pictures" in message
    assert "already handled" in text(late)
    assert await history(on) == [("takedown", mona.id, on.alice.id, {"job": job_id})]


@on_stage()
async def test_of_two_moderators_at_once_one_acts(on: Stage) -> None:
    """Both have passed every check before either has written anything."""
    _, job_id = await result(on)
    pressed = [By(str(n), on.guild.id, n, on.rig.time.now) for n in (7, 8)]

    taken = await asyncio.gather(*(on.rig.services.jobs.take_down(each, job_id, strike=True) for each in pressed))

    assert sorted(each.done for each in taken) == [False, True]
    assert len(await strikes(on)) == 1
    assert len(await history(on)) == 1


@on_stage()
async def test_the_moderator_who_is_second_is_told_who_was_first(on: Stage) -> None:
    mona, otto, log = moderator(on), moderator(on, "otto"), await log_channel(on)
    shown, _ = await result(on)
    await report(on, shown)
    await report(on, shown, by=otto)
    first, second = posted(on, log)

    await mona.click(first, label="Take down")
    late = await otto.click(second, label="Take down")

    assert f"<@{mona.id}> has already handled this" in text(late)
    assert late.ephemeral
    assert len(await strikes(on)) == 1
    assert len(told(on, on.alice)) == 1


@on_stage()
async def test_dismissed_reports_leave_the_result_and_its_requester_alone(on: Stage) -> None:
    mona, otto, log = moderator(on), moderator(on, "otto"), await log_channel(on)
    shown, job_id = await result(on)
    await report(on, shown)
    await report(on, shown, by=otto)
    first, second = posted(on, log)

    await mona.click(first, label="Dismiss")
    late = await otto.click(second, label="Dismiss")

    edited, _ = posted(on, log)
    assert f"<@{mona.id}> dismissed the reports" in text(edited)
    assert f"<@{mona.id}> has already handled this" in text(late)
    assert (await on.rig.job(job_id)).deleted_at is None
    assert await strikes(on) == []
    assert told(on, on.alice) == []
    assert [each[2:] for each in await outcomes(on)] == [("dismissed", mona.id)] * 2
    assert await history(on) == [("dismiss", mona.id, on.alice.id, {"job": job_id})]


@on_stage()
async def test_the_buttons_refuse_members_without_the_permission_and_moderators_of_other_servers(on: Stage) -> None:
    log = await log_channel(on)
    shown, job_id = await result(on)
    await report(on, shown)
    (card,) = posted(on, log)

    for label in ("Take down", "Dismiss"):
        refused = await on.bob.click(card, label=label)
        assert "Manage Messages" in text(refused)

    assert (await on.rig.job(job_id)).deleted_at is None
    assert [each[2] for each in await outcomes(on)] == [None]


@on_stage()
async def test_a_report_about_a_result_that_its_requester_deleted_needs_no_takedown(on: Stage) -> None:
    mona, log = moderator(on), await log_channel(on)
    shown, _ = await result(on)
    await report(on, shown)
    (card,) = posted(on, log)
    await on.delete(on.alice, shown)

    late = await mona.click(card, label="Take down")

    assert late.ephemeral
    assert await strikes(on) == []
    assert [each[2] for each in await outcomes(on)] == ["dismissed"]
