"""Jobs with callbacks: the order of callbacks, polls and the submit's answer does not change the result."""

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest

from bot.core.errors import RunNotKnownYet, SubmitUnknown
from bot.core.jobs import Observation, State
from bot.core.quota import Amount
from bot.web.callbacks import CallbackLinks, Callbacks
from tests.kit import Rig, rig

LINKS = CallbackLinks("https://darkroom.example", secret=b"x" * 32)
COPIES = 5
RUNNING = Observation(State.RUNNING)


class Host:
    """Runflow with callbacks, which are passed directly to the bot's handler."""

    def __init__(self, app: Rig) -> None:
        self.app = app
        self.callbacks = Callbacks(app.services, links=LINKS, secrets=["whsec_2f6c8f0a1b2c"])

    async def calls(self, job_id: str) -> None:
        await self.callbacks.handle(job_id, "run-1")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, host="runflow", callback_url=lambda job: LINKS(job.id)) as started:
        yield started


async def seconds_until_final(app: Rig, job_id: str) -> float:
    before = app.time.now
    await app.until_final(job_id, step=1)
    return (app.time.now - before) / 1000


@pytest.mark.parametrize("order", list(product(["call", "poll"], repeat=3)), ids="-".join)
@pytest.mark.parametrize("early", [0, 1, COPIES])
async def test_callbacks_before_and_after_polls_give_the_same_result(
    app: Rig, order: tuple[str, ...], early: int
) -> None:
    host = Host(app)
    app.provider.sees = [app.ready()]

    async def call_before_the_answer(job_id: str) -> None:
        for _ in range(early):
            await host.calls(job_id)

    app.provider.while_submitting = call_before_the_answer
    job_id = await app.imagine()
    await app.turn()
    for each in order:
        if each == "call":
            for _ in range(COPIES):
                await host.calls(job_id)
        else:
            app.time.go(200)  # beyond the safety poll
        await app.turn()

    card = await app.services.jobs.card(job_id)
    assert (card.job.state, card.job.images, app.provider.submitted) == (State.SUCCEEDED, 1, [job_id])
    assert (card.charge.settled, card.charge.released) == (Amount(1, 80_000), None)
    assert app.provider.callback_urls == [LINKS(job_id)]
    assert app.provider.asked == 1
    assert app.services.wakeups.called_back == set()


async def test_a_callback_before_the_submits_answer_is_remembered(app: Rig) -> None:
    host = Host(app)
    app.provider.while_submitting, app.provider.sees = host.calls, [app.ready()]
    job_id = await app.imagine()

    await app.turn()

    assert (await app.job(job_id)).state is State.SUCCEEDED


async def test_a_callback_ahead_of_the_status_is_followed_by_another_poll_soon(app: Rig) -> None:
    app.provider.sees = [RunNotKnownYet("not yet"), RUNNING, RUNNING, app.ready()]
    job_id = await app.imagine()
    await app.turn()

    await Host(app).calls(job_id)

    assert await seconds_until_final(app, job_id) < 20


async def test_a_callback_brings_the_search_for_a_lost_submit_forward(app: Rig) -> None:
    app.provider.submits = [SubmitUnknown("no answer")]
    app.provider.while_submitting = Host(app).calls
    job_id = await app.imagine()

    await app.turn()

    assert (await app.job(job_id)).reason == "unknown", "this host cannot be searched, and says so"
    assert app.provider.submitted == [job_id]


async def test_without_a_callback_the_job_ends_at_the_safety_poll(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    usual = app.services.poll_timing.usual(await app.job(job_id))
    assert usual is not None

    seconds = await seconds_until_final(app, job_id)

    assert 2 * usual[1] <= seconds <= 2 * usual[1] + 10
    assert app.provider.asked == 1


async def test_a_late_picture_is_downloaded_when_its_callback_arrives(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()
    await app.until_final(job_id, step=60)
    assert (await app.job(job_id)).reason == "gave_up"

    app.provider.sees = [app.ready()]
    await Host(app).calls(job_id)
    await app.turn()

    assert ((await app.job(job_id)).reason, (await app.job(job_id)).images) == ("late", 1)


async def test_a_run_that_no_search_found_is_collected_when_its_callback_arrives(app: Rig) -> None:
    app.provider.submits, app.provider.finds = [SubmitUnknown("no answer")], [None]
    job_id = await app.imagine()
    assert (await app.until_final(job_id, step=20)).reason == "unknown"

    app.provider.finds, app.provider.sees = ["run-after-all"], [app.ready()]
    await Host(app).calls(job_id)
    await app.turn()

    job = await app.job(job_id)
    assert (job.reason, job.images, job.run_id) == ("late", 1, "run-after-all")


async def test_a_run_cancelled_by_the_provider_between_polls_counts_as_billed(app: Rig) -> None:
    app.provider.sees = [Observation(State.CANCELLED)]
    job_id = await app.imagine()
    await app.turn()
    await Host(app).calls(job_id)
    await app.turn()

    assert (await app.job(job_id)).state is State.CANCELLED
    cost = await app.store.database.read(lambda tx: tx.one("SELECT basis FROM host_cost WHERE job = $1", job_id))
    assert cost is not None
    assert cost["basis"] == "assumed"
