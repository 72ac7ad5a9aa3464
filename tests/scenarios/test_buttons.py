"""Every button of every card, pressed by its owner and by others, before and after the bot was killed."""

import asyncio
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bot.sandbox.faults import Fault
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.world import MANAGE_MESSAGES
from tests.scenarios.harness import NO_LIMITS, SOON, Scene, scene, shows

LONG = ("a very *long* lighthouse, " * 200)[:3999] + "!"
SMALL: dict[str, Any] = {"resolution": "0.5K"}
PRICE = 60_000  # micro-dollars, at that size
AGAIN = "Again"
PRICED = "Again · about $0.06"  # on a private card
OF_FOUR = ["Edit", "Again", "Variations", "Upscale", "More…"]


async def _refusal(pressed: Interaction) -> str:
    """The ephemeral sentence that is the whole answer to a press."""
    ack = await pressed.acked()
    assert ack.ephemeral
    assert ack.message is not None
    return ack.message.text


async def _press(member: Member, asked: Interaction, label: str) -> Interaction:
    assert asked.message is not None
    return await member.click(asked.message, label=label)


async def _press_in_menu(member: Member, asked: Interaction, *labels: str) -> Interaction:
    """Press *More…* on a card, and in the menu one button after the other; returns the answer to the last press."""
    pressed = menu = await _press(member, asked, "More…")
    for label in labels:
        shown = (await menu.acked()).message
        assert shown is not None
        pressed = await member.click(shown, label=label)
        await pressed.acked()
    return pressed


