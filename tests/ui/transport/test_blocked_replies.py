"""Cards that the bot cannot edit: for every obstacle and every end of a job."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bot.core.jobs import Job, Observation, State
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.discord.world import Channel, Guild
from tests.ui.transport.test_sockets import SOON, Scene, acknowledged, connected

TITLES = {State.SUCCEEDED: "Done", State.FAILED: "Failed", State.CANCELLED: "Cancelled", State.QUEUED: "Queued"}
ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
OLD = 16 * 60  # seconds, after which tokens have expired
LATER = 11 * 60  # seconds until a closed path is first retried


@dataclass
class Place:
    on: Scene
    guild: Guild
    channel: Channel
    alice: Member
    asked: dict[State, Interaction] = field(default_factory=dict)
    jobs: dict[State, Job] = field(default_factory=dict)

    def card(self, state: State) -> Message:
        found = self.asked[state].message
        assert found is not None
        return found

    def direct(self, state: State) -> list[Message]:
        """The direct messages about a job, which is found by its prompt: the state it ends in."""
        return [each for each in self.alice.dm().messages if state.value in each.text]

    def posted(self) -> list[str]:
        """New cards in the channel that are not replies; the word that a job has ended is an answer to its card."""
        at = f"/channels/{self.channel.id}/messages"
        made = [each for each in self.on.discord.requests if each.method == "POST" and each.status == 200]
        return [each.path for each in made if each.path == at and "message_reference" not in (each.json or {})]

    async def in_jobs(self) -> set[str]:
        return {each.job.id for each in (await self.on.rig.services.jobs.open_jobs(self.alice.id))[0]}


def _lift(place: Place) -> None:
    channel = place.channel
    (channel.parent or channel).bot_can_attach = (channel.parent or channel).bot_sees = True
    channel.archived = channel.locked = False
    if not place.guild.bot_in:
        place.guild.add_bot()


def _no_files(place: Place) -> None:
    place.channel.bot_can_attach = False


def _hidden(place: Place) -> None:
    place.channel.bot_sees = False


def _removed(place: Place) -> None:
    place.guild.remove_bot()


def _deleted(place: Place) -> None:
    place.guild.delete_channel(place.channel)


def _archived(place: Place) -> None:
    place.channel.archived = True


def _locked(place: Place) -> None:
    place.channel.archived = place.channel.locked = True


@dataclass(frozen=True)
class Case:
    obstacle: Callable[[Place], None]
    old: bool  # whether the tokens have expired
    text: bool = True  # the card's text is updated
    files: bool = False  # with its pictures
    direct: bool = False  # the member gets a direct message
    reopens: bool = True
    thread: bool = False


CASES = {
    "no files": Case(_no_files, old=False),
    "no files, by the channel": Case(_no_files, old=True),
    "hidden, by the token": Case(_hidden, old=False, files=True),
    "hidden": Case(_hidden, old=True, text=False, direct=True),
    "removed, by the token": Case(_removed, old=False, files=True),
    "removed": Case(_removed, old=True, text=False, direct=True),
    "deleted, by the token": Case(_deleted, old=False, text=False, direct=True, reopens=False),
    "deleted": Case(_deleted, old=True, text=False, direct=True, reopens=False),
    "archived, by the token": Case(_archived, old=False, files=True, thread=True),
    "archived": Case(_archived, old=True, files=True, thread=True),
    "locked": Case(_locked, old=True, text=False, direct=True, thread=True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_every_end_of_a_job_is_reported_once_in_the_card_or_directly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        place = await _four_jobs(on, thread=case.thread)
        if case.old:
            await on.rig.turn(OLD)
        case.obstacle(place)
        await _end(place)
        await on.rig.turn(5)

        for state in ENDED:
            shown = place.card(state)
            assert (TITLES[state] in shown.text) is case.text
            assert len(place.direct(state)) == case.direct
            assert all(TITLES[state] in each.text for each in place.direct(state))
            assert len(shown.files()) == (case.files and state is State.SUCCEEDED)
        done = place.jobs[State.SUCCEEDED].id
        assert (done in await place.in_jobs()) is not case.files
        if not case.files:
            told = place.card(State.SUCCEEDED) if case.text else place.direct(State.SUCCEEDED)[0]
            assert "`/jobs`" in told.text
        before = len(on.discord.requests)
        await on.rig.turn(60, times=5)
        ended = [str(place.card(state).id) for state in ENDED]
        assert not [each for each in on.discord.requests[before:] if each.path.rpartition("/")[2] in ended]

        _lift(place)
        await on.rig.turn(LATER)
        await on.rig.turn(5)
        for state in ENDED:
            shown = place.card(state)
            assert (TITLES[state] in shown.text) is (case.reopens or case.text)
            assert len(shown.files()) == ((case.reopens or case.files) and state is State.SUCCEEDED)
            assert len(place.direct(state)) == case.direct  # not sent twice
        assert (done in await place.in_jobs()) is not (case.reopens or case.files)
        assert len([each for each in place.channel.messages if "/preferences" not in each.text]) == 4
        assert place.posted() == []  # nothing is posted twice
        assert on.discord.violations == []


async def test_a_member_without_direct_messages_is_tried_once_and_finds_the_result_in_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        place = await _four_jobs(on)
        place.alice.user.takes_dms = False
        await on.rig.turn(OLD)
        _hidden(place)
        await _end(place)
        for _ in range(4):
            await on.rig.turn(LATER)

        refused = [each for each in on.discord.requests if each.route == "create_message"]
        assert [each.status for each in refused].count(403) == len(refused) == 4  # the fourth job was given up
        assert {place.jobs[state].id for state in ENDED} <= await place.in_jobs()
        assert on.discord.violations == []


async def test_an_unreachable_discord_only_delays_the_direct_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        place = await _four_jobs(on)
        await on.rig.turn(OLD)
        _hidden(place)
        on.discord.fault("open_dm", do="code:403:50001", times=3)  # Discord does so sometimes
        await _end(place)
        await on.rig.turn(5)
        assert place.direct(State.SUCCEEDED) == []
        await on.rig.turn(LATER)

        assert [len(place.direct(state)) for state in ENDED] == [1, 1, 1]


async def test_the_direct_message_and_jobs_deliver_the_pictures_and_the_card_is_updated_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        place = await _four_jobs(on)
        await on.rig.turn(OLD)
        _hidden(place)
        await _end(place)
        await on.rig.turn(5)
        pressed = await place.alice.click(place.direct(State.SUCCEEDED)[0], label="Check now")
        given = await pressed.followed_up(lambda message: "Done" in message.text, within=SOON)
        async with asyncio.timeout(SOON):
            while place.jobs[State.SUCCEEDED].id in await place.in_jobs():
                pass

        assert (len(given.files()), given.ephemeral) == (1, True)
        assert "Queued" in place.card(State.SUCCEEDED).text
        _lift(place)
        await on.rig.turn(LATER)
        assert "Done" in place.card(State.SUCCEEDED).text


async def test_an_archived_thread_is_reopened_only_for_an_ended_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        place = await _four_jobs(on, thread=True)
        await on.rig.turn(OLD)
        _archived(place)
        on.rig.provider.sees = [Observation(State.RUNNING)]
        await on.rig.turn(31)
        assert place.channel.archived
        on.rig.provider.sees = [Observation(State.FAILED)]
        await on.rig.turn(31)
        assert not place.channel.archived


async def _four_jobs(on: Scene, *, thread: bool = False) -> Place:
    on.rig.delivery._messenger = on.messenger
    guild = on.discord.add_guild("Own")
    channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
    place = Place(on, guild, guild.add_thread(channel, "a thread") if thread else channel, alice)
    for state in TITLES:
        asked = await alice.slash(place.channel, "imagine", prompt=state.value)
        await asked.acked(within=SOON)
        place.asked[state], place.jobs[state] = asked, await acknowledged(on)
        on.rig.time.go(1)
    await on.rig.turn(5)
    await on.rig.turn(5)
    assert all("Queued" in place.card(state).text for state in TITLES)
    return place


async def _end(place: Place) -> None:
    """End each job in the state that its prompt names."""
    rig = place.on.rig
    ready = rig.ready()
    await rig.services.jobs.cancel(place.jobs[State.CANCELLED].id, user_id=place.alice.id)
    for state, seen in (
        (State.SUCCEEDED, ready),
        (State.FAILED, Observation(State.FAILED)),
        (State.CANCELLED, Observation(State.CANCELLED)),
    ):
        rig.provider.sees = [seen]
        job = await rig.job(place.jobs[state].id)
        while not (job := await rig.job(job.id)).state.is_final:
            await rig.worker._look(job.id)
    rig.provider.sees = [Observation(State.QUEUED, position=1)]
