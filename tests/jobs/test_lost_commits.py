"""Jobs on PostgreSQL over a connection that loses COMMITs or their answers: made once, paid once, never stuck."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.core.errors import UserError
from bot.core.jobs import HOUR, Cancel, State, Verb
from bot.core.request_draft import RequestDraft
from bot.maintenance.retention import Retention
from tests.cli.shell import shell
from tests.jobs.commit_proxy import Cut, Line, line_to
from tests.kit import ALICE, Rig, rig
from tests.store.ledger_model import faults, rows

CUTS = [Cut.UNANSWERED, Cut.LOST]
MOST = 200


@asynccontextmanager
async def cut_off(url: str, folder: Path) -> AsyncIterator[tuple[Rig, Line]]:
    async with line_to(url) as line, rig(folder, url=line.url) as app:
        yield app, line


def cut_all(line: Line, how: Cut) -> None:
    """Cut every COMMIT from now on; with Cut.LOST every second one, so that the retry succeeds."""
    for number in range(0, MOST, 2 if how is Cut.LOST else 1):
        line.cut(how, after=number)


@pytest.mark.parametrize("how", CUTS)
async def test_a_job_whose_commits_all_fail_is_made_and_paid_once(postgres_url: str, tmp_path: Path, how: Cut) -> None:
    async with cut_off(postgres_url, tmp_path) as (app, line):
        app.provider.sees = [app.ready(cost=50_000)]
        cut_all(line, how)
        before = line.commits
        job_id = await app.imagine()
        job = await app.until_final(job_id)
        await app.turn(1)

        assert 8 < line.commits - before < MOST
        assert (job.state, job.images) == (State.SUCCEEDED, 1)
        assert app.provider.submitted == [job_id]
        assert app.messenger.states()[-1] is State.SUCCEEDED
        kinds = [row["kind"] for row in await rows(app.store, "SELECT kind FROM ledger ORDER BY id")]
        assert kinds == ["reserve", "settle"]
        assert [row["basis"] for row in await rows(app.store, "SELECT basis FROM host_cost")] == ["known"]
        assert await faults(app.store) == []
        assert app.notifications == []


@pytest.mark.parametrize("how", CUTS)
async def test_cancel_reports_its_result(postgres_url: str, tmp_path: Path, how: Cut) -> None:
    async with cut_off(postgres_url, tmp_path) as (app, line):
        waiting, queued = await app.imagine(), await app.imagine()
        await app.worker.run_due()
        await app.store.move(await app.job(waiting), State.ACCEPTED, now=app.time.now, due_at=None)
        line.cut(how)
        first = await app.services.jobs.cancel(waiting, user_id=ALICE)
        line.cut(how)
        second = await app.services.jobs.cancel(queued, user_id=ALICE)

        assert (first.job.state, second.job.cancel) == (State.CANCELLED, Cancel.WANTED)


@pytest.mark.parametrize("how", CUTS)
async def test_pictures_that_are_deleted_or_expire_leave_the_disk(postgres_url: str, tmp_path: Path, how: Cut) -> None:
    async with cut_off(postgres_url, tmp_path) as (app, line):
        app.provider.sees = [app.ready()]
        deleted, expired = await app.imagine(), await app.imagine()
        for each in (deleted, expired):
            await app.until_final(each)
        await app.turn(1)
        line.cut(how)
        was_hidden = await app.services.jobs.delete(deleted, user_id=ALICE)
        app.time.go(48 * HOUR / 1000)
        cut_all(line, how)
        await Retention(app.services, storage=app.storage, keep_hours=24, keep_prompts_days=30).run_once()

        assert [each.file for each in was_hidden] == [f"{deleted}-1.png"]
        assert not (tmp_path / f"{expired}-1.png").exists()


@pytest.mark.parametrize("how", CUTS)
async def test_the_command_line_reports_its_result(
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: Cut,
) -> None:
    async with cut_off(postgres_url, tmp_path) as (app, line):
        job_id = await app.imagine()
        jobs, quota = (shell(each, line.url, monkeypatch=monkeypatch, capsys=capsys) for each in ("jobs", "quota"))
        for run, typed in (
            (jobs, ("cancel", job_id)),
            (quota, ("grant", "--server", "5001", "--member", "7", "--pictures", "5")),
        ):
            line.cut(how, after=1)  # the first brings the database up to date
            ended = await run(*typed)
            assert (ended.err, ended.code) == ("", 0)
            assert not line.waits_for_cut
        assert (await app.job(job_id)).state is State.CANCELLED
        assert [row["amount"] for row in await rows(app.store, "SELECT amount FROM grants")] == [5]


async def test_an_acceptance_that_timed_out_is_withdrawn_after_its_commit(postgres_url: str, tmp_path: Path) -> None:
    async with cut_off(postgres_url, tmp_path) as (app, line):
        line.delay = 1.5
        with pytest.raises(UserError, match="busy"):
            await app.services.requests.accept(app.context(), RequestDraft(verb=Verb.IMAGINE, prompt="a lighthouse"))
        line.delay = 0
        (taking_back,) = app.services.requests._background
        await taking_back

        assert [row["state"] for row in await rows(app.store, "SELECT state FROM jobs")] == ["cancelled"]
        assert await faults(app.store) == []
