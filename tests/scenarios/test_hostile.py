"""Hostile prompts, options and forms, and limits: no pings, no leaks, no unlimited costs."""

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.faults import Fault
from tests.discord.cdn import Upload
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.kit import picture
from tests.scenarios.harness import NO_LIMITS, SOON, Scene, scene, shows
from tests.ui.hostile import ACTIVE, WEAPONS

pytestmark = pytest.mark.prove  # a bot of its own for each; what each part decides has its tests beside it

CANARY = "simple-canary-prompt"  # the harness looks for it in the log
MARKDOWN = ("# **Head** ||spoiler|| [link](https://evil.example) ```code``` \n> quote\n-# small " * 60)[:3900]
PROMPTS = {
    "mentions": "@everyone @here <@1> <@!1> <@&1> <#1> </imagine:1> <t:1:R> <:x:1> <id:customize>",
    "links": "https://evil.example HTTP://evil.example discord.gg/abc <https://evil.example>",
    "masked": "[free nitro](https://evil.example) [a](<https://evil.example>)",
    "invisible": "\u202eevil\u2066 \u200bzero\u200dwidth\ufeff \u2028\u2029 \x85 \x1b[31mred\r\n",
    "markdown": MARKDOWN,
    "fences": "```\ncode\n``` ` `` ||| ~~x~~ __y__ \\\\ *_*",
    "nul": "a\x00b\x07c",
    "half a character": "half \ud83d of an emoji \udc00",
    "stacked": "z" + "\u0301" * 900,
    "templates": "{prompt} {0} %s ${jndi:ldap://x} '; DROP TABLE jobs;-- \"}]",
    "weapons": " ".join(WEAPONS)[:3900],
}
OURS = re.compile(r"^(?:### |> |-# )|<t:\d+:R>|(?<!\\)`[a-z_.]+`", re.MULTILINE)  # marks that our sentences have


async def _text_of(asked: Interaction) -> str:
    """The ephemeral answer."""
    ack = await asked.acked()
    assert ack.ephemeral
    assert ack.message is not None
    return ack.message.text


def _quotes(message: Message) -> list[str]:
    """The prompt as quoted by every version of a card."""
    lines = [line for each in message.history for line in each.text.splitlines()]
    quoted = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    return quoted + [line[2:-2] for line in lines if line.startswith("**") and line.endswith("**")]


async def _typed(member: Member, refused: Interaction) -> str:
    """The prompt in the form behind *Change prompt*."""
    assert refused.message is not None
    opened = await member.click(refused.message, label="Change prompt")
    modal = (await opened.acked()).modal
    assert modal is not None
    return str(modal.fields[0].value)


# --- prompts


async def _drawn(bot: Scene, name: str, prompt: str) -> None:
    sentence = f"{CANARY} {prompt}"
    asked = await bot.alice.slash(bot.channel, "imagine", prompt=sentence, resolution="0.5K")
    done = await asked.until(shows("Done"), within=SOON)

    assert len(done.files()) == 1, name
    assert _quotes(done), name
    assert not any(ACTIVE.search(each) for each in _quotes(done)), name
    assert all(len(each) <= 300 for each in _quotes(done)), name
    assert 1 <= len(done.gallery[0].alt or "") <= 1024, name
    menu = (await (await bot.alice.click(done, label="More…")).acked()).message
    assert menu is not None, name
    shown = await bot.alice.click(menu, label="Full prompt")
    page = await _text_of(shown)
    assert not ACTIVE.search(OURS.sub("", page)), name
    assert CANARY in page or "prompt.txt" in page, name
    again = await bot.alice.click(menu, label="Change prompt")
    assert (await again.acked()).modal is not None, name


