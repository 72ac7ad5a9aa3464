"""Callbacks of the local Runflow, received over real sockets: content, signature and retries."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.sandbox.faults import Fault
from bot.sandbox.service import ImageService, Pace
from tests.sandbox.runflow.test_api import Client
from tests.sandbox.test_service import AT_ONCE, Clock

FIRST, SECOND = "whsec_first", "whsec_second"
METADATA = {"job_id": "job-1", "nested": {"ü": [1, None, 2.5]}}


class Receiver:
    """Stores what it receives and answers with *statuses*, one each, then 200."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[tuple[Mapping[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.delivered = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((request.headers.copy(), await request.read()))
        self.delivered.set()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, text="noted")

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.got]


class Scene(Client):
    def __init__(self, service: ImageService, http: aiohttp.ClientSession, receiver: Receiver) -> None:
        super().__init__(service, http)
        self.receiver = receiver

    async def order(self, **inputs: Any) -> str:
        around = {"callback_url": self.receiver.url, "metadata": METADATA, "client_ref": "job-1"}
        return await self.submit(around=around, **inputs)

    async def callback(self, do: str | None = None, **params: Any) -> tuple[str, Mapping[str, str], bytes]:
        """Run to the end with that fault; returns the run's id, and headers and body of its callback."""
        if do:
            self.service.faults.add(Fault("submit", do, **params))
        run_id = await self.order()
        await self.ended(run_id)
        return run_id, *self.receiver.got[-1]

    async def ended(self, run_id: str) -> None:
        await self.run(run_id)
        async with asyncio.timeout(5):
            await self.service.callbacks.settled()


@asynccontextmanager
async def scene(
    *, pace: Pace = AT_ONCE, secrets: tuple[str, ...] = (FIRST, SECOND), **options: Any
) -> AsyncIterator[Scene]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    service = ImageService(pace=pace, webhook_secrets=secrets, **options)
    try:
        async with service.running(), aiohttp.ClientSession() as http:
            yield Scene(service, http, receiver)
    finally:
        await runner.cleanup()


