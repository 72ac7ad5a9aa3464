"""What members do with results, over real sockets: every request fits Discord's schema, and nobody is left waiting.

As the requester, another member, a moderator, and somebody in another channel; and while what they look at vanishes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.discord.cdn import Upload
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.discord.world import MANAGE_MESSAGES, Channel
from tests.kit import picture
from tests.store.ledger_model import FREE
from tests.ui.transport.test_sockets import SOON, Scene, connected

FILE = Upload("a.png", picture())

pytestmark = [pytest.mark.prove, pytest.mark.usefixtures("transport")]


@dataclass
class Stage:
    on: Scene
    channel: Channel
    elsewhere: Channel
    alice: Member
    bob: Member
    mia: Member  # a moderator

    async def made(self, *, pictures: int = 1, **options: Any) -> tuple[Message, str]:
        """A finished result of Alice, and its job's id."""
        rig = self.on.rig
        rig.provider.sees = [rig.ready(n=pictures)]
        asked = await self.alice.slash(self.channel, "imagine", prompt="a fox", count=pictures, **options)
        message = await answer(asked)
        for _ in range(40):  # until the bot has recorded the acknowledgement, which Discord knows first
            await rig.turn(1)
            if "Done" in message.text:
                break
        job = next(each.custom_id for each in message.buttons if each.label == "More…")
        assert job is not None
        return message, job.split(":")[1]

    async def menu(self, who: Member, message: Message) -> Message:
        return await answer(await who.click(message, label="More…"))

    def check(self) -> None:
        assert self.on.discord.violations == []


async def answer(event: Interaction) -> Message:
    """The message that answers an interaction."""
    await event.acked(within=SOON)
    return await event.until(lambda _: True, within=SOON)


@asynccontextmanager
async def stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with connected(folder, monkeypatch, guilds=("*",), limits=FREE) as on:
        guild = on.discord.add_guild("Studio")
        await on.discord.ready("history", "show", "tray", "preferences", "privacy", "Add to tray", "Edit avatar")
        on.rig.services.requests._cdn_hosts = (on.discord.cdn_host, "cdn.discordapp.com")
        on.rig.delivery._messenger = on.messenger  # it needs the client, which needs the rig
        yield Stage(
            on,
            guild.add_channel("pictures"),
            guild.add_channel("elsewhere"),
            on.discord.add_member("alice", guild),
            on.discord.add_member("bob", guild),
            on.discord.add_member("mia", guild, permissions=MANAGE_MESSAGES),
        )


async def test_variations_sizes_and_files_for_the_requester_and_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path, monkeypatch) as at:
        message, _ = await at.made(pictures=2, resolution="1K")
        for who in (at.alice, at.bob):
            which = await answer(await who.click(message, label="Variations"))
            assert [each.label for each in which.buttons] == ["Picture 1", "Picture 2"]
            made = await answer(await who.click(which, label="Picture 2"))
            assert f"by <@{who.id}>" in made.text
            sizes = await answer(await who.click(message, label="Upscale"))
            assert all("$" in each.label for each in sizes.buttons)
            files = await who.click(await at.menu(who, message), label="Original files")
            sent = await files.until(lambda shown: "The 2 pictures as they were made" in shown.text, within=SOON)
            assert sent.ephemeral
        at.check()


async def test_a_moderator_covers_and_deletes_and_a_member_does_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path, monkeypatch) as at:
        message, job = await at.made(pictures=2)
        assert [each.label for each in (await at.menu(at.bob, message)).buttons] == [
            "Original files",
            "Favorite",
            "Report",
        ]

        menu = await at.menu(at.mia, message)
        await answer(await at.mia.click(menu, label="Mark as spoiler"))
        asks = await answer(await at.mia.click(await at.menu(at.mia, message), label="Delete"))
        await answer(await at.mia.click(asks, label="Delete picture 1"))
        await at.on.rig.delivery.run_due()
        assert len(message.files()) == 1
        asks = await answer(await at.mia.click(await at.menu(at.mia, message), label="Delete"))
        await answer(await at.mia.click(asks, label="Delete"))
        await at.on.rig.delivery.run_due()

        assert message.deleted
        assert (await at.on.rig.job(job)).deleted_at is not None
        at.check()


