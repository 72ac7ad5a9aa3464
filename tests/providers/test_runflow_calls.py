"""Runflow over a real socket: which requests are made, in which order, and how often."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.core.errors import (
    AnswerUnreadable,
    ModelGone,
    ProviderError,
    ProviderPaused,
    ProviderUnavailable,
    RunLost,
    RunNotKnownYet,
)
from bot.core.jobs import Observation, State
from bot.providers.base import CancelOutcome, ModelInfo, Provider
from bot.providers.http import Timeouts, client
from bot.providers.runflow.client import Runflow
from tests.providers import recorded
from tests.providers.raw_server import Act, RawServer, in_turn, serving
from tests.providers.recorded import NOW
from tests.providers.test_runflow import JOB, RUN

ROUTE = "google/nano-banana-2/edit"
INPUTS = {"prompt": "a fox", "safety_tolerance": "4", "image_urls": ["https://cdn.discordapp.com/a.png"]}
HOOK = "https://pictures.example.com/callbacks/runflow"


def says(case: str) -> Act:
    return recorded.says("runflow", case)


@asynccontextmanager
async def host(*cases: str) -> AsyncIterator[tuple[Runflow, RawServer]]:
    async with serving(in_turn(*map(says, cases))) as server, asyncio.timeout(5):
        provider = Runflow(
            client(server.url, "rf_live_s3cret", timeouts=Timeouts(connect=1.0, read=0.5)), now=lambda: NOW
        )
        try:
            yield provider, server
        finally:
            await provider.aclose()


def targets(server: RawServer) -> list[str]:
    return [f"{each.method} {each.target}" for each in server.got]


def asked(server: RawServer) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(each.target).query) for each in server.got]


async def test_a_submit_wraps_the_inputs_and_contains_the_job_id_twice() -> None:
    async with host("submit_created") as (provider, server):
        named: Provider = provider
        assert await named.submit(ROUTE, INPUTS, job_id=JOB) == RUN
        assert targets(server) == [f"POST /v1/models/{ROUTE}/runs"]
        assert json.loads(server.got[0].body) == {"input": INPUTS, "client_ref": JOB, "metadata": {"job_id": JOB}}
        assert server.got[0].headers["authorization"] == "Bearer rf_live_s3cret"


async def test_a_submit_has_a_callback_url_only_if_configured() -> None:
    async with host("submit_200") as (provider, server):
        await provider.submit(ROUTE, INPUTS, job_id=JOB, callback_url=HOOK)
        assert json.loads(server.got[0].body)["callback_url"] == HOOK


async def test_a_poll_is_one_request_and_returns_its_fresh_links() -> None:
    async with host("run_dispatching", "run_partial") as (provider, server):
        assert await provider.observe(RUN) == Observation(State.QUEUED)
        assert len((await provider.observe(RUN)).image_urls) == 1
        assert targets(server) == [f"GET /v1/runs/{RUN}?add_signature=true"] * 2


async def test_a_poll_without_signed_links_is_sent_if_the_parameter_is_rejected() -> None:
    async with host("search_422", "run_partial") as (provider, server):
        assert len((await provider.observe(RUN)).image_urls) == 1
        assert targets(server) == [f"GET /v1/runs/{RUN}?add_signature=true", f"GET /v1/runs/{RUN}"]


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("run_404", RunNotKnownYet),
        ("run_404_nested", RunNotKnownYet),
        ("run_200_not_found", RunNotKnownYet),
        ("run_404_html", ProviderUnavailable),
        ("run_401", ProviderPaused),
        ("run_402", ProviderPaused),
        ("run_429", ProviderUnavailable),
        ("run_500", ProviderUnavailable),
        ("run_502_html", ProviderUnavailable),
        ("run_200_error", ProviderUnavailable),
        ("run_200_html", ProviderUnavailable),
        ("run_200_truncated", AnswerUnreadable),
        ("run_all_null", AnswerUnreadable),
        ("submit_503_model_unavailable", ProviderUnavailable),
    ],
)
async def test_a_poll_without_an_observation_raises_its_error(case: str, error: type[ProviderError]) -> None:
    async with host(case) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.observe(RUN)
        assert type(caught.value) is error


@pytest.mark.parametrize("case", ["run_404", "run_404_nested", "run_200_not_found"])
async def test_a_run_is_lost_after_six_answers_that_it_does_not_exist(case: str) -> None:
    async with host(case) as (provider, _):
        for _ in range(5):
            with pytest.raises(RunNotKnownYet):
                await provider.observe(RUN)
        with pytest.raises(RunLost):
            await provider.observe(RUN)


async def test_a_run_is_found_by_our_reference() -> None:
    async with host("search_two") as (provider, server):
        assert await provider.find(JOB) == RUN
        assert asked(server) == [{"q": [f"client_ref.EQ:'{JOB}'"], "sort_by": ["created_at:desc"], "limit": ["50"]}]
        assert targets(server)[0].startswith("GET /v1/runs?")


@pytest.mark.parametrize("filtered", ["search_400", "search_422", "search_none", "search_of_others"])
async def test_the_documented_filter_syntax_is_tried_if_the_scripts_syntax_finds_nothing(filtered: str) -> None:
    async with host(filtered, "search_one") as (provider, server):
        assert await provider.find(JOB) == RUN
        assert [each["q"] for each in asked(server)] == [[f"client_ref.EQ:'{JOB}'"], [f"client_ref:{JOB}"]]


@pytest.mark.parametrize("filtered", ["search_400", "search_422", "search_none", "search_of_others"])
async def test_the_newest_runs_are_compared_if_the_filter_fails_or_finds_nothing(filtered: str) -> None:
    async with host(filtered, filtered, "search_one_by_metadata") as (provider, server):
        assert await provider.find(JOB) == RUN
        assert asked(server)[2] == {
            "fields": ["id,client_ref,metadata,created_at"],
            "sort_by": ["created_at:desc"],
            "limit": ["100"],
        }


async def test_whole_runs_are_compared_if_fields_cannot_be_selected() -> None:
    async with host("search_422", "search_422", "search_422", "search_one") as (provider, server):
        assert await provider.find(JOB) == RUN
        assert asked(server)[3] == {"sort_by": ["created_at:desc"], "limit": ["50"]}


async def test_a_run_that_is_not_found_may_not_exist_yet() -> None:
    async with host("search_none", "search_of_others") as (provider, server):
        assert await provider.find(JOB) is None
        assert len(server.got) == 3


@pytest.mark.parametrize(
    ("cases", "error"),
    [
        (["search_500"], ProviderUnavailable),
        (["search_without_items"], ProviderUnavailable),
        (["run_200_html"], ProviderUnavailable),
        (["run_429"], ProviderUnavailable),
        (["run_401"], ProviderPaused),
        (["search_none", "search_500"], ProviderUnavailable),
        (["search_422"], ProviderUnavailable),
    ],
)
async def test_a_failed_search_never_reports_a_missing_run(cases: list[str], error: type[ProviderError]) -> None:
    async with host(*cases) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.find(JOB)
        assert type(caught.value) is error


async def test_cancel_is_always_too_late_without_a_request() -> None:
    async with host("run_queued") as (provider, server):
        assert await provider.cancel(RUN) is CancelOutcome.TOO_LATE
        assert not server.got


async def test_a_model_is_described_by_its_full_name() -> None:
    async with host("model") as (provider, server):
        assert await provider.describe(ROUTE) == ModelInfo(ROUTE)
        assert targets(server) == [f"GET /v1/models/{ROUTE}"]


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("submit_404", ModelGone),
        ("submit_400_model_code", ModelGone),
        ("model_deleted", ModelGone),
        ("run_401", ProviderPaused),
        ("run_502_html", ProviderUnavailable),
        ("run_200_html", ProviderUnavailable),
        ("model_200_error", ProviderUnavailable),
        ("submit_503_model_unavailable", ProviderUnavailable),
        ("submit_404_html", ProviderUnavailable),
        ("model_404_bare", ProviderUnavailable),
    ],
)
async def test_a_model_without_a_description_is_gone_only_if_the_provider_says_so(
    case: str, error: type[ProviderError]
) -> None:
    async with host(case) as (provider, _):
        with pytest.raises(ProviderError) as caught:
            await provider.describe(ROUTE)
        assert type(caught.value) is error


@pytest.mark.parametrize(
    ("cases", "left", "paths"),
    [
        (["balance_cents"], 12_340_000, ["/v1/billing/balance"]),
        (["run_404_html", "balance_dollars"], 12_345_678, ["/v1/billing/balance", "/v1/credit-balances"]),
        (["balance_denied", "balance_listed"], 12_340_000, ["/v1/billing/balance", "/v1/credit-balances"]),
        (["balance_says_nothing", "balance_owed"], -500_000, ["/v1/billing/balance", "/v1/credit-balances"]),
        (["balance_denied", "balance_denied"], None, ["/v1/billing/balance", "/v1/credit-balances"]),
    ],
)
async def test_the_balance_is_read_from_two_urls_and_may_be_forbidden(
    cases: list[str], left: int | None, paths: list[str]
) -> None:
    async with host(*cases) as (provider, server):
        assert await provider.balance() == left
        assert [each.target for each in server.got] == paths


@pytest.mark.parametrize(("case", "error"), [("run_401", ProviderPaused), ("run_502_html", ProviderUnavailable)])
async def test_a_balance_that_cannot_be_read_raises_its_error(case: str, error: type[ProviderError]) -> None:
    async with host(case) as (provider, _):
        with pytest.raises(error):
            await provider.balance()
