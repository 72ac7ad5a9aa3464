"""`http.proxy` in the whole program: the parts that use it."""

from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest

from bot import app
from bot.core.errors import DownloadFailed, ProviderUnavailable
from bot.core.jobs import Step
from bot.settings.settings import Settings
from tests.providers.proxy import proxying

NO = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


async def test_discord_providers_and_pictures_are_reached_through_the_configured_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)
    async with proxying({}, says=NO) as proxy:
        settings = Settings.load(
            {
                "DARKROOM_HTTP__PROXY": proxy.url,
                "DARKROOM_DATABASE__URL": f"sqlite:///{tmp_path}/d.db",
                "DARKROOM_DATA__DIR": str(tmp_path),
                "DARKROOM_DISCORD__API_BASE": "https://discord.example/api/v10",
                "DARKROOM_RUNCOMFY__API_BASE": "https://runcomfy.example",
                "DARKROOM_RUNCOMFY__BALANCE_URL": "https://balance.example",
                "DARKROOM_RUNFLOW__API_BASE": "https://runflow.example",
                "DARKROOM_ROUTING__PREFER": '["runcomfy", "runflow"]',
            }
        )
        for host in app.providers(settings).values():
            with pytest.raises(ProviderUnavailable):
                await host.balance()
            await host.aclose()
        async with app.build(settings) as built:
            with pytest.raises(aiohttp.ClientHttpProxyError):
                await built.client.login("token")
            collect: Any = built.jobs.worker._steps.runners[Step.COLLECT]
            with pytest.raises(DownloadFailed):
                await collect._context.results._fetcher.fetch("https://a.example/", hosts=["a.example"], max_bytes=9)
            await built.client.close()
    asked = [each.partition(" ")[2] for each in proxy.asked]
    assert asked == ["balance.example", "runflow.example", "discord.example", "a.example"]
