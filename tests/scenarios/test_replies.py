"""Replies are completed despite expired tokens, deleted messages, outages of Discord and lost connections."""

import time
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bot.sandbox.faults import Fault
from tests.discord.interactions import Ack, Interaction
from tests.discord.world import MIB, Channel
from tests.scenarios.conftest import GATEWAY
from tests.scenarios.harness import NO_LIMITS, SOON, Scene, scene, shows

UNDELIVERED = "SELECT count(*) FROM replies WHERE delivered < wanted"


async def _queued(bot: Scene, prompt: str, *, channel: Channel | None = None, private: bool = False) -> Interaction:
    """An /imagine of Alice's whose card shows the state queued, while the provider is paused."""
    bot.host.hold = True
    asked = await bot.alice.slash(channel or bot.channel, "imagine", prompt=prompt, private=private, resolution="0.5K")
    await asked.until(shows("Queued"), within=SOON)
    return asked


def _grow_old(bot: Scene) -> None:
    """Advance Discord's clock by a quarter of an hour: the tokens of all interactions so far expire."""
    bot.discord.now = lambda: time.time() + 16 * 60


async def _ended(bot: Scene, *asked: Interaction) -> None:
    """Resume the provider, and return when every job has succeeded, delivered or not."""
    bot.host.hold = False
    for each in asked:
        await bot.reaches(each, "succeeded")


async def _jobs(bot: Scene) -> Interaction:
    listed = await bot.alice.slash(bot.channel, "jobs")
    assert (await listed.acked()).ephemeral
    return listed


def _text(asked: Interaction) -> str:
    assert asked.message is not None
    return asked.message.text


def _answered(ack: Ack) -> str:
    assert ack.message is not None
    return ack.message.text


def _sent(bot: Scene, route: str) -> list[int | None]:
    """Discord's answers to the requests of one route."""
    return [each.status for each in bot.discord.requests if each.route == route]


async def _blocked(bot: Scene, asked: Interaction) -> None:
    """Wait until only a click or /jobs can deliver the reply, and the member was notified of that."""
    sql = "SELECT count(*) FROM replies WHERE job = ? AND notified = 1 AND attempts > 0 AND delivered < wanted"
    await bot.until(lambda: bot.rows(sql, bot.job(asked)["id"]) == [(1,)])


# --- a dead token


