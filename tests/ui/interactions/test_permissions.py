"""Missing permissions of the bot refuse every kind of request before anything is reserved."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.core.jobs import Observation, State
from tests.discord.cdn import Upload
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.discord.world import Channel
from tests.kit import picture
from tests.ui.transport.test_sockets import SOON, Scene, acknowledged, connected


@dataclass
class Place:
    alice: Member
    channel: Channel
    made: Message  # a finished card of Alice's
    form: Interaction  # one that was open when the permission was lost


async def _imagine(place: Place) -> Interaction:
    return await place.alice.slash(place.channel, "imagine", prompt="a lighthouse")


async def _edit(place: Place) -> Interaction:
    return await place.alice.slash(place.channel, "edit", prompt="at night", image=Upload("in.png", picture()))


async def _menu(place: Place) -> Interaction:
    shown = place.channel.post(place.alice, attachments=[Upload("in.png", picture())])
    return await place.alice.menu(place.channel, "Edit this", shown)


async def _again(place: Place) -> Interaction:
    (label,) = [each.label for each in place.made.buttons if each.label.startswith("Again")]
    return await place.alice.click(place.made, label=label)


async def _change(place: Place) -> Interaction:
    return await _in_menu(place.alice, place.made, "Change prompt")


async def _in_menu(member: Member, card: Message, label: str) -> Interaction:
    menu = (await (await member.click(card, label="More…")).acked(within=SOON)).message
    assert menu is not None
    return await member.click(menu, label=label)


async def _edit_button(place: Place) -> Interaction:
    return await place.alice.click(place.made, label="Edit")


async def _form(place: Place) -> Interaction:
    return await place.alice.submit(place.form)


WAYS: list[Callable[[Place], Awaitable[Interaction]]] = [_imagine, _edit, _menu, _again, _change, _edit_button, _form]


async def test_every_kind_of_request_is_refused_without_permissions_and_nothing_is_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        place = await _place(on)
        before = await on.rig.store.due_jobs()
        place.channel.bot_can_attach = False
        for way in WAYS:
            ack = await (await way(place)).acked(within=SOON)
            assert (ack.type, ack.ephemeral, ack.modal) == (4, True, None), way.__name__
            assert ack.message is not None
            assert "**Attach Files**" in ack.message.text
            assert "View Channel" not in ack.message.text
            assert ("With `private`" in ack.message.text) == (way in {_imagine, _edit}), way.__name__
        assert await on.rig.store.due_jobs() == before
        place.channel.bot_can_attach = True
        for way in WAYS:
            ack = await (await way(place)).acked(within=SOON)
            assert not (ack.message and "permission" in ack.message.text), way.__name__
        assert on.discord.violations == []


@pytest.mark.parametrize(
    ("lost", "thread", "names"),
    [
        ("bot_sees", False, ["View Channel", "Send Messages"]),
        ("bot_can_post", False, ["Send Messages"]),
        ("bot_can_post", True, ["Send Messages in Threads"]),
    ],
)
async def test_missing_permissions_have_discords_names_and_a_private_reply_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str, *, thread: bool, names: list[str]
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        place = guild.add_thread(channel, "a thread") if thread else channel
        setattr(channel, lost, False)
        refused = await (await alice.slash(place, "imagine", prompt="a lighthouse")).acked(within=SOON)
        private = await (await alice.slash(place, "imagine", prompt="a lighthouse", private=True)).acked(within=SOON)

        assert refused.message is not None
        assert ", ".join(f"**{each}**" for each in names) in refused.message.text
        assert private.message is not None
        assert "Waiting" in private.message.text
        assert len(await on.rig.store.due_jobs()) == 1


async def test_direct_messages_and_user_installs_need_no_permissions_of_the_bot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",), user_install=True) as on:
        elsewhere = on.discord.add_guild("Elsewhere", bot_in=False)
        alice = on.discord.add_member("alice", elsewhere, installed=True)
        bob = on.discord.add_member("bob")
        places = [alice.dm(), elsewhere.add_channel("talk"), on.discord.dm(alice.user, bob.user)]
        for channel in places:
            ack = await (await alice.slash(channel, "imagine", prompt="a lighthouse")).acked(within=SOON)
            assert ack.message is not None
            assert "Waiting" in ack.message.text
        assert len(await on.rig.store.due_jobs()) == len(places)


async def _place(on: Scene) -> Place:
    on.rig.delivery._messenger = on.messenger
    guild = on.discord.add_guild("Own")
    channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
    asked = await alice.slash(channel, "imagine", prompt="a lighthouse")
    await asked.acked(within=SOON)
    await acknowledged(on)
    on.rig.provider.sees = [on.rig.ready()]
    for _ in range(3):
        await on.rig.turn(5)
    on.rig.provider.sees = [Observation(State.QUEUED, position=1)]
    assert asked.message is not None
    form = await _in_menu(alice, asked.message, "Change prompt")
    await form.acked(within=SOON)
    return Place(alice, channel, asked.message, form)
