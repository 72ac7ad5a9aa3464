"""Every end of a job: its card, its ledger entries and the requests to the provider."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.faults import Fault
from tests.discord.interactions import Interaction
from tests.scenarios.harness import NO_LIMITS, SOON, TIMING, Scene, scene, shows

pytestmark = pytest.mark.prove  # a bot of its own for each; what each part decides has its tests beside it

LONG = 0.5  # seconds that a queue shows


@dataclass(frozen=True)
class Ending:
    """A fault of one job and its expected result. *charged* is in pictures."""

    name: str
    op: str
    does: str
    state: str
    says: str
    charged: int = 0
    count: int = 1
    booked: str | None = "known"  # the second book: the host's word, an assumption, or nothing
    params: tuple[tuple[str, Any], ...] = ()
    times: int | None = 1

    @property
    def prompt(self) -> str:
        return f"[{self.name}]"

    @property
    def fault(self) -> Fault:
        return Fault(self.op, self.does, match=self.prompt, times=self.times, **dict(self.params))


def _fails(name: str, does: str, says: str, **more: Any) -> Ending:
    return Ending(name, "submit", does, "failed", says, **{"booked": "assumed", **more})


def _works(name: str, does: str, **more: Any) -> Ending:
    return Ending(name, more.pop("op", "submit"), does, "succeeded", "Done", **{"charged": 1, **more})


def _params(**params: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(params.items())


DRAWING, UNSURE = "failed while generating", "never confirmed that it received this"
RULES, FETCH = "content rules. Try different wording", "the pictures couldn't be downloaded"
NOTHING = "finished without making a picture"
ENDINGS = (
    _fails("failed, a text", "fail", DRAWING),
    _fails("failed, an object", "fail", DRAWING, params=_params(error={"code": 7, "message": "boom"})),
    _fails("failed, no word", "fail", DRAWING, params=_params(error=None)),
    Ending("refused", "submit", "refuse", "refused", RULES, booked="assumed"),
    _fails("no output", "no_output", NOTHING, booked="known"),
    _fails("empty output", "empty_output", NOTHING, booked="known"),
    _works("three of four", "fewer_images", count=4, charged=3, params=_params(n=3)),
    _works("a word nobody knows", "unknown_status:pondering", op="status", times=3),
    _works("capitals", "upper_case"),
    _works("a step back", "backwards"),
    _works("result later", "result_pending", params=_params(n=2)),
    _works("not found yet", "404_after_submit"),
    _works("cost unknown", "no_cost", booked="assumed"),
    _works("inputs echoed", "echo_input"),
    _works("wrong type", "wrong_type"),
    _works("slices", "sliced"),
    _fails("rejected", "status:422", "rejected this request", booked=None),
    _fails("no such model", "error_200", "rejected this request", booked=None, params=_params(code=400001)),
    _fails("taken, no answer", "accepted_then_lost", UNSURE),
    _fails("taken, half an answer", "truncated", UNSURE),
    _fails("taken, no id", "no_request_id", UNSURE),
    _fails("a gateway's page", "html_502", UNSURE),
    _fails("a page, yet taken", "html_502", UNSURE, params=_params(accepted=True)),
    _works("too many requests", "429", params=_params(retry_after=1)),
    _works("busy", "envelope_503"),
    _works("half a file", "file:truncated", params=_params(n=1)),
    _works("an empty file", "file:empty", params=_params(n=1)),
    _works("a web page", "file:html", params=_params(n=1)),
    _works("a huge file", "file:huge"),
    _fails("a lying file", "file:lying_type", FETCH, booked="known"),
    _fails("a bomb", "file:bomb", FETCH, booked="known"),
    _fails("no file", "file:404", FETCH, booked="known"),
)


async def _ends(bot: Scene, ending: Ending) -> None:
    asked = await bot.asks(bot.alice, ending.prompt, count=ending.count)
    done = await asked.until(shows(ending.says), within=SOON)

    price = 80_000
    end = ("settle", ending.charged) if ending.charged else ("release", ending.count)
    assert bot.job(asked)["state"] == ending.state
    assert bot.charged(asked) == (*end, end[1] * price)
    assert bot.host_cost(asked) == ending.booked
    assert len(done.files()) == ending.charged
    assert ("This doesn't count toward any limits." in done.text) == (ending.charged == 0)
    assert done.text.count("and 3 count") == (ending.charged == 3)


async def test_each_end_of_a_run_has_its_card_and_its_charge(tmp_path: Path) -> None:
    async with scene(tmp_path, runcomfy__max_in_flight=100, **NO_LIMITS) as bot:
        bot.host.faults.add(*(each.fault for each in ENDINGS))

        ended = await asyncio.gather(*(_ends(bot, each) for each in ENDINGS), return_exceptions=True)

        wrong = [(case.name, error) for case, error in zip(ENDINGS, ended, strict=True) if error is not None]
        assert wrong == []
        assert bot.operators.messages == [], "the host's catalogue still has the model"
        await bot.at_rest()
        bot.assert_at_rest()


# --- cancelling


async def test_cancelling_in_our_queue_and_in_the_providers_is_free(tmp_path: Path) -> None:
    async with scene(tmp_path, runcomfy__max_in_flight=1) as bot:
        bot.host.hold = True
        queued = await bot.asks(bot.alice, "queued")
        await queued.until(shows("Queued"), within=SOON)
        waiting = await bot.asks(bot.alice, "waiting")
        assert "Next in the queue" in bot.card(waiting).text

        for each in (waiting, queued):
            await bot.alice.click(bot.card(each), label="Cancel")
            card = await each.until(shows("Cancelled"), within=SOON)
            assert "This doesn't count toward any limits." in card.text
            assert bot.charged(each) == ("release", 1, 80_000)
            assert bot.host_cost(each) is None

        assert (len(bot.runs("queued")), len(bot.runs("waiting"))) == (1, 0)
        await bot.at_rest()
        bot.assert_at_rest()


async def test_cancelling_during_the_submit_stops_the_job_whether_it_arrives_or_not(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        bot.host.hold = True
        bot.host.faults.add(
            Fault("submit", "latency", match="taken", seconds=0.5),
            Fault("submit", "envelope_503", match="turned away"),
            Fault("submit", "latency", match="turned away", seconds=0.5),
        )
        asked = [await bot.asks(bot.alice, prompt) for prompt in ("taken", "turned away")]
        for each in asked:
            await bot.reaches(each, "submitting")
            await bot.alice.click(bot.card(each), label="Cancel")
        for each in asked:
            await each.until(shows("Cancelled"), within=SOON)
            assert bot.charged(each) == ("release", 1, 80_000)
            assert bot.host_cost(each) is None

        assert (len(bot.runs("taken")), len(bot.runs("turned away"))) == (1, 0)
        await bot.at_rest()
        bot.assert_at_rest()


@pytest.mark.parametrize("answer", ["cancel:not_cancellable", "cancel:ignored"])
async def test_a_cancel_that_the_provider_does_not_carry_out_is_charged_and_says_so(
    tmp_path: Path, answer: str
) -> None:
    async with scene(tmp_path) as bot:
        bot.host.hold = True
        bot.host.faults.add(Fault("submit", answer))
        asked = await bot.asks(bot.alice, "kept")
        await asked.until(shows("Queued"), within=SOON)

        await bot.alice.click(bot.card(asked), label="Cancel")
        await bot.until(lambda: bot.job(asked)["cancel"] in ("asked", "too_late"))
        bot.host.hold = False
        done = await asked.until(shows("Done"), within=SOON)

        assert "Cancellation was requested, but it had already started." in done.text
        assert bot.charged(asked) == ("settle", 1, 80_000)
        await bot.at_rest()
        bot.assert_at_rest()


async def test_a_running_job_cannot_be_cancelled(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        bot.host.hold = True
        asked = await bot.asks(bot.alice, "begun")
        queued = await asked.until(shows("Queued"), within=SOON)
        bot.host.advance(bot.host.accepted[0], "in_progress")
        await bot.reaches(asked, "running")

        late = await bot.alice.click(queued, label="Cancel")
        refused = await late.acked()
        assert refused.ephemeral
        assert "too late to cancel this" in (refused.message.text if refused.message else "")
        bot.host.hold = False
        await asked.until(shows("Done"), within=SOON)
        await bot.at_rest()
        bot.assert_at_rest()


# --- the host as a whole


@pytest.mark.parametrize(
    ("fault", "member_reads", "operator_reads"),
    [
        ("status:402", "operator's account at RunComfy is out of credit", "account at RunComfy is out of credit"),
        ("status:401", "rejecting this bot's key", "rejecting our key"),
    ],
)
async def test_a_provider_outage_that_needs_the_operator_lasts_until_it_is_fixed(
    tmp_path: Path, fault: str, member_reads: str, operator_reads: str
) -> None:
    async with scene(tmp_path) as bot:
        bot.host.faults.add(Fault("submit", fault, times=None))
        asked = [await bot.asks(member, f"{member.user.name}'s") for member in (bot.alice, bot.bob)]
        for each in asked:
            card = await each.until(shows(member_reads), within=SOON)
            assert "Waiting" in card.text
        first = await bot.operators.until(shows(operator_reads), within=SOON)

        assert bot.operators.messages == [first]
        assert bot.host.accepted == []
        bot.host.faults.clear()
        assert await bot.bot.stop() == 0
        await bot.start()
        for each in asked:
            await each.until(shows("Done"), within=SOON)

        await bot.operators.until(shows("accepts jobs again"), within=SOON)
        assert len(bot.operators.messages) == 2
        await bot.at_rest()
        bot.assert_at_rest()


async def test_jobs_wait_while_the_provider_is_unreachable(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        bot.host.hold = True
        begun = await bot.asks(bot.alice, "begun before")
        await begun.until(shows("Queued"), within=SOON)
        port = int(bot.host.url.rpartition(":")[2])
        await bot.host.stop()
        asked = [await bot.asks(bot.bob, f"asked meanwhile {n}") for n in range(3)]
        for each in asked:
            await each.until(shows("is unavailable right now"), within=SOON)
        await bot.operators.until(shows("is unavailable or failing"), within=SOON)

        await bot.host.start(port)
        bot.host.hold = False
        for each in (begun, *asked):
            await each.until(shows("Done"), within=SOON)

        await bot.operators.until(shows("accepts jobs again"), within=SOON)
        assert len(bot.operators.messages) == 2
        await bot.at_rest()
        bot.assert_at_rest()


async def test_a_run_that_stays_queued_is_given_up_and_its_late_picture_is_free(tmp_path: Path) -> None:
    timing = {**TIMING, "soft": 0.4, "hard": 1, "give_up": 1.5}
    async with scene(tmp_path, timing=timing) as bot:
        bot.host.faults.add(Fault("submit", "stuck_queue"))
        asked = await bot.asks(bot.alice, "stuck")
        given_up = await asked.until(shows("didn't finish in time"), within=SOON)

        assert "If the pictures still arrive, they'll be shown here" in given_up.text
        assert bot.charged(asked) == ("release", 1, 80_000)
        assert bot.host_cost(asked) == "assumed"
        (run,) = bot.runs("stuck")
        run.faults.clear()
        bot.host.advance(run.id, "completed")
        await bot.restart()
        late = await asked.until(shows("Finished late"), within=SOON)

        assert len(late.files()) == 1
        assert "This doesn't count toward any limits." in late.text
        assert bot.charged(asked) == ("release", 1, 80_000)
        await bot.at_rest()
        bot.assert_at_rest()


async def test_pictures_on_a_host_that_is_not_allowed_wait_for_the_operator(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        bot.host.hold = True
        asked = await bot.asks(bot.alice, "elsewhere")
        (run,) = await bot.until(lambda: bot.runs("elsewhere"))
        elsewhere = bot.host.url.replace("127.0.0.1", "localhost")
        run.faults.add(Fault("result", "foreign_host", times=None, url=elsewhere + run.images[0]))
        bot.host.hold = False
        name = elsewhere.removeprefix("http://")
        await asked.until(shows(f"The finished pictures are on {name}"), within=SOON)
        await bot.operators.until(shows(f"put finished pictures on {name}, which isn't allowed"), within=SOON)

        assert len(bot.operators.messages) == 1
        assert bot.job(asked)["state"] == "collecting"
        bot.bot.env["DARKROOM_RUNCOMFY__RESULT_HOSTS"] = f'["{name}"]'
        await bot.restart()
        done = await asked.until(shows("Done"), within=SOON)

        assert len(done.files()) == 1
        assert bot.charged(asked) == ("settle", 1, 80_000)
        await bot.at_rest()
        bot.assert_at_rest()


# --- our line


async def test_a_job_without_a_free_slot_waits_and_shows_its_place(tmp_path: Path) -> None:
    async with scene(tmp_path, runcomfy__max_in_flight=1) as bot:
        bot.host.hold = True
        first = await bot.asks(bot.alice, "first")
        await first.until(shows("Queued"), within=SOON)
        second = await bot.asks(bot.alice, "second")
        third = await bot.asks(bot.alice, "third")

        assert "Next in the queue." in bot.card(second).text
        assert "#2 in the queue." in bot.card(third).text
        assert len(bot.host.accepted) == 1
        bot.host.advance(bot.host.accepted[0], "completed")
        await third.until(shows("Next in the queue."), within=SOON)
        bot.host.hold = False
        for each in (first, second, third):
            await each.until(shows("Done"), within=SOON)
        await bot.at_rest()
        bot.assert_at_rest()


async def test_thirty_jobs_of_one_member_do_not_delay_the_next_member(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        bot.host.hold = True
        hers: list[Interaction] = [await bot.asks(bot.alice, f"hers {n}", resolution="0.5K") for n in range(30)]
        await bot.until(lambda: len(bot.host.accepted) == 4)
        his = await bot.asks(bot.bob, "his", resolution="0.5K")

        assert "Next in the queue." in bot.card(his).text
        bot.host.advance(bot.host.accepted[0], "completed")
        await bot.until(lambda: len(bot.host.accepted) > 4)
        assert bot.host.runs[bot.host.accepted[4]].prompt == "his"
        bot.host.hold = False
        for each in (his, *hers):
            await each.until(shows("Done"), within=SOON)
        await bot.at_rest()
        bot.assert_at_rest()
