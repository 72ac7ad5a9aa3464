"""Every custom id that was ever shipped, pressed by a stranger on a process that has just started.

It is answered in time, and nothing of another member's private job is said or changed.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.core.cards import Picture
from bot.core.jobs import Job, Place, State, Verb
from bot.core.request_draft import RequestDraft
from tests.discord.interactions import Interaction
from tests.discord.messages import Message
from tests.kit import picture
from tests.store.ledger_model import FREE, rows
from tests.ui.transport.test_sockets import SOON, Scene, connected

CORPUS = Path(__file__).parents[2] / "samples" / "custom_ids.txt"
SECRET = "a fox nobody may know of"
SECONDS = 3.0
TABLES = ("jobs", "pictures", "favorites", "tray", "preferences", "houses", "limits")


def shipped() -> Sequence[str]:
    lines = CORPUS.read_text().splitlines()
    return [each for each in lines if each and not each.startswith("#")]


async def private_job(on: Scene, place: Place) -> Job:
    """A finished private job whose prompt is secret."""
    draft = RequestDraft(verb=Verb.IMAGINE, prompt=SECRET, private=True)
    job: Job | None = (await on.rig.services.requests.accept(on.rig.context(place=place, private=True), draft)).job
    assert job is not None
    await on.rig.services.requests.acknowledged(job.id, message_id=5, ephemeral=True)
    for state in (State.SUBMITTING, State.QUEUED, State.COLLECTING, State.SUCCEEDED):
        assert job is not None
        if state is State.SUCCEEDED:
            name = f"{job.id}-1.png"
            (on.rig.folder / name).write_bytes(picture())
            assert await on.rig.store.add_picture(job, Picture(1, name, "png", 8, 8, 99), now=job.created_at)
        job = await on.rig.store.move(job, state, now=job.created_at, images=int(state is State.SUCCEEDED))
    assert job is not None
    return job


async def stored(on: Scene) -> dict[str, list[str]]:
    """The rows of the tables that a press may change."""
    return {each: sorted(map(str, map(dict, await rows(on.rig.store, f"SELECT * FROM {each}")))) for each in TABLES}  # noqa: S608


def said(pressed: Interaction, message: Message) -> str:
    answers = [each for each in (pressed.message, *pressed.followups) if each is not None and each is not message]
    form = pressed.first.modal if pressed.first else None
    fields = [str(each.value) for each in form.fields] if form is not None else []
    return "\n".join([*(each.text for each in answers), *fields])


def test_the_corpus_has_every_button_of_the_router_and_of_admins() -> None:
    kinds = {each.partition(":")[0] for each in shipped()}
    actions = {each.split(":")[2] for each in shipped() if each.startswith("j1:")}

    assert kinds == {"j1", "d1", "f1", "q1", "a1", "t1", "h1", "s1", "p1", "l1", "m1"}
    assert {"cancel", "look", "again", "more", "vary"} <= actions


async def test_a_stranger_learns_and_changes_nothing_by_any_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",), limits=FREE) as on:
        router = on.client.interface.router
        channel = on.discord.add_guild("Studio").add_channel("pictures")
        assert channel.guild is not None
        alice, bob = (on.discord.add_member(name, channel.guild) for name in ("alice", "bob"))
        job = await private_job(on, Place(alice.id, channel.id, channel.guild.id))
        draft_id = await on.rig.services.drafts.keep(RequestDraft(verb=Verb.IMAGINE, prompt=SECRET), user_id=alice.id)
        message, before = channel.post(on.discord.bot), await stored(on)
        known = {each.split(":")[2] for each in shipped() if each.startswith("j1:")}
        assert known == set(router._actions)
        assert {each.partition(":")[0] for each in shipped()} == set(router._kinds)

        for custom_id in shipped():
            filled = custom_id.format(job=job.id, draft=draft_id)
            pressed = await bob.click(message, filled, force=True)
            await pressed.acked(within=SECONDS)
            assert SECRET not in said(pressed, message), custom_id

        await pressed.followed_up(lambda _: True, within=SOON) if pressed.followups else None
        assert await stored(on) == before
        assert on.discord.violations == []
