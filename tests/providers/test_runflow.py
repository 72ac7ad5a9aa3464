"""Runflow's recorded answers, and the observation or error of each."""

import json

import pytest
from pydantic import ValidationError

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
from bot.providers.http import Answer
from bot.providers.runflow.answers import Balance, Page, read_run, read_search, read_submitted
from tests.providers.recorded import NOW, recorded

RUN = "0199e2a4-7c1e-7b7a-9d3f-2f6c8f0a1b2c"
JOB = "01KAJ3T5V7XW9Z1B3D5F7H9K1M"
FILES = "https://outputs.example.net/runs/0199e2a4/"
SIGNED = "?X-Amz-Expires=900&X-Amz-Signature=cafe1234"


def sample(case: str) -> Answer:
    return recorded("runflow", case)


@pytest.mark.parametrize(
    "case", ["submit_created", "submit_200", "submit_202_bare", "submit_created_beside_error", "submit_201_run_id"]
)
def test_an_answer_with_an_id_is_a_run_whatever_else_it_contains(case: str) -> None:
    assert read_submitted(sample(case), now=NOW) == RUN


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("submit_without_id", SubmitUnknown),
        ("submit_id_null", SubmitUnknown),
        ("submit_id_is_a_path", SubmitUnknown),
        ("submit_id_with_newline", SubmitUnknown),
        ("submit_id_number", SubmitUnknown),
        ("submit_200_html", SubmitUnknown),
        ("submit_200_truncated", SubmitUnknown),
        ("submit_200_list", SubmitUnknown),
        ("submit_200_empty", SubmitUnknown),
        ("submit_200_error", SubmitUnknown),
        ("submit_302", SubmitUnknown),
        ("submit_400", ProviderRejected),
        ("submit_400_html", ProviderRejected),
        ("submit_400_overloaded", ProviderUnavailable),
        ("submit_400_signed_link", ProviderRejected),
        ("submit_401", ProviderPaused),
        ("submit_401_nested", ProviderPaused),
        ("submit_402", ProviderPaused),
        ("submit_402_nested", ProviderPaused),
        ("submit_400_balance_code", ProviderPaused),
        ("submit_403", ProviderPaused),
        ("submit_403_email", ProviderPaused),
        ("submit_403_role", ProviderPaused),
        ("submit_403_content", ProviderRefused),
        ("submit_403_firewall", ProviderUnavailable),
        ("submit_404", ModelGone),
        ("submit_404_html", ModelGone),
        ("submit_400_model_code", ModelGone),
        ("submit_422_model_disabled", ModelGone),
        ("submit_410", ModelGone),
        ("submit_404_model_unavailable", ProviderUnavailable),
        ("submit_422_model_unavailable", ProviderUnavailable),
        ("submit_408", ProviderUnavailable),
        ("submit_409", SubmitUnknown),
        ("submit_413_html", ProviderRejected),
        ("submit_422_enum", ProviderRejected),
        ("submit_422_nested", ProviderRejected),
        ("submit_422_detail", ProviderRejected),
        ("submit_422_echo", ProviderRejected),
        ("submit_422_content", ProviderRefused),
        ("submit_429", ProviderUnavailable),
        ("submit_429_retry_after", ProviderUnavailable),
        ("submit_429_html", ProviderUnavailable),
        ("submit_500", SubmitUnknown),
        ("submit_500_names_balance", SubmitUnknown),
        ("submit_502_html", SubmitUnknown),
        ("submit_503_model_unavailable", ProviderUnavailable),
        ("submit_503_nested", ProviderUnavailable),
        ("submit_503_own", ProviderUnavailable),
        ("submit_503_gateway", SubmitUnknown),
        ("submit_503_gateway_number", SubmitUnknown),
        ("submit_503_html", SubmitUnknown),
        ("submit_504", SubmitUnknown),
    ],
)
def test_an_answer_without_a_run_raises_its_error(case: str, error: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        read_submitted(sample(case), now=NOW)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("submit_401", "credentials"),
        ("submit_401_nested", "credentials"),
        ("submit_403", "credentials"),
        ("submit_403_email", "credentials"),
        ("submit_403_role", "credentials"),
        ("submit_402", "balance"),
        ("submit_402_nested", "balance"),
        ("submit_400_balance_code", "balance"),
    ],
)
def test_a_pause_names_key_or_balance_as_its_cause(case: str, kind: str) -> None:
    with pytest.raises(ProviderPaused) as caught:
        read_submitted(sample(case), now=NOW)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("case", "seconds"),
    [
        ("submit_429", None),
        ("submit_429_retry_after", 17.0),
        ("submit_429_html", 42.0),
        ("submit_503_model_unavailable", 5.0),
        ("submit_503_nested", None),
    ],
)
def test_retry_after_is_in_the_error(case: str, seconds: float | None) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        read_submitted(sample(case), now=NOW)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("submit_422_enum", "runflow: HTTP 422, VALIDATION_ERROR; input.safety_tolerance (reads as bad_input)"),
        ("submit_422_nested", "runflow: HTTP 422, VALIDATION_ERROR; input; num_images (reads as bad_input)"),
        (
            "submit_422_echo",
            "runflow: HTTP 422, VALIDATION_ERROR; input; num_images; input; prompt (reads as bad_input)",
        ),
        ("submit_400_signed_link", "runflow: HTTP 400, BAD_INPUT"),
    ],
)
def test_an_error_has_the_providers_codes_but_none_of_its_prose(case: str, text: str) -> None:
    with pytest.raises(ProviderRejected) as caught:
        read_submitted(sample(case), now=NOW)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("case", "state"),
    [
        ("run_queued", State.QUEUED),
        ("run_dispatching", State.QUEUED),
        ("run_running", State.RUNNING),
        ("run_upper_case", State.RUNNING),
        ("run_older_words", State.RUNNING),
        ("run_unknown_word", State.QUEUED),
        ("submit_created", State.QUEUED),
    ],
)
def test_a_run_under_way_is_pending_in_any_spelling(case: str, state: State) -> None:
    assert read_run(sample(case).body) == Observation(state)