async def test_hostile_prompts_have_no_effect_and_are_not_logged(tmp_path: Path) -> None:
    async with scene(tmp_path, log__level="DEBUG", runcomfy__max_in_flight=50, **NO_LIMITS) as bot:
        bot.host.faults.add(Fault("submit", "fail", match="fails"), Fault("submit", "refuse", match="refused"))
        fails = await bot.asks(bot.alice, f"{CANARY} fails")
        refused = await bot.asks(bot.alice, f"{CANARY} refused")
        await asyncio.gather(*(_drawn(bot, name, prompt) for name, prompt in PROMPTS.items()))
        given = Upload("simple-canary-prompt.png", picture())
        edited = await bot.alice.slash(bot.channel, "edit", prompt=f"{CANARY} edited", image=given)
        for asked, word in ((fails, "Failed"), (refused, "Refused"), (edited, "Done")):
            await asked.until(shows(word), within=SOON)

        sent = {run.prompt for run in bot.host.runs.values()}
        assert f"{CANARY} {PROMPTS['templates']}" in sent
        assert all(each.encode() for each in sent)
        tokens = [each.token for each in bot.discord.interactions.values()]
        assert not [each for each in tokens if each in bot.bot.log]
        assert not re.search(r"[?&](?:hm|ex|is)=", bot.bot.log)
        assert " DEBUG " in bot.bot.log
        bot.assert_in_order()


# --- options


@dataclass(frozen=True)
class Wrong:
    says: str
    options: dict[str, Any]
    prompt: str = "a lighthouse"
    back: int = 4000  # how many characters of the prompt come back


PRO = "nano-banana-pro"
WRONG = {
    "no such ratio": Wrong(
        "7:3 isn't a valid `aspect_ratio` for Nano Banana 2. Choose auto, 21:9", {"aspect_ratio": "7:3"}
    ),
    "no such size": Wrong("8K isn't a valid `resolution`", {"resolution": "8K"}),
    "no such format": Wrong(
        "exe isn't a valid `format` for Nano Banana 2. Choose png, jpeg or webp.", {"format": "exe"}
    ),
    "a hostile choice": Wrong("a valid `format`", {"format": "@everyone <@1> [x](https://evil.example)"}),
    "too many": Wrong("`count` must be from 1 to 4 for Nano Banana 2, and you entered 99.", {"count": 99}),
    "none": Wrong("`count` must be from 1 to 4", {"count": 0}),
    "less than none": Wrong("`count` must be from 1 to 4", {"count": -3}),
    "a negative seed": Wrong("`seed` must be from 1 to 2147483647", {"seed": -1}),
    "a huge seed": Wrong("`seed` must be from 1 to 2147483647", {"seed": 2**53}),
    "no such model": Wrong("There's no model called dall-e for this.", {"model": "dall-e"}),
    "a hostile model": Wrong("There's no model called", {"model": "../../etc/passwd\x00<@&1>"}),
    "above the ceiling": Wrong("`safety` can be at most 4 here, and you chose 6.", {"safety": 6}),
    "above the model": Wrong("`safety` must be from 1 to 6", {"safety": 7}),
    "Pro, count": Wrong("Nano Banana Pro doesn't have the option `count`.", {"model": PRO, "count": 2}),
    "Pro, seed": Wrong("Nano Banana Pro doesn't have the option `seed`.", {"model": PRO, "seed": 7}),
    "Pro, safety": Wrong("or choose Nano Banana 2.", {"model": PRO, "safety": 2}),
    "Pro, auto": Wrong("auto isn't a valid `aspect_ratio` for Nano Banana Pro", {"model": PRO, "aspect_ratio": "auto"}),
    "Pro, small": Wrong("0.5K isn't a valid `resolution` for Nano Banana Pro", {"model": PRO, "resolution": "0.5K"}),
    "no words": Wrong("Your prompt is empty.", {}, prompt="  \n\t "),
    "too many words": Wrong("has 5000 characters, and the maximum is 4000.", {}, prompt="x" * 5000),
}


