"""RunComfy's recorded answers, and the observation or error of each."""

import json

import pytest

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
from bot.providers.base import CancelOutcome
from bot.providers.http import Answer
from bot.providers.runcomfy.client import read_cancelled, read_result, read_status, read_submitted
from tests.providers.recorded import NOW, recorded

RUN = "8d7f1f0e-52f3-4a57-9df5-6a1d4a3f0c11"
FILES = "https://playgrounds-storage-public.runcomfy.net/tools/7324/media-files/"


def sample(case: str) -> Answer:
    return recorded("runcomfy", case)


@pytest.mark.parametrize(
    "case",
    ["submit_taken", "submit_taken_bare", "submit_taken_with_error_code", "submit_taken_error_code_zero"],
)
def test_an_answer_with_a_request_id_is_a_run_whatever_else_it_contains(case: str) -> None:
    assert read_submitted(sample(case), now=NOW) == RUN


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("submit_without_request_id", SubmitUnknown),
        ("submit_request_id_null", SubmitUnknown),
        ("submit_request_id_is_a_path", SubmitUnknown),
        ("submit_request_id_with_newline", SubmitUnknown),
        ("submit_200_html", SubmitUnknown),
        ("submit_200_truncated", SubmitUnknown),
        ("submit_200_list", SubmitUnknown),
        ("submit_200_empty", SubmitUnknown),
        ("submit_200_model_code", ModelGone),
        ("submit_200_balance_code", ProviderPaused),
        ("submit_200_funds_code_as_text", ProviderPaused),
        ("submit_200_token_code", ProviderPaused),
        ("submit_200_validation_code", ProviderRejected),
        ("submit_200_unknown_code", SubmitUnknown),
        ("submit_302", SubmitUnknown),
        ("submit_400_model_code", ModelGone),
        ("submit_404", ModelGone),
        ("submit_404_html", ModelGone),
        ("submit_400_token_code", ProviderPaused),
        ("submit_401", ProviderPaused),
        ("submit_403", ProviderPaused),
        ("submit_403_content", ProviderRefused),
        ("submit_403_firewall", ProviderUnavailable),
        ("submit_403_not_ours", ProviderRejected),
        ("submit_400_balance_code", ProviderPaused),
        ("submit_402", ProviderPaused),
        ("submit_400_plain", ProviderRejected),
        ("submit_400_html", ProviderRejected),
        ("submit_400_overloaded", ProviderUnavailable),
        ("submit_409", ProviderRejected),
        ("submit_413_html", ProviderRejected),
        ("submit_422_enum", ProviderRejected),
        ("submit_422_echo", ProviderRejected),
        ("submit_422_content", ProviderRefused),
        ("submit_400_prohibited", ProviderRefused),
        ("submit_400_signed_link", ProviderRejected),
        ("submit_408", ProviderUnavailable),
        ("submit_429", ProviderUnavailable),
        ("submit_429_retry_after", ProviderUnavailable),
        ("submit_429_html", ProviderUnavailable),
        ("submit_500", SubmitUnknown),
        ("submit_500_names_balance", SubmitUnknown),
        ("submit_502_html", SubmitUnknown),
        ("submit_503_own", ProviderUnavailable),
        ("submit_503_gateway", SubmitUnknown),
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
        ("submit_400_token_code", "credentials"),
        ("submit_401", "credentials"),
        ("submit_403", "credentials"),
        ("submit_200_token_code", "credentials"),
        ("submit_400_balance_code", "balance"),
        ("submit_402", "balance"),
        ("submit_200_balance_code", "balance"),
        ("submit_200_funds_code_as_text", "balance"),
    ],
)
def test_a_pause_names_token_or_balance_as_its_cause(case: str, kind: str) -> None:
    with pytest.raises(ProviderPaused) as caught:
        read_submitted(sample(case), now=NOW)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("case", "seconds"),
    [("submit_429", None), ("submit_429_retry_after", 17.0), ("submit_429_html", 42.0), ("submit_503_own", 5.0)],
)
def test_retry_after_is_in_the_error(case: str, seconds: float | None) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        read_submitted(sample(case), now=NOW)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("submit_400_signed_link", "runcomfy: HTTP 400, no known reason"),
        ("submit_422_echo", "runcomfy: HTTP 422, less_than_equal; body; num_images"),
    ],
)
def test_an_error_has_the_providers_codes_but_none_of_its_prose(case: str, text: str) -> None:
    with pytest.raises(ProviderRejected) as caught:
        read_submitted(sample(case), now=NOW)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("case", "seen"),
    [
        ("status_in_queue_3", Observation(State.QUEUED, position=3)),
        ("status_in_queue_1", Observation(State.QUEUED, position=1)),
        ("status_in_queue_no_place", Observation(State.QUEUED)),
        ("status_in_queue_odd_place", Observation(State.QUEUED)),
        ("status_waiting", Observation(State.QUEUED)),
        ("status_in_progress", Observation(State.RUNNING)),
        ("status_processing", Observation(State.RUNNING)),
        ("status_unknown_word", Observation(State.QUEUED)),
        ("status_completed", None),
        ("status_succeeded", None),
        ("status_failed_upper_case", None),
        ("status_cancelled", None),
        ("status_canceled", None),
    ],
)
def test_a_status_is_pending_or_leads_to_the_result(case: str, seen: Observation | None) -> None:
    assert read_status(sample(case).body) == seen


