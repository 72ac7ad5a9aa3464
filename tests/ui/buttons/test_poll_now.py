"""*Check now* on cards that show an earlier state."""

from typing import Any

import pytest

from tests.ui.stage import Stage, gallery, on_stage, text


@on_stage()
async def test_a_press_is_answered_before_its_token_is_used(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, job = await on.imagine(private=True)
    await on.finish(job, show=False)
    use = on.rig.services.jobs.button_clicked
    answers: list[int] = []

    async def clicked(*given: Any, **more: Any) -> None:
        answers.append(len([each for each in on.env.http_requests if each.path.endswith("/callback")]))
        await use(*given, **more)

    monkeypatch.setattr(on.rig.services.jobs, "button_clicked", clicked)
    await on.alice.click(shown.response.message, label="Check now")

    assert answers == [2]  # the command's and the press's; before that Discord does not know the token


@on_stage()
async def test_check_now_redraws_a_card_whose_result_was_delivered_privately(on: Stage) -> None:
    shown, job = await on.imagine(private=True)
    await on.finish(job, show=False)
    await on.rig.services.jobs.delivered_privately(job.id, version=await on.rig.services.jobs.wanted_version(job.id))

    await on.alice.click(shown.response.message, label="Check now")
    await on.rig.delivery.run_due()

    assert len(gallery(await on.card(job))) == 1


@on_stage()
async def test_check_now_on_a_card_left_over_from_a_deleted_job_says_so(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.finish(job, show=False)
    await on.rig.services.jobs.delete(job.id, user_id=on.alice.id)

    pressed = await on.alice.click(shown.response.message, label="Check now")

    assert pressed.ephemeral
    assert "isn't yours, or it was deleted" in text(pressed)


@on_stage()
async def test_check_now_on_a_public_card_that_is_no_longer_the_reply_delivers_to_the_owner_only(on: Stage) -> None:
    shown, job = await on.imagine()
    await on.finish(job, show=False)
    await on.rig.store.mark_reply_gone(job.id)

    others = await on.bob.click(shown.response.message, label="Check now")
    own = await on.alice.click(shown.response.message, label="Check now")

    assert others.followups == []
    (given,) = own.followups
    assert given.ephemeral
    assert len(gallery(given)) == 1