def signature(body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def test_a_callback_contains_the_runs_result(world: Scene) -> None:
    run_id, headers, body = await world.callback()

    content = json.loads(body)
    assert content["metadata"] == METADATA
    assert (content["event"], content["status"], content["run_id"]) == ("run.completed", "succeeded", run_id)
    assert content["output"]["outputs"][0]["type"] == "image"
    assert content["completed_at"].endswith("+00:00")
    assert content.keys() == {
        *("event", "run_id", "status", "output", "duration_ms", "created_at", "completed_at", "metadata")
    }
    assert headers["Runflow-Request-Id"]
    assert (await world.file(content["output"]["outputs"][0]["url"]))[0] == 200


async def test_a_callback_is_signed_over_its_very_bytes_with_the_secret_as_given(world: Scene) -> None:
    _, headers, body = await world.callback()

    assert headers["Runflow-Signature"] == signature(body, FIRST)
    assert "ü".encode() in body


async def test_without_a_secret_there_is_no_signature() -> None:
    async with scene(secrets=()) as world:
        _, headers, _ = await world.callback()

    assert "Runflow-Signature" not in headers
    assert headers["Runflow-Request-Id"]


async def test_a_callback_is_sent_when_the_run_ends() -> None:
    async with scene(pace=Pace(queue_s=0.01, run_s=0.01)) as world, asyncio.timeout(5):
        await world.order()
        await world.receiver.delivered.wait()

    assert [call.op for call in world.service.log] == ["submit"]


async def test_no_callback_comes_before_the_run_has_ended() -> None:
    clock = Clock()
    async with scene(pace=Pace(queue_s=3, run_s=5), now=clock) as world:
        run_id = await world.order()
        await world.ended(run_id)
        assert world.receiver.got == []

        clock.seconds += 9
        await world.ended(run_id)
        assert [each["run_id"] for each in world.receiver.bodies] == [run_id]


@pytest.mark.parametrize(
    ("do", "event", "status"),
    [
        ("fail", "run.failed", "failed"),
        ("refuse", "run.failed", "failed"),
        ("canceled", "run.cancelled", "cancelled"),
        ("partial", "run.partial_succeeded", "partial_succeeded"),
        ("result_pending", "run.completed", "succeeded"),
    ],
)
async def test_events_are_spelled_as_the_callbacks_page_does(world: Scene, do: str, event: str, status: str) -> None:
    _, _, body = await world.callback(do)

    content = json.loads(body)
    assert (content["event"], content["status"]) == (event, status)
    assert (content["output"] is None) == (status in ("failed", "cancelled"))


async def test_a_run_cancelled_by_hand_has_a_callback(world: Scene) -> None:
    world.service.hold = True
    world.service.advance(await world.order(), "cancelled")
    await world.service.callbacks.settled()

    assert world.receiver.bodies[0]["event"] == "run.cancelled"


# Attempts


async def test_a_callback_is_tried_three_times_on_5xx(world: Scene, slept: list[float]) -> None:
    world.receiver.statuses = [500, 503, 200]
    run_id, _, _ = await world.callback()

    assert slept == [1.0, 2.0]
    assert len({body for _, body in world.receiver.got}) == 1
    assert len({headers["Runflow-Request-Id"] for headers, _ in world.receiver.got}) == 1
    _, (history,) = await world.call("GET", f"/v1/runs/{run_id}/callback")
    assert [each["status_code"] for each in history["attempts"]] == [500, 503, 200]
    assert history["attempts"][0]["response_body"] == "noted"
    assert (history["attempt_count"], history["max_attempts"], history["next_attempt_at"]) == (3, 3, None)
    assert history["payload"] == world.receiver.bodies[0]


@pytest.mark.parametrize("statuses", [[500, 500, 500, 500], [404], [302], [429]])
async def test_a_callback_is_given_up_after_three_attempts_or_a_4xx(world: Scene, statuses: list[int]) -> None:
    world.receiver.statuses = list(statuses)
    await world.callback()

    assert len(world.receiver.got) == min(3, len(statuses))
    assert not world.service.callbacks.deliveries[0].delivered


async def test_an_unreachable_receiver_is_tried_three_times(world: Scene, slept: list[float]) -> None:
    run_id = await world.submit(around={"callback_url": "http://127.0.0.1:1/hook"})
    await world.ended(run_id)

    (delivery,) = world.service.callbacks.deliveries
    assert [each.status_code for each in delivery.attempts] == [None] * 3
    assert slept == [1.0, 2.0]


async def test_only_this_machine_is_called(world: Scene) -> None:
    await world.ended(await world.submit(around={"callback_url": "https://example.com/hook"}))

    assert "this machine" in str(world.service.callbacks.deliveries[0].attempts[0].error_message)


async def test_a_callback_can_be_asked_for_again(world: Scene) -> None:
    run_id, _, _ = await world.callback()

    status, answer = await world.call("POST", f"/v1/runs/{run_id}/callback-redeliveries")

    assert (status, answer["delivered"], len(world.receiver.got)) == (201, True, 2)


# Ends


async def test_a_service_stops_while_a_callback_waits_for_its_next_attempt() -> None:
    async with asyncio.timeout(5):
        async with scene() as world:
            world.receiver.statuses = [500]
            await world.order()
            await world.receiver.delivered.wait()
    assert len(world.receiver.got) == 1


async def test_a_run_that_ended_while_the_service_was_stopped_has_a_callback_after_its_start() -> None:
    clock = Clock()
    async with scene(pace=Pace(queue_s=3, run_s=5), now=clock) as world:
        run_id, before = await world.order(), (world.service.url, world.service.runflow_url)
        await world.service.stop()
        clock.seconds += 10
        assert world.service.runs[run_id].state == "completed"
        assert world.receiver.got == []

        await world.service.start(int(before[0].rpartition(":")[2]))
        assert (world.service.url, world.service.runflow_url) == before
        await world.ended(run_id)
        assert world.receiver.bodies[0]["run_id"] == run_id
