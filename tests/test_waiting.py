"""What becomes of jobs that wait: for a host that is away, for the operator, for their turn."""

from pathlib import Path

from bot.core.errors import ProviderPaused, ProviderUnavailable
from bot.core.jobs import Observation, State
from tests.kit import ALICE, BOB, Rig, rig

RUNNING = Observation(State.RUNNING)


async def test_jobs_that_waited_for_the_operator_all_go_on_as_soon_as_one_is_taken(app: Rig) -> None:
    app.provider.submits = [ProviderPaused("402", kind="balance")] * 2
    app.provider.sees = [app.ready()]
    first, second = await app.imagine(), await app.imagine(BOB)
    await app.turn()

    await app.turn(61)
    await app.turn(1, times=5)

    assert [(await app.job(each)).state for each in (first, second)] == [State.SUCCEEDED] * 2
    assert [key for key, _ in app.told] == ["operator.balance", "operator.recovered"]


async def test_a_host_that_shows_runs_but_takes_none_is_told_of_once(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    await app.imagine()
    await app.turn(5)
    app.provider.submits = [ProviderPaused("403", kind="credentials")] * 100
    await app.imagine(BOB)

    await app.turn(5, times=40)

    assert [key for key, _ in app.told] == ["operator.credentials"]


async def test_a_host_that_answers_again_gets_what_waits_for_it_at_once(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    await app.imagine()
    await app.turn(5)
    waiting = await app.imagine(BOB, acked=False)
    await app.service.host_trouble("runcomfy", "down")
    app.found[waiting] = (77, False)
    app.provider.submits = [ProviderUnavailable("reset", retry_after=900.0)]
    await app.turn(3)

    await app.turn(5, times=3)

    assert (await app.job(waiting)).state is State.RUNNING
    assert [key for key, _ in app.told] == ["operator.down", "operator.recovered"]


async def test_failures_of_one_moment_are_no_reason_to_call_the_operator(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("reset")] * 4
    app.provider.sees = [app.ready()]
    ids = [await app.imagine() for _ in range(4)]

    await app.turn()
    await app.turn(5, times=3)

    assert [(await app.job(each)).state for each in ids] == [State.SUCCEEDED] * 4
    assert app.told == []


async def test_a_first_card_shows_the_fair_place_in_line(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=0) as app:
        for _ in range(3):
            await app.imagine(ALICE)
        theirs = await app.imagine(BOB, acked=False)

        assert (await app.service.card(theirs)).place == 2
