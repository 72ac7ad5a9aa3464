"""The local Runflow over real sockets: submits, authentication and records of runs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from bot.sandbox.service import ImageService, Pace
from tests.sandbox.test_service import AT_ONCE, Clock
from tests.sandbox.test_service import Client as RunComfyClient

T2I = "google/nano-banana-2"
EDIT = "google/nano-banana-2/edit"
PRO = "google/nano-banana-pro"
KEY = "rf_live_any"


class Client:
    """A client of the provider, with a key."""

    def __init__(self, service: ImageService, http: aiohttp.ClientSession) -> None:
        self.service = service
        self.http = http

    async def call(
        self, method: str, path: str, *, json: Any = None, key: str = KEY, params: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}", "X-Organization-Id": "whatever"} if key else {}
        url = self.service.runflow_url + path
        async with self.http.request(method, url, json=json, headers=headers, params=params) as response:
            return response.status, await response.json(content_type=None)

    async def create(self, model: str = T2I, *, around: Mapping[str, Any] | None = None, **inputs: Any) -> Any:
        order = {"input": {"prompt": "a fox", "resolution": "0.5K", **inputs}, **(around or {})}
        return await self.call("POST", f"/v1/models/{model}/runs", json=order)

    async def submit(self, model: str = T2I, *, around: Mapping[str, Any] | None = None, **inputs: Any) -> str:
        status, body = await self.create(model, around=around, **inputs)
        assert status in (200, 201), body
        return str(body["id"])

    async def run(self, run_id: str) -> Any:
        status, body = await self.call("GET", f"/v1/runs/{run_id}")
        assert status == 200, body
        return body

    async def found(self, **params: str) -> list[str]:
        status, body = await self.call("GET", "/v1/runs", params=params)
        assert status == 200, body
        return [each["id"] for each in body["items"]]

    async def urls(self, run_id: str) -> list[str]:
        return [each["url"] for each in (await self.run(run_id))["output"]["outputs"]]

    async def file(self, url: str) -> tuple[int, bytes]:
        async with self.http.get(url) as response:
            return response.status, await response.read()


@asynccontextmanager
async def connected(*, pace: Pace = AT_ONCE, **options: Any) -> AsyncIterator[Client]:
    async with ImageService(pace=pace, **options).running() as service, aiohttp.ClientSession() as http:
        yield Client(service, http)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def slow(clock: Clock) -> AsyncIterator[Client]:
    async with connected(pace=Pace(queue_s=3, run_s=5, slots=1), now=clock) as client:
        yield client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


# Runs


async def test_a_submit_is_answered_with_the_whole_record(client: Client) -> None:
    status, record = await client.create(
        around={"client_ref": "job-1", "metadata": {"job_id": "job-1", "ü": [1]}}, seed=7
    )

    assert status == 201
    assert UUID(record["id"]).version == 7
    assert record["status_code"] == "queued"
    assert (record["client_ref"], record["metadata"]) == ("job-1", {"job_id": "job-1", "ü": [1]})
    assert record["input"] == {"prompt": "a fox", "resolution": "0.5K", "seed": 7}
    assert UUID(record["model_id"])
    assert datetime.fromisoformat(record["created_at"]).utcoffset() is not None
    empty = {key for key, value in record.items() if value is None}
    assert empty >= {"output", "cost", "duration_ms", "started_at", "completed_at", "failure_code", "batch_id", "links"}


async def test_a_run_is_queued_dispatched_running_then_succeeded(slow: Client, clock: Clock) -> None:
    run_id = await slow.submit()
    seen = []
    for seconds in (0, 2.5, 1, 5):
        clock.seconds += seconds
        record = await slow.run(run_id)
        seen.append((record["status_code"], record["started_at"] is not None, record["completed_at"] is not None))

    assert seen == [
        ("queued", False, False),
        ("dispatching", False, False),
        ("running", True, False),
        ("succeeded", True, True),
    ]


async def test_a_good_run_has_its_outputs_and_its_cost_as_text(client: Client) -> None:
    record = await client.run(await client.submit(num_images=2, seed=7, resolution="1K"))

    assert record["cost"] == "0.16"
    assert record["duration_ms"] >= 0
    assert record["output"]["seed"] == 7
    assert record["output"]["nsfw_detected"] is None
    assert [each["type"] for each in record["output"]["outputs"]] == ["image", "image"]


async def test_a_cancelled_run_is_spelled_with_one_l_and_costs_nothing(slow: Client) -> None:
    run_id = await slow.submit()
    slow.service.advance(run_id, "cancelled")

    record = await slow.run(run_id)

    assert (record["status_code"], record["output"], record["cost"]) == ("canceled", None, "0")


async def test_there_is_no_cancel(client: Client) -> None:
    run_id = await client.submit()

    status, body = await client.call("POST", f"/v1/runs/{run_id}/cancel")

    assert (status, body["code"]) == (404, "NOT_FOUND")
    assert client.service.log[-1].op == "unknown"


async def test_the_statuses_are_listed(client: Client) -> None:
    _, listed = await client.call("GET", "/v1/runs/statuses")

    assert {"dispatching", "canceled", "partial_succeeded"} <= set(listed)


# What is taken


@pytest.mark.parametrize(
    ("model", "inputs", "field"),
    [
        (T2I, {"resolution": "8K"}, "input.resolution"),
        (T2I, {"aspect_ratio": "3:1"}, "input.aspect_ratio"),
        (T2I, {"safety_tolerance": 4}, "input.safety_tolerance"),
        (T2I, {"safety_tolerance": "7"}, "input.safety_tolerance"),
        (T2I, {"thinking_level": "medium"}, "input.thinking_level"),
        (T2I, {"num_images": 5}, "input.num_images"),
        (T2I, {"output_format": "gif"}, "input.output_format"),
        (T2I, {"seed": "7"}, "input.seed"),
        (T2I, {"prompt": "ab"}, "input.prompt"),
        (T2I, {"number_of_images": 2}, "input.number_of_images"),
        (PRO, {"resolution": "0.5K"}, "input.resolution"),
        (PRO, {"resolution": "1K", "thinking_level": "high"}, "input.thinking_level"),
        (EDIT, {}, "input.image_urls"),
        (EDIT, {"image_urls": ["https://x.example/1.png"] * 15}, "input.image_urls"),
    ],
)
async def test_inputs_outside_the_schema_are_refused(client: Client, model: str, inputs: Any, field: str) -> None:
    status, body = await client.create(model, **inputs)

    assert (status, body["code"]) == (422, "VALIDATION_ERROR")
    assert body["errors"][0]["field"] == field
    assert client.service.accepted == []


@pytest.mark.parametrize(
    ("around", "field"),
    [
        ({"callback_url": "nowhere"}, "callback_url"),
        ({"callback_url": "http://127.0.0.1/" + "x" * 2048}, "callback_url"),
        ({"metadata": ["job"]}, "metadata"),
        ({"client_ref": "x" * 256}, "client_ref"),
        ({"webhook": "http://127.0.0.1/"}, "webhook"),
        ({"input": None}, "input"),
    ],
)
async def test_an_order_outside_the_documents_is_refused(client: Client, around: Any, field: str) -> None:
    status, body = await client.create(around=around)

    assert (status, body["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("wanted", [True, False])
async def test_sync_mode_is_refused_and_logged(client: Client, wanted: bool) -> None:  # noqa: FBT001
    status, body = await client.create(sync_mode=wanted)

    assert (status, body["errors"][0]["field"]) == (422, "input.sync_mode")
    assert "sync_mode" in client.service.log[-1].note
    assert client.service.accepted == []


@pytest.mark.parametrize(
    ("inputs", "cost"),
    [
        ({"resolution": "1K"}, "0.08"),
        ({"resolution": "0.5K"}, "0.06"),
        ({"resolution": "2K", "num_images": 2}, "0.24"),
        ({"resolution": "4K", "enable_web_search": True}, "0.175"),
        ({"resolution": "1K", "thinking_level": "high", "num_images": 4}, "0.328"),
        ({"resolution": "1K", "thinking_level": "minimal"}, "0.08"),
    ],
)
async def test_the_price_follows_the_page(client: Client, inputs: Any, cost: str) -> None:
    assert (await client.run(await client.submit(**inputs)))["cost"] == cost


async def test_pro_takes_a_count_its_filter_as_text_and_searching(client: Client) -> None:
    status, record = await client.create(
        PRO, num_images=2, safety_tolerance="3", resolution="4K", enable_web_search=True
    )  # fmt: skip

    assert status < 300
    assert (await client.run(record["id"]))["cost"] == "0.63"


async def test_the_same_submit_twice_is_two_runs(client: Client) -> None:
    first, second = [await client.submit(around={"client_ref": "job-1"}) for _ in range(2)]

    assert first != second
    assert [each.id for each in client.service.ordered("job-1")] == [first, second]


# Who may


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("", 401, "UNAUTHORIZED"),
        ("a-runcomfy-token", 401, "UNAUTHORIZED"),
        ("rf_live_wrong", 401, "UNAUTHORIZED"),
        ("rf_svc_right", 403, "PERMISSION_DENIED"),
        ("rf_live_right", 200, None),
    ],
)
async def test_only_the_configured_key_is_taken(key: str, status: int, code: str | None) -> None:
    async with connected(runflow_key="rf_live_right") as client:
        answered, body = await client.call("GET", "/v1/billing/balance", key=key)

    assert (answered, body.get("code")) == (status, code)
    assert status == 200 or set(body) == {"code", "message", "errors"}


async def test_health_needs_no_key(client: Client) -> None:
    assert await client.call("GET", "/v1/health", key="") == (200, {"status": "ok"})


async def test_providers_do_not_share_runs_and_the_log_names_the_called_provider(client: Client) -> None:
    runcomfy = RunComfyClient(client.service, client.http)
    theirs, ours = await runcomfy.submit(), await client.submit()

    assert (await client.call("GET", f"/v1/runs/{theirs}"))[0] == 404
    assert (await runcomfy.call("GET", f"/v1/requests/{ours}/status"))[0] == 404
    assert (await client.call("GET", "/v1/requests/x/status"))[0] == 404
    submits = [(call.host, call.run_id) for call in client.service.log if call.op == "submit"]
    assert submits == [("runcomfy", theirs), ("runflow", ours)]
    assert await client.found() == [ours]
    assert client.service.url != client.service.runflow_url
