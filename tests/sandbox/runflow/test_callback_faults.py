"""Callbacks of the local Runflow that go wrong on purpose, or are fired by hand."""

import json
from typing import Any

import aiohttp
import pytest

from bot.sandbox.faults import Fault
from bot.sandbox.service import Pace
from tests.sandbox.runflow.test_callbacks import FIRST, SECOND, Scene, scene, signature
from tests.sandbox.test_service import Client as RunComfyClient

# Faults


async def test_a_callback_may_be_lost(world: Scene) -> None:
    world.service.faults.add(Fault("submit", "callback:lost"))
    await world.ended(await world.order())

    assert world.receiver.got == []
    assert world.service.callbacks.deliveries[0].attempts == []


async def test_a_callback_may_be_repeated(world: Scene) -> None:
    await world.callback("callback:repeat")

    assert len(world.receiver.got) == 5
    assert len({body for _, body in world.receiver.got}) == 1


async def test_a_callback_may_be_late(world: Scene, slept: list[float]) -> None:
    await world.callback("callback:late", seconds=90)

    assert (slept, len(world.receiver.got)) == ([90.0], 1)


async def test_a_callback_may_come_before_the_submit_is_answered() -> None:
    async with scene(pace=Pace(queue_s=100)) as world:
        world.service.faults.add(Fault("submit", "callback:early"), Fault("submit", "accepted_then_lost"))
        with pytest.raises(aiohttp.ClientConnectionError):
            await world.order()

        (body,) = world.receiver.bodies
        assert (body["run_id"], body["event"]) == (world.service.accepted[0], "run.completed")
        assert (await world.run(body["run_id"]))["status_code"] == "succeeded"


@pytest.mark.parametrize(
    ("do", "wrong"),
    [
        ("callback:unsigned", lambda given, right: given is None),
        ("callback:bad_signature", lambda given, right: len(given) == 64 and given not in right),
        ("callback:upper_case", lambda given, right: given != right[0] and given.lower() == right[0]),
        ("callback:reserialised", lambda given, right: len(given) == 64 and given not in right),
        ("callback:second_secret", lambda given, right: given == right[1]),
    ],
)
async def test_a_signature_may_be_odd(world: Scene, do: str, wrong: Any) -> None:
    run_id, headers, body = await world.callback(do)

    assert wrong(headers.get("Runflow-Signature"), [signature(body, each) for each in (FIRST, SECOND)])
    assert json.loads(body)["run_id"] == run_id


async def test_a_callback_may_name_an_unknown_run_and_be_rightly_signed(world: Scene) -> None:
    run_id, headers, body = await world.callback("callback:unknown_run")

    assert json.loads(body)["run_id"] != run_id
    assert headers["Runflow-Signature"] == signature(body, FIRST)


async def test_the_output_may_have_the_other_documents_shapes(world: Scene) -> None:
    _, _, body = await world.callback("callback:image_urls")
    assert len(json.loads(body)["output"]["image_urls"]) == 1

    world.service.faults.add(Fault("submit", "callback:envelope"))
    _, _, body = await world.callback("fail", error={"code": "X", "message": "y"})
    assert json.loads(body)["output"] == {"code": "X", "message": "y", "errors": None}


async def test_a_fault_may_be_for_the_next_callback_whatever_its_run(world: Scene) -> None:
    world.service.faults.add(Fault("callback", "callback:unsigned", nth=2))
    first, second = await world.order(), await world.order()
    for each in (first, second):
        await world.ended(each)

    signed = [
        each["run_id"]
        for (headers, _), each in zip(world.receiver.got, world.receiver.bodies, strict=True)
        if "Runflow-Signature" in headers
    ]
    assert len(signed) == 1


# By hand


async def fire(world: Scene, **wanted: Any) -> tuple[int, Any]:
    return await world.call("POST", "/_sandbox/callbacks", json=wanted, key="")


async def test_any_callback_can_be_fired_by_hand(world: Scene) -> None:
    world.service.hold = True
    run_id = await world.order()

    status, (sent,) = await fire(world, run=run_id, event="run.failed")
    assert (status, sent["delivered"], world.receiver.bodies[0]["event"]) == (200, True, "run.failed")

    _, sent = await fire(world, run=run_id, fault="repeat", n=3)
    assert len(sent) == 3
    await fire(world, run=run_id, fault="callback:unsigned")
    assert "Runflow-Signature" not in world.receiver.got[-1][0]
    assert world.service.runs[run_id].state == "in_queue"
    _, listed = await world.call("GET", "/_sandbox/callbacks", key="")
    assert len(listed) == len(world.receiver.got) == 5


async def test_a_callback_can_be_fired_where_the_run_did_not_say(world: Scene) -> None:
    run_id = await world.submit()

    assert (await fire(world, run=run_id))[0] == 400
    assert (await fire(world, run=run_id, url=world.receiver.url))[0] == 200
    assert world.receiver.bodies[0]["run_id"] == run_id


async def test_a_callback_can_be_fired_in_process(world: Scene) -> None:
    (sent,) = await world.service.callbacks.send(
        await world.submit(), [Fault("callback", "callback:second_secret")], url=world.receiver.url
    )

    headers, body = world.receiver.got[0]
    assert (sent.delivered, headers["Runflow-Signature"]) == (True, signature(body, SECOND))


async def test_a_callback_that_makes_no_sense_is_refused(world: Scene) -> None:
    theirs = await RunComfyClient(world.service, world.http).submit()
    ours = await world.order()

    for wanted in ({"run": "nobody"}, {"run": theirs}, {"run": ours, "fault": "explode"}, {"fault": "lost"}):
        assert (await fire(world, **wanted))[0] == 400


async def test_the_secrets_can_be_changed_by_hand(world: Scene) -> None:
    body = {"secrets": ["whsec_new"]}
    assert (await world.call("PUT", "/_sandbox/secrets", json=body, key=""))[0] == 200

    _, headers, raw = await world.callback()
    assert headers["Runflow-Signature"] == signature(raw, "whsec_new")
    assert (await world.call("PUT", "/_sandbox/secrets", json={"secrets": "x"}, key=""))[0] == 400
