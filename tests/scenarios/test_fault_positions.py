"""A submit fails at every position: it is accepted at most once, and the member pays for pictures only."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.faults import Fault
from tests.scenarios.harness import NO_LIMITS, SOON, Scene, scene, shows

pytestmark = pytest.mark.prove  # a bot of its own for each; what each part decides has its tests beside it

# The host provably took nothing: the job is sent again and succeeds.
PROVEN = ("429", "envelope_503", "status:408", "status:425", "429 with Retry-After")
# Nobody knows, and some of these were taken: never sent again.
UNSURE = (
    Fault("submit", "same_id"),  # first: the run it names belongs to the job that went well
    Fault("submit", "reset"),
    Fault("submit", "accepted_then_lost"),
    Fault("submit", "truncated"),
    Fault("submit", "no_request_id"),
    Fault("submit", "html_502"),
    Fault("submit", "html_502", accepted=True),
    Fault("submit", "error_200"),
    Fault("submit", "status:500"),
    Fault("submit", "status:500", accepted=True),
    Fault("submit", "status:503", body="not the host's own envelope"),
    Fault("submit", "status:504", accepted=True),
    Fault("submit", "status:302", headers={"Location": "/v1/models/google/nano-banana-2/text-to-image"}),
)
UNSURE_CARD = "never confirmed that it received this"


async def _succeeds(bot: Scene, prompt: str) -> None:
    asked = await bot.asks(bot.alice, prompt)
    await asked.until(shows("Done"), within=SOON)
    assert bot.charged(asked) == ("settle", 1, 80_000)
    assert len(bot.runs(prompt)) == 1


async def _ends_unknown(bot: Scene, prompt: str, *, taken: int) -> None:
    asked = await bot.asks(bot.alice, prompt)
    await asked.until(shows(UNSURE_CARD), within=SOON)
    assert bot.charged(asked) == ("release", 1, 80_000)
    assert bot.host_cost(asked) == "assumed"
    assert len(bot.runs(prompt)) == taken


async def test_a_submit_that_fails_anywhere_is_accepted_once_at_most(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        await _succeeds(bot, "nothing wrong")
        for n, fault in enumerate(UNSURE):
            bot.host.faults.replace([fault])
            taken = fault.name in ("accepted_then_lost", "truncated", "no_request_id", "same_id")
            await _ends_unknown(bot, f"unsure {n}", taken=int(taken or bool(fault.params.get("accepted"))))
            await _succeeds(bot, f"in between {n}")  # or the host would count as down

        bot.host.faults.replace([Fault("submit", "reset_before_read")])
        await _ends_unknown(bot, "not even read", taken=0)
        submits = [each for each in bot.host.log if each.op == "submit"]
        assert len(submits) == 2 + 2 * len(UNSURE)
        await bot.at_rest()
        bot.assert_at_rest()


async def test_a_submit_that_hangs_until_the_connection_is_closed_is_not_repeated(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        port = int(bot.host.url.rpartition(":")[2])
        for accepted in (False, True):
            bot.host.faults.replace([Fault("submit", "hang", accepted=accepted)])
            prompt = f"hanging, taken: {accepted}"
            asked = await bot.asks(bot.alice, prompt)
            await bot.reaches(asked, "submitting")
            await bot.until(lambda: any(each.op == "submit" and each.status is None for each in bot.host.log))
            await bot.host.stop()
            await bot.host.start(port)
            await asked.until(shows(UNSURE_CARD), within=SOON)
            assert len(bot.runs(prompt)) == int(accepted)
            bot.host.log.clear()
        await bot.at_rest()
        bot.assert_at_rest()


async def test_a_submit_that_was_provably_not_accepted_is_repeated(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        port = int(bot.host.url.rpartition(":")[2])
        await bot.host.stop()
        refused = await bot.asks(bot.alice, "no connection")
        await bot.until(lambda: "unavailable" in bot.bot.log)
        await bot.host.start(port)
        for prompt in PROVEN:
            retry_after: dict[str, Any] = {"retry_after": 1} if "Retry-After" in prompt else {}
            bot.host.faults.add(Fault("submit", prompt.split()[0], match=f"[{prompt}]", **retry_after))

        await asyncio.gather(*(_succeeds(bot, f"[{prompt}]") for prompt in PROVEN))
        await refused.until(shows("Done"), within=SOON)

        assert len(bot.runs("no connection")) == 1
        assert bot.operators.messages == []
        await bot.at_rest()
        bot.assert_at_rest()