@pytest.mark.parametrize(
    "case",
    [
        "run_200_error",
        "run_200_not_found",
        "run_200_html",
    ],
)
def test_an_answer_that_is_no_run_is_unreadable(case: str) -> None:
    with pytest.raises(ValueError, match=r"an error, not a run|expected value"):
        read_run(sample(case).body)


def test_an_unknown_status_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for word in ("only_in_this_test", "only_in_this_test", "a fox in the snow, as runflow saw it"):
        read_run(json.dumps({"status_code": word}).encode())
    assert [(each.levelname, each.__dict__["status"]) for each in caplog.records] == [
        ("WARNING", "only_in_this_test"),
        ("WARNING", "…"),
    ]


@pytest.mark.parametrize(
    ("case", "files", "cost"),
    [
        ("run_succeeded", ["a.png"], 80_000),
        ("run_succeeded_twice", ["a.png", "b.png"], 160_000),
        ("run_succeeded_older_words", ["a.png"], None),
        ("run_other_kinds", ["a.png", "b.png"], 80_000),
        ("run_partial", ["a.png"], 80_000),
        ("run_cost_fraction", ["a.png"], 80_001),
        ("run_cost_number", ["a.png"], 80_000),
        ("run_cost_null", ["a.png"], None),
        ("run_cost_odd", ["a.png"], None),
        ("run_cost_negative", ["a.png"], None),
    ],
)
def test_pictures_are_read_from_the_outputs_alone_each_once_and_in_order(
    case: str, files: list[str], cost: int | None
) -> None:
    urls = tuple(FILES + file + SIGNED for file in files)
    assert read_run(sample(case).body) == Observation(State.COLLECTING, image_urls=urls, cost_micro_usd=cost)


@pytest.mark.parametrize(
    ("case", "flagged"),
    [("run_nsfw_true", True), ("run_nsfw_false", False), ("run_nsfw_null", None), ("run_nsfw_odd", None)],
)
def test_an_unchecked_run_is_neither_flagged_nor_cleared(case: str, flagged: bool | None) -> None:  # noqa: FBT001 - a column
    seen = read_run(sample(case).body)
    assert (seen.state, seen.flagged) == (State.COLLECTING, flagged)


def test_a_link_to_an_unlisted_host_is_returned_for_the_downloader_to_check() -> None:
    assert read_run(sample("run_foreign_host").body).image_urls == ("http://169.254.169.254/latest",)


