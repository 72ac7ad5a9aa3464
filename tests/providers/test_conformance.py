"""The behaviour common to all providers: one suite over each client.

Each test names the conditions it needs, and is run for every provider of `stages.HOSTS` that has them.
"""

from typing import Any

import pytest

from bot.core.errors import (
    ModelGone,
    NotSearchable,
    ProviderError,
    ProviderPaused,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
    RunLost,
    RunNotKnownYet,
    SubmitUnknown,
)
from bot.core.jobs import State
from bot.providers.base import CancelOutcome
from tests.providers.stages import BROKEN, HOSTS, JOB, Host, Stage

PROMPT = "a fox by a lake"
LOST = ("reset before reading", *BROKEN)


def hosts(*rows: tuple[Any, ...]) -> list[Any]:
    """Each row for every provider that has its condition."""
    return [
        pytest.param(host, *row, id=f"{name}: {row[0]}")
        for row in rows
        for name, host in HOSTS.items()
        if row[0] in host.conditions
    ]


async def submitted(on: Stage) -> str:
    return await on.provider.submit(on.route, {"prompt": PROMPT}, job_id=JOB)


# --- submit


@pytest.mark.parametrize("callback_url", [None, "http://127.0.0.1:9/callbacks"])
@pytest.mark.parametrize(("host", "condition"), hosts(("takes it",)))
async def test_a_submit_is_one_request(host: Host, condition: str, callback_url: str | None) -> None:
    async with host(condition) as on:
        run_id = await on.provider.submit(on.route, {"prompt": PROMPT}, job_id=JOB, callback_url=callback_url)
        assert [run_id] == (on.taken() if on.taken else [on.run_id])
        assert on.paid() == 1


@pytest.mark.parametrize(
    ("host", "condition", "error"),
    hosts(
        # it may be submitted again
        ("nobody there", ProviderUnavailable),
        ("429", ProviderUnavailable),
        ("429 with Retry-After", ProviderUnavailable),
        ("408", ProviderUnavailable),
        ("503 of its own", ProviderUnavailable),
        ("403 of a firewall", ProviderUnavailable),
        ("401", ProviderPaused),
        ("402", ProviderPaused),
        ("403", ProviderPaused),
        # it will never be accepted
        ("no such model", ModelGone),
        ("bad request", ProviderRejected),
        ("bad input", ProviderRejected),
        ("bad input, echoed", ProviderRejected),
        ("against the rules", ProviderRefused),
    ),
)
async def test_an_error_that_allows_a_retry_proves_that_nothing_was_accepted(
    host: Host, condition: str, error: type[ProviderError]
) -> None:
    async with host(condition) as on:
        with pytest.raises(ProviderError) as caught:
            await submitted(on)
        assert type(caught.value) is error
        assert on.paid() == (condition != "nobody there")
        assert not on.taken or on.taken() == []
        assert "s3cret" not in repr(caught.value)
        assert PROMPT not in repr(caught.value)


@pytest.mark.parametrize(
    ("host", "condition"),
    hosts(
        *((condition,) for condition in LOST),
        ("taken, then reset",),
        ("taken, half an answer",),
        ("taken, then 502",),
        ("takes it without an id",),
        ("200 html",),
        ("200 cut short",),
        ("302",),
        ("500",),
        ("500 that names the balance",),
        ("502 html",),
        ("503 html",),
        ("503 of a gateway",),
        ("504",),
    ),
)
async def test_a_submit_with_an_unclear_outcome_is_unknown_and_sent_once(host: Host, condition: str) -> None:
    async with host(condition) as on:
        with pytest.raises(SubmitUnknown):
            await submitted(on)
        assert on.paid() <= 1


@pytest.mark.parametrize(
    ("host", "condition"),
    hosts(("taken, then reset",), ("taken, half an answer",), ("taken, then 502",), ("takes it without an id",)),
)
async def test_a_run_whose_answer_was_lost_is_found_at_a_provider_with_search(host: Host, condition: str) -> None:
    async with host(condition) as on:
        with pytest.raises(SubmitUnknown):
            await submitted(on)
        if on.taken and on.provider.searchable:
            assert [await on.provider.find(JOB)] == on.taken()


@pytest.mark.parametrize(("host", "condition"), hosts(("bad input, echoed",)))
async def test_an_echoed_prompt_is_not_in_the_error(host: Host, condition: str) -> None:
    async with host(condition) as on:
        with pytest.raises(ProviderRejected) as caught:
            await submitted(on)
        assert "police" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "condition", "kind"), hosts(("401", "credentials"), ("403", "credentials"), ("402", "balance"))
)
async def test_a_pause_names_its_kind(host: Host, condition: str, kind: str) -> None:
    async with host(condition) as on:
        with pytest.raises(ProviderPaused) as caught:
            await submitted(on)
        assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("host", "condition", "seconds"), hosts(("429", None), ("429 with Retry-After", 17.0), ("503 of its own", 5.0))
)
async def test_a_providers_retry_after_is_passed_on(host: Host, condition: str, seconds: float | None) -> None:
    async with host(condition) as on:
        with pytest.raises(ProviderUnavailable) as caught:
            await submitted(on)
        assert caught.value.retry_after == seconds


