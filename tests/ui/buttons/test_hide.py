"""*Hide* and *Show in channel*, pressed by the owner on the card and in `/jobs`, and by others."""

from typing import Any

from bot.core.jobs import Job, State
from bot.core.quota import Amount
from tests.ui.stage import Stage, buttons, gallery, on_stage, text


async def drawing(on: Stage, **options: Any) -> tuple[Any, Job]:
    """A running job at a provider that cannot stop it, with an up-to-date reply."""
    shown, job = await on.imagine("a secret lighthouse", **options)
    for state in (State.SUBMITTING, State.QUEUED, State.RUNNING):
        assert await on.rig.store.move(await on.rig.job(job.id), state, now=on.rig.time.now) is not None
    await on.rig.delivery.run_due()
    return shown.response.message, await on.rig.job(job.id)


@on_stage(host="runflow")
async def test_a_waiting_job_has_cancel_and_a_running_one_has_hide(on: Stage) -> None:
    shown, _ = await on.imagine()
    assert "Cancel" in buttons(shown).values()
    message, job = await drawing(on)

    assert "Hide" in buttons(await on.card(job)).values()
    pressed = await on.alice.click(message, label="Hide")

    card = await on.card(job)
    assert pressed.acknowledged
    assert "Hidden" in text(card)
    assert "it still counts and stays in `/jobs`" in text(card)
    assert "lighthouse" not in text(card)
    assert list(buttons(card).values()) == ["Show in channel", "Full prompt", "Check now"]


@on_stage(host="runflow")
async def test_a_hidden_job_ends_without_pictures_in_the_channel_and_jobs_delivers_them(on: Stage) -> None:
    message, job = await drawing(on)
    await on.alice.click(message, label="Hide")
    await on.finish(await on.rig.job(job.id))

    card = await on.card(job)
    assert gallery(card) == []
    assert "The pictures are in `/jobs` until" in text(card)
    listed = await on.alice.slash(on.channel, "jobs")
    assert listed.followups == []
    assert "🙈 Hidden" in text(listed)
    for _ in range(2):  # it stays in the list
        pressed = await on.alice.click(listed.response.message, label="Check now")
        (given,) = pressed.followups
        assert given.ephemeral
        assert len(gallery(given)) == 1
        assert "Done" in text(given)
    await on.rig.delivery.run_due()
    assert gallery(await on.card(job)) == []
    assert "🙈 Hidden" in text(await on.alice.slash(on.channel, "jobs"))
    assert (await on.record(job.id)).charge.settled == Amount(1, 80_000)


@on_stage(host="runflow")
async def test_a_job_shown_again_continues_or_shows_its_pictures(on: Stage) -> None:
    message, job = await drawing(on)
    await on.alice.click(message, label="Hide")
    await on.alice.click(message, label="Show in channel")
    assert "Generating" in text(await on.card(job))

    await on.alice.click(message, label="Hide")
    await on.finish(await on.rig.job(job.id))
    pressed = await on.alice.click(message, label="Show in channel")
    await on.rig.delivery.run_due()

    assert pressed.acknowledged
    assert len(gallery(await on.card(job))) == 1
    assert "Done" in text(await on.card(job))


@on_stage(host="runflow")
async def test_nobody_else_hides_or_shows_a_job(on: Stage) -> None:
    message, job = await drawing(on)
    refused = [await on.bob.click(message, label="Hide")]
    await on.alice.click(message, label="Hide")
    refused += [await on.bob.click(message, label="Show in channel")]

    for each in refused:
        assert each.ephemeral
        assert "Only the person who requested this can hide" in text(each)
    assert (await on.rig.job(job.id)).hidden_at is not None


@on_stage(host="runflow")
async def test_hide_on_an_outdated_card_of_an_ended_job_says_that_it_is_too_late(on: Stage) -> None:
    message, job = await drawing(on)
    await on.finish(await on.rig.job(job.id), show=False)

    pressed = await on.alice.click(message, label="Hide")

    assert pressed.ephemeral
    assert "It's too late to hide this: it has already ended." in text(pressed)
    await on.rig.delivery.run_due()
    assert len(gallery(await on.card(job))) == 1


@on_stage(host="runflow")
async def test_hide_in_the_list_of_jobs_leaves_the_list_alone_and_changes_the_card(on: Stage) -> None:
    _, job = await drawing(on)
    listed = await on.alice.slash(on.channel, "jobs")

    await on.alice.click(listed.response.message, label="Hide")
    await on.go(3)
    await on.rig.delivery.run_due()

    assert "Your jobs" in text(listed)
    assert "Hidden" in text(await on.card(job))


@on_stage(host="runflow")
async def test_an_answer_that_overwrites_a_final_card_is_redrawn(on: Stage) -> None:
    message, job = await drawing(on)
    hide = on.rig.services.jobs.hide

    async def slow(job_id: str, *, user_id: int) -> Any:
        card = await hide(job_id, user_id=user_id)
        await on.finish(await on.rig.job(job.id))  # and its hidden ending is shown before the press is answered
        return card

    on.rig.services.jobs.hide = slow  # type: ignore[method-assign]
    await on.alice.click(message, label="Hide")
    await on.rig.delivery.run_due()

    assert "The pictures are in `/jobs` until" in text(await on.card(job))


@on_stage(host="runflow")
async def test_delete_on_a_hidden_job_removes_message_and_pictures(on: Stage) -> None:
    message, job = await drawing(on)
    await on.alice.click(message, label="Hide")
    await on.finish(await on.rig.job(job.id))

    asked = await on.alice.click(message, label="Delete")
    await on.alice.click(asked.response.message, label="Delete")

    assert on.removed == [f"{job.id}-1.png"]
    assert (await on.rig.job(job.id)).deleted_at is not None
    assert "You have no active" in text(await on.alice.slash(on.channel, "jobs"))