async def test_history_favorites_and_the_tree_of_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path, monkeypatch) as at:
        message, job = await at.made()
        await answer(await at.bob.click(await at.menu(at.bob, message), label="Favorite"))
        for who, command in ((at.alice, "history"), (at.bob, "favorites")):
            page = await who.slash(at.channel, command)
            shown = await page.until(lambda each: len(each.gallery) == 1, within=SOON)
            opened = await who.click(shown, label="Open")
            await opened.until(lambda each: len(each.gallery) == 1, within=SOON)
        here = await answer(await at.bob.slash(at.channel, "show", result=job))
        there = await answer(await at.bob.slash(at.elsewhere, "show", result=job))
        assert "a fox" in here.text
        assert "isn't yours" in there.text
        at.check()


async def test_pictures_from_messages_avatars_and_forms_become_one_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path, monkeypatch) as at:
        shown = at.channel.post(at.bob.user, attachments=[FILE, Upload("b.png", picture("red"))])
        tray = await answer(await at.alice.menu(at.channel, "Add to tray", shown))
        assert "2 pictures were added." in tray.text
        form = await at.alice.click(tray, label="Edit")
        await form.acked(within=SOON)
        made = await answer(await at.alice.submit(form, {"prompt": "together", "files": [FILE]}))
        assert "together" in made.text
        avatar = await at.alice.user_menu(at.channel, "Edit avatar", at.bob.user)
        await avatar.acked(within=SOON)
        assert "as a knight" in (await answer(await at.alice.submit(avatar, {"prompt": "as a knight"}))).text
        jobs = [await at.on.rig.job(each) for each in sorted(await at.on.rig.store.due_jobs())]
        assert [len(each.request.references) for each in jobs] == [3, 1]
        at.check()


async def test_preferences_and_privacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path, monkeypatch) as at:
        await at.made()
        page = await answer(await at.alice.slash(at.channel, "preferences"))
        assert "Your preferences" in page.text
        page = await answer(await at.alice.slash(at.channel, "privacy"))
        exported = await at.alice.click(page, label="Export")
        await exported.until(lambda each: "Everything stored about you" in each.text, within=SOON)
        asks = await answer(await at.alice.click(page, label="Erase…"))
        erased = await at.alice.click(asks, label="Erase everything")
        await erased.until(lambda each: "Erased" in each.text, within=SOON)
        at.check()


async def test_what_vanishes_under_a_member_is_answered_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path, monkeypatch) as at:
        message, job = await at.made(pictures=2)
        menu = await at.menu(at.alice, message)
        which = await answer(await at.alice.click(message, label="Variations"))
        page = await answer(await at.alice.slash(at.channel, "history"))

        await at.mia.delete(message)  # the message goes, the job stays
        assert "**1.** a fox" in page.text
        edit = await answer(await at.alice.slash(at.channel, "edit", prompt="x", result=job))
        assert "can't be read anymore" in edit.text
        shown = await at.alice.slash(at.channel, "show", result=job)
        await shown.until(lambda each: len(each.gallery) == 2, within=SOON)  # from the files

        await at.on.rig.services.jobs.delete(job, user_id=at.alice.id)
        for pressed in (
            await at.alice.click(menu, label="Favorite"),
            await at.alice.click(menu, label="Original files"),
            await at.alice.slash(at.channel, "show", result=job),
        ):
            assert "isn't yours, or it was deleted" in (await answer(pressed)).text
        late = await answer(await at.alice.click(which, label="Picture 1"))  # its draft had the deleted words
        assert "This form expired" in late.text
        at.check()
