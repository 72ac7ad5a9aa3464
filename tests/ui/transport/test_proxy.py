"""Discord behind an HTTP proxy: all requests and the gateway use it; only the proxy can resolve Discord's name."""

from pathlib import Path

import aiohttp
import discord
import pytest

from bot.core.cards import ReplyPath
from bot.observability.logging import Redactor
from bot.settings.settings import Settings
from bot.ui.application_check import ApplicationCheckFailed, check_application
from bot.ui.interactions.access import Access
from tests.discord.server import API
from tests.providers.proxy import proxying
from tests.ui.transport.test_sockets import SOON, acknowledged, connected


async def test_gateway_commands_and_replies_on_every_path_use_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, int] = {}
    async with (
        proxying(names) as proxy,
        connected(tmp_path, monkeypatch, proxy=proxy.url, names=names) as on,
    ):
        guild = on.discord.add_guild("Own")
        channel, alice = guild.add_channel("pictures"), on.discord.add_member("alice", guild)
        await (await alice.slash(channel, "imagine", prompt="a lighthouse")).acked(within=SOON)
        await (await alice.slash(channel, "usage")).acked(within=SOON)
        record = await on.rig.store.job_record((await acknowledged(on)).id)
        assert record is not None
        card, reply = await on.rig.services.jobs.card_of(record), record.reply

        assert await on.messenger.find(reply) == (reply.message_id, False)
        for way in ReplyPath:
            await on.messenger.send(card, reply, path=way, uploads=())
        found = await check_application(on.discord.token, access=Access((), user_install=False), proxy=proxy.url)
        assert [each.name for each in found.servers] == ["Own"]
        assert on.discord.violations == []
    assert {each.partition(" ")[2] for each in proxy.asked} == {"discord.example"}


@pytest.mark.parametrize("password", ["hunter22", "x%2e9"])
async def test_a_refusing_proxy_is_reported_in_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setattr(discord.http.Route, "BASE", f"https://discord.example{API}")
    no = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with proxying({}, says=no) as proxy:
        address = f"http://me:{password}@127.0.0.1:{proxy.port}"
        settings = Settings.load({"DARKROOM_HTTP__PROXY": address})
        with pytest.raises(ApplicationCheckFailed) as caught:
            await check_application("token", access=Access((), user_install=False), proxy=settings.http.address)
        cause = caught.value.__cause__
        assert isinstance(cause, aiohttp.ClientHttpProxyError)
        assert str(caught.value) == "cannot be reached (ClientHttpProxyError)"
        for told in (password, "x.9"):
            assert told not in Redactor(settings.secrets()).clean(f"{cause} {cause!r}") + repr(settings)
