"""RunComfy over a real socket: which requests are made, in which order, and how often."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bot.core.errors import (
    AnswerUnreadable,
    ModelGone,
    NotSearchable,
    ProviderError,
    ProviderPaused,
    ProviderUnavailable,
    RunLost,
    RunNotKnownYet,
)
from bot.core.jobs import Observation, State
from bot.providers.base import CancelOutcome, ModelInfo, Provider
from bot.providers.http import Timeouts, client
from bot.providers.runcomfy.client import RunComfy
from tests.providers import recorded
from tests.providers.raw_server import Act, RawServer, hang, in_turn, reset, serving
from tests.providers.recorded import NOW
from tests.providers.test_runcomfy import FILES, RUN

ROUTE = "google/nano-banana-2/text-to-image"


def says(case: str) -> Act:
    return recorded.says("runcomfy", case)


@asynccontextmanager
async def host(*acts: Act, wallet: str | None = None) -> AsyncIterator[tuple[RunComfy, RawServer]]:
    async with serving(in_turn(*acts)) as server, asyncio.timeout(5):
        http = client(server.url, "s3cret", timeouts=Timeouts(connect=1.0, read=0.5, submit_read=0.5))
        provider = RunComfy(http, balance_url=wallet, now=lambda: NOW)
        try:
            yield provider, server
        finally:
            await provider.aclose()


def targets(server: RawServer) -> list[str]:
    return [f"{each.method} {each.target}" for each in server.got]


async def test_a_submit_posts_the_inputs_unchanged_and_uses_no_url_of_the_answer() -> None:
    async with host(says("submit_taken")) as (provider, server):
        named: Provider = provider
        assert await named.submit(ROUTE, {"prompt": "a fox", "seed": 7}, job_id="01J") == RUN
        assert targets(server) == [f"POST /v1/models/{ROUTE}"]
        assert json.loads(server.got[0].body) == {"prompt": "a fox", "seed": 7}
        assert server.got[0].headers["authorization"] == "Bearer s3cret"


async def test_polling_a_pending_run_is_one_request() -> None:
    async with host(says("status_in_queue_3"), says("status_in_progress")) as (provider, server):
        assert await provider.observe(RUN) == Observation(State.QUEUED, position=3)
        assert await provider.observe(RUN) == Observation(State.RUNNING)
        assert targets(server) == [f"GET /v1/requests/{RUN}/status"] * 2


async def test_a_finished_run_is_classified_by_its_result() -> None:
    async with host(says("status_completed"), says("result_failed_safety")) as (provider, server):
        assert (await provider.observe(RUN)).state is State.REFUSED
        assert targets(server)[1] == f"GET /v1/requests/{RUN}/result?include_cost=true"


async def test_a_failed_status_with_a_good_result_is_a_success() -> None:
    async with host(says("status_failed_upper_case"), says("result_image")) as (provider, _):
        assert (await provider.observe(RUN)).image_urls == (f"{FILES}a.png",)


async def test_a_result_behind_its_status_is_requested_again() -> None:
    late = [says("status_completed"), says("result_in_progress"), says("status_completed"), says("result_image")]
    async with host(*late) as (provider, _):
        assert await provider.observe(RUN) == Observation(State.RUNNING)
        assert (await provider.observe(RUN)).state is State.COLLECTING


@pytest.mark.parametrize("status", ["status_cancelled", "status_canceled"])
async def test_a_cancelled_run_is_reported_once_the_result_says_so(status: str) -> None:
    async with host(says(status), says("result_cancelled")) as (provider, _):
        assert (await provider.observe(RUN)).state is State.CANCELLED


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("status_401", ProviderPaused),
        ("status_400_token_code", ProviderPaused),
        ("status_402", ProviderPaused),
        ("status_403_not_ours", RunLost),
        ("status_429", ProviderUnavailable),
        ("status_502_html", ProviderUnavailable),
        ("status_200_html", ProviderUnavailable),
        ("status_200_error_code", ProviderUnavailable),
        ("status_404", RunNotKnownYet),
        ("status_200_not_found", RunNotKnownYet),
    ],
)
async def test_a_poll_without_an_observation_raises_its_error(case: str, error: type[ProviderError]) -> None:
    async with host(says(case)) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.observe(RUN)
        assert type(caught.value) is error


async def test_the_result_is_requested_if_the_status_is_unreadable() -> None:
    async with host(says("status_missing"), says("result_image")) as (provider, _):
        assert (await provider.observe(RUN)).state is State.COLLECTING


async def test_a_run_whose_status_and_result_are_unreadable_is_not_known_to_have_finished() -> None:
    async with host(says("status_missing")) as (provider, _):
        with pytest.raises(AnswerUnreadable) as caught:
            await provider.observe(RUN)
        assert not caught.value.finished


@pytest.mark.parametrize("case", ["result_200_error_code", "status_502_html"])
async def test_a_missing_result_of_a_finished_run_is_requested_again(case: str) -> None:
    async with host(says("status_completed"), says(case)) as (provider, _):
        with pytest.raises(ProviderUnavailable) as caught:
            await provider.observe(RUN)
        assert caught.value.finished


async def test_retry_after_of_a_poll_is_in_the_error() -> None:
    async with host(says("status_429")) as (provider, _):
        with pytest.raises(ProviderUnavailable) as caught:
            await provider.observe(RUN)
        assert caught.value.retry_after == 9.0


@pytest.mark.parametrize("case", ["status_404", "status_200_not_found", "status_word_beside_error_code"])
async def test_a_run_is_lost_after_six_answers_that_it_does_not_exist(case: str) -> None:
    async with host(says(case)) as (provider, _):
        for _ in range(5):
            with pytest.raises(ProviderUnavailable):
                await provider.observe(RUN)
        with pytest.raises(RunLost):
            await provider.observe(RUN)


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        ("cancel_202_cancelled", CancelOutcome.CANCELLED),
        ("cancel_202_not_cancellable", CancelOutcome.TOO_LATE),
        ("cancel_502_html", CancelOutcome.UNKNOWN),
        ("status_404", CancelOutcome.UNKNOWN),
        ("status_403_not_ours", CancelOutcome.TOO_LATE),
    ],
)
async def test_a_cancel_is_one_post(case: str, outcome: CancelOutcome) -> None:
    async with host(says(case)) as (provider, server):
        assert await provider.cancel(RUN) is outcome
        assert targets(server) == [f"POST /v1/requests/{RUN}/cancel"]


async def test_a_cancel_of_an_unknown_run_is_too_late_so_that_polling_continues() -> None:
    async with host(says("status_404")) as (provider, _):
        outcomes = [await provider.cancel(RUN) for _ in range(6)]
        assert outcomes == [CancelOutcome.UNKNOWN] * 5 + [CancelOutcome.TOO_LATE]


@pytest.mark.parametrize("fault", [reset, hang], ids=["reset", "hang"])
async def test_a_cancel_without_an_answer_is_sent_once_and_may_be_repeated(fault: Act) -> None:
    async with host(fault) as (provider, server):
        with pytest.raises(ProviderUnavailable):
            await provider.cancel(RUN)
        assert len(server.got) == 1


async def test_a_throttled_or_forbidden_cancel_raises_its_error() -> None:
    async with host(says("status_429"), says("status_401")) as (provider, _):
        with pytest.raises(ProviderUnavailable):
            await provider.cancel(RUN)
        with pytest.raises(ProviderPaused):
            await provider.cancel(RUN)


async def test_search_by_reference_is_not_supported() -> None:
    async with host(says("submit_taken")) as (provider, server):
        with pytest.raises(NotSearchable):
            await provider.find("01J")
        assert not server.got


async def test_a_models_base_price_is_read_from_the_catalogue() -> None:
    async with host(says("model"), says("model_without_price")) as (provider, server):
        assert await provider.describe(ROUTE) == ModelInfo(ROUTE, base_price_micro_usd=80_000)
        assert await provider.describe(ROUTE) == ModelInfo(ROUTE)
        assert targets(server)[0] == f"GET /v1/models/{ROUTE}"


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("submit_404", ModelGone),
        ("submit_400_model_code", ModelGone),
        ("model_200_error_code", ModelGone),
        ("status_401", ProviderPaused),
        ("status_502_html", ProviderUnavailable),
        ("status_200_html", ProviderUnavailable),
        ("status_200_error_code", ProviderUnavailable),
        ("submit_404_html", ProviderUnavailable),
        ("model_404_bare", ProviderUnavailable),
    ],
)
async def test_a_model_without_a_description_is_gone_only_if_the_provider_says_so(
    case: str, error: type[ProviderError]
) -> None:
    async with host(says(case)) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.describe(ROUTE)
        assert type(caught.value) is error


@pytest.mark.parametrize(
    ("case", "left"),
    [
        ("balance", 12_345_678),
        ("balance_usd_only", 12_345_678),
        ("balance_owed", -500_000),
        ("balance_says_nothing", None),
    ],
)
async def test_the_balance_is_read_with_the_token_at_the_balance_url(case: str, left: int | None) -> None:
    async with (
        serving(says(case)) as wallet,
        host(says("model"), wallet=f"{wallet.url}/prod/v2/balance") as (provider, server),
    ):
        assert await provider.balance() == left
        assert wallet.got[0].headers["authorization"] == "Bearer s3cret"
        assert wallet.got[0].target == "/prod/v2/balance"
        assert not server.got


async def test_without_a_balance_url_no_request_is_sent() -> None:
    async with host(says("balance")) as (provider, server):
        assert await provider.balance() is None
        assert not server.got


async def test_an_unreadable_balance_is_unavailable() -> None:
    async with serving(says("status_502_html")) as wallet, host(says("model"), wallet=wallet.url) as (provider, _):
        with pytest.raises(ProviderUnavailable):
            await provider.balance()