async def test_an_invalid_request_is_refused_in_one_ephemeral_sentence_that_returns_the_prompt(tmp_path: Path) -> None:
    async with scene(tmp_path, quota__user_day_images="none") as bot:
        for case, wrong in WRONG.items():
            asked = await bot.alice.slash(bot.channel, "imagine", force=True, prompt=wrong.prompt, **wrong.options)
            sentence = await _text_of(asked)

            assert wrong.says in sentence, case
            assert sentence.count("\n") == 1, case
            assert not ACTIVE.search(OURS.sub("", sentence)), case
            assert await _typed(bot.alice, asked) == wrong.prompt[:4000], case
        assert (bot.books(), bot.states(), bot.host.accepted) == ({}, [], [])
        bot.assert_in_order()


async def test_pro_accepts_a_request_without_special_options(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        asked = await bot.asks(bot.alice, "one", model=PRO, count=1)
        await asked.until(shows("Done"), within=SOON)

        assert bot.charged(asked) == ("settle", 1, 150_000)
        bot.assert_in_order()


async def test_an_option_that_the_operator_switched_off_is_not_sent_by_an_old_command(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        entry = bot.discord.find_command("imagine", kind=1, guild=None)
        entry["options"].append({"name": "web_search", "type": 5, "description": "of an older version"})
        asked = await bot.asks(bot.alice, "searching", web_search=True)
        await asked.until(shows("Done"), within=SOON)

        (run,) = bot.runs("searching")
        assert run.inputs["enable_web_search"] is False
        assert bot.charged(asked) == ("settle", 1, 80_000)
        bot.assert_in_order()


async def test_a_forged_form_is_refused_like_a_command(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        asked = await bot.alice.slash(bot.channel, "imagine", force=True, prompt="typed", count=99)
        await asked.acked()
        assert asked.message is not None
        opened = await bot.alice.click(asked.message, label="Change prompt")
        await opened.acked()
        for values, says in (
            ({"model": ["dall-e"]}, "There's no model called dall-e"),
            ({"count": ["99"]}, "`count` must be from 1 to 4"),
            ({"count": ["many"], "resolution": ["8K"]}, "8K isn't a valid"),
            ({"prompt": "x" * 4001, "count": []}, "the maximum is 4000"),
            ({"prompt": "", "count": []}, "Your prompt is empty"),
        ):
            assert says in await _text_of(await bot.alice.submit(opened, values, force=True)), values
        good = await bot.alice.submit(opened, {"count": [], "prompt": "half \ud83d"})

        await good.until(shows("Done"), within=SOON)
        assert len(bot.runs("half \ufffd")) == 1
        assert bot.books() == {"reserve": 1, "settle": 1}
        bot.assert_in_order()


# --- limits


@dataclass
class Spender:
    """Requests pictures and waits for them."""

    bot: Scene
    spent: list[str] = field(default_factory=list)

    async def makes(self, member: Member, count: int) -> None:
        prompt = f"picture {len(self.spent)}"
        self.spent.append(prompt)
        asked = await self.bot.asks(member, prompt, count=count)
        await asked.until(shows("Done"), within=SOON)


async def test_each_limit_says_what_is_left_and_when_there_is_more(tmp_path: Path) -> None:
    limits: dict[str, Any] = {
        "user_day_images": 3,
        "guild_month_usd": "0.45",
        "host_month_usd": "0.60",
        "user_in_flight": 1,
        "guild_in_flight": 1,
        "host_in_flight": 1,
    }
    async with scene(tmp_path, **{f"quota__{name}": value for name, value in limits.items()}) as bot:
        spender = Spender(bot)
        second = bot.discord.add_guild("Second").add_channel("pictures")
        assert second.guild is not None
        carol = bot.discord.add_member("carol", second.guild)

        async def refused(member: Member, count: int = 1, *, elsewhere: bool = False) -> str:
            channel = second if elsewhere else bot.channel
            before = bot.books()
            asked = await member.slash(channel, "imagine", prompt="one more", count=count)
            sentence = await _text_of(asked)
            assert "Limit reached" in sentence
            assert await _typed(member, asked) == "one more"
            assert bot.books() == before
            return sentence

        bot.host.hold = True
        queued = await bot.asks(bot.alice, "held")
        assert "You can have 1 active job at a time." in await refused(bot.alice)
        assert "This server can have 1 active job at a time." in await refused(bot.bob)
        sentence = await refused(carol, elsewhere=True)
        assert "The whole bot can have 1 active job at a time." in sentence
        bot.host.hold = False
        await queued.until(shows("Done"), within=SOON)

        await spender.makes(bot.alice, 1)
        sentence = await refused(bot.alice, 2)
        assert (
            "You asked for 2 pictures. Your limit is 3 pictures per day, and you have 1 picture left. It resets <t:"
            in sentence
        )
        await spender.makes(bot.bob, 3)
        sentence = await refused(bot.alice)
        assert "This costs $0.08. This server's limit is $0.45 per month, with $0.05 left. It resets <t:" in sentence
        sentence = await refused(carol, 3, elsewhere=True)
        assert "This costs $0.24. The limit for the whole bot is $0.60 per month, with $0.20" in sentence
        usage = await _text_of(await bot.alice.slash(bot.channel, "usage"))

        for line in ("2 of 3 · 1 left", "0 of 1", "$0.40 of $0.45", "resets <t:"):
            assert line in usage
        assert "$0.60" not in usage, "what all servers spend together is the operator's business"
        bot.assert_in_order()


async def test_usage_and_help_answer_privately(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        bot.host.hold = True
        await bot.asks(bot.alice, "held")
        usage = await _text_of(await bot.alice.slash(bot.channel, "usage"))
        help_text = await _text_of(await bot.alice.slash(bot.channel, "help"))
        alone = await _text_of(await bot.bob.slash(bot.bob.dm(), "usage"))

        assert "1 of 10 · 9 left" in usage
        assert "$0.08 reserved" in usage
        assert "This server · " in usage
        assert "This server · " not in alone
        for word in ("/imagine", "/edit", "/jobs", "Nano Banana 2: about $0.08", "RunComfy", "24 h", "30 d"):
            assert word in help_text
        bot.assert_in_order()


# --- places and times


async def test_no_pictures_are_made_in_a_server_that_is_not_open(tmp_path: Path) -> None:
    async with scene(tmp_path, discord__guilds="[]") as bot:
        stranger = bot.discord.add_user("stranger")
        closed = bot.discord.add_guild("Closed", owner_id=stranger.id)
        channel = closed.add_channel("pictures")
        bot.alice.join(closed)
        shown = channel.post(stranger, attachments=[Upload("one.png", picture())])
        for asked in (
            await bot.alice.slash(channel, "imagine", prompt="x"),
            await bot.alice.slash(channel, "edit", prompt="x", image=Upload("one.png", picture())),
            await bot.alice.menu(channel, "Edit this", shown),
        ):
            sentence = await _text_of(asked)
            assert "isn't enabled in this server yet" in sentence
            assert str(closed.id) in sentence
        assert "doesn't work in direct messages" in await _text_of(
            await bot.alice.slash(bot.alice.dm(), "imagine", prompt="x")
        )
        assert bot.books() == {}

        await (await bot.asks(bot.alice, "in the owner's server")).until(shows("Done"), within=SOON)
        bot.assert_in_order()


async def test_a_slow_answer_to_discord_delays_no_other_member(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        bot.discord.fault("callback", do="hang", times=1)
        stuck = await bot.alice.slash(bot.channel, "imagine", prompt="stuck")
        await bot.until(lambda: bot.job(stuck))
        quick = await bot.bob.slash(bot.channel, "imagine", prompt="quick")

        assert (await quick.acked()).ms < 1000
        await quick.until(shows("Done"), within=SOON)
        ended = await bot.reaches(stuck, "cancelled")
        assert ended["reason"] == "unacknowledged"
        assert bot.charged(stuck) == ("release", 1, 80_000)
        assert bot.runs("stuck") == []
        bot.assert_in_order()
