"""Waiting jobs: for an unreachable provider, for the operator, for their turn."""

from pathlib import Path

from bot.core.errors import DownloadFailed, ProviderPaused, ProviderUnavailable
from bot.core.fair_queue import QueueCounts
from bot.core.jobs import Observation, State
from bot.core.quota import NO_SERVER
from tests.kit import ALICE, BOB, GUILD, Rig, Time, rig

RUNNING = Observation(State.RUNNING)


async def test_jobs_that_waited_for_the_operator_all_continue_once_one_is_accepted(app: Rig) -> None:
    app.provider.submits = [ProviderPaused("402", kind="balance")] * 2
    app.provider.sees = [app.ready()]
    first, second = await app.imagine(), await app.imagine(BOB)
    await app.turn()

    await app.turn(61, times=2)
    await app.turn(1, times=5)

    assert [(await app.job(each)).state for each in (first, second)] == [State.SUCCEEDED] * 2
    assert [key for key, _ in app.notifications] == ["operator.balance", "operator.recovered"]


async def test_jobs_that_waited_for_the_operator_are_tried_again_after_a_restart(tmp_path: Path) -> None:
    time = Time()
    async with rig(tmp_path, time=time) as before:
        before.provider.submits = [ProviderPaused("402", kind="balance")] * 50
        waiting = [await before.imagine(), await before.imagine(BOB)]
        await before.turn()
        assert ((await before.job(waiting[0])).due_at or 0) > time.now
        assert before.services.availability.outages == {"runcomfy": "balance"}

    async with rig(tmp_path, time=time) as after:
        await after.turn()

        assert sorted(after.provider.submitted) == sorted(waiting)


async def test_a_provider_that_answers_polls_but_accepts_nothing_is_reported_once(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    await app.imagine()
    await app.turn(5)
    app.provider.submits = [ProviderPaused("403", kind="credentials")] * 100
    await app.imagine(BOB)

    await app.turn(5, times=40)

    assert [key for key, _ in app.notifications] == ["operator.credentials"]


async def test_a_provider_that_answers_again_gets_its_waiting_jobs_at_once(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    await app.imagine()
    await app.turn(5)
    app.provider.sees = [ProviderUnavailable("503")] * 4 + [RUNNING]
    app.provider.submits = [ProviderUnavailable("reset", retry_after=900.0)]
    waiting = await app.imagine(BOB)

    await app.turn(15, times=8)

    assert (await app.job(waiting)).state is State.RUNNING
    assert [key for key, _ in app.notifications] == ["operator.down", "operator.recovered"]


async def test_simultaneous_failures_do_not_notify_the_operator(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("reset")] * 4
    app.provider.sees = [app.ready()]
    ids = [await app.imagine() for _ in range(4)]

    await app.turn()
    await app.turn(5, times=3)

    assert [(await app.job(each)).state for each in ids] == [State.SUCCEEDED] * 4
    assert app.notifications == []


async def test_a_first_card_shows_the_place_in_the_fair_queue(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=0) as app:
        for _ in range(3):
            await app.imagine(ALICE)
        theirs = await app.imagine(BOB, acked=False)

        assert (await app.services.jobs.card(theirs)).queue_position == 2


async def test_a_place_that_changes_twice_at_once_is_shown_in_the_end(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=1) as app:
        app.provider.sees = [RUNNING]
        ids = [await app.imagine() for _ in range(5)]
        await app.turn(10, times=2)

        for each in ids[1:3]:
            await app.services.jobs.cancel(each, user_id=ALICE)
            await app.turn(1)
        await app.turn(5, times=3)

        shown = {card.job.id: card.queue_position for _, card, _ in app.messenger.shown}
        assert (shown[ids[3]], shown[ids[4]]) == (1, 2)


async def test_a_run_that_is_not_ready_any_more_is_polled_again(app: Rig) -> None:
    ready = app.ready()
    app.provider.sees = [ready, RUNNING, ready]
    url = ready.image_urls[0]
    data, app.files.files[url] = app.files.files[url], DownloadFailed("reset", permanent=False)
    job_id = await app.imagine()
    await app.turn(5)
    app.files.files[url] = data

    job = await app.until_final(job_id)

    assert (job.state, job.images) == (State.SUCCEEDED, 1)


async def test_a_deleted_job_is_not_watched(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()
    await app.until_final(job_id, step=30)
    await app.services.jobs.delete(job_id, user_id=ALICE)
    app.provider.sees = [app.ready()]

    await app.turn(400, times=3)

    assert list(app.folder.glob("*.png")) == []


async def test_a_newer_card_does_not_wait_for_an_older_cards_retry_delay(app: Rig) -> None:
    job_id = await app.imagine()
    await app.turn()
    record = await app.store.job_record(job_id)
    assert record is not None
    older, now = record.reply.wanted, app.time.now
    await app.store.request_redraw([job_id], now=now)

    await app.store.postpone_delivery(job_id, version=older, due_at=None)
    assert list(await app.store.due_replies(before=now + 1)) == [job_id]
    await app.store.postpone_delivery(job_id, version=older + 1, due_at=None)
    assert not await app.store.due_replies(before=now + 1)


async def test_the_jobs_of_a_server_are_counted_from_queue_to_end_and_after_a_restart(tmp_path: Path) -> None:
    time = Time()
    async with rig(tmp_path, time=time, slots=1) as before:
        before.provider.sees = [RUNNING]
        first = await before.imagine()
        await before.turn()
        await before.imagine(BOB)
        await before.imagine(guild=GUILD + 1)
        await before.imagine(BOB, guild=None)
        await before.imagine(acked=False)
        queues = before.services.queues
        assert (queues.counts(GUILD), queues.counts(GUILD + 1)) == (QueueCounts(1, 1), QueueCounts(1, 0))

    async with rig(tmp_path, time=time, slots=1) as after:
        queues = after.services.queues
        assert (queues.counts(GUILD), queues.counts(GUILD + 1)) == (QueueCounts(1, 1), QueueCounts(1, 0))
        assert (queues.counts(NO_SERVER), queues.counts()) == (QueueCounts(1, 0), QueueCounts(3, 1))

        after.provider.sees = [after.ready()]
        await after.until_final(first, step=1)
        await after.turn(1, times=60)
        assert queues.counts() == QueueCounts()
