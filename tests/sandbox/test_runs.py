"""Faults of the local image service that apply to a run: its states, its result, its files."""

import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from PIL import Image

from bot.sandbox.faults import Fault
from bot.sandbox.service import ImageService, Pace
from tests.sandbox.test_service import EDIT, Client, connected


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


async def sticking(client: Client, do: str, **params: Any) -> str:
    """A run that was accepted with that fault."""
    client.service.faults.add(Fault("submit", do, **params))
    return await client.submit(resolution="0.5K")


# The way to an end


async def test_a_run_starts_at_the_place_it_is_given() -> None:
    async with ImageService(pace=Pace(queue_s=100)).running() as service, aiohttp.ClientSession() as http:
        client = Client(service, http)
        run_id = await sticking(client, "queue:9")
        service.faults.add(Fault("status", "queue:4"))

        assert [(await client.status(run_id))["queue_position"] for _ in range(2)] == [4, 9]


async def test_a_stuck_run_queues_for_ever_and_can_be_cancelled(client: Client) -> None:
    run_id = await sticking(client, "stuck_queue")

    assert (await client.status(run_id))["status"] == "in_queue"
    assert (await client.status(await client.submit()))["status"] == "completed"
    assert (await client.cancel(run_id))[1]["outcome"] == "cancelled"


@pytest.mark.parametrize(
    ("do", "params", "statuses"),
    [
        ("unknown_status:dreaming", {"n": 2}, ["dreaming", "dreaming", "completed"]),
        ("upper_case", {}, ["COMPLETED", "COMPLETED", "COMPLETED"]),
        ("backwards", {}, ["in_progress", "completed", "completed"]),
    ],
)
async def test_statuses_may_be_unusual(client: Client, do: str, params: Any, statuses: list[str]) -> None:
    run_id = await sticking(client, do, **params)

    assert [(await client.status(run_id))["status"] for _ in statuses] == statuses


async def test_capitals_reach_the_result_too(client: Client) -> None:
    assert (await client.result(await sticking(client, "upper_case")))["status"] == "SUCCEEDED"


async def test_a_run_may_not_be_found_yet(client: Client) -> None:
    run_id = await sticking(client, "404_after_submit", n=2)

    statuses = [(await client.call("GET", f"/v1/requests/{run_id}/status"))[0] for _ in range(3)]

    assert statuses == [404, 404, 200]


async def test_a_lost_run_stays_lost(client: Client) -> None:
    run_id = await sticking(client, "lost")

    for call in (client.status(run_id), client.result(run_id)):
        assert (await call)["error_code"] == 404001
    assert (await client.cancel(run_id))[0] == 404


async def test_a_result_may_lag_behind_the_status(client: Client) -> None:
    run_id = await sticking(client, "result_pending", n=2)

    assert (await client.status(run_id))["status"] == "completed"
    assert [(await client.result(run_id))["status"] for _ in range(3)] == ["in_progress", "in_progress", "succeeded"]


# What a run comes to


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"error": "out of memory"}, "out of memory"),
        ({"error": {"code": "OOM", "message": "m"}}, {"code": "OOM", "message": "m"}),
        ({"error": None}, "absent"),
        ({}, "Generation failed: the worker stopped unexpectedly."),
    ],
)
async def test_a_failure_shows_only_in_the_result(client: Client, params: Any, error: Any) -> None:
    run_id = await sticking(client, "fail", **params)

    assert (await client.status(run_id))["status"] == "completed"
    result = await client.result(run_id)
    assert (result["status"], result.get("error", "absent")) == ("failed", error)
    assert "output" not in result


async def test_a_failure_of_the_status_call_shows_there(client: Client) -> None:
    client.service.faults.add(Fault("status", "fail"))

    assert (await client.status(await client.submit()))["status"] == "failed"


async def test_a_refusal_mentions_safety(client: Client) -> None:
    result = await client.result(await sticking(client, "refuse"))

    assert result["status"] == "failed"
    assert "safety" in result["error"]


