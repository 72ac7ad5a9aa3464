"""Hiding a job that its provider cannot stop: nothing of it is shown, everything else continues as usual."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.cards import ReplyPath
from bot.core.errors import DeliverLater, PathClosed, ProviderUnavailable, UserError
from bot.core.jobs import HOUR, Cancel, Job, Observation, State
from bot.core.quota import Amount, Limits
from bot.maintenance.retention import Retention
from tests import databases
from tests.kit import ALICE, BOB, Rig, Time, rig

RUNNING = Observation(State.RUNNING)
PRICE = Amount(1, 80_000)
FREE = Limits(user_day_images=None, user_day_micro_usd=None)


@pytest.fixture(params=databases.POSTGRES_IN_PROVE)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with databases.empty(request, tmp_path) as found:
        yield found


@pytest.fixture
async def app(tmp_path: Path, url: str) -> AsyncIterator[Rig]:
    async with rig(tmp_path, url=url, host="runflow") as found:
        found.provider.sees = [RUNNING]
        yield found


async def running(app: Rig) -> str:
    """A running job that the provider cannot stop."""
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()
    while (await app.job(job_id)).state is not State.RUNNING:
        await app.turn(5)
    return job_id


async def ends(app: Rig, job_id: str, seen: Observation | None = None) -> Job:
    app.provider.sees = [seen or app.ready()]
    job = await app.until_final(job_id)
    await app.turn()
    return job


async def hidden_and_done(app: Rig) -> str:
    job_id = await running(app)
    await app.services.jobs.hide(job_id, user_id=ALICE)
    await ends(app, job_id)
    return job_id


async def in_jobs(app: Rig, user: int = ALICE) -> list[str]:
    return [each.job.id for each in (await app.services.jobs.open_jobs(user))[0]]


async def refused(call: object) -> str:
    with pytest.raises(UserError) as caught:
        await call  # type: ignore[misc]
    return caught.value.key


# --- the button


async def test_a_job_that_is_not_submitted_yet_is_cancelled_instead_of_hidden(app: Rig) -> None:
    job_id = await app.imagine()
    assert (await app.services.jobs.card(job_id)).hide_only

    assert await refused(app.services.jobs.hide(job_id, user_id=ALICE)) == "hide.too_late"
    card = await app.services.jobs.cancel(job_id, user_id=ALICE)

    assert (card.job.state, card.charge.released) == (State.CANCELLED, PRICE)
    assert app.provider.submitted == []


async def cancelled_while_it_is_being_sent(app: Rig) -> Job:
    async def press(job_id: str) -> None:
        assert (await app.services.jobs.cancel(job_id, user_id=ALICE)).job.cancel is Cancel.WANTED

    app.provider.while_submitting = press
    job_id = await app.imagine()
    await app.turn(10)
    return await app.job(job_id)


async def test_a_cancel_during_the_submit_applies_if_the_submit_was_not_accepted(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("503")]

    assert (await cancelled_while_it_is_being_sent(app)).state is State.CANCELLED


async def test_a_job_accepted_after_a_cancel_was_requested_can_still_be_hidden(app: Rig) -> None:
    job = await cancelled_while_it_is_being_sent(app)
    assert (job.state, job.cancel) == (State.RUNNING, Cancel.TOO_LATE)

    await app.services.jobs.hide(job.id, user_id=ALICE)

    assert (await ends(app, job.id)).state is State.SUCCEEDED
    assert app.messenger.last.hidden


async def test_a_hidden_job_is_made_and_charged_as_usual_and_never_shown(app: Rig) -> None:
    job_id = await running(app)

    card = await app.services.jobs.hide(job_id, user_id=ALICE)
    assert (card.hidden, card.job.hidden_at, card.charge.settled) == (True, app.time.now, None)
    await app.turn(5)
    assert app.messenger.last.hidden
    job = await ends(app, job_id)

    way, shown, uploads = app.messenger.shown[-1]
    assert (job.state, shown.charge.settled) == (State.SUCCEEDED, PRICE)
    assert (way, shown.hidden, uploads) == (ReplyPath.TOKEN, True, ())
    assert not [each for _, _, each in app.messenger.shown if each]
    assert len(shown.pictures) == 1
    assert (app.folder / shown.pictures[0].file).exists()
    assert shown.listed_until == app.time.now + 24 * HOUR


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (Observation(State.FAILED), State.FAILED),
        (Observation(State.REFUSED), State.REFUSED),
        (Observation(State.CANCELLED), State.CANCELLED),
    ],
)
async def test_a_hidden_job_without_pictures_costs_nothing(app: Rig, end: Observation, state: State) -> None:
    job_id = await running(app)
    await app.services.jobs.hide(job_id, user_id=ALICE)

    job = await ends(app, job_id, end)

    assert job.state is state
    assert app.messenger.last.charge.released == PRICE
    assert app.messenger.last.hidden


async def test_no_new_message_is_sent_when_a_hidden_job_ends(app: Rig) -> None:
    job_id = await running(app)
    await app.services.jobs.hide(job_id, user_id=ALICE)
    await app.turn(5)
    before = len(app.messenger.shown)
    app.messenger.errors = [PathClosed("401"), PathClosed("403")]

    await ends(app, job_id)
    await app.turn(60, times=3)

    assert len(app.messenger.shown) == before
    assert await in_jobs(app) == [job_id]


async def test_hiding_twice_is_harmless_and_too_late_when_it_has_ended(app: Rig) -> None:
    hidden, shown = await running(app), await running(app)
    first = await app.services.jobs.hide(hidden, user_id=ALICE)
    app.time.go(5)
    second = await app.services.jobs.hide(hidden, user_id=ALICE)
    await ends(app, hidden)
    await ends(app, shown)

    assert second.job.hidden_at == first.job.hidden_at
    assert (await app.services.jobs.hide(hidden, user_id=ALICE)).job.hidden_at == first.job.hidden_at
    assert await refused(app.services.jobs.hide(shown, user_id=ALICE)) == "hide.too_late"


async def test_only_the_owner_hides_a_job_or_shows_it_again(app: Rig) -> None:
    job_id = await running(app)

    assert await refused(app.services.jobs.hide(job_id, user_id=BOB)) == "hide.not_yours"
    await app.services.jobs.hide(job_id, user_id=ALICE)
    assert await refused(app.services.jobs.show(job_id, user_id=BOB)) == "hide.not_yours"
    assert (await app.job(job_id)).hidden_at is not None


async def test_a_job_that_the_provider_can_stop_is_not_hidden(tmp_path: Path) -> None:
    async with rig(tmp_path) as other:
        job_id = await running(other)

        assert not (await other.services.jobs.card(job_id)).hide_only
        assert await refused(other.services.jobs.hide(job_id, user_id=ALICE)) == "hide.too_late"


# --- showing again


async def test_a_hidden_job_shown_again_before_its_end_continues_as_usual(app: Rig) -> None:
    job_id = await running(app)
    await app.services.jobs.hide(job_id, user_id=ALICE)
    await app.services.jobs.show(job_id, user_id=ALICE)
    assert not (await app.services.jobs.show(job_id, user_id=ALICE)).hidden

    await ends(app, job_id)

    assert [len(uploads) for _, _, uploads in app.messenger.shown][-1] == 1
    assert await in_jobs(app) == []


async def test_a_hidden_job_shown_again_after_its_end_is_delivered(app: Rig) -> None:
    job_id = await hidden_and_done(app)

    card = await app.services.jobs.show(job_id, user_id=ALICE)
    await app.turn()

    assert (card.hidden, card.job.state) == (False, State.SUCCEEDED)
    assert len(app.messenger.shown[-1][2]) == 1
    assert app.messenger.last.charge.settled == PRICE
    assert await in_jobs(app) == []


# --- /jobs


async def test_jobs_lists_a_hidden_job_until_a_day_after_its_end_however_often_it_is_delivered(app: Rig) -> None:
    job_id = await running(app)
    await app.services.jobs.hide(job_id, user_id=ALICE)
    assert await in_jobs(app) == [job_id]
    await ends(app, job_id)

    await app.services.jobs.delivered_privately(job_id, version=await app.services.jobs.wanted_version(job_id))
    assert await in_jobs(app) == [job_id]
    assert await in_jobs(app, BOB) == []
    app.time.go(24 * 3600)
    assert await in_jobs(app) == [job_id]
    app.time.go(1)
    assert await in_jobs(app) == []


async def test_delivering_a_hidden_job_from_jobs_leaves_its_reply_hidden(app: Rig) -> None:
    job_id = await running(app)
    await app.services.jobs.hide(job_id, user_id=ALICE)
    app.provider.sees = [app.ready()]
    while not (await app.job(job_id)).state.is_final:
        app.time.go(5)
        await app.worker.run_due()

    await app.services.jobs.delivered_privately(job_id, version=await app.services.jobs.wanted_version(job_id))
    await app.turn()

    assert (app.messenger.last.hidden, app.messenger.last.job.state) == (True, State.SUCCEEDED)


async def test_hidden_finished_jobs_do_not_push_active_jobs_out_of_jobs(app: Rig) -> None:
    began = app.time.now
    over = [await hidden_and_done(app) for _ in range(2)]
    now, app.time.now = app.time.now, began
    old = await app.imagine()
    app.time.now = now

    dossiers, more = await app.store.open_jobs(ALICE, since=app.time.now - HOUR, limit=2)

    assert ([each.job.id for each in dossiers], more) == ([old, over[0]], 1)


async def test_every_hidden_job_is_listed_by_jobs_before_its_pictures_expire(tmp_path: Path, url: str) -> None:
    async with rig(tmp_path, url=url, host="runflow", limits=FREE) as app:
        nothing = await running(app)
        await app.services.jobs.hide(nothing, user_id=ALICE)
        await ends(app, nothing, Observation(State.FAILED))
        hidden = [await hidden_and_done(app) for _ in range(12)]

        assert await app.services.jobs.open_jobs(BOB) == ([], 0)
        cards, more = await app.services.jobs.open_jobs(ALICE)
        assert ([each.job.id for each in cards], more) == (hidden[:10], 3)
        await app.services.jobs.delete(hidden[0], user_id=ALICE)
        await app.services.jobs.show(hidden[1], user_id=ALICE)
        await app.turn()

        cards, more = await app.services.jobs.open_jobs(ALICE)
        assert ([each.job.id for each in cards], more) == (hidden[2:], 1)


# --- retention, limits, deletion


async def undelivered(app: Rig) -> str:
    """A job with pictures whose card Discord does not accept."""
    job_id = await running(app)
    app.messenger.errors = [DeliverLater("503")] * 50
    await ends(app, job_id)
    return job_id


async def test_pictures_whose_reply_could_not_show_them_yet_are_kept_for_a_day_from_the_end(app: Rig) -> None:
    waits, deleted = await undelivered(app), await undelivered(app)
    await app.store.mark_reply_gone(deleted)
    retention = Retention(app.services, storage=app.storage, keep_hours=1, keep_prompts_days=30)

    app.time.go(2 * 3600)
    await retention.run_once()
    assert [each.name for each in app.folder.glob("*.png")] == [f"{waits}-1.png"]
    app.time.go(22 * 3600 + 60)
    await retention.run_once()

    assert list(app.folder.glob("*.png")) == []


async def test_pictures_of_a_job_shown_again_are_kept_until_discord_is_back(app: Rig) -> None:
    job_id = await hidden_and_done(app)
    retention = Retention(app.services, storage=app.storage, keep_hours=1, keep_prompts_days=30)
    app.time.go(5 * 3600)
    app.messenger.errors = [DeliverLater("503")] * 3

    await app.services.jobs.show(job_id, user_id=ALICE)
    await app.turn()
    await retention.run_once()
    await app.turn(60, times=5)

    assert len(app.messenger.shown[-1][2]) == 1
    await retention.run_once()
    assert list(app.folder.glob("*.png")) == []


async def test_pictures_of_a_hidden_job_are_kept_for_a_day_even_if_others_are_deleted_sooner(app: Rig) -> None:
    hidden, shown = await running(app), await running(app)
    await app.services.jobs.hide(hidden, user_id=ALICE)
    await ends(app, shown)
    await ends(app, hidden)
    retention = Retention(app.services, storage=app.storage, keep_hours=1, keep_prompts_days=30)
    for each in app.folder.glob("*.png"):  # as after a long stop between download and end: old enough for orphans
        os.utime(each, (0, 0))

    app.time.go(2 * 3600)
    await retention.run_once()
    assert [each.name for each in app.folder.glob("*.png")] == [f"{hidden}-1.png"]
    app.time.go(22 * 3600)
    await retention.run_once()
    assert len((await app.services.jobs.card(hidden)).pictures) == 1
    app.time.go(1)
    await retention.run_once()

    assert list(app.folder.glob("*.png")) == []
    assert (await app.services.jobs.card(hidden)).pictures == ()


async def test_a_hidden_job_counts_against_limits_and_slots_until_it_ends(tmp_path: Path) -> None:
    async with rig(tmp_path, host="runflow", slots=1, limits=Limits(user_in_flight=2)) as app:
        job_id = await running(app)
        await app.services.jobs.hide(job_id, user_id=ALICE)
        waiting = await app.imagine()
        await app.turn(10)

        assert (await app.job(waiting)).state is State.ACCEPTED
        assert (await refused(app.imagine())).startswith("quota.")
        await ends(app, job_id)
        assert len(app.provider.submitted) == 2


async def test_a_finished_hidden_job_can_be_deleted(app: Rig) -> None:
    job_id = await hidden_and_done(app)

    pictures = await app.services.jobs.delete(job_id, user_id=ALICE)

    assert len(pictures) == 1
    assert await in_jobs(app) == []
    assert await refused(app.services.jobs.show(job_id, user_id=ALICE)) == "job.unknown"


async def test_a_job_stays_hidden_after_a_restart(tmp_path: Path) -> None:
    time = Time()
    async with rig(tmp_path, host="runflow", time=time) as before:
        job_id = await running(before)
        await before.services.jobs.hide(job_id, user_id=ALICE)
    async with rig(tmp_path, host="runflow", time=time) as after:
        await ends(after, job_id)

        assert (after.messenger.last.hidden, after.messenger.last.charge.settled) == (True, PRICE)
        assert [uploads for _, _, uploads in after.messenger.shown if uploads] == []
