"""Faults of the local image service in single answers, and how they are enabled."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.sandbox import faults as faults_module
from bot.sandbox.faults import FAULTS, Fault, Faults, load_faults
from bot.sandbox.service import ImageService, serve
from tests.sandbox.test_service import T2I, Client, connected

SUBMIT = f"/v1/models/{T2I}"
BODY = {"prompt": "a fox", "resolution": "0.5K"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with connected() as client:
        yield client


async def post(client: Client, body: Any = BODY) -> tuple[int, Any]:
    return await client.call("POST", SUBMIT, json=body)


@pytest.mark.parametrize(("do", "accepted"), [("reset_before_read", 0), ("reset", 0), ("accepted_then_lost", 1)])
async def test_a_reset_says_nothing_about_whether_the_run_was_accepted(client: Client, do: str, accepted: int) -> None:
    client.service.faults.add(Fault("submit", do))

    with pytest.raises(aiohttp.ClientConnectionError):
        await post(client)

    assert len(client.service.accepted) == accepted
    assert client.service.log[0].status is None
    assert (await post(client))[0] == 200


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_hanging_call_ends_when_the_client_gives_up(client: Client, accepted: bool) -> None:  # noqa: FBT001
    client.service.faults.add(Fault("submit", "hang", accepted=accepted))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await post(client)

    assert len(client.service.accepted) == accepted


async def test_a_service_stops_while_calls_hang() -> None:
    async with asyncio.timeout(3), aiohttp.ClientSession() as http:
        service = ImageService()
        async with service.running():
            service.faults.add(Fault("any", "hang", times=None))
            call = asyncio.create_task(Client(service, http).call("GET", "/prod/v2/balance"))
            while not service.log:  # noqa: ASYNC110 - the log is a list
                await asyncio.sleep(0)
        with pytest.raises(aiohttp.ClientError):
            await call


async def test_html_is_sent_instead_of_json(client: Client) -> None:
    client.service.faults.add(Fault("submit", "html_502"))

    async with client.http.post(client.service.url + SUBMIT, json=BODY, headers={"Authorization": "Bearer x"}) as got:
        assert (got.status, got.content_type) == (502, "text/html")
    assert client.service.accepted == []


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault("submit", "envelope_503"), 503, 503001),
        (Fault("submit", "429", retry_after=7), 429, 429001),
        (Fault("submit", "error_200", code=10001), 200, 10001),
        (Fault("submit", "status:402", body={"error_code": 400002}), 402, 400002),
        (Fault("submit", "status:500"), 500, 500001),
    ],
)
async def test_an_error_has_runcomfys_envelope(client: Client, fault: Fault, status: int, code: int) -> None:
    client.service.faults.add(fault)

    async with client.http.post(client.service.url + SUBMIT, json=BODY, headers={"Authorization": "Bearer x"}) as got:
        assert (got.status, (await got.json())["error_code"]) == (status, code)
        assert got.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert client.service.accepted == []


async def test_an_error_may_hide_that_the_run_was_accepted(client: Client) -> None:
    client.service.faults.add(Fault("submit", "html_502", accepted=True))

    with pytest.raises(json.JSONDecodeError):
        await post(client)

    assert len(client.service.accepted) == 1


async def test_a_truncated_answer_is_incomplete(client: Client) -> None:
    client.service.faults.add(Fault("submit", "truncated"))

    with pytest.raises(aiohttp.ClientPayloadError):
        await post(client)

    assert len(client.service.accepted) == 1


async def test_a_sliced_or_late_answer_is_whole(client: Client) -> None:
    client.service.faults.add(Fault("submit", "sliced", seconds=0.05), Fault("submit", "latency", seconds=0.05))
    started = asyncio.get_running_loop().time()

    status, body = await post(client)

    assert (status, body["request_id"]) == (200, client.service.accepted[0])
    assert asyncio.get_running_loop().time() - started > 0.09


async def test_a_late_answer_comes_to_a_run_that_was_accepted(client: Client) -> None:
    client.service.faults.add(Fault("submit", "latency", seconds=5))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):  # long enough for the service to read the request on a busy machine
            await post(client)

    assert len(client.service.accepted) == 1


async def test_headers_may_be_wrong(client: Client) -> None:
    client.service.faults.add(Fault("submit", "wrong_type"), Fault("submit", "time_skew", seconds=-86_400 * 365))

    async with client.http.post(client.service.url + SUBMIT, json=BODY, headers={"Authorization": "Bearer x"}) as got:
        assert got.content_type == "text/plain"
        assert json.loads(await got.read())["request_id"]
        (date,) = got.headers.getall("Date")
        assert parsedate_to_datetime(date) < datetime.now(UTC) - timedelta(days=364)


async def test_a_submit_may_be_answered_without_an_id_or_with_anothers(client: Client) -> None:
    first = await client.submit()
    client.service.faults.add(Fault("submit", "no_request_id"), Fault("submit", "same_id", nth=2))

    assert "request_id" not in (await post(client))[1]
    assert (await post(client))[1]["request_id"] == client.service.accepted[1]
    assert len({first, *client.service.accepted}) == 3


# Which calls a fault is for


async def test_a_fault_applies_to_its_calls_only(client: Client) -> None:
    client.service.faults.add(Fault("submit", "429", nth=2, times=2), Fault("submit", "envelope_503", match="a wolf"))

    statuses = [(await post(client))[0] for _ in range(4)]

    assert statuses == [200, 429, 429, 200]
    assert (await post(client, {"prompt": "a wolf"}))[0] == 503


async def test_a_fault_may_name_a_run(client: Client) -> None:
    one, other = await client.submit(), await client.submit()
    client.service.faults.add(Fault("result", "fail", match=other, times=None))

    assert [(await client.result(each))["status"] for each in (one, other, other)] == ["succeeded", "failed", "failed"]
    client.service.faults.clear()
    assert (await client.result(other))["status"] == "succeeded"


@pytest.mark.parametrize(("op", "do"), [("submit", "explode"), ("nothing", "fail"), ("status", "queue:x")])
def test_a_fault_that_does_not_exist_is_refused(op: str, do: str) -> None:
    with pytest.raises(ValueError, match="one of"):
        Fault(op, do)


def test_every_fault_is_in_the_table() -> None:
    assert faults_module.__doc__ is not None
    assert [name for name in FAULTS if name not in faults_module.__doc__] == []


def test_faults_are_distinct_and_can_be_listed() -> None:
    assert [each.do for each in Faults(Fault("any", "lost"), Fault("file", "file:404"))] == ["lost", "file:404"]


# From outside


async def test_other_programs_switch_faults_and_pace_over_http(client: Client) -> None:
    faults = [{"op": "submit", "do": "429", "nth": None, "times": None, "match": None, "host": None, "retry_after": 2}]
    assert await client.call("PUT", "/_sandbox/faults", json=faults, token="") == (200, faults)
    assert (await post(client))[0] == 429
    assert (await client.call("PUT", "/_sandbox/faults", json=[{"op": "submit", "do": "none"}]))[0] == 400
    assert await client.call("GET", "/_sandbox/faults") == (200, faults)
    await client.call("PUT", "/_sandbox/faults", json=[])

    assert (await client.call("PUT", "/_sandbox/hold", json={"hold": True}))[1] == {"hold": True}
    run_id = await client.submit()
    assert (await client.call("GET", "/_sandbox/runs"))[1][0]["state"] == "in_queue"
    advanced = await client.call("POST", f"/_sandbox/runs/{run_id}/advance", json={"state": "completed"})
    assert advanced[1]["state"] == "completed"
    assert (await client.call("POST", f"/_sandbox/runs/{run_id}/advance", json={"state": "lost"}))[0] == 400
    pace = {"queue_s": 1.0, "run_s": 2.0, "slots": None}
    assert await client.call("PUT", "/_sandbox/pace", json=pace) == (200, pace)
    assert [each["op"] for each in (await client.call("GET", "/_sandbox/log"))[1]] == ["submit", "submit"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("faults.json", '[{"op": "submit", "do": "fail", "times": null, "error": "from a file"}]'),
        ("faults.toml", '[[fault]]\nop = "submit"\ndo = "fail"\ntimes = "forever"\nerror = "from a file"\n'),
    ],
)
async def test_a_file_of_faults_is_read_again_when_it_changes(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert load_faults(path)[0].times is None
    async with ImageService(faults_file=path).running() as service, aiohttp.ClientSession() as http:
        client = Client(service, http)
        await client.submit()
        assert [each.params for each in service.faults] == [{"error": "from a file"}]

        path.write_text("[" if name.endswith("json") else "[[")
        os.utime(path, ns=(1, 1))
        await client.submit()
        assert [each.do for each in service.faults] == ["fail"]

        path.write_text("[]" if name.endswith("json") else "")
        os.utime(path, ns=(2, 2))
        await client.submit()
        assert list(service.faults) == []


async def test_serving_prints_its_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    serving = asyncio.create_task(serve(0, faults_file=None, token="t"))
    async with asyncio.timeout(3):
        while "image service: http://127.0.0.1:" not in capsys.readouterr().out:  # noqa: ASYNC110 - printed, not told
            await asyncio.sleep(0)

    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
