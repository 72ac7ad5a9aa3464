"""Faults of the local Runflow: failing submits, and unusual records of runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bot.sandbox.faults import Fault
from tests.sandbox.runflow.test_api import KEY, T2I, Client, connected
from tests.sandbox.test_service import Client as RunComfyClient

RUNS = f"/v1/models/{T2I}/runs"
ORDER = {"input": {"prompt": "a fox", "resolution": "0.5K"}, "client_ref": "job-1"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


async def sticking(client: Client, do: str, *, inputs: Any = None, **params: Any) -> Any:
    """The record of a run that was accepted with that fault."""
    client.service.faults.add(Fault("submit", do, **params))
    return await client.run(await client.submit(**(inputs or {})))


# Submits


@pytest.mark.parametrize(("do", "accepted"), [("reset_before_read", 0), ("reset", 0), ("accepted_then_lost", 1)])
async def test_a_reset_says_nothing_about_whether_the_run_was_accepted(client: Client, do: str, accepted: int) -> None:
    client.service.faults.add(Fault("submit", do))

    with pytest.raises(aiohttp.ClientConnectionError):
        await client.create(around={"client_ref": "job-1"})

    assert len(client.service.ordered("job-1")) == accepted
    assert len(await client.found(q="client_ref:job-1")) == accepted
    assert client.service.log[0].status is None


async def test_a_hanging_submit_may_have_been_accepted(client: Client) -> None:
    client.service.faults.add(Fault("submit", "hang", accepted=True))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.create()

    assert len(client.service.accepted) == 1


async def test_a_truncated_answer_hides_an_accepted_run(client: Client) -> None:
    client.service.faults.add(Fault("submit", "truncated"))

    with pytest.raises(aiohttp.ClientPayloadError):
        await client.create()

    assert len(client.service.accepted) == 1


@pytest.mark.parametrize("accepted", [False, True])
async def test_html_is_sent_instead_of_json(client: Client, accepted: bool) -> None:  # noqa: FBT001
    client.service.faults.add(Fault("submit", "html_502", accepted=accepted))

    with pytest.raises(json.JSONDecodeError):
        await client.create()

    assert (client.service.log[-1].status, len(client.service.accepted)) == (502, accepted)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault("submit", "envelope_503"), 503, "MODEL_UNAVAILABLE"),
        (Fault("submit", "429"), 429, "RATE_LIMITED"),
        (Fault("submit", "error_200"), 200, "INTERNAL_ERROR"),
        (Fault("submit", "error_200", code="MODEL_UNAVAILABLE"), 200, "MODEL_UNAVAILABLE"),
        (Fault("submit", "status:402"), 402, "INSUFFICIENT_CREDIT"),
        (Fault("submit", "status:403", code="EMAIL_NOT_VERIFIED"), 403, "EMAIL_NOT_VERIFIED"),
        (Fault("submit", "status:409"), 409, "CONFLICT"),
        (Fault("submit", "status:500"), 500, "INTERNAL_ERROR"),
        (Fault("submit", "status:400", body={"code": "ODD"}), 400, "ODD"),
    ],
)
async def test_an_error_has_runflows_envelope(client: Client, fault: Fault, status: int, code: str) -> None:
    client.service.faults.add(fault)

    answered, body = await client.create()

    assert (answered, body["code"], client.service.accepted) == (status, code, [])


async def test_a_validation_error_lists_what_is_wrong(client: Client) -> None:
    client.service.faults.add(Fault("submit", "status:422"))

    assert isinstance((await client.create())[1]["errors"][0], dict)


async def test_an_error_may_be_nested_as_in_runflows_sdk(client: Client) -> None:
    client.service.faults.add(Fault("submit", "status:402", nested=True))

    assert (await client.create())[1]["error"]["code"] == "INSUFFICIENT_CREDIT"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("submit", "429"), (None, None)),
        (Fault("submit", "429", retry_after=7, headers={"X-RateLimit-Remaining": 0}), ("7", "0")),
    ],
)
async def test_a_429_may_say_when_to_come_back(client: Client, fault: Fault, expected: tuple[str | None, ...]) -> None:
    client.service.faults.add(fault)

    auth = {"Authorization": f"Bearer {KEY}"}
    async with client.http.post(client.service.runflow_url + RUNS, json=ORDER, headers=auth) as got:
        assert (got.headers.get("Retry-After"), got.headers.get("X-RateLimit-Remaining")) == expected


async def test_a_submit_may_be_answered_200_or_without_an_id_or_with_another_runs(client: Client) -> None:
    first = await client.submit()
    client.service.faults.add(Fault("submit", "created_200"), Fault("submit", "no_request_id", nth=2))
    client.service.faults.add(Fault("submit", "same_id", nth=3))
    await RunComfyClient(client.service, client.http).call("GET", "/v1/models")

    assert (await client.create())[0] == 200
    assert "id" not in (await client.create())[1]
    status, body = await client.create()
    assert (status, body["id"] == client.service.accepted[2], body["id"] == first) == (201, True, False)
    assert len(set(client.service.accepted)) == 4


async def test_a_fault_can_apply_to_one_provider_or_one_reference(client: Client) -> None:
    client.service.faults.add(
        Fault("submit", "status:500", host="runflow", times=None, match="a fox"),
        Fault("submit", "status:402", match="job-2", times=None),
    )

    assert (await client.create())[0] == 500
    await RunComfyClient(client.service, client.http).submit()
    assert (await client.create(prompt="an owl"))[0] == 201
    assert (await client.create(prompt="an owl", around={"client_ref": "job-2"}))[0] == 402


# Records


@pytest.mark.parametrize(
    ("do", "params", "statuses"),
    [
        ("unknown_status:dreaming", {"n": 2}, ["dreaming", "dreaming", "succeeded"]),
        ("unknown_status:cancelled", {}, ["cancelled", "cancelled"]),
        ("upper_case", {}, ["SUCCEEDED", "SUCCEEDED"]),
        ("backwards", {}, ["running", "succeeded"]),
        ("result_pending", {}, ["running", "succeeded"]),
        ("stuck_queue", {}, ["queued", "queued"]),
    ],
)
async def test_statuses_may_be_unusual(client: Client, do: str, params: Any, statuses: list[str]) -> None:
    client.service.faults.add(Fault("submit", do, **params))
    run_id = await client.submit()

    assert [(await client.run(run_id))["status_code"] for _ in statuses] == statuses


async def test_a_place_in_the_queue_is_queued_and_the_first_is_dispatching(client: Client) -> None:
    run_id = await client.submit()
    client.service.faults.add(Fault("run", "queue:3"), Fault("status", "queue:1", nth=2))

    assert [(await client.run(run_id))["status_code"] for _ in range(2)] == ["queued", "dispatching"]


async def test_a_run_may_not_be_found_yet_or_no_more(client: Client) -> None:
    client.service.faults.add(Fault("submit", "404_after_submit", n=2), Fault("submit", "lost", nth=2))
    new, gone = await client.submit(), await client.submit()

    assert [(await client.call("GET", f"/v1/runs/{new}"))[0] for _ in range(3)] == [404, 404, 200]
    status, body = await client.call("GET", f"/v1/runs/{gone}")
    assert (status, body["code"]) == (404, "RUN_NOT_FOUND")


@pytest.mark.parametrize(
    ("do", "params", "code", "message"),
    [
        ("fail", {}, "GENERATION_FAILED", "Generation failed: the worker stopped unexpectedly."),
        ("fail", {"error": "too busy"}, "GENERATION_FAILED", "too busy"),
        ("fail", {"error": {"code": "DISPATCH", "message": "no worker", "stage": "dispatch"}}, "DISPATCH", "no worker"),
        ("fail", {"error": None}, None, None),
        ("refuse", {"text": "blocked"}, "CONTENT_POLICY_VIOLATION", "blocked"),
    ],
)
async def test_a_failed_run_may_have_a_reason_or_none(
    client: Client, do: str, params: Any, code: str | None, message: str | None
) -> None:
    record = await sticking(client, do, **params)

    assert (record["status_code"], record["output"], record["cost"]) == ("failed", None, "0")
    assert (record["failure_code"], record["failure_message"]) == (code, message)


async def test_a_failed_run_may_use_the_older_field_names(client: Client) -> None:
    client.service.faults.add(Fault("submit", "old_words"))

    record = await sticking(client, "fail", error={"code": "X", "message": "y", "stage": "preprocess"})

    assert (record["status"], record["error"], record["failure_stage"]) == (
        "failed",
        {"code": "X", "message": "y"},
        "preprocess",
    )
    assert record["finished_at"]
    assert record.keys().isdisjoint({"status_code", "failure_code", "failure_message", "completed_at"})


async def test_a_partial_run_lacks_outputs_and_costs_only_the_others(client: Client) -> None:
    record = await sticking(client, "partial", n=2, inputs={"num_images": 4, "resolution": "1K"})

    assert (record["status_code"], record["cost"]) == ("partial_succeeded", "0.16")
    assert [each["url"] is not None for each in record["output"]["outputs"]] == [True, True, False, False]


@pytest.mark.parametrize(("word", "flag"), [("true", True), ("false", False), ("null", None)])
async def test_a_run_may_be_flagged_cleared_or_unchecked(client: Client, word: str, flag: bool | None) -> None:  # noqa: FBT001
    record = await sticking(client, f"nsfw:{word}")

    assert record["output"]["nsfw_detected"] is flag


@pytest.mark.parametrize(
    ("do", "params", "output"),
    [
        ("no_output", {}, None),
        ("empty_output", {}, {"outputs": []}),
        ("empty_output", {"output": {"outputs": [], "nsfw_detected": True}}, {"outputs": [], "nsfw_detected": True}),
    ],
)
async def test_a_run_may_succeed_with_nothing(client: Client, do: str, params: Any, output: Any) -> None:
    record = await sticking(client, do, **params)

    assert (record["status_code"], record["output"]) == ("succeeded", output)


async def test_outputs_may_be_fewer_of_other_kinds_or_elsewhere(client: Client) -> None:
    fewer = await sticking(client, "fewer_images", n=1, inputs={"num_images": 3})
    assert len(fewer["output"]["outputs"]) == 1

    mixed = await sticking(client, "other_kinds")
    assert [each["type"] for each in mixed["output"]["outputs"]] == ["text", "image"]

    away = await sticking(client, "foreign_host", url="https://elsewhere.example/x.png")
    assert away["output"]["outputs"][0]["url"] == "https://elsewhere.example/x.png"


async def test_a_run_may_be_cancelled_by_somebody_else_or_have_no_cost_yet(client: Client) -> None:
    assert (await sticking(client, "canceled"))["status_code"] == "canceled"
    assert (await sticking(client, "no_cost"))["cost"] is None


@pytest.mark.parametrize(("do", "status"), [("file:404", 404), ("file:empty", 200), ("file:html", 200)])
async def test_a_picture_may_go_wrong(client: Client, do: str, status: int) -> None:
    client.service.faults.add(Fault("submit", do))
    (url,) = await client.urls(await client.submit())

    assert (await client.file(url))[0] == status
