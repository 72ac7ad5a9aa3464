"""Interactions with fields missing or null, as far as Discord's schema allows it, get the same answers."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bot.ui.cards.reports import HistoryQuery
from tests.discord.cdn import Upload
from tests.discord.interactions import Ack, Interaction
from tests.kit import picture
from tests.ui.admin.test_matrix import HERE, Case, case_of, completed, furnish, given, leaves
from tests.ui.cards.drawing import TEXTS
from tests.ui.transport.odd_payloads import Json, odd, schema_is_here
from tests.ui.transport.test_sockets import SOON, Scene, connected

EN = TEXTS.for_locale("en")
GENERIC = EN.say("error.internal", reference="").rstrip()
AT_ONCE = 10
THINKING = 5  # callback type
PICTURE = Upload("in.png", picture())

needs_the_schema = pytest.mark.skipif(not schema_is_here(), reason="Discord's schema is not near by")


async def replay(on: Scene, act: Interaction, payload: Json) -> Ack | None:
    """The answer to *act* sent once more, as *payload*; None if there is none."""
    again = Interaction(on.discord, kind=act.kind, user=act.user, channel=act.channel, data=act.data, source=act.source)
    on.discord.interactions[again.id] = again
    on.discord.by_token[again.token] = again
    told = {**payload, "id": str(again.id), "token": again.token}
    guild = act.channel.guild
    on.discord.gateway.dispatch("INTERACTION_CREATE", told, guild_id=guild.id if guild else None)
    try:
        ack = await again.acked(within=SOON)
        if ack.type == THINKING:
            return replace(ack, message=await again.until(lambda each: not each.now.thinking, within=SOON))
    except TimeoutError:
        return None
    return ack


def content_of(ack: Ack | None) -> str:
    """The content of an answer, without ids and times."""
    if ack is None:
        return "nothing"
    parts = [str(ack.type), ack.message.text if ack.message else "", *(str(each) for each in ack.choices)]
    parts += [ack.modal.title, *(each.custom_id for each in ack.modal.fields)] if ack.modal else []
    return re.sub(r"\d+", "0", " ".join(parts))


async def wrong_answers(on: Scene, act: Interaction) -> list[str]:
    """Which odd forms of *act* are answered otherwise than itself, as far as they ask for the same.

    An act that changes what comes after it, such as one that makes a job, is only compared by the kind of its answer.
    """
    normal = content_of(await replay(on, act, act.payload()))
    asked, answers = list(odd(act.payload())), list[Ack | None]()
    for at in range(0, len(asked), AT_ONCE):
        some = asked[at : at + AT_ONCE]
        answers += await asyncio.gather(*(replay(on, act, payload) for _, payload in some))
    steady = content_of(await replay(on, act, act.payload())) == normal
    return [
        f"{act} {what}: {content_of(ack)!r}, not {normal!r}"
        for (what, _), ack in zip(asked, answers, strict=True)
        if ack is None
        or GENERIC in content_of(ack)
        or (steady and content_of(ack) != normal and not changes_request(what))
    ]


def changes_request(what: str) -> bool:
    """Whether an interaction without that field asks for something else."""
    return re.search(r"\b(data|message)\b", what) is not None


async def acts_of_a_member(on: Scene, case: Case) -> AsyncIterator[Interaction]:
    who, channel = case.who, case.channel
    for name in ("usage", "help", "jobs"):
        yield await who.slash(channel, name)
    yield await who.complete(channel, "imagine", option="count", typed="2", resolution="2K")
    yield await who.menu(channel, "Edit this", channel.post(who, attachments=[PICTURE]))
    yield await who.slash(channel, "edit", prompt="at night", image=PICTURE)
    yield await who.slash(who.dm(), "imagine", prompt="a lighthouse")
    yield (made := await who.slash(channel, "imagine", prompt="a lighthouse"))
    message = (await made.acked(within=SOON)).message
    assert message is not None
    job = await on.job()
    for action in ("cancel", "hide", "show", "look", "prompt", "again", "change", "edit:1", "delete"):
        yield (pressed := await who.click(message, f"j1:{job.id}:{action}", force=True))
        if action == "change":
            await pressed.acked(within=SOON)
            yield await who.submit(pressed)


async def acts_of_an_admin(on: Scene, case: Case) -> AsyncIterator[Interaction]:
    commands = list(leaves(on.client.tree))
    message = case.channel.post(on.discord.bot)
    yield await case.who.click(message, HistoryQuery(start=(2**40, 1)).custom_id, force=True)
    for each in commands:
        for option in completed(each):
            name, others = each.qualified_name, given(case, each, but=option)
            yield await case.who.complete(case.channel, name, option=option, typed="", force=True, **others)
    for each in commands:
        yield await case.who.slash(case.channel, each.qualified_name, force=True, **given(case, each))


Acts = Callable[[Scene, Case], AsyncIterator[Interaction]]


@needs_the_schema
@pytest.mark.prove
@pytest.mark.parametrize("acts", [acts_of_a_member, acts_of_an_admin])
async def test_every_field_that_is_optional_in_the_schema_may_be_missing_or_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acts: Acts
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",), user_install=True) as on:
        await on.discord.ready("quota", "settings")
        case = case_of(on, "manager", HERE)
        await furnish(case)
        found: list[str] = []
        async for act in acts(on, case):
            await act.acked(within=SOON)
            found += await wrong_answers(on, act)
        assert found == []
        assert on.discord.violations == []


ODD: Mapping[str, Json] = {
    "a null locale": {"locale": None},
    "a null size limit": {"attachment_size_limit": None},
    "null entitlements and owners": {"entitlements": None, "authorizing_integration_owners": None, "context": None},
    "no channel but its number": {"channel": None},
    "a channel of a kind to come": {"channel": {"id": "1", "type": 99, "brand_new": []}},
    "a thread without its data": {"channel": {"id": "1", "type": 11, "name": "thread", "thread_metadata": None}},
    "a user where a member belongs": {"member": None, "user": {"id": "7", "username": "alice"}},
    "a server's number only inside": {"guild_id": None},
    "unknown fields and a strange entitlement": {"brand_new": {"a": [None]}, "entitlements": [{"id": None}]},
}


async def test_an_odd_interaction_is_answered_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        case = case_of(on, "member", HERE)
        act = await case.who.slash(case.channel, "help")
        normal = content_of(await act.acked(within=SOON))

        answers = {
            what: content_of(await replay(on, act, {**act.payload(), **odd_one})) for what, odd_one in ODD.items()
        }

        assert answers == dict.fromkeys(ODD, normal)


async def test_an_interaction_of_an_unknown_type_or_without_a_user_does_not_end_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        case = case_of(on, "member", HERE)
        act = await case.who.slash(case.channel, "help")
        normal = content_of(await act.acked(within=SOON))
        for odd_one in ({"type": 99, "data": None}, {"member": None, "user": None}, {"id": None}):
            on.discord.gateway.dispatch("INTERACTION_CREATE", {**act.payload(), **odd_one}, guild_id=None)

        assert content_of(await replay(on, act, act.payload())) == normal
        assert on.discord.gateway.identifies == 1


async def test_an_unresolved_attachment_is_refused_instead_of_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        case = case_of(on, "member", HERE)
        act = await case.who.slash(case.channel, "edit", prompt="at night", image=PICTURE, image2=PICTURE)
        await act.acked(within=SOON)
        payload = act.payload()
        payload["data"]["resolved"]["attachments"].popitem()

        assert EN.say("error.command.outdated") in content_of(await replay(on, act, payload))