@pytest.mark.parametrize(
    ("case", "state", "reason"),
    [
        ("run_outputs_empty", State.FAILED, "succeeded: no picture, no reason"),
        ("run_outputs_null", State.FAILED, "succeeded: no picture, no reason"),
        ("run_output_null", State.FAILED, "succeeded: no picture, no reason"),
        ("run_outputs_empty_flagged", State.REFUSED, "succeeded: no picture, no reason"),
        ("run_succeeded_but_error", State.FAILED, "succeeded: UPSTREAM_TIMEOUT (reads as transient)"),
        ("run_partial_empty", State.FAILED, "partial_succeeded: TIMEOUT (reads as transient)"),
        ("run_failed", State.FAILED, "failed: PROVIDER_ERROR at dispatch"),
        ("run_failed_older_words", State.FAILED, "failed: INPUT_VALIDATION_FAILED (reads as bad_input) at preprocess"),
        ("run_failed_error", State.FAILED, "failed: PROVIDER_ERROR"),
        ("run_failed_error_text", State.FAILED, "failed: boom"),
        ("run_failed_without_reason", State.FAILED, "failed: no picture, no reason"),
        ("run_failed_upper_case", State.FAILED, "failed: boom"),
        ("run_failed_output_is_an_error", State.FAILED, "failed: PROVIDER_ERROR"),
        ("run_failed_output_is_text", State.FAILED, "failed: PROVIDER_ERROR"),
        ("run_failed_after_moderation", State.FAILED, "failed: TIMEOUT (reads as transient) at moderation"),
        ("run_failed_option_name", State.FAILED, "failed: INPUT_VALIDATION_FAILED (reads as bad_input)"),
        ("run_failed_safety", State.REFUSED, "failed: GENERATION_FAILED (reads as refused) at execution"),
        ("run_failed_policy_code", State.REFUSED, "failed: CONTENT_POLICY_VIOLATION (reads as refused)"),
        ("run_failed_no_image", State.REFUSED, "failed: NO_IMAGE (reads as refused)"),
        ("run_errored", State.REFUSED, "errored: (reads as refused)"),
        ("run_failed_flagged", State.REFUSED, "failed: GENERATION_FAILED"),
        ("run_canceled", State.CANCELLED, None),
        ("run_cancelled", State.CANCELLED, None),
    ],
)
def test_an_end_without_pictures_is_classified_by_its_text(case: str, state: State, reason: str | None) -> None:
    seen = read_run(sample(case).body)
    assert (seen.state, seen.reason, seen.image_urls) == (state, reason, ())


@pytest.mark.parametrize(
    ("case", "cost"),
    [("run_failed", 0), ("run_failed_option_name", 80_000), ("run_canceled", 80_000), ("run_cancelled", None)],
)
def test_the_cost_of_a_run_without_pictures_is_reported(case: str, cost: int | None) -> None:
    assert read_run(sample(case).body).cost_micro_usd == cost


@pytest.mark.parametrize(
    ("case", "run"),
    [
        ("search_none", None),
        ("search_of_others", None),
        ("search_one", RUN),
        ("search_one_by_metadata", RUN),
        ("search_two", RUN),
        ("search_two_without_times", RUN),
        ("search_two_one_without_time", RUN),
        ("search_two_in_zones", RUN),
    ],
)
def test_the_oldest_found_run_with_our_reference_is_ours(case: str, run: str | None) -> None:
    assert read_search(Page.model_validate_json(sample(case).body), job_id=JOB) == run


def test_a_malformed_list_is_not_an_empty_one() -> None:
    with pytest.raises(ValidationError):
        Page.model_validate_json(sample("search_without_items").body)


@pytest.mark.parametrize(
    ("case", "left"),
    [
        ("balance_cents", 12_340_000),
        ("balance_dollars", 12_345_678),
        ("balance_owed", -500_000),
        ("balance_listed", 12_340_000),
        ("balance_listed_usd", 12_340_000),
        ("balance_says_nothing", None),
    ],
)
def test_a_balance_is_read_in_cents_or_dollars_and_rounded_down(case: str, left: int | None) -> None:
    assert Balance.model_validate_json(sample(case).body).micro_usd == left


def test_a_model_that_is_gone_is_known_by_any_of_its_codes_but_one_that_is_away_is_not() -> None:
    gone = ["NOT_FOUND", "GONE", "DELETED", "DISABLED", "DEPRECATED", "RETIRED", "ARCHIVED", "INACTIVE"]
    for word in [*gone, "UNAVAILABLE"]:
        body = json.dumps({"code": f"MODEL_{word}", "message": "no"}).encode()
        with pytest.raises(ProviderError) as caught:
            read_submitted(Answer(400, {}, body), now=NOW)
        assert (type(caught.value) is ModelGone) == (word in gone), word
