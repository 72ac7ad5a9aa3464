"""Answers of any form are read as far as possible; the rest raises only our own errors."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from bot.core.errors import AnswerUnreadable, ProviderError
from bot.core.jobs import Observation
from bot.providers.http import Answer
from bot.providers.runcomfy import client as runcomfy
from bot.providers.runflow import answers as runflow_answers
from bot.providers.wire import read_pictures, shape
from tests.providers.recorded import NOW, SAMPLES

A, B = "https://files.example/a.png", "https://files.example/b.png"
ANYTHING: tuple[Any, ...] = (
    None, True, False, 0, -1, 7.5, 1e308, 10**30, "", " ", "a", "succeeded", "x" * 5000, A, [], [None], [7, "x", [A]],
    {}, {"a": 1}, {"url": 7}, {"url": A}, {"outputs": {"9": {"images": [{"filename": "a.png"}]}}}, [[[{}]]],
    [{"url": {}}],
)  # fmt: skip
UNREAD = frozenset(  # of what a run is told with
    {
        "input", "id", "flow_id", "model_id", "target_type", "target_version", "org_id", "source_code", "context",
        "duration_ms", "cost_breakdown", "nodes_total", "nodes_completed", "batch_id", "request_id", "created_by",
        "started_at", "completed_at", "callback_url", "has_logs", "has_node_runs", "links", "node_runs", "logs",
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("output", "urls"),
    [
        ({"images": [{"url": A}]}, (A,)),
        ({"image": {"url": A}}, (A,)),
        ({"images": A}, (A,)),
        ({"images": [A, {"uri": B}, None, 7, [A, [B]], {"href": 3}, "", "not drawn", {"b64": "…"}]}, (A, B)),
        ({"images": [{"url": A, "uri": B}, {"url": None, "href": B}]}, (A, B)),
        ({"outputs": [B, {"url": A, "type": "output"}, {"url": "https://c.example", "type": "text"}]}, (B, A)),
        ({"image_urls": [A]}, (A,)),
        ({"outputs": [{"image": {"url": A}}]}, (A,)),
        ([{"url": A}, B], (A, B)),
        (f" {A}\n", (A,)),
        ({"url": A}, (A,)),
        ({"video": B, "images": []}, ()),
        ({"outputs": [{"url": None, "type": "image"}], "seed": 7}, ()),
        (None, ()),
        ({}, ()),
        ([None, [], {}, ""], ()),
        ({"images": [7]}, None),
        ({"images": ["/files/a.png", "data:image/png;base64,AAAA", "ftp://files.example/a"]}, None),
        ({"images": {"src": A}}, None),
        ({"9": {"images": [A]}}, None),
        (False, None),
    ],
)
def test_pictures_are_read_entry_by_entry(output: object, urls: tuple[str, ...] | None) -> None:
    assert read_pictures(output) == urls


def test_the_logged_form_of_an_answer_has_keys_and_types_but_no_values() -> None:
    prompt = "a fox in the snow"
    answer = {
        "status": prompt,
        "n": [1, 2.5, prompt, None, True],
        prompt: 1,
        "images": [{"src": prompt, "w": 7}, {"src": prompt, "w": 8}],
        "deep": {"a": {"b": {"c": {"d": {"e": prompt}}}}},
    }

    assert shape(answer) == (
        "{status: string, n: [number | string | null | boolean], …: number, "
        "images: [{src: string, w: number}], deep: {a: {b: {c: {d: …}}}}}"
    )
    assert len(shape({f"key_{n}": {f"key_{m}": [prompt] for m in range(50)} for n in range(50)})) <= 1500


# --- every field of every answer, each with anything in its place


def mutants(body: Any) -> Iterator[Any]:
    """*body* with each of its fields, and all of it, replaced by anything; and each field left out."""
    yield from ANYTHING
    if not isinstance(body, dict | list):
        return
    for key in list(body) if isinstance(body, dict) else range(len(body)):
        if key in UNREAD:
            continue
        if isinstance(body, dict):
            yield {each: value for each, value in body.items() if each != key}
        for value in mutants(body[key]):
            changed = body.copy()
            changed[key] = value
            yield changed


def answers(host: str, *kinds: str) -> Iterator[Answer]:
    for path in sorted((SAMPLES / host).glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if path.name.startswith(kinds) and "body" in found:
            for body in mutants(found["body"]):
                yield Answer(found["status"], httpx.Headers(found["headers"]), json.dumps(body).encode())


def _read_run(answer: Answer) -> object:
    return runflow_answers.read_run(answer.body)


def _read_search(answer: Answer) -> object:
    page = runflow_answers.parse_or_raise(answer, runflow_answers.Page, now=NOW)
    return runflow_answers.read_search(page, job_id="01KAJ3T5V7XW9Z1B3D5F7H9K1M")


@pytest.mark.parametrize(
    ("host", "kind", "read"),
    [
        ("runcomfy", "submit", lambda answer: runcomfy.read_submitted(answer, now=NOW)),
        ("runcomfy", "cancel", runcomfy.read_cancelled),
        ("runflow", "submit", lambda answer: runflow_answers.read_submitted(answer, now=NOW)),
        ("runflow", "search", _read_search),
        (
            "runflow",
            "balance",
            lambda answer: runflow_answers.parse_or_raise(answer, runflow_answers.Balance, now=NOW).micro_usd,
        ),
    ],
)
def test_any_value_of_a_field_gives_an_answer_or_a_provider_error(
    host: str, kind: str, read: Callable[[Answer], object]
) -> None:
    seen = 0
    for answer in answers(host, kind):
        seen += 1
        with suppress(ProviderError):
            read(answer)
    assert seen > 100


def names_an_error(body: Any) -> bool:
    """Whether *body* is an error envelope with its code: an answer all the same, though not about a run."""
    codes = [body.get("error_code"), body.get("code")]
    inner = body.get("error")
    codes += [inner.get("code")] if isinstance(inner, dict) else []
    return any(re.fullmatch(r"[1-9][0-9]*|[A-Z][A-Z0-9_]{2,}", str(each)) for each in codes)


@pytest.mark.parametrize(
    ("host", "kind", "read"),
    [
        ("runcomfy", "status", runcomfy.read_status),
        ("runcomfy", "result", runcomfy.read_result),
        ("runflow", "run", runflow_answers.read_run),
    ],
)
def test_an_answer_about_a_run_is_its_state_or_unreadable_unless_it_names_an_error(
    host: str, kind: str, read: Callable[[bytes], Observation | None]
) -> None:
    seen, errors = 0, []
    for answer in answers(host, kind):
        seen += 1
        try:
            read(answer.body)
        except AnswerUnreadable as exc:
            errors += [] if exc.shape else [answer.body]
        except ValueError:
            errors += [] if names_an_error(json.loads(answer.body)) else [answer.body]
    assert (seen > 500, errors) == (True, [])
