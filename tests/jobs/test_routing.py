"""Which of two providers gets a job: the preferred one that works, another only where the first did not accept it."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bot.core.catalog import Catalog
from bot.core.circuit_breaker import Mode
from bot.core.errors import (
    ModelGone,
    ProviderError,
    ProviderPaused,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
    SubmitUnknown,
)
from bot.core.jobs import Observation, State
from bot.store.job_details import JobDetails
from tests.kit import BOB, Rig, catalog, rig

RUNNING = Observation(State.RUNNING)
EMPTY = ProviderPaused("402", kind="balance")
NOT_TAKEN: tuple[ProviderError, ...] = (
    ProviderUnavailable("no connection"),
    ProviderUnavailable("429", retry_after=30),
    ProviderPaused("402", kind="balance"),
    ProviderPaused("401", kind="credentials"),
    ModelGone("404"),
)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path, beside="runflow") as made:
        made.provider.sees = made.beside.sees = [made.ready()]
        yield made


async def asked_for(app: Rig) -> tuple[int, int]:
    return len(app.provider.submitted), len(app.beside.submitted)


@pytest.mark.parametrize("error", NOT_TAKEN, ids=str)
async def test_a_job_that_the_first_provider_did_not_accept_goes_to_the_next_at_once(
    app: Rig, error: ProviderError
) -> None:
    app.provider.submits = [error]

    job = await app.until_final(await app.imagine())

    assert (job.state, job.provider, job.route) == (State.SUCCEEDED, "runflow", "google/nano-banana-2")
    assert await asked_for(app) == (1, 1)
    assert app.messenger.last.provider == "Runflow"
    assert app.beside.bodies[0]["route"] == "google/nano-banana-2"


async def test_a_job_whose_submit_may_have_been_accepted_stays_at_its_provider(app: Rig) -> None:
    app.provider.submits = [SubmitUnknown("502")]
    job_id = await app.imagine()

    job = await app.until_final(job_id)

    assert (job.state, job.reason, job.provider) == (State.FAILED, "unknown", "runcomfy")
    assert await asked_for(app) == (1, 0)


@pytest.mark.parametrize("error", [ProviderRefused("content policy"), ProviderRejected("422")], ids=str)
async def test_a_request_refused_by_one_provider_is_not_sent_to_another(app: Rig, error: ProviderError) -> None:
    app.provider.submits = [error] * 5
    jobs = [await app.imagine() for _ in range(5)]

    for each in jobs:
        await app.until_final(each)

    assert await asked_for(app) == (5, 0)
    assert app.health.mode("runcomfy") is Mode.CLOSED
    assert app.notifications == []


async def test_an_accepted_job_stays_with_its_provider_whatever_happens(app: Rig) -> None:
    app.provider.sees = [ProviderUnavailable("down")] * 8 + [app.ready()]
    job_id = await app.imagine()

    job = await app.until_final(job_id)

    assert (job.state, job.provider) == (State.SUCCEEDED, "runcomfy")
    assert await asked_for(app) == (1, 0)


async def test_a_job_alternates_between_providers_until_one_accepts_it_once(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("no connection")] * 3
    app.beside.submits = [ProviderUnavailable("no connection")] * 3
    job_id = await app.imagine()

    job = await app.until_final(job_id, step=5)

    assert job.state is State.SUCCEEDED
    assert sum(await asked_for(app)) <= 7
    assert await app.store.open_jobs(job.place.user_id, since=0) == ([], 0)


async def test_a_provider_that_is_down_gets_no_requests_and_the_operator_is_notified_once(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("no connection")] * 100
    app.provider.away = ProviderUnavailable("no connection")
    for _ in range(8):
        job_id = await app.imagine()
        await app.turn(2)
        assert (await app.until_final(job_id)).provider == "runflow"

    assert await asked_for(app) == (3, 8)
    assert [key for key, _ in app.notifications] == ["operator.down"]
    assert app.health.mode("runcomfy") is Mode.OPEN


async def test_a_provider_that_is_back_gets_one_job_first_and_then_all(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("no connection")] * 3
    app.provider.away = ProviderUnavailable("no connection")
    app.provider.sees = [RUNNING]
    for _ in range(4):
        await app.imagine()
        await app.turn(2)
    assert app.health.mode("runcomfy") is Mode.OPEN

    await app.turn(20)
    app.provider.away = None
    await app.turn(20)
    assert app.health.mode("runcomfy") is Mode.HALF_OPEN
    await app.imagine(BOB)
    await app.turn()

    assert app.health.mode("runcomfy") is Mode.CLOSED
    assert [key for key, _ in app.notifications] == ["operator.down", "operator.recovered"]
    assert len(app.provider.submitted) == 4


async def test_jobs_queued_for_a_provider_that_goes_down_move_to_the_next(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", slots=1) as app:
        app.provider.sees = [RUNNING]
        app.beside.sees = [app.ready()]
        first, *waiting = [await app.imagine() for _ in range(3)]
        await app.turn(2)
        assert {(await app.job(each)).provider for each in waiting} == {"runcomfy"}
        app.provider.away = ProviderUnavailable("503")
        app.provider.sees = [app.provider.away]

        await app.turn(10, times=6)

        assert [(await app.job(each)).provider for each in waiting] == ["runflow"] * 2
        assert [(await app.job(each)).state for each in waiting] == [State.SUCCEEDED] * 2
        assert (await app.job(first)).provider == "runcomfy"


async def test_a_card_shows_the_provider_that_would_be_used_now(app: Rig) -> None:
    await app.health.on_paused("runcomfy", EMPTY, submitting=True)

    card = await app.services.jobs.card(await app.imagine(acked=False))

    assert (card.provider, card.outage) == ("Runflow", None)


async def test_a_job_waits_for_the_preferred_provider_when_all_have_outages(app: Rig) -> None:
    for each in ("runcomfy", "runflow"):
        await app.health.on_paused(each, EMPTY, submitting=True)

    card = await app.services.jobs.card(await app.imagine(acked=False))

    assert (card.provider, card.outage) == ("RunComfy", "balance")


def dearer_at_runflow() -> Catalog:
    """The same models at a higher price at Runflow."""
    both = catalog("runcomfy", "runflow")
    model = both.models["nano-banana-2"]
    assert model.imagine is not None
    near, far = model.imagine.routes
    dear = far.model_copy(update={"price": model.price.model_copy(update={"per_image": Decimal("0.10")})})
    imagine = model.imagine.model_copy(update={"routes": (near, dear)})
    return both.model_copy(
        update={"models": {**both.models, "nano-banana-2": model.model_copy(update={"imagine": imagine})}}
    )


async def test_a_job_does_not_move_to_a_provider_whose_price_exceeds_its_reservation(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", models=dearer_at_runflow()) as app:
        app.provider.submits = [ProviderUnavailable("no connection")]
        app.provider.sees = [app.ready()]
        job = await app.until_final(await app.imagine())

        assert (job.provider, await asked_for(app)) == ("runcomfy", (2, 0))


async def test_a_job_requested_while_the_cheaper_provider_is_down_has_the_others_price(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", models=dearer_at_runflow()) as app:
        await app.health.on_paused("runcomfy", EMPTY, submitting=True)
        card = await app.services.jobs.card(await app.imagine(acked=False))
        assert (card.provider, card.charge.reserved.micro_usd) == ("Runflow", 100_000)


async def test_a_job_that_moved_stays_at_its_new_provider_after_a_restart(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"beside": "runflow"}
    async with rig(tmp_path, **settings) as before:
        before.provider.submits = [ProviderPaused("402", kind="balance")]
        before.beside.sees = [RUNNING]
        job_id = await before.imagine()
        await before.turn(5)
        clock = before.time
    async with rig(tmp_path, time=clock, **settings) as after:
        after.provider.sees = [ProviderUnavailable("it was never asked for this one")]
        after.beside.sees = [after.ready()]
        job = await after.until_final(job_id)

        assert (job.state, job.provider) == (State.SUCCEEDED, "runflow")
        assert await asked_for(after) == (0, 0)


async def test_the_history_of_a_job_names_its_providers(app: Rig) -> None:
    app.provider.submits = [ProviderPaused("402", kind="balance")]
    job_id = await app.imagine()
    await app.turn(times=2)

    record = await JobDetails(app.store.database).full(job_id)

    assert record is not None
    assert [(each.after, each.provider) for each in record.events][:5] == [
        (State.ACCEPTED, "runcomfy"),
        (State.SUBMITTING, "runcomfy"),
        (State.ACCEPTED, "runflow"),
        (State.SUBMITTING, "runflow"),
        (State.QUEUED, "runflow"),
    ]


async def test_a_model_removed_by_one_provider_is_offered_from_the_other(app: Rig) -> None:
    route = "google/nano-banana-2/text-to-image"
    app.provider.submits = [ModelGone("404")]
    app.provider.absent = {route: ModelGone("404")}
    await app.until_final(await app.imagine())

    card = await app.services.jobs.card(await app.imagine(acked=False))

    assert card.provider == "Runflow"
    assert [(key, values["route"]) for key, values in app.notifications] == [("operator.model_gone", route)]


async def test_an_html_page_with_status_404_removes_no_model(app: Rig) -> None:
    app.provider.submits = [ModelGone("404")]
    assert (await app.until_final(await app.imagine())).provider == "runflow"

    assert (await app.services.jobs.card(await app.imagine(acked=False))).provider == "RunComfy"
    assert app.notifications == []


async def test_a_waiting_job_whose_model_is_removed_everywhere_is_refunded(tmp_path: Path) -> None:
    async with rig(tmp_path, beside="runflow", slots=0) as app:
        job_id = await app.imagine()
        await app.turn()
        for provider, route in (
            ("runcomfy", "google/nano-banana-2/text-to-image"),
            ("runflow", "google/nano-banana-2"),
        ):
            await app.services.availability.mark_route_gone(provider, route)

        job = await app.until_final(job_id)

        assert (job.state, job.reason) == (State.FAILED, "model_gone")