async def test_a_reply_is_updated_after_its_token_expired_where_the_bot_sees_the_channel(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        asked = [await _queued(bot, "in the server"), await _queued(bot, "alone", channel=bot.alice.dm())]
        _grow_old(bot)
        await _ended(bot, *asked)
        for each in asked:
            done = await each.until(shows("Done"), within=SOON)
            assert len(done.files()) == 1
            assert done.channel.messages == [done]

        assert _sent(bot, "edit_message") == [200, 200]
        assert _sent(bot, "create_message") == []
        bot.assert_in_order()


async def test_a_click_or_jobs_delivers_pictures_that_no_other_path_could(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        hidden = bot.guild.add_channel("hidden")
        clicked = [await _queued(bot, "private", private=True), await _queued(bot, "hidden", channel=hidden)]
        listed = await _queued(bot, "listed", private=True)
        hidden.bot_sees = False
        _grow_old(bot)
        await _ended(bot, *clicked, listed)
        for each in (*clicked, listed):
            await _blocked(bot, each)
            assert "Queued" in _text(each)
        assert sorted(each.text.rpartition("> ")[2] for each in bot.alice.dm().messages) == [
            "hidden",
            "listed",
            "private",
        ]
        for each in clicked:
            assert each.message is not None
            await bot.alice.click(each.message, label="Check now")
            assert len((await each.until(shows("Done"), within=SOON)).files()) == 1
        await bot.until(lambda: bot.rows(UNDELIVERED) == [(1,)])
        job_list = await _jobs(bot)

        assert "listed" in _text(job_list)
        assert "hidden" not in _text(job_list)
        handed = await job_list.followed_up(shows("Done"), within=SOON)
        assert (handed.ephemeral, len(handed.files())) == (True, 1)
        await bot.until(lambda: bot.rows(UNDELIVERED) == [(0,)])
        assert "You have no active or undelivered jobs" in _text(await _jobs(bot))
        assert listed.message is not None
        await bot.alice.click(listed.message, label="Check now")  # the card itself still says that it is queued
        await listed.until(shows("Done"), within=SOON)
        assert 404 not in _sent(bot, "edit_by_token")  # no token is used before its press was answered
        assert bot.books() == {"reserve": 3, "settle": 3}
        bot.assert_in_order()


async def test_a_hidden_channel_is_reached_by_token_and_a_deleted_reply_is_delivered_by_jobs_once(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as bot:
        hidden = bot.guild.add_channel("hidden")
        unseen = await _queued(bot, "hidden", channel=hidden)
        hidden.bot_sees = False
        await _ended(bot, unseen)

        assert len((await unseen.until(shows("Done"), within=SOON)).files()) == 1
        assert _sent(bot, "edit_message") == []

        asked = await _queued(bot, "deleted")
        assert asked.message is not None
        await bot.alice.delete(asked.message)
        await _ended(bot, asked)
        await bot.until(lambda: bot.rows("SELECT gone FROM replies ORDER BY gone") == [(0,), (1,)])

        assert bot.channel.messages == []
        job_list = await _jobs(bot)
        handed = await job_list.followed_up(shows("Done"), within=SOON)
        assert len(handed.files()) == 1
        await bot.until(lambda: bot.rows(UNDELIVERED) == [(0,)])
        assert "You have no active or undelivered jobs" in _text(await _jobs(bot))
        late = await bot.alice.click(asked.message, f"j1:{bot.job(asked)['id']}:look", force=True)  # pressed before
        await late.followed_up(shows("Done"), within=SOON)
        assert bot.rows("SELECT due_at FROM replies") == [(None,), (None,)]
        assert bot.charged(asked) == ("settle", 1, 60_000)
        bot.assert_in_order()


# --- Discord in trouble


async def test_a_repeated_interaction_makes_one_job_and_an_end_during_an_outage_is_shown_later(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as bot:
        twice = await bot.alice.slash(bot.channel, "imagine", prompt="an interaction that comes four times")
        for _ in range(3):
            bot.discord.send_again(twice)
        await twice.until(shows("Done"), within=SOON)
        await bot.at_rest()
        assert (bot.states(), bot.books()) == (["succeeded"], {"reserve": 1, "settle": 1})
        assert (len(bot.channel.messages), len(bot.host.accepted)) == (1, 1)

        asked = await _queued(bot, "unseen")
        await bot.discord.down()
        await _ended(bot, asked)
        await bot.until(lambda: bot.rows("SELECT count(*) FROM replies WHERE attempts > 0") == [(1,)])
        await bot.discord.up()
        done = await asked.until(shows("Done"), within=SOON)

        assert len(done.files()) == 1
        await bot.discord.until(lambda: bool(bot.discord.gateway.live or bot.discord.endpoint.urls), within=SOON)
        await (await bot.asks(bot.alice, "afterwards")).until(shows("Done"), within=SOON)
        bot.assert_in_order()


async def test_rate_limits_and_a_blocked_address_only_delay_replies(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        for do in ("429", "cloudflare"):
            asked = await _queued(bot, do)
            fault = bot.discord.fault("edit_by_token", do=do, times=1)
            await _ended(bot, asked)
            done = await asked.until(shows("Done"), within=SOON)

            assert (len(done.files()), fault.hits) == (1, 1)
        assert bot.bot.log.count("event=discord_shut") == 1
        bot.assert_in_order()


@pytest.mark.prove
async def test_pictures_are_shrunk_to_the_upload_limit_of_their_place(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        bot.host.faults.add(Fault("submit", "file:huge", match="huge", times=None, mb=4))
        asked = await _queued(bot, "huge, and Discord says no")
        bot.discord.fault("edit_by_token", do="code:413:40005", times=1)
        await _ended(bot, asked)
        done = await asked.until(shows("Done"), within=SOON)
        bot.guild.size_limit = 1 * MIB
        small = await _queued(bot, "huge, in a small place")
        await _ended(bot, small)
        fitted = await small.until(shows("Done"), within=SOON)

        sizes = [each.stat().st_size for each in (bot.folder / "pictures").iterdir()]
        assert min(sizes) > 3 * MIB  # what is kept is what the host made
        for message, most in ((done, 10 * MIB // 3), (fitted, 1 * MIB)):
            (file,) = message.files()
            assert len(file) <= most
            assert Image.open(BytesIO(file)).format in ("WEBP", "JPEG")
        bot.assert_in_order()


# --- where only its user installed it


@pytest.mark.prove
async def test_a_user_installed_bot_works_where_it_is_no_member(tmp_path: Path) -> None:
    async with scene(tmp_path, discord__user_install="true", **NO_LIMITS) as bot:
        foreign = bot.discord.add_guild("Foreign", bot_in=False)
        quiet = foreign.add_channel("quiet", external_apps=False)
        bot.alice.join(foreign).user.installed = True
        places = {
            "open": foreign.add_channel("open"),
            "quiet": quiet,
            "two": bot.discord.dm(bot.alice.user, bot.bob.user),
        }
        asked = {name: await _queued(bot, name, channel=channel) for name, channel in places.items()}
        bot.host.hold = False
        for name, each in asked.items():
            done = await each.until(shows("Done"), within=SOON)
            assert (done.ephemeral, len(done.files())) == (name == "quiet", 1)
        late = await _queued(bot, "late", channel=places["open"])
        _grow_old(bot)
        await _ended(bot, late)
        await _blocked(bot, late)
        assert late.message is not None
        await bot.alice.click(late.message, label="Check now")
        await late.until(shows("Done"), within=SOON)

        assert _sent(bot, "edit_message") == []
        assert [shows("Done")(each) for each in bot.alice.dm().messages] == [True]  # of the late one
        assert 404 not in _sent(bot, "edit_by_token")
        bot.assert_in_order()


@pytest.mark.prove
async def test_a_user_installed_bot_accepts_nothing_where_that_is_disabled(tmp_path: Path) -> None:
    async with scene(tmp_path) as bot:
        foreign = bot.discord.add_guild("Foreign", bot_in=False)
        channel = foreign.add_channel("general")
        bot.alice.join(foreign).user.installed = True
        with pytest.raises(PermissionError):
            await bot.alice.slash(channel, "imagine", prompt="not offered")
        refused = await bot.alice.slash(channel, "imagine", force=True, prompt="x")

        assert (await refused.acked()).ephemeral
        assert "only works in servers it was added to" in _text(refused)
        assert bot.books() == {}
        bot.assert_in_order()


# --- the connection


@GATEWAY
@pytest.mark.prove
async def test_every_lost_connection_is_restored_and_no_press_is_lost(tmp_path: Path) -> None:
    async with scene(tmp_path, **NO_LIMITS) as bot:
        gateway = bot.discord.gateway
        made = await (await bot.asks(bot.alice, "before")).until(shows("Done"), within=SOON)
        for n, code in enumerate((1001, 4000, None), start=1):
            if code is None:
                gateway.control(7)
            else:
                await gateway.close(code)
            asked = await bot.alice.slash(bot.channel, "imagine", prompt=f"break {n}")  # nobody may be listening yet
            await asked.acked()
            await asked.until(shows("Done"), within=SOON)
            assert gateway.resumes == n
        gateway.forget()
        gateway.control(9, False)
        await bot.discord.until(lambda: gateway.identifies == 2, within=SOON)
        await (await bot.asks(bot.alice, "a new session")).until(shows("Done"), within=SOON)
        pressed = await bot.alice.click(made, label="More…")

        assert "before" in _answered(await pressed.acked())
        assert len(bot.host.accepted) == 5
        bot.assert_in_order()


@GATEWAY
async def test_a_missing_wrong_or_revoked_token_ends_the_program_with_one_line(tmp_path: Path) -> None:
    async with scene(tmp_path, start=False) as bot:
        good = bot.bot.env.pop("DARKROOM_DISCORD__TOKEN")
        await bot.bot.start()
        assert await bot.bot.exited() == 2
        (line,) = bot.bot.log.splitlines()
        assert line.startswith("darkroom: DARKROOM_DISCORD__TOKEN is not set")
        assert bot.discord.requests == []

        bot.bot.env["DARKROOM_DISCORD__TOKEN"] = "a-token-of-somebody-else"
        await bot.bot.start()
        assert await bot.bot.exited() == 2
        assert "a-token-of-somebody-else" not in bot.bot.log

        bot.bot.env["DARKROOM_DISCORD__TOKEN"] = good
        await bot.start()
        await bot.discord.gateway.close(4004)
        assert await bot.bot.exited() == 2
        told = [line for line in bot.bot.log.splitlines() if line.startswith("darkroom: ")]
        assert len(told) == 3
        assert all("DARKROOM_DISCORD__TOKEN" in line for line in told)
        bot.assert_in_order()
