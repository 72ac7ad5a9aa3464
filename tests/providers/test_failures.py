"""Classification of providers' error texts."""

import logging

import pytest

from bot.providers.failures import Verdict, classify_text, extract_text, is_about_content, summarize


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Blocked by our SAFETY system", Verdict.REFUSED),
        ("content_policy_violation", Verdict.REFUSED),
        ("IMAGE_PROHIBITED_CONTENT", Verdict.REFUSED),
        ("Output was moderated", Verdict.REFUSED),
        ("NSFW content", Verdict.REFUSED),
        ("sensitive subject", Verdict.REFUSED),
        ("finishReason: NO_IMAGE", Verdict.REFUSED),
        ("The model could not generate a picture", Verdict.REFUSED),
        ("request timeout", Verdict.TRANSIENT),
        ("the worker timed out", Verdict.TRANSIENT),
        ("model is overloaded", Verdict.TRANSIENT),
        ("no capacity", Verdict.TRANSIENT),
        ("resource_exhausted", Verdict.TRANSIENT),
        ("upstream said 503", Verdict.TRANSIENT),
        ("HTTP 429", Verdict.TRANSIENT),
        ("temporarily unavailable", Verdict.TRANSIENT),
        ("invalid aspect ratio", Verdict.BAD_INPUT),
        ("seed must be positive", Verdict.BAD_INPUT),
        ("image dimensions too small", Verdict.BAD_INPUT),
        ("download failed", Verdict.BAD_INPUT),
        ("Failed to fetch the image", Verdict.BAD_INPUT),
        ("safety_tolerance must be between 1 and 6", Verdict.BAD_INPUT),
        ("no image_urls", Verdict.BAD_INPUT),
        ("No image was provided", Verdict.BAD_INPUT),
        ("worker crashed at 0x4290", Verdict.UNKNOWN),
        ("", Verdict.UNKNOWN),
    ],
)
def test_a_failure_is_judged_by_its_words_and_not_by_the_names_of_options(text: str, verdict: Verdict) -> None:
    assert classify_text(text) is verdict


@pytest.mark.parametrize("text", ["content_policy_violation", "blocked by SAFETY", "moderation", "NSFW"])
def test_a_refusal_of_content_needs_clear_words(text: str) -> None:
    assert is_about_content(text)


@pytest.mark.parametrize("text", ["Your account is blocked", "prohibited for your plan", "no permission"])
def test_a_refusal_of_an_account_is_no_refusal_of_content(text: str) -> None:
    assert not is_about_content(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("boom", "boom"),
        (7, "7"),
        (None, ""),
        (["a", None, {"msg": "b"}], "a; b"),
        ({"code": "X", "message": "why", "input": "a prompt", "ctx": {"given": "a prompt"}}, "X; why"),
        ({"field": "input.seed", "message": "too large"}, "too large; input.seed"),
    ],
)
def test_a_failures_text_has_reasons_but_no_echoed_inputs(value: object, text: str) -> None:
    assert extract_text(value) == text


def test_a_failure_is_summarized_as_codes_and_a_verdict_and_its_prose_is_logged_at_debug_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    problem = {"code": "BAD_INPUT", "message": "a fox in the snow must be smaller", "loc": ["input", "a red fox"]}

    assert summarize(problem, 4_000_01, 10**40, None) == "BAD_INPUT; input; 400001 (reads as bad_input)"
    assert [(each.levelname, "a fox in the snow" in each.getMessage()) for each in caplog.records] == [("DEBUG", True)]
