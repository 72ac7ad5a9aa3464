"""Answers of an unknown form: the job continues with what can be read, or ends soon with a refund."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import AnswerUnreadable, ProviderUnavailable
from bot.core.jobs import Observation, State
from bot.core.quota import Amount
from bot.providers.http import client
from bot.providers.runcomfy.client import RunComfy
from bot.providers.runflow.client import Runflow
from tests.kit import BOB, FakeFiles, Rig, picture, rig
from tests.providers.raw_server import answer, serving
from tests.providers.test_any_answer import ANYTHING, A, B
from tests.store.ledger_model import seen

STRANGE = AnswerUnreadable("no readable output", shape="{images: [{src: string}]}", finished=True)


async def test_a_result_unreadable_for_two_minutes_is_refunded_and_a_late_picture_is_free(
    app: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    app.provider.sees = [STRANGE]
    first, second = await app.imagine(), await app.imagine(BOB)
    await app.turn()

    await app.turn(10)
    assert set(app.messenger.states()[-2:]) == {State.RUNNING}, "finished, and not queued any more"
    with caplog.at_level(logging.INFO):
        await app.turn(10, times=11)
        assert (await app.job(first)).state is State.RUNNING
        await app.turn(15, times=2)

    jobs = [await app.job(each) for each in (first, second)]
    assert [(job.state, job.reason) for job in jobs] == [(State.FAILED, "unreadable")] * 2
    used = await seen(app.store, jobs[0].place, now=app.time.now)
    assert (used.user_day, used.host_month.micro_usd) == (Amount(), 160_000)
    assert app.notifications == [("operator.unreadable", {"provider": "RunComfy"})]
    assert "{images: [{src: string}]}" in caplog.text

    app.provider.sees = [app.ready()]
    await app.turn(400)
    await app.turn()
    assert ((await app.job(first)).reason, (await app.job(first)).images) == ("late", 1)


async def test_an_answer_that_becomes_readable_in_time_has_no_consequences(app: Rig) -> None:
    app.provider.sees = [STRANGE, STRANGE, Observation(State.RUNNING), *[STRANGE] * 6, app.ready()]
    job_id = await app.imagine()

    job = await app.until_final(job_id, step=15)

    assert (job.state, app.notifications) == (State.SUCCEEDED, [])


async def test_the_two_minutes_restart_after_an_outage_of_the_provider(app: Rig) -> None:
    away = ProviderUnavailable("GET /result: ConnectError")
    app.provider.sees = [STRANGE, *[away] * 8, STRANGE, app.ready()]
    job_id = await app.imagine()

    assert (await app.until_final(job_id, step=30)).state is State.SUCCEEDED


async def test_a_run_reported_finished_and_then_cancelled_counts_as_billed(app: Rig) -> None:
    app.provider.sees = [STRANGE, Observation(State.CANCELLED)]
    job = await app.until_final(await app.imagine())

    assert (job.state, job.reason) == (State.CANCELLED, "cancelled_by_host")
    assert (await seen(app.store, job.place, now=app.time.now)).host_month.micro_usd == 80_000


async def test_downloaded_pictures_are_settled_when_the_answer_becomes_unreadable(app: Rig) -> None:
    ready = app.ready(n=2)
    app.files.files[ready.image_urls[1]] = b"<html>not yet</html>"
    app.provider.sees = [ready, STRANGE]
    job_id = await app.imagine(count=2)

    job = await app.until_final(job_id, step=15)

    assert (job.state, job.images) == (State.SUCCEEDED, 1)
    assert (await app.services.jobs.card(job_id)).charge.settled == Amount(1, 80_000)


async def test_a_finished_run_whose_result_cannot_be_fetched_is_not_shown_as_queued(app: Rig) -> None:
    away = ProviderUnavailable("502")
    away.finished = True
    app.provider.sees = [away]
    await app.imagine()

    await app.turn(5, times=2)

    assert app.messenger.states()[-1] is State.RUNNING


async def test_a_run_that_succeeded_without_a_picture_is_no_refusal(app: Rig) -> None:
    app.provider.sees = [Observation(State.FAILED, empty=True)]
    job_id = await app.imagine()

    job = await app.until_final(job_id)

    assert (job.state, job.reason) == (State.FAILED, "no_output")


# --- recorded answers, real clients


@asynccontextmanager
async def a_host(folder: Path, name: str, body: Any) -> AsyncIterator[Rig]:
    """A bot whose provider *name* accepts every submit and answers every poll with *body*."""
    taken = {"request_id": "run-1", "id": "run-1", "status_code": "queued"}
    files = FakeFiles({A: picture(), B: picture("red")})

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply_body = taken if server.got[-1].method == "POST" else body
        await answer(200, json.dumps(reply_body).encode())(reader, writer)

    async with serving(act) as server:
        http = client(server.url, "rf_live_key")
        provider = RunComfy(http) if name == "runcomfy" else Runflow(http)
        try:
            async with rig(folder, host=name, real={name: provider}, fetcher=files) as app:
                yield app
        finally:
            await provider.aclose()


@pytest.mark.parametrize("host", ["runcomfy", "runflow"])
async def test_a_partly_available_result_is_downloaded_and_settled_in_part(host: str, tmp_path: Path) -> None:
    images = [{"url": A}, 7, None, {"uri": B}, [{"href": 3}], "none"]
    body = {"status": "succeeded", "status_code": "succeeded", "output": {"images": images, "outputs": images}}
    async with a_host(tmp_path, host, body) as app:
        job_id = await app.imagine(count=4)

        job = await app.until_final(job_id, step=2)

        assert (job.state, (await app.services.jobs.card(job_id)).charge.settled) == (
            State.SUCCEEDED,
            Amount(2, 160_000),
        )


@pytest.mark.prove
@pytest.mark.parametrize("host", ["runcomfy", "runflow"])
@pytest.mark.parametrize(
    "field", ["status", "status_code", "output", "cost", "error", "queue_position", "failure_code"]
)
async def test_anything_in_place_of_a_field_leaves_no_job_stuck(host: str, field: str, tmp_path: Path) -> None:
    for n, value in enumerate(ANYTHING):
        folder = tmp_path / str(n)
        folder.mkdir()
        word = {"status_code": "succeeded"} if host == "runflow" else {"status": "succeeded"}
        body = {**word, "output": {"images": [A], "outputs": [{"url": A}]}, field: value}
        async with a_host(folder, host, body) as app:
            job = await app.job(await app.imagine())
            for _ in range(15):
                await app.turn(10)
            job = await app.job(job.id)
            known = str(body.get("status_code" if host == "runflow" else "status")).strip().lower()
            going_on = isinstance(value, str) and known not in ("", "succeeded")  # an unknown status: still running
            assert job.state.is_final or going_on, (value, job)