@pytest.mark.parametrize(
    ("do", "params", "keys"),
    [
        ("empty_output", {}, {}),
        ("empty_output", {"output": {"images": []}}, {"images": 0}),
        ("fewer_images", {}, {"images": 2}),
        ("fewer_images", {"n": 0}, {"images": 0}),
        ("image_only", {}, {"image": 1}),
        ("images_only", {}, {"images": 3}),
        ("both", {}, {"image": 1, "images": 3}),
    ],
)
async def test_an_output_takes_many_shapes(client: Client, do: str, params: Any, keys: dict[str, int]) -> None:
    client.service.faults.add(Fault("submit", do, **params))

    output = (await client.result(await client.submit(num_images=3)))["output"]

    assert {key: 1 if isinstance(value, str) else len(value) for key, value in output.items()} == keys


async def test_one_picture_may_come_in_a_list(client: Client) -> None:
    assert list((await client.result(await sticking(client, "images_only")))["output"]) == ["images"]


async def test_a_success_may_lack_its_output_or_its_cost(client: Client) -> None:
    assert "output" not in await client.result(await sticking(client, "no_output"))
    client.service.faults.clear()
    assert "cost" not in await client.result(await sticking(client, "no_cost"))


async def test_a_result_may_repeat_its_inputs(client: Client) -> None:
    client.service.faults.add(Fault("submit", "echo_input"))
    given = ["data:image/png;base64," + "iVBORw0KGgo="]

    result = await client.result(await client.submit(image_urls=given, model=EDIT))

    assert result["input"]["image_urls"] == given


async def test_the_address_of_a_picture_may_be_foreign(client: Client) -> None:
    (url,) = await client.urls(await sticking(client, "foreign_host", url="https://evil.example/x"))

    assert url == "https://evil.example/x"


async def test_a_cancel_may_be_refused(client: Client) -> None:
    client.service.hold = True
    run_id = await sticking(client, "cancel:not_cancellable")

    assert (await client.cancel(run_id))[1]["outcome"] == "not_cancellable"
    assert client.service.runs[run_id].state == "in_queue"


async def test_a_cancel_may_be_acknowledged_without_effect(client: Client) -> None:
    client.service.hold = True
    run_id = await sticking(client, "cancel:ignored")

    assert (await client.cancel(run_id))[1]["outcome"] == "cancelled"
    client.service.advance(run_id, "completed")
    assert (await client.result(run_id))["status"] == "succeeded"


# Files


@pytest.mark.parametrize(
    ("do", "status", "kind", "size"),
    [
        ("file:404", 404, "text/plain", 12),
        ("file:empty", 200, "image/png", 0),
        ("file:html", 200, "text/html", 110),
        ("file:lying_type", 200, "image/png", 110),
    ],
)
async def test_a_file_may_be_no_picture(client: Client, do: str, status: int, kind: str, size: int) -> None:
    (url,) = await client.urls(await sticking(client, do))

    async with client.http.get(url) as got:
        assert (got.status, got.content_type, len(await got.read())) == (status, kind, size)


async def test_a_huge_file_is_a_real_picture(client: Client) -> None:
    (url,) = await client.urls(await sticking(client, "file:huge", mb=4))

    raw = await client.file(url)

    assert 4_000_000 < len(raw) < 4_200_000
    Image.open(io.BytesIO(raw)).load()


async def test_a_bomb_declares_more_pixels_than_it_contains(client: Client) -> None:
    raw = await client.file((await client.urls(await sticking(client, "file:bomb")))[0])

    assert len(raw) < 200
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(raw))


async def test_a_file_may_break_off(client: Client) -> None:
    (url,) = await client.urls(await sticking(client, "file:truncated"))

    with pytest.raises(aiohttp.ClientPayloadError):
        await client.file(url)


async def test_a_slow_file_arrives_whole(client: Client) -> None:
    (url,) = await client.urls(await sticking(client, "file:slow", seconds=0.05))

    Image.open(io.BytesIO(await client.file(url))).load()


async def test_an_endless_file_has_no_length(client: Client) -> None:
    (url,) = await client.urls(await sticking(client, "file:endless"))

    async with client.http.get(url) as got:
        assert got.content_length is None
        assert len(await got.content.readexactly(1_000_000)) == 1_000_000
