"""What every provider does alike, whatever its host's words are: one suite over each client.

Each test names the moods it needs; every host of `stages.HOSTS` that can be put into a mood is tested in it.
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
    """Every host that knows a row's mood, with that row."""
    return [
        pytest.param(host, *row, id=f"{name}: {row[0]}")
        for row in rows
        for name, host in HOSTS.items()
        if row[0] in host.moods
    ]


async def submitted(on: Stage) -> str:
    return await on.provider.submit(on.route, {"prompt": PROMPT}, job_id=JOB)


# --- submit


@pytest.mark.parametrize("callback_url", [None, "http://127.0.0.1:9/callbacks"])
@pytest.mark.parametrize(("host", "mood"), hosts(("takes it",)))
async def test_a_run_is_ordered_with_one_request(host: Host, mood: str, callback_url: str | None) -> None:
    async with host(mood) as on:
        run_id = await on.provider.submit(on.route, {"prompt": PROMPT}, job_id=JOB, callback_url=callback_url)
        assert [run_id] == (on.taken() if on.taken else [on.run_id])
        assert on.paid() == 1


@pytest.mark.parametrize(
    ("host", "mood", "error"),
    hosts(
        # it may be ordered again
        ("nobody there", ProviderUnavailable),
        ("429", ProviderUnavailable),
        ("429 with Retry-After", ProviderUnavailable),
        ("408", ProviderUnavailable),
        ("503 of its own", ProviderUnavailable),
        ("403 of a firewall", ProviderUnavailable),
        ("401", ProviderPaused),
        ("402", ProviderPaused),
        ("403", ProviderPaused),
        # it never will be taken
        ("no such model", ModelGone),
        ("bad request", ProviderRejected),
        ("bad input", ProviderRejected),
        ("bad input, echoed", ProviderRejected),
        ("against the rules", ProviderRefused),
    ),
)
async def test_an_error_that_frees_a_job_proves_that_nothing_was_taken(
    host: Host, mood: str, error: type[ProviderError]
) -> None:
    async with host(mood) as on:
        with pytest.raises(ProviderError) as caught:
            await submitted(on)
        assert type(caught.value) is error
        assert on.paid() == (mood != "nobody there")
        assert not on.taken or on.taken() == []
        assert "s3cret" not in repr(caught.value)
        assert PROMPT not in repr(caught.value)


@pytest.mark.parametrize(
    ("host", "mood"),
    hosts(
        *((mood,) for mood in LOST),
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
async def test_a_submit_that_nobody_can_be_sure_of_is_unknown_and_made_once(host: Host, mood: str) -> None:
    async with host(mood) as on:
        with pytest.raises(SubmitUnknown):
            await submitted(on)
        assert on.paid() <= 1


@pytest.mark.parametrize(
    ("host", "mood"),
    hosts(("taken, then reset",), ("taken, half an answer",), ("taken, then 502",), ("takes it without an id",)),
)
async def test_a_run_whose_answer_was_lost_is_found_where_the_host_can_be_searched(host: Host, mood: str) -> None:
    async with host(mood) as on:
        with pytest.raises(SubmitUnknown):
            await submitted(on)
        if on.taken and on.provider.searchable:
            assert [await on.provider.find(JOB)] == on.taken()


@pytest.mark.parametrize(("host", "mood"), hosts(("bad input, echoed",)))
async def test_a_prompt_that_the_host_echoes_is_not_in_the_error(host: Host, mood: str) -> None:
    async with host(mood) as on:
        with pytest.raises(ProviderRejected) as caught:
            await submitted(on)
        assert "police" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "mood", "kind"), hosts(("401", "credentials"), ("403", "credentials"), ("402", "balance"))
)
async def test_a_pause_says_what_the_operator_must_do(host: Host, mood: str, kind: str) -> None:
    async with host(mood) as on:
        with pytest.raises(ProviderPaused) as caught:
            await submitted(on)
        assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("host", "mood", "seconds"), hosts(("429", None), ("429 with Retry-After", 17.0), ("503 of its own", 5.0))
)
async def test_a_providers_retry_after_is_passed_on(host: Host, mood: str, seconds: float | None) -> None:
    async with host(mood) as on:
        with pytest.raises(ProviderUnavailable) as caught:
            await submitted(on)
        assert caught.value.retry_after == seconds


# --- observe