def _all_text(bot: Scene) -> str:
    """The whole content of the bot's database as text."""
    tables = [name for (name,) in bot.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return "\n".join(str(bot.rows(f"SELECT * FROM {name}")) for name in tables)  # noqa: S608 - our own names


@dataclass
class Cards:
    """One card of each kind in the channel."""

    bot: Scene

    async def lay(self) -> None:
        bot = self.bot
        bot.host.faults.add(Fault("submit", "stuck_queue", match="a queued card"))
        bot.host.faults.add(Fault("submit", "refuse", match="a refused card"))
        bot.host.faults.add(Fault("submit", "fail", match="a failed card"))
        self.queued = await bot.asks(bot.alice, "a queued card", **SMALL)
        self.refused = await bot.asks(bot.alice, "a refused card", **SMALL)
        self.failed = await bot.asks(bot.alice, "a failed card", **SMALL)
        self.one = await bot.asks(bot.alice, "a one card", seed=77, **SMALL)
        self.four = await bot.asks(bot.alice, "a four card", count=4, **SMALL)
        self.long = await bot.asks(bot.alice, LONG, **SMALL)
        self.private = await bot.asks(bot.alice, "a private card", private=True, **SMALL)
        self.doomed = await bot.asks(bot.bob, "a doomed card", **SMALL)
        await self.queued.until(shows("Queued"), within=SOON)
        await self.refused.until(shows("Refused"), within=SOON)
        await self.failed.until(shows("Failed"), within=SOON)
        for each in (self.one, self.four, self.long, self.private, self.doomed):
            await each.until(shows("Done"), within=SOON)

    async def are_all_answered(self) -> None:
        await self._others_are_refused()
        await asyncio.gather(self._look_and_cancel(), self._prompts(), self._again(), self._edits(), self._changes())
        await self._deletes()
        await self._unknown()

    async def _others_are_refused(self) -> None:
        bot = self.bot
        before = bot.books()
        assert "Only the person who requested" in await _refusal(await _press(bot.bob, self.queued, "Cancel"))
        assert "isn't yours, or it was deleted" in await _refusal(await _press(bot.bob, self.one, AGAIN))
        menu = (await (await _press(bot.bob, self.one, "More…")).acked()).message
        assert menu is not None
        assert ([each.label for each in menu.buttons], "$" in menu.text) == (
            ["Original files", "Favorite", "Report"],
            False,
        )
        assert self.one.message is not None
        job = bot.job(self.one)["id"]
        for action in ("prompt", "change"):  # as on cards of older versions
            pressed = await bot.bob.click(self.one.message, f"j1:{job}:{action}", force=True)
            assert "isn't yours, or it was deleted" in await _refusal(pressed)
        for action in ("delete", "erase"):
            pressed = await bot.bob.click(self.one.message, f"j1:{job}:{action}", force=True)
            assert "Only the person who requested" in await _refusal(pressed)
        looked = await _press(bot.bob, self.queued, "Check now")
        assert (await looked.acked()).type == 6  # anybody may have a look
        assert bot.books() == before

    async def _look_and_cancel(self) -> None:
        bot = self.bot
        assert (await (await _press(bot.alice, self.queued, "Check now")).acked()).type == 6
        await _press(bot.alice, self.queued, "Cancel")
        card = await self.queued.until(shows("Cancelled"), within=SOON)
        assert "This doesn't count toward any limits." in card.text
        assert bot.charged(self.queued)[0] == "release"
        revived = await _press(bot.alice, self.queued, "Generate anyway")
        await revived.until(shows("Done"), within=SOON)

    async def _prompts(self) -> None:
        short = await _refusal(await _press_in_menu(self.bot.alice, self.one, "Full prompt"))
        assert "a one card" in short
        page = await (await _press_in_menu(self.bot.alice, self.long, "Full prompt")).acked()
        assert page.ephemeral
        assert page.message is not None
        assert "prompt.txt" in page.message.text
        (file,) = page.message.attachments
        assert (file.filename, file.data.decode()) == ("prompt.txt", LONG)

    async def _again(self) -> None:
        bot = self.bot
        again = await _press(bot.alice, self.one, AGAIN)
        done = await again.until(shows("Done"), within=SOON)
        first, second = bot.runs("a one card")
        assert first.inputs["seed"] == 77 != second.inputs["seed"]
        menu = (await (await _press(bot.bob, again, "More…")).acked()).message
        assert menu is not None
        assert f"seed {second.inputs['seed']}" in menu.text
        assert done is not self.one.message
        assert (bot.charged(self.one), bot.charged(again)) == (("settle", 1, PRICE), ("settle", 1, PRICE))
        unseen = await _press(bot.alice, self.private, PRICED)
        assert (await unseen.acked()).ephemeral
        await unseen.until(shows("Done"), within=SOON)
        retried = await _press(bot.alice, self.failed, "Try again")
        await retried.until(shows("Done"), within=SOON)

    async def _edits(self) -> None:
        assert self.four.message is not None
        assert [each.label for each in self.four.message.buttons] == OF_FOUR
        await asyncio.gather(*(self._edit(n) for n in range(1, 5)))

    async def _edit(self, n: int) -> None:
        bot, prompt = self.bot, f"edit {n}"
        opened = await _press(bot.bob, self.four, "Edit")
        await opened.acked()
        sent = await bot.bob.submit(opened, {"prompt": prompt, "picture": [str(n)], "resolution": ["0.5K"]})
        done = await sent.until(shows("Done"), within=SOON)
        (run,) = bot.runs(prompt)
        (given,) = run.inputs["image_urls"]
        assert f"-{n}.png?" in given
        assert [Image.open(BytesIO(each)).format for each in done.files()] == ["PNG"]
        assert bot.job(sent)["user_id"] == bot.bob.id
        assert bot.charged(sent) == ("settle", 1, PRICE)

    async def _changes(self) -> None:
        bot = self.bot
        for asked, prompt in ((self.one, "a one card"), (self.refused, "a refused card")):
            opened = await _press_in_menu(bot.alice, asked, "Change prompt")
            modal = (await opened.acked()).modal
            assert modal is not None
            fields = {each.custom_id: each.value for each in modal.fields}
            assert (fields["prompt"], fields["resolution"]) == (prompt, ["0.5K"])
            sent = await bot.alice.submit(opened, {"prompt": "changed"})
            await sent.until(shows("Done"), within=SOON)
            assert bot.charged(sent) == ("settle", 1, PRICE)

    async def _deletes(self) -> None:
        bot = self.bot
        boss = bot.discord.add_member("boss", bot.guild, permissions=MANAGE_MESSAGES)
        for asked, member in ((self.long, bot.alice), (self.doomed, boss), (self.private, bot.alice)):
            job = bot.job(asked)["id"]
            assert list((bot.folder / "pictures").glob(f"{job}-*"))
            assert asked.message is not None
            await _press_in_menu(member, asked, "Delete", "Delete")
            await asked.message.until(lambda message: message.deleted, within=SOON)
            assert not list((bot.folder / "pictures").glob(f"{job}*"))
            assert asked.message not in bot.channel.messages
            await bot.at_rest()
            assert bot.rows("SELECT due_at FROM replies WHERE job = ?", job) == [(None,)]
        content = _all_text(bot)
        assert "a one card" in content
        assert LONG[:20] not in content
        assert "a doomed card" not in content

    async def _unknown(self) -> None:
        bot, shown = self.bot, self.one.message
        assert shown is not None
        job = bot.job(self.one)["id"]
        for custom_id in (f"j9:{job}:again", f"j1:{job}:juggle", f"d1:{job}:juggle", "x", f"j1:{job}"):
            pressed = await bot.alice.click(shown, custom_id, force=True)
            assert "older version of the bot" in await _refusal(pressed), custom_id
        for custom_id in ("j1:nothing:again", f"j1:{'0' * 80}:cancel", "j1:%00'; DROP TABLE jobs:look", "j1::delete"):
            pressed = await bot.alice.click(shown, custom_id, force=True)
            assert "isn't yours, or it was deleted" in await _refusal(pressed), custom_id
        for custom_id in ("d1:nothing:change", "d1::change"):
            pressed = await bot.alice.click(shown, custom_id, force=True)
            assert "Start again with the command" in await _refusal(pressed), custom_id
        missing = await bot.alice.click(shown, f"j1:{job}:edit:9", force=True)
        assert "That message has no picture" in await _refusal(missing)


@pytest.mark.prove
async def test_every_button_of_cards_from_before_a_kill_works(tmp_path: Path) -> None:
    async with scene(tmp_path, runcomfy__max_in_flight=50, **NO_LIMITS) as bot:
        cards = Cards(bot)
        await cards.lay()
        await bot.restart()
        await cards.are_all_answered()

        await bot.at_rest()
        bot.assert_in_order()


async def test_buttons_are_for_the_owner_and_a_repeat_over_the_limit_returns_the_prompt(tmp_path: Path) -> None:
    async with scene(tmp_path, quota__user_day_images=2) as bot:
        asked = await bot.asks(bot.alice, "mine alone", private=True, **SMALL)
        await asked.until(shows("Done"), within=SOON)
        job, elsewhere = bot.job(asked)["id"], bot.discord.add_guild("Elsewhere")
        carol = bot.discord.add_member("carol", elsewhere, permissions=MANAGE_MESSAGES)
        theirs = elsewhere.add_channel("general").post(carol, "anything")
        for action in ("cancel", "prompt", "again", "change", "delete", "erase", "more", "edit:1", "edit"):
            sentence = await _refusal(await carol.click(theirs, f"j1:{job}:{action}", force=True))
            assert "mine alone" not in sentence, action
        looked = await carol.click(theirs, f"j1:{job}:look", force=True)
        assert (await looked.acked()).type == 6

        await bot.at_rest()
        assert looked.followups == []
        assert bot.books() == {"reserve": 1, "settle": 1}
        assert len(list((bot.folder / "pictures").iterdir())) == 1

        asked = await bot.asks(bot.alice, "the last one", **SMALL)
        await asked.until(shows("Done"), within=SOON)
        pressed = await _press(bot.alice, asked, AGAIN)
        sentence = await _refusal(pressed)

        assert "Your limit is 2 pictures per day, and you have 0 pictures left." in sentence
        assert "<t:" in sentence
        assert bot.books() == {"reserve": 2, "settle": 2}
        opened = await _press(bot.alice, pressed, "Change prompt")
        modal = (await opened.acked()).modal
        assert modal is not None
        assert modal.fields[0].value == "the last one"
        bot.assert_in_order()


async def test_a_deleted_job_stays_deleted_after_a_reconnect_and_without_its_message(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        asked = await bot.asks(bot.alice, "left over", **SMALL)
        done = await asked.until(shows("Done"), within=SOON)
        bot.discord.fault("delete_by_token", do="500", times=1)
        await _press_in_menu(bot.alice, asked, "Delete", "Delete")
        await bot.until(lambda: not list((bot.folder / "pictures").iterdir()))
        await done.until(lambda message: message.deleted, within=SOON)

        asked = await bot.asks(bot.alice, "pressed and gone")
        done = await asked.until(shows("Done"), within=SOON)
        job = bot.job(asked)["id"]
        await bot.alice.delete(done)
        pressed = await bot.alice.click(done, f"j1:{job}:erase", force=True)
        await pressed.acked()

        await bot.until(lambda: not list((bot.folder / "pictures").glob(f"{job}*")))
        assert "pressed and gone" not in _all_text(bot)
        gone: dict[str, Any] = bot.job(asked)
        assert gone["deleted_at"] is not None
        assert bot.rows("SELECT due_at FROM replies") == [(None,), (None,)]
        bot.assert_in_order()