# --- observe


@pytest.mark.parametrize(
    ("host", "condition", "state"),
    hosts(
        ("queued", State.QUEUED),
        ("running", State.RUNNING),
        ("a new word", State.QUEUED),
        ("failed", State.FAILED),
        ("refused", State.REFUSED),
        ("nothing to show", State.FAILED),
        ("cancelled", State.CANCELLED),
        ("cancelled, one l", State.CANCELLED),
    ),
)
async def test_a_runs_status_is_mapped_to_a_state(host: Host, condition: str, state: State) -> None:
    async with host(condition) as on:
        seen = await on.provider.observe(on.run_id)
        assert (seen.state, seen.image_urls) == (state, ())
        assert bool(seen.reason) == (state in (State.FAILED, State.REFUSED))
        assert on.paid() == 0


@pytest.mark.parametrize(("host", "condition"), hosts(("ready",)))
async def test_a_finished_run_has_its_pictures_and_its_cost(host: Host, condition: str) -> None:
    async with host(condition) as on:
        seen = await on.provider.observe(on.run_id)
        assert (seen.state, len(seen.image_urls), seen.cost_micro_usd) == (State.COLLECTING, 1, 80_000)
        assert seen.flagged is None


@pytest.mark.parametrize(
    ("host", "condition", "error"),
    hosts(
        *((condition, ProviderUnavailable) for condition in ("nobody there", *LOST)),
        ("unreadable", ProviderUnavailable),
        ("down", ProviderUnavailable),
        ("404 html", ProviderUnavailable),
        ("throttling", ProviderUnavailable),
        ("unknown run", RunNotKnownYet),
        ("token revoked", ProviderPaused),
        ("balance spent", ProviderPaused),
    ),
)
async def test_a_failed_poll_does_not_change_the_run(host: Host, condition: str, error: type[ProviderError]) -> None:
    async with host(condition) as on:
        with pytest.raises(ProviderError) as caught:
            await on.provider.observe(on.run_id or "any")
        assert type(caught.value) is error


@pytest.mark.parametrize(("host", "condition"), hosts(("unknown run",)))
async def test_a_run_is_lost_after_six_polls_that_do_not_find_it(host: Host, condition: str) -> None:
    async with host(condition) as on:
        for _ in range(5):
            with pytest.raises(RunNotKnownYet):
                await on.provider.observe(on.run_id)
        with pytest.raises(RunLost):
            await on.provider.observe(on.run_id)


@pytest.mark.parametrize(("host", "condition"), hosts(("unknown run, seen once",)))
async def test_a_run_found_in_between_is_not_lost(host: Host, condition: str) -> None:
    async with host(condition) as on:
        for look in range(11):
            if look == 5:
                assert (await on.provider.observe(on.run_id)).state is State.RUNNING
                continue
            with pytest.raises(RunNotKnownYet):
                await on.provider.observe(on.run_id)


@pytest.mark.parametrize(("host", "condition"), hosts(("404 html",)))
async def test_an_html_404_never_loses_a_run(host: Host, condition: str) -> None:
    async with host(condition) as on:
        for _ in range(8):
            with pytest.raises(ProviderUnavailable):
                await on.provider.observe(on.run_id)


# --- find, cancel, describe


@pytest.mark.parametrize(("host", "condition"), hosts(("a run of ours",), ("runs of others",)))
async def test_a_search_finds_only_our_run_or_is_not_supported(host: Host, condition: str) -> None:
    async with host(condition) as on:
        if on.provider.searchable:
            assert await on.provider.find(JOB) == (on.run_id if condition == "a run of ours" else None)
        else:
            with pytest.raises(NotSearchable):
                await on.provider.find(JOB)


@pytest.mark.parametrize(("host", "condition"), hosts(("cancels",)))
async def test_a_provider_cancels_queued_runs_or_is_always_too_late(host: Host, condition: str) -> None:
    async with host(condition) as on:
        outcome = await on.provider.cancel(on.run_id)
        assert outcome is (CancelOutcome.CANCELLED if on.provider.cancels else CancelOutcome.TOO_LATE)


@pytest.mark.parametrize(("host", "condition"), hosts(("model",)))
async def test_an_existing_model_is_described(host: Host, condition: str) -> None:
    async with host(condition) as on:
        assert (await on.provider.describe(on.route)).route == on.route


@pytest.mark.parametrize(
    ("host", "condition", "error"),
    hosts(("no such model", ModelGone), ("down", ProviderUnavailable), ("token revoked", ProviderPaused)),
)
async def test_a_model_is_gone_only_if_the_provider_says_so(
    host: Host, condition: str, error: type[ProviderError]
) -> None:
    async with host(condition) as on:
        with pytest.raises(error):
            await on.provider.describe(on.route)
