"""The local image service over real sockets: submits, pictures and costs."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from PIL import Image, ImageChops, ImageStat

from bot.sandbox.service import ImageService, Pace

T2I = "google/nano-banana-2/text-to-image"
EDIT = "google/nano-banana-2/edit"
PRO = "google/nano-banana/pro/text-to-image"
PRO_EDIT = "google/nano-banana/pro/edit"
TOKEN = "any"
AT_ONCE = Pace(queue_s=0, run_s=0, slots=None)


@dataclass
class Clock:
    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Client:
    """A client of the provider, with a token."""

    def __init__(self, service: ImageService, http: aiohttp.ClientSession) -> None:
        self.service = service
        self.http = http

    async def call(self, method: str, path: str, *, json: Any = None, token: str = TOKEN) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.request(method, self.service.url + path, json=json, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def submit(self, model: str = T2I, **inputs: Any) -> str:
        status, body = await self.call("POST", f"/v1/models/{model}", json={"prompt": "a fox", **inputs})
        assert status == 200, body
        return str(body["request_id"])

    async def status(self, run_id: str) -> Any:
        return (await self.call("GET", f"/v1/requests/{run_id}/status"))[1]

    async def result(self, run_id: str) -> Any:
        return (await self.call("GET", f"/v1/requests/{run_id}/result?include_cost=true"))[1]

    async def cancel(self, run_id: str) -> tuple[int, Any]:
        return await self.call("POST", f"/v1/requests/{run_id}/cancel")

    async def urls(self, run_id: str) -> list[str]:
        output = (await self.result(run_id))["output"]
        return list(output.get("images") or [output["image"]])

    async def pictures(self, run_id: str) -> list[Image.Image]:
        return [Image.open(io.BytesIO(await self.file(each))) for each in await self.urls(run_id)]

    async def file(self, url: str) -> bytes:
        async with self.http.get(url) as response:
            assert response.status == 200
            return await response.read()


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    """A client of a service whose runs complete at once."""
    async with ImageService(pace=AT_ONCE).running() as service, aiohttp.ClientSession() as http:
        yield Client(service, http)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def slow(clock: Clock) -> AsyncIterator[Client]:
    service = ImageService(pace=Pace(queue_s=3, run_s=5, slots=1), now=clock)
    async with service.running(), aiohttp.ClientSession() as http:
        yield Client(service, http)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


async def test_a_run_counts_down_in_the_queue_then_works_then_completes(slow: Client, clock: Clock) -> None:
    run_id = await slow.submit()
    seen = []
    for seconds in (0, 1.1, 1, 1, 5):
        clock.seconds += seconds
        told = await slow.status(run_id)
        seen.append((told["status"], told.get("queue_position")))

    assert seen == [("in_queue", 3), ("in_queue", 2), ("in_queue", 1), ("in_progress", None), ("completed", None)]


async def test_a_run_waits_for_a_slot_of_those_before_it(slow: Client, clock: Clock) -> None:
    first, second = await slow.submit(), await slow.submit()

    clock.seconds += 4
    assert (await slow.status(second))["queue_position"] == 1
    clock.seconds += 4.5
    assert [(await slow.status(each))["status"] for each in (first, second)] == ["completed", "in_progress"]
    clock.seconds += 4.5
    assert slow.service.runs[second].state == "completed"


async def test_the_result_call_returns_the_state_until_the_run_has_ended(slow: Client, clock: Clock) -> None:
    run_id = await slow.submit()

    assert (await slow.result(run_id))["status"] == "in_queue"
    clock.seconds += 20
    result = await slow.result(run_id)
    assert result["status"] == "succeeded"
    assert result["cost"] == 0.08
    assert result["created_at"].endswith("Z")


async def test_only_a_queued_run_can_be_cancelled(slow: Client, clock: Clock) -> None:
    queued = await slow.submit()
    assert await slow.cancel(queued) == (202, {"request_id": queued, "status": "completed", "outcome": "cancelled"})
    assert (await slow.status(queued))["status"] == "cancelled"

    running = await slow.submit()
    clock.seconds += 4
    assert (await slow.cancel(running))[1]["outcome"] == "not_cancellable"


async def test_a_paused_service_advances_only_by_hand(slow: Client, clock: Clock) -> None:
    slow.service.hold = True
    run_id = await slow.submit()
    clock.seconds += 100
    assert (await slow.status(run_id))["status"] == "in_queue"

    slow.service.advance(run_id, "in_progress")
    assert (await slow.status(run_id))["status"] == "in_progress"
    slow.service.hold = False
    assert (await slow.status(run_id))["status"] == "in_progress"
    clock.seconds += 5
    assert (await slow.status(run_id))["status"] == "completed"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_a_picture_has_the_format_and_the_size_asked_for(client: Client, kind: str) -> None:
    run_id = await client.submit(aspect_ratio="16:9", resolution="0.5K", output_format=kind)

    (picture,) = await client.pictures(run_id)

    assert (picture.format, picture.size) == (kind.upper(), (512, 288))


@pytest.mark.parametrize(("resolution", "longest"), [("0.5K", 512), ("1K", 1024), ("2K", 2048), ("4K", 4096)])
async def test_the_resolution_is_the_longest_side(client: Client, resolution: str, longest: int) -> None:
    (url,) = await client.urls(await client.submit(aspect_ratio="2:3", resolution=resolution))

    raw = await client.file(url)

    assert Image.open(io.BytesIO(raw)).height == longest
    assert len(raw) < 2_500_000


async def test_four_pictures_of_one_run_differ_and_the_same_seed_repeats_them(client: Client) -> None:
    asked: dict[str, Any] = {"num_images": 4, "seed": 7, "resolution": "0.5K", "output_format": "webp"}
    once = [await client.file(each) for each in await client.urls(await client.submit(**asked))]
    again = [await client.file(each) for each in await client.urls(await client.submit(**asked))]

    assert len(set(once)) == 4
    assert once == again


async def test_pro_draws_and_has_no_seed_to_repeat(client: Client) -> None:
    one, other = [await client.pictures(await client.submit(PRO)) for _ in range(2)]

    assert one[0].size == (1024, 576)
    assert ImageChops.difference(one[0].convert("RGB"), other[0].convert("RGB")).getbbox() is not None


@pytest.mark.parametrize("model", [EDIT, PRO_EDIT])
async def test_an_edit_shows_the_picture_it_was_given_changed(client: Client, model: str) -> None:
    (given,) = await client.urls(await client.submit(aspect_ratio="3:2", seed=3))

    (edited,) = await client.pictures(await client.submit(model, image_urls=[given], prompt="at night"))

    assert edited.size == (1024, 683)  # auto keeps the ratio of the first picture
    before = Image.open(io.BytesIO(await client.file(given))).convert("L").resize((64, 42))
    inner = edited.convert("L").crop((210, 60, 814, 480)).resize((64, 42))
    assert ImageStat.Stat(ImageChops.difference(before, inner)).mean[0] > 2


async def test_an_edit_takes_its_colours_from_what_it_was_given(client: Client) -> None:
    def centre(picture: Image.Image) -> list[float]:
        return ImageStat.Stat(picture.convert("RGB").crop((400, 250, 620, 400))).mean

    outcomes = []
    for colour in ((250, 30, 30), (30, 30, 250)):
        file = io.BytesIO()
        Image.new("RGB", (300, 300), colour).save(file, "PNG")
        given = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        (edited,) = await client.pictures(await client.submit(EDIT, image_urls=[given], seed=5, prompt="x"))
        outcomes.append(centre(edited))

    red, blue = outcomes
    assert red[0] > blue[0] + 50
    assert blue[2] > red[2] + 50


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "https://example.com/x.png", "data:image/png;base64,QUJD"])
async def test_an_edit_fails_when_its_picture_is_unavailable(client: Client, url: str) -> None:
    result = await client.result(await client.submit(EDIT, image_urls=[url]))

    assert result["status"] == "failed"
    assert result["error"].startswith("Failed to download image_urls[0]")


@pytest.mark.parametrize(
    ("model", "inputs", "field"),
    [
        (T2I, {"resolution": "8K"}, "resolution"),
        (T2I, {"safety_tolerance": "4"}, "safety_tolerance"),
        (T2I, {"num_images": 5}, "num_images"),
        (T2I, {"number_of_images": 2}, "number_of_images"),
        (PRO, {"aspect_ratio": "auto"}, "aspect_ratio"),
        (PRO, {"seed": 1}, "seed"),
        (PRO, {"resolution": "0.5K"}, "resolution"),
        (EDIT, {}, "image_urls"),
        (PRO_EDIT, {"image_urls": []}, "image_urls"),
        (T2I, {"prompt": None}, "prompt"),
    ],
)
async def test_inputs_outside_the_schema_are_refused(client: Client, model: str, inputs: Any, field: str) -> None:
    status, body = await client.call("POST", f"/v1/models/{model}", json={"prompt": "a fox", **inputs})

    assert status == 422
    assert body["detail"][0]["loc"] == ["body", field]
    assert client.service.accepted == []


async def test_unknown_models_and_runs_have_runcomfys_errors(client: Client) -> None:
    status, body = await client.call("POST", "/v1/models/google/none", json={"prompt": "x"})
    assert (status, body["error_code"]) == (400, 400001)

    status, body = await client.call("GET", "/v1/requests/nobody/status")
    assert (status, body["error_code"]) == (404, 404001)


@pytest.mark.parametrize(("token", "status"), [("", 400), ("wrong", 400), ("right", 200)])
async def test_only_the_configured_token_is_taken(token: str, status: int) -> None:
    async with ImageService(token="right").running() as service, aiohttp.ClientSession() as http:
        answered, body = await Client(service, http).call("GET", "/prod/v2/balance", token=token)

    assert answered == status
    assert status == 200 or body["error_code"] == 400004


async def test_the_catalogue_shows_prices_and_schemas(client: Client) -> None:
    _, listed = await client.call("GET", "/v1/models?limit=2&search=banana")
    assert (len(listed["models"]), listed["total"]) == (2, 4)

    _, entry = await client.call("GET", f"/v1/models/{EDIT}")
    assert entry["base_price_usd"] == 0.08
    assert entry["input_schema"]["required"] == ["prompt", "image_urls"]
    assert entry["input_schema"]["properties"]["resolution"]["enum"] == ["0.5K", "1K", "2K", "4K"]


async def test_the_balance_goes_down_by_what_completed_runs_cost(client: Client) -> None:
    await client.submit(num_images=2, resolution="2K")

    _, body = await client.call("GET", "/prod/v2/balance")

    assert body == {"balance_usd": 24.76, "balance_microdollars": 24_760_000, "currency": "USD"}


async def test_the_log_has_every_call(client: Client) -> None:
    run_id = await client.submit()
    await client.status(run_id)
    await client.file((await client.urls(run_id))[0])

    told = [(call.op, call.run_id, call.status, call.authorized) for call in client.service.log]
    assert told == [
        ("submit", run_id, 200, True),
        ("status", run_id, 200, True),
        ("result", run_id, 200, True),
        ("file", run_id, 200, False),
    ]


async def test_runs_survive_a_restart_of_the_service(clock: Clock) -> None:
    service = ImageService(pace=AT_ONCE, now=clock)
    async with service.running() as first, aiohttp.ClientSession() as http:
        client = Client(first, http)
        (given,) = await client.urls(await client.submit())
        port = int(first.url.rpartition(":")[2])
        run_id = await client.submit(EDIT, image_urls=[given])
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as http:
            await Client(service, http).status(run_id)

    async with service.running(port), aiohttp.ClientSession() as http:
        (picture,) = await Client(service, http).pictures(run_id)
        assert picture.size == (1024, 1024)


async def test_drawing_does_not_hold_up_other_answers(client: Client) -> None:
    (url,) = await client.urls(await client.submit(resolution="4K"))
    drawing = asyncio.create_task(client.file(url))

    other = await client.submit()
    answered_first = not drawing.done()

    assert answered_first
    assert (await client.status(other))["status"] == "completed"
    await drawing
