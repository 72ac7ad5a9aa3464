"""Races and failures, each reproduced with the real store, services, worker and delivery."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

from bot.core.cards import ReplyPath
from bot.core.errors import (
    ContentBlocked,
    DeliverLater,
    DownloadFailed,
    PathClosed,
    ProviderPaused,
    ProviderUnavailable,
    UserError,
)
from bot.core.jobs import HOUR, MINUTE, Job, Observation, State, Step, Verb
from bot.core.quota import Amount
from bot.core.request_draft import RequestDraft
from bot.jobs.steps.context import StepRunner
from bot.store.database import Tx
from bot.store.housekeeping import Housekeeping
from tests.kit import ALICE, BOB, NOON, Rig, Time, rig
from tests.store.ledger_model import seen

RUNNING = Observation(State.RUNNING)


async def steps_at_once(app: Rig, *, max_steps: int = 200) -> int:
    """Run steps until none is due without time passing; returns how many. A busy loop reaches *max_steps*."""
    done = 0
    while done < max_steps and (step := await app.worker.run_due()):
        done += step
    return done


async def test_a_job_missing_from_the_schedule_is_found_within_a_minute(app: Rig) -> None:
    app.provider.sees = [RUNNING, app.ready()]
    job_id = await app.imagine()
    await app.turn(10)
    app.worker._schedule.set(job_id, None)
    stop = asyncio.Event()
    working = asyncio.create_task(app.worker.run(stop))
    await asyncio.sleep(0)
    app.time.go(60)

    assert await app.worker.overdue() > 50
    async with asyncio.timeout(10):
        while not (await app.job(job_id)).state.is_final:
            app.services.wakeups.replies.clear()
            with suppress(TimeoutError):  # it may have been set just before it was cleared
                async with asyncio.timeout(0.2):
                    await app.services.wakeups.replies.wait()
            app.time.go(10)
            app.services.wakeups.worker.set()
    assert await app.worker.overdue() == 0
    stop.set()
    app.services.wakeups.worker.set()
    await working


async def test_a_due_time_in_the_row_applies_when_a_step_returns_none(
    app: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never:
        async def run(self, job: Job) -> int | None:
            return None

    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    monkeypatch.setitem(cast("dict[Step, StepRunner]", app.worker._steps.runners), Step.SUBMIT, Never())
    await app.turn()
    monkeypatch.undo()

    assert (await app.until_final(job_id, max_turns=3)).state is State.SUCCEEDED


async def test_waiting_for_a_failing_provider_runs_no_steps(app: Rig) -> None:
    app.provider.submits = [ProviderPaused("402", kind="balance")] * 50
    for user in (ALICE, BOB):
        for _ in range(4):
            await app.imagine(user)
    await steps_at_once(app)

    for _ in range(50):
        app.time.go(1)
        assert await steps_at_once(app) < 40
    assert await app.worker.overdue() < 2


async def test_no_request_is_sent_before_retry_after_has_passed(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("429", retry_after=120.0)] * 50
    await app.imagine()
    await app.imagine(BOB)
    await steps_at_once(app)
    tried = len(app.provider.submitted)

    await app.turn(10, times=10)

    assert len(app.provider.submitted) == tried


async def test_a_closed_reply_path_and_a_crash_do_not_lose_the_final_card(tmp_path: Path) -> None:
    clock = Time()
    async with rig(tmp_path, time=clock) as before:
        before.provider.sees = [before.ready()]
        job_id = await before.imagine()
        await ended_but_not_shown(before, job_id)
        before.messenger.errors = [PathClosed("50027", permanent=True), KeyError("the process dies here")]
        with pytest.raises(KeyError):
            await before.delivery.deliver(job_id)

    async with rig(tmp_path, time=clock) as after:
        await after.turn(1)

        assert after.messenger.states() == [State.SUCCEEDED]


async def test_a_server_that_blocks_pictures_and_prompt_still_sees_the_outcome(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await ended_but_not_shown(app, job_id)
    app.messenger.errors = [ContentBlocked("the pictures"), ContentBlocked("the words")]
    await app.delivery.run_due()

    ((_, card, uploads),) = app.messenger.shown
    assert (card.job.state, card.job.request.prompt, card.withheld, uploads) == (State.SUCCEEDED, "", True, ())
    assert [card.job.id for card in (await app.services.jobs.open_jobs(ALICE))[0]] == [job_id]
    app.messenger.errors = [ContentBlocked("the pictures")]  # the card says so already
    await app.turn(11 * 60)
    assert len(app.messenger.shown) == 1
    await app.turn(21 * 60)
    assert len(app.messenger.shown[-1][2]) == 1
    assert await app.services.jobs.open_jobs(ALICE) == ([], 0)


async def test_a_picture_that_cannot_be_read_now_is_delivered_later(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    app.messenger.errors = [DeliverLater("Discord is away") for _ in range(9)]
    job_id = await app.imagine()
    await app.until_final(job_id)
    app.messenger.errors.clear()
    file = app.folder / f"{job_id}-1.png"
    away = file.rename(file.with_suffix(".away"))
    file.mkdir()  # reading it raises `IsADirectoryError`
    await app.turn(120)
    assert (app.messenger.last.job.state, app.messenger.last.withheld) == (State.SUCCEEDED, True)

    file.rmdir()
    away.rename(file)
    await app.turn(HOUR / 1000)
    assert (app.messenger.last.withheld, len(app.messenger.shown[-1][2])) == (False, 1)


async def test_a_hidden_card_without_the_prompt_is_complete(tmp_path: Path) -> None:
    async with rig(tmp_path, host="runflow") as app:
        app.provider.sees = [RUNNING, app.ready()]
        job_id = await app.imagine()
        await app.turn(5)
        await app.services.jobs.hide(job_id, user_id=ALICE)
        await app.turn(5)
        app.messenger.errors = [ContentBlocked("harmful_link") for _ in range(2)]
        await app.until_final(job_id)
        await app.turn(5)

        record = await app.store.job_record(job_id)
        assert record is not None
        assert record.job.hidden_at is not None
        assert record.reply.delivered == record.reply.wanted


async def test_a_closed_path_is_retried_with_growing_delays_until_the_pictures_expire(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await ended_but_not_shown(app, job_id)
    troubles: list[Exception] = [PathClosed("50013") for _ in range(1000)]
    app.messenger.errors = troubles
    tried = []
    for _ in range(100):
        before, day_ago = len(troubles), app.time.now - 24 * HOUR
        await app.turn(20 * 60)
        await Housekeeping(app.store.database).delete_expired_pictures(before=day_ago, unseen_before=day_ago)
        tried.append(len(troubles) < before)

    assert tried[:7] == [True, True, True, False, True, False, False]  # after 10, 20, 40 and 60 minutes
    assert 20 < sum(tried) < 30  # in the 24 hours that /jobs lists it, and not after
    assert not any(tried[78:])
    assert len(app.messenger.notified) == 1


async def test_a_token_is_used_again_after_a_temporary_closure(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await ended_but_not_shown(app, job_id)
    app.messenger.errors = [PathClosed("50083")] * 3
    await app.delivery.run_due()
    await app.turn(10 * 60)

    assert [way for way, _, _ in app.messenger.shown] == [ReplyPath.TOKEN]


async def test_pictures_delivered_by_jobs_are_not_posted_again(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await ended_but_not_shown(app, job_id)
    await app.services.jobs.delivered_privately(job_id, version=await app.services.jobs.wanted_version(job_id))
    app.messenger.errors = [PathClosed("the token"), PathClosed("the channel")]
    await app.delivery.run_due()

    assert (app.messenger.shown, app.messenger.errors) == ([], [])


async def test_a_deleted_reply_is_not_retried_forever(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()
    await app.turn(5)
    await app.store.mark_reply_gone(job_id)
    await app.services.jobs.button_clicked(job_id, "fresh", received_at=app.time.now, message_id=NOON % 10**9)
    await app.store.postpone_delivery(job_id, due_at=app.time.now)

    assert [await app.delivery.run_due() for _ in range(3)] == [0, 0, 0]


async def test_an_acceptance_committed_after_the_timeout_is_withdrawn(app: Rig) -> None:
    context = app.context()
    with somebody_else_writes(app), pytest.raises(UserError) as caught:
        await app.services.requests.accept(context, RequestDraft(verb=Verb.IMAGINE, prompt="a lighthouse"))
    await asyncio.gather(*app.services.requests._background)

    assert caught.value.key == "busy"
    used = await seen(app.store, context.place, now=NOON)
    assert (used.user_day, used.user_in_flight) == (Amount(), 0)


async def test_a_locked_database_stops_no_loop_and_sends_no_reply_twice(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await ended_but_not_shown(app, job_id)
    await app.store.database.write(impatient)
    with somebody_else_writes(app):
        await app.delivery.run_due()
        await app.delivery.run_due()
        assert app.messenger.states().count(State.SUCCEEDED) == 1

    await app.turn(61)
    assert app.messenger.states()[-1] is State.SUCCEEDED
    assert await app.services.jobs.open_jobs(ALICE) == ([], 0)


async def test_a_run_that_cannot_be_stored_is_kept_in_memory_until_it_can(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    await app.store.database.write(impatient)
    job_id = await app.imagine()
    with ExitStack() as locked:

        async def lock(_: str) -> None:
            locked.enter_context(somebody_else_writes(app))

        app.provider.while_submitting = lock
        await app.worker.run_due()
        assert (await app.job(job_id)).state is State.SUBMITTING

    job = await app.until_final(job_id)
    assert (job.state, len(app.provider.submitted)) == (State.SUCCEEDED, 1)


async def impatient(tx: Tx) -> None:
    """Let this connection wait no longer than a moment for the write lock."""
    await tx.fetch("PRAGMA busy_timeout = 20")


async def ended_but_not_shown(app: Rig, job_id: str) -> None:
    while not (await app.job(job_id)).state.is_final:
        app.time.go(5)
        await app.worker.run_due()


@contextmanager
def somebody_else_writes(app: Rig) -> Iterator[None]:
    """Another process has the database's write lock."""
    other = sqlite3.connect(app.folder / "darkroom.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_repeated_presses_do_not_use_up_the_download_attempts(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    url = next(iter(app.files.files))
    data, app.files.files[url] = app.files.files[url], DownloadFailed("404", permanent=True)
    job_id = await app.imagine()
    await app.turn(5)
    for _ in range(6):
        await app.services.jobs.poll_now(job_id)
        await app.worker.run_due()
    app.files.files[url] = data

    assert (await app.until_final(job_id)).state is State.SUCCEEDED


async def test_a_run_cancelled_after_it_started_counts_as_billed(app: Rig) -> None:
    app.provider.sees = [RUNNING, Observation(State.CANCELLED)]
    job_id = await app.imagine()

    job = await app.until_final(job_id)

    used = await seen(app.store, job.place, now=app.time.now)
    assert (used.user_day, used.host_month.micro_usd) == (Amount(), 80_000)


async def test_the_real_cost_of_a_late_picture_replaces_the_assumed_cost(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()
    await app.until_final(job_id, step=30)
    app.provider.sees = [app.ready(cost=50_000)]
    await app.turn(400)

    used = await seen(app.store, (await app.job(job_id)).place, now=app.time.now)
    assert used.host_month.micro_usd == 50_000


async def test_a_waiting_ephemeral_reply_explains_how_to_continue_before_its_token_expires(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=0) as app:
        await app.imagine(bot_can_edit=False, bot_can_post=False)
        await app.turn(60, times=13)
        assert app.messenger.last.final_edit

        await app.turn(60, times=2)
        assert app.messenger.last.job.reason == "expired_waiting"


async def test_a_clock_that_was_ahead_blocks_no_job_after_a_restart(tmp_path: Path) -> None:
    ahead = Time(NOON + 365 * 24 * 60 * MINUTE)
    async with rig(tmp_path, time=ahead) as before:
        job_id = await before.imagine()

    async with rig(tmp_path, time=Time()) as after:
        after.provider.sees = [after.ready()]
        job = await after.until_final(job_id)
        await after.turn(1)

        assert job.state is State.SUCCEEDED
        assert after.messenger.states()[-1] is State.SUCCEEDED


async def test_a_prompt_in_a_providers_answer_is_not_logged(app: Rig, caplog: pytest.LogCaptureFixture) -> None:
    app.provider.sees = [Observation(State.FAILED, reason="cannot draw: a lighthouse")]
    with caplog.at_level(logging.DEBUG):
        await app.until_final(await app.imagine())

    assert "a lighthouse" not in caplog.text