@pytest.mark.parametrize(
    ("host", "mood", "state"),
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
async def test_a_run_is_seen_in_our_words(host: Host, mood: str, state: State) -> None:
    async with host(mood) as on:
        seen = await on.provider.observe(on.run_id)
        assert (seen.state, seen.image_urls) == (state, ())
        assert bool(seen.reason) == (state in (State.FAILED, State.REFUSED))
        assert on.paid() == 0


@pytest.mark.parametrize(("host", "mood"), hosts(("ready",)))
async def test_a_finished_run_has_its_pictures_and_its_cost(host: Host, mood: str) -> None:
    async with host(mood) as on:
        seen = await on.provider.observe(on.run_id)
        assert (seen.state, len(seen.image_urls), seen.cost_micro_usd) == (State.COLLECTING, 1, 80_000)
        assert seen.flagged is None


@pytest.mark.parametrize(
    ("host", "mood", "error"),
    hosts(
        *((mood, ProviderUnavailable) for mood in ("nobody there", *LOST)),
        ("unreadable", ProviderUnavailable),
        ("down", ProviderUnavailable),
        ("404 html", ProviderUnavailable),
        ("throttling", ProviderUnavailable),
        ("unknown run", RunNotKnownYet),
        ("token revoked", ProviderPaused),
        ("balance spent", ProviderPaused),
    ),
)
async def test_a_look_that_fails_says_nothing_about_the_run(host: Host, mood: str, error: type[ProviderError]) -> None:
    async with host(mood) as on:
        with pytest.raises(ProviderError) as caught:
            await on.provider.observe(on.run_id or "any")
        assert type(caught.value) is error


@pytest.mark.parametrize(("host", "mood"), hosts(("unknown run",)))
async def test_a_run_is_lost_at_the_sixth_look_in_vain(host: Host, mood: str) -> None:
    async with host(mood) as on:
        for _ in range(5):
            with pytest.raises(RunNotKnownYet):
                await on.provider.observe(on.run_id)
        with pytest.raises(RunLost):
            await on.provider.observe(on.run_id)


@pytest.mark.parametrize(("host", "mood"), hosts(("unknown run, seen once",)))
async def test_a_run_that_was_seen_in_between_is_not_lost(host: Host, mood: str) -> None:
    async with host(mood) as on:
        for look in range(11):
            if look == 5:
                assert (await on.provider.observe(on.run_id)).state is State.RUNNING
                continue
            with pytest.raises(RunNotKnownYet):
                await on.provider.observe(on.run_id)


@pytest.mark.parametrize(("host", "mood"), hosts(("404 html",)))
async def test_a_gateways_own_page_never_loses_a_run(host: Host, mood: str) -> None:
    async with host(mood) as on:
        for _ in range(8):
            with pytest.raises(ProviderUnavailable):
                await on.provider.observe(on.run_id)


# --- find, cancel, describe


@pytest.mark.parametrize(("host", "mood"), hosts(("a run of ours",), ("runs of others",)))
async def test_a_search_knows_our_run_and_no_other_or_says_that_it_cannot_know(host: Host, mood: str) -> None:
    async with host(mood) as on:
        if on.provider.searchable:
            assert await on.provider.find(JOB) == (on.run_id if mood == "a run of ours" else None)
        else:
            with pytest.raises(NotSearchable):
                await on.provider.find(JOB)


@pytest.mark.parametrize(("host", "mood"), hosts(("cancels",)))
async def test_a_host_cancels_what_waits_there_or_is_always_too_late(host: Host, mood: str) -> None:
    async with host(mood) as on:
        outcome = await on.provider.cancel(on.run_id)
        assert outcome is (CancelOutcome.CANCELLED if on.provider.cancels else CancelOutcome.TOO_LATE)


@pytest.mark.parametrize(("host", "mood"), hosts(("model",)))
async def test_a_model_that_is_there_is_described(host: Host, mood: str) -> None:
    async with host(mood) as on:
        assert (await on.provider.describe(on.route)).route == on.route


@pytest.mark.parametrize(
    ("host", "mood", "error"),
    hosts(("no such model", ModelGone), ("down", ProviderUnavailable), ("token revoked", ProviderPaused)),
)
async def test_a_model_is_gone_only_when_the_host_says_so(host: Host, mood: str, error: type[ProviderError]) -> None:
    async with host(mood) as on:
        with pytest.raises(error):
            await on.provider.describe(on.route)
