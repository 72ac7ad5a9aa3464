"""When runs are polled, by what was learnt: in the worker, over restarts, with callbacks, within the budget."""

from pathlib import Path

import pytest

from bot.core.jobs import SECOND, Observation, State
from bot.core.quota import Limits
from tests.kit import ALICE, Rig, rig

NO_LIMITS = Limits(*[10**15] * 11)
RUNNING = Observation(State.RUNNING)


async def run_of(app: Rig, seconds: float, *, step: float = 0.5) -> tuple[str, int, float]:
    """One job whose run takes so long; returns its id, how often it was polled, and how late its end was seen."""
    app.provider.sees = [RUNNING]
    job_id, asked = await app.imagine(ALICE), app.provider.asked
    await app.turn()
    began = app.time.now
    while (app.time.now - began) / SECOND < seconds:
        await app.turn(step)
    app.provider.sees = [app.ready()]
    ended = app.time.now
    while not (await app.job(job_id)).state.is_final:
        await app.turn(step)
    return job_id, app.provider.asked - asked, (app.time.now - ended) / SECOND


async def test_ten_runs_are_enough_to_poll_the_next_one_at_the_right_time(tmp_path: Path) -> None:
    async with rig(tmp_path, limits=NO_LIMITS) as app:
        first = await run_of(app, 90)  # the catalogue says 10 to 30 seconds
        for seconds in (88, 92, 90, 86, 94, 90, 89, 91, 90):
            await run_of(app, seconds)
        _, polls, late = await run_of(app, 90)
        assert polls < first[1] / 2
        assert late <= 2


async def test_what_was_learnt_survives_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path, limits=NO_LIMITS) as app:
        for _ in range(10):
            job_id, *_ = await run_of(app, 90, step=2)
        job, time = await app.job(job_id), app.time
        usual = app.services.poll_timing.usual(job)
        await app.services.poll_timing.save()
    async with rig(tmp_path, time=time, limits=NO_LIMITS) as again:
        assert again.services.poll_timing.usual(job) == usual
        assert usual is not None
        low, high = usual
        assert 75 < low < 92 < high < 110


async def test_runs_that_outlived_a_restart_are_not_taken_for_slow_ones(tmp_path: Path) -> None:
    async with rig(tmp_path, limits=NO_LIMITS, slots=30) as app:
        for seconds in (24, 36, 30, 27, 33) * 5:
            await run_of(app, seconds, step=2)
        app.provider.sees = [RUNNING]
        jobs = [await app.imagine() for _ in range(20)]
        await app.turn()
        await app.services.poll_timing.save()
        time = app.time
    time.go(33)
    async with rig(tmp_path, time=time, limits=NO_LIMITS, slots=30) as again:
        again.first_number(80_000)
        again.provider.sees = [RUNNING]
        usual = again.services.poll_timing.usual(await again.job(jobs[0]))
        await again.turn()
        assert usual is not None
        assert again.services.poll_timing.usual(await again.job(jobs[0])) == pytest.approx(usual, rel=0.2)


async def test_what_cannot_be_read_is_learnt_again(tmp_path: Path) -> None:
    async with rig(tmp_path) as app:
        await app.notes.set("durations", '[{"key": 1}]')
        await app.services.poll_timing.load()
        job_id = await app.imagine()
        await app.turn()
        assert app.services.poll_timing.usual(await app.job(job_id)) == (10, 30)


async def test_the_card_says_when_a_run_is_likely_to_be_ready_once_ten_are_known(tmp_path: Path) -> None:
    async with rig(tmp_path, limits=NO_LIMITS) as app:
        await _known_and_unknown(app)


async def _known_and_unknown(app: Rig) -> None:
    for _ in range(9):
        job_id, *_ = await run_of(app, 30, step=2)
    job = await app.job(job_id)
    assert app.services.poll_timing.usual(job) == (10, 30)
    await run_of(app, 30, step=2)
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()
    await app.turn()
    card = await app.services.jobs.card(job_id)
    assert card.job.submitted_at is not None
    assert card.ready_at == pytest.approx(card.job.submitted_at + 30 * SECOND, abs=4 * SECOND)
    assert not card.slow
    await app.turn(2, times=25)
    assert (await app.services.jobs.card(job_id)).slow


async def test_a_lost_callback_costs_what_hardly_any_run_takes_and_a_few_seconds(tmp_path: Path) -> None:
    async with rig(
        tmp_path, host="runflow", limits=NO_LIMITS, callback_url=lambda _: "https://bot.example/callback"
    ) as app:
        for _ in range(10):
            app.provider.sees = [RUNNING]
            job_id = await app.imagine()
            await app.turn()
            app.time.go(20)
            app.provider.sees = [app.ready()]
            app.services.wakeups.mark_called_back(job_id)
            app.services.wakeups.wake(job_id)
            await app.turn()
        polls = app.provider.asked
        job_id = await app.imagine()
        await app.turn()
        began = app.time.now
        while not (await app.job(job_id)).state.is_final:
            await app.turn(1)
        assert 20 <= (app.time.now - began) / SECOND <= 35
        assert app.provider.asked == polls + 1


async def test_under_a_small_budget_polls_become_rarer_and_none_is_far_too_late(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=4, polls_per_second=1) as app:
        _, polls, late = await run_of(app, 60)
        assert polls > 4
        assert late < 15


async def test_a_run_is_attended_to_at_its_deadline_at_the_latest(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()
    await app.turn()
    timing = app.services.poll_timing
    for calls_back in (False, True):
        run = timing.run_of(await app.job(job_id), calls_back=calls_back)
        assert timing.next_look(run) > app.time.now + SECOND
        run.deadline = app.time.now + SECOND
        assert timing.next_look(run) == run.deadline
