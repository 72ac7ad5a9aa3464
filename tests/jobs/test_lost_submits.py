"""Submits whose answer was lost, at a provider with search: found, found late, or never."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.errors import DownloadFailed, HostNotAllowed, ProviderUnavailable, SubmitUnknown
from bot.core.jobs import FIND_LIMIT, HOUR, WATCH_LIMIT, Observation, State
from bot.core.quota import Amount
from tests.kit import Rig, rig


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, host="runflow") as made:
        made.provider.submits = [SubmitUnknown("no answer")]
        made.provider.finds = [None]
        made.provider.sees = [made.ready(cost=70_000)]
        yield made


async def host_cost(app: Rig) -> list[tuple[str, int]]:
    costs = await app.store.database.read(lambda tx: tx.fetch("SELECT basis, micro_usd FROM host_cost"))
    return [(row["basis"], row["micro_usd"]) for row in costs]


async def test_a_lost_submit_found_within_ten_minutes_continues(app: Rig) -> None:
    app.provider.finds = [None, ProviderUnavailable("503"), None, "run-found"]

    job = await app.until_final(await app.imagine())

    assert (job.state, job.run_id) == (State.SUCCEEDED, "run-found")
    assert await host_cost(app) == [("known", 70_000)]
    assert len(app.provider.submitted) == 1


async def test_a_lost_submit_that_is_not_found_is_refunded(app: Rig) -> None:
    job = await app.until_final(await app.imagine(), step=15)

    assert (job.state, job.reason) == (State.FAILED, "unknown")
    assert FIND_LIMIT <= (job.ended_at or 0) - job.created_at <= FIND_LIMIT + HOUR // 60
    card = await app.services.jobs.card(job.id)
    assert card.charge.released == card.charge.reserved == Amount(1, 80_000)
    assert card.job.watch_until is not None
    assert await host_cost(app) == [("assumed", 80_000)]


@pytest.mark.parametrize("hours", [1, 23])
async def test_a_picture_found_within_a_day_is_free(app: Rig, hours: int) -> None:
    job_id = await app.imagine()
    await app.until_final(job_id, step=15)
    await app.turn(3600 * hours)
    app.provider.finds = ["run-late"]

    await app.turn(301)

    card = app.messenger.last
    assert (card.job.id, card.job.reason, card.job.images, len(card.pictures)) == (job_id, "late", 1, 1)
    assert card.charge.settled is None
    assert await host_cost(app) == [("known", 70_000)]
    assert len(app.provider.submitted) == 1


async def test_the_search_stops_after_a_day(app: Rig) -> None:
    job_id = await app.imagine()
    await app.until_final(job_id, step=15)
    await app.turn(WATCH_LIMIT / 1000 + 1)
    app.provider.finds = ["run-too-late"]

    await app.turn(301, times=3)

    assert (await app.job(job_id)).run_id is None
    assert await app.worker.overdue() == 0


async def test_an_answer_with_another_jobs_run_counts_as_lost(app: Rig) -> None:
    app.provider.submits = ["run-1", "run-1"]
    app.provider.sees = [Observation(State.RUNNING)]
    first, second = await app.imagine(), await app.imagine()
    app.provider.finds = [None, "run-1", "run-2"]

    await app.turn()
    assert [(await app.job(each)).run_id for each in (first, second)] == ["run-1", None]
    assert (await app.job(second)).state is State.UNKNOWN
    await app.turn(61, times=3)
    assert (await app.job(second)).run_id == "run-2"
    assert len(app.provider.submitted) == 2


async def test_a_run_of_another_job_is_not_delivered(app: Rig, caplog: pytest.LogCaptureFixture) -> None:
    app.provider.submits = ["run-1", SubmitUnknown("no answer")]
    await app.until_final(await app.imagine())
    lost = await app.imagine()
    await app.until_final(lost, step=15)
    app.provider.finds = ["run-1"]

    await app.turn(301, times=2)

    assert ((await app.job(lost)).run_id, (await app.job(lost)).images) == (None, 0)
    assert "A step failed" not in caplog.text


async def test_the_search_continues_after_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path, host="runflow") as before:
        before.provider.submits, before.provider.finds = [SubmitUnknown("no answer")], [None]
        job_id = await before.imagine()
        await before.until_final(job_id, step=15)
        clock = before.time
    async with rig(tmp_path, host="runflow", time=clock) as after:
        after.provider.finds, after.provider.sees = ["run-late"], [after.ready()]
        await after.turn(301)

        assert ((await after.job(job_id)).reason, (await after.job(job_id)).images) == ("late", 1)


async def test_a_provider_without_search_is_not_searched(tmp_path: Path) -> None:
    async with rig(tmp_path) as before:
        before.provider.submits = [SubmitUnknown("reset")]
        job_id = await before.imagine()
        await before.worker.run_due()
        clock = before.time
    clock.go(3600)  # the process was away for longer than a search may take
    async with rig(tmp_path, time=clock) as after:
        await after.turn(1)

        job = await after.job(job_id)
        assert (job.state, job.watch_until, job.due_at) == (State.FAILED, None, None)


async def test_a_watch_that_has_ended_does_not_resume_after_a_restart(app: Rig) -> None:
    job_id = await app.imagine()
    ended = await app.until_final(job_id, step=15)
    await app.turn(WATCH_LIMIT / 1000 + 1)

    job = await app.job(job_id)
    assert (job.due_at, job.watch_until, job.ended_at) == (None, None, ended.ended_at)
    assert await app.store.due_jobs() == {}


@pytest.mark.parametrize("trouble", [DownloadFailed("storage is away", permanent=False), HostNotAllowed("elsewhere")])
async def test_pictures_that_become_available_after_the_deadline_are_free(app: Rig, trouble: Exception) -> None:
    app.provider.submits = []
    files = app.files.files
    (url, picture), *_ = list(files.items())
    files[url] = trouble
    job = await app.until_final(await app.imagine(), step=60)
    assert job.reason == ("result_host_blocked" if isinstance(trouble, HostNotAllowed) else "no_pictures")
    await app.turn(301)  # they still cannot
    files[url] = picture

    await app.turn(301)

    watched = await app.job(job.id)
    assert (watched.reason, watched.images) == ("late", 1)
    assert await host_cost(app) == [("known", 70_000)]


async def test_a_job_whose_provider_was_removed_from_the_settings_is_refunded_at_its_deadline(tmp_path: Path) -> None:
    async with rig(tmp_path, host="runflow") as before:
        job_id = await before.imagine()
        await before.turn(5)
        clock = before.time
    async with rig(tmp_path, host="runcomfy", time=clock) as after:
        job = await after.until_final(job_id, step=60)

        assert (job.state, job.reason) == (State.FAILED, "gave_up")
        assert (await after.services.jobs.card(job_id)).charge.settled is None