@pytest.mark.parametrize(
    "case",
    ["status_200_error_code", "status_200_not_found", "status_word_beside_error_code"],
)
def test_an_error_with_http_200_is_no_status(case: str) -> None:
    with pytest.raises(ValueError, match="an error, not a run"):
        read_status(sample(case).body)


def test_an_unknown_status_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for word in ("only_in_this_test", "only_in_this_test", "a fox in the snow, as runcomfy saw it"):
        read_status(json.dumps({"status": word}).encode())
    assert [(each.levelname, each.__dict__["status"]) for each in caplog.records] == [
        ("WARNING", "only_in_this_test"),
        ("WARNING", "…"),
    ]


@pytest.mark.parametrize(
    ("case", "files", "cost"),
    [
        ("result_image", ["a.png"], 80_000),
        ("result_images", ["a.png", "b.png"], 160_000),
        ("result_image_and_images", ["b.png", "a.png", "c.png"], None),
        ("result_completed", ["a.png"], 80_001),
        ("result_succeeded_upper_case", ["a.png"], None),
        ("result_odd_cost", ["a.png"], None),
        ("result_negative_cost", ["a.png"], None),
        ("result_echoes_input", ["a.png"], None),
        ("result_output_of_another_shape", ["a.png"], None),
    ],
)
def test_pictures_are_read_from_the_output_alone_each_once_and_in_order(
    case: str, files: list[str], cost: int | None
) -> None:
    urls = tuple(FILES + file for file in files)
    assert read_result(sample(case).body) == Observation(State.COLLECTING, image_urls=urls, cost_micro_usd=cost)


def test_a_link_to_an_unlisted_host_is_returned_for_the_downloader_to_check() -> None:
    assert read_result(sample("result_foreign_host").body).image_urls == ("http://169.254.169.254/latest",)


@pytest.mark.parametrize(
    ("case", "state", "reason"),
    [
        ("result_no_output", State.FAILED, "succeeded: no picture, no reason"),
        ("result_output_null", State.FAILED, "succeeded: no picture, no reason"),
        ("result_output_empty", State.FAILED, "succeeded: no picture, no reason"),
        ("result_images_empty", State.FAILED, "succeeded: no picture, no reason"),
        ("result_echo_without_output", State.FAILED, "succeeded: no picture, no reason"),
        ("result_completed_but_error", State.FAILED, "completed: (reads as transient)"),
        ("result_failed_text", State.FAILED, "failed: no picture, no reason"),
        ("result_failed_object", State.FAILED, "failed: worker_error"),
        ("result_failed_without_error", State.FAILED, "failed: no picture, no reason"),
        ("result_failed_upper_case", State.FAILED, "failed: boom"),
        ("result_failed_beside_error_code", State.FAILED, "failed: no picture, no reason"),
        ("result_failed_safety", State.REFUSED, "failed: (reads as refused)"),
        ("result_failed_policy_object", State.REFUSED, "failed: content_policy_violation; flagged (reads as refused)"),
        ("result_failed_no_image", State.REFUSED, "failed: NO_IMAGE (reads as refused)"),
        ("result_failed_bad_input", State.FAILED, "failed: (reads as bad_input)"),
        ("result_in_progress", State.RUNNING, None),
        ("result_in_queue", State.RUNNING, None),
        ("result_unknown_word", State.RUNNING, None),
        ("result_cancelled", State.CANCELLED, None),
        ("result_canceled", State.CANCELLED, None),
    ],
)
def test_a_result_without_pictures_is_classified_by_its_status_and_text(
    case: str, state: State, reason: str | None
) -> None:
    seen = read_result(sample(case).body)
    assert (seen.state, seen.reason, seen.image_urls) == (state, reason, ())


@pytest.mark.parametrize(
    ("case", "cost"),
    [
        ("result_failed_text", 0),
        ("result_failed_object", 80_000),
        ("result_failed_safety", 80_000),
        ("result_canceled", 80_000),
    ],
)
def test_the_cost_of_a_run_without_pictures_is_reported(case: str, cost: int) -> None:
    assert read_result(sample(case).body).cost_micro_usd == cost


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        ("cancel_202_cancelled", CancelOutcome.CANCELLED),
        ("cancel_requested", CancelOutcome.CANCELLED),
        ("cancel_requested_by_status", CancelOutcome.CANCELLED),
        ("cancel_by_status", CancelOutcome.CANCELLED),
        ("cancel_202_not_cancellable", CancelOutcome.TOO_LATE),
        ("cancel_finished", CancelOutcome.TOO_LATE),
        ("cancel_409", CancelOutcome.TOO_LATE),
        ("cancel_200_error_code", CancelOutcome.TOO_LATE),
        ("cancel_unknown_outcome", CancelOutcome.UNKNOWN),
        ("cancel_500", CancelOutcome.UNKNOWN),
        ("cancel_502_html", CancelOutcome.UNKNOWN),
        ("cancel_200_html", CancelOutcome.UNKNOWN),
    ],
)
def test_a_cancels_outcome_has_precedence_over_its_status(case: str, outcome: CancelOutcome) -> None:
    assert read_cancelled(sample(case)) is outcome
