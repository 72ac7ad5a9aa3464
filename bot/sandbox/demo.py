"""Runs the real bot against a local Discord and the local image service, without any account.

The database is a real file, the image service is called over HTTP, and the printed address shows a Discord-like
channel whose commands and buttons reach the bot.
"""

import asyncio
import json
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import discord
import simcord
import simcord.backend.cdn
from aiohttp import web
from PIL import Image, ImageDraw

from bot import app as darkroom
from bot.app import App
from bot.core.jobs import State
from bot.sandbox.service import ImageService, Pace
from bot.settings.settings import Settings
from bot.settings.sources import BadSettings
from bot.store.sqlite import RunningLock

TICK = 0.25  # seconds between checks for new messages
REFRESH_INTERVAL = 30.0  # seconds after which the page is refreshed in any case, for its relative times
TIMEOUT = 60.0  # seconds a demo job may take
PROMPT = "a lighthouse on a cliff at dusk, watercolour"
CHANGE = "make it a snowy winter night"
MARKER = ".darkroom-demo"  # file that marks a folder as a demo's, which may be emptied


async def play(*, folder: Path, port: int, once: bool, seconds: float) -> int:
    """Run one /imagine and one /edit, then wait for Ctrl-C unless *once*. Returns 0 if both succeeded, else 1.

    *seconds* is the time that the image service takes for a picture, a third of it in its queue.
    """
    async with stage(folder, port=port, pace=Pace(queue_s=seconds / 3, run_s=seconds * 2 / 3)) as scene:
        succeeded = await scene.perform()
        print(f"\n{'Both were delivered.' if succeeded else 'Something went wrong.'} Pictures: {folder}")
        if once or not succeeded:
            return 0 if succeeded else 1
        stop = _stop_signal()
        print(f"\nOpen {scene.url}\nType /imagine, /edit, /jobs, /usage or /help there. Ctrl-C ends it.")
        await stop.wait()
    return 0


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    return stop


class Scene:
    """The local server with one channel, a member and the bot."""

    def __init__(self, app: App, env: Any, *, channel: Any, member: Any, page: Any) -> None:
        self.app = app
        self.env = env
        self.channel = channel
        self.member = member
        self.page = page
        self.url: str = page.url

    async def perform(self) -> bool:
        """What a newcomer would try first; True when both pictures were delivered."""
        print(f'\n/imagine prompt:"{PROMPT}" count:2')
        made = await self._job(lambda: self.member.slash(self.channel, "imagine", prompt=PROMPT, count=2))
        print(f'\n/edit prompt:"{CHANGE}" image:harbour.png')
        picture = ("harbour.png", sample_picture())
        edited = await self._job(lambda: self.member.slash(self.channel, "edit", prompt=CHANGE, image=picture))
        return made and edited

    async def _job(self, act: Callable[[], Any]) -> bool:
        """Let the member act, then print each state of the resulting job. Returns whether it succeeded."""
        store, user = self.app.services.store, self.member.id
        known = {each.job.id for each in (await store.open_jobs(user, since=0, limit=100))[0]}
        await act()
        found, _ = await store.open_jobs(user, since=0)
        job_id = next(each.job.id for each in found if each.job.id not in known)
        began, shown = time.time(), None
        while time.time() - began < TIMEOUT:
            record = await store.job_record(job_id)
            assert record is not None
            if record.job.state is not shown:
                shown = record.job.state
                print(f"  {time.time() - began:5.1f} s  {shown.value}")
            if shown.is_final and record.reply.delivered >= record.reply.wanted:
                for picture in record.pictures:
                    print(f"           {picture.file}  {picture.width} x {picture.height}")
                return shown is State.SUCCEEDED
            await asyncio.sleep(0.05)
        return False


@asynccontextmanager
async def stage(folder: Path, *, port: int, pace: Pace) -> AsyncIterator[Scene]:
    """Start bot, local Discord and image service, and stop them afterwards. *folder* is emptied first."""
    _require_free(port)
    _empty(folder)
    blobs: dict[str, Any] = {}
    async with _files(blobs) as cdn, ImageService(pace=pace).running() as host:
        simcord.backend.cdn.CDN_BASE = f"http://{cdn}/cdn"
        settings = _settings(folder, host=host, cdn=cdn)
        # SimCord replaces the event loop's clock while it runs the bot, so the system clock is passed here.
        async with (
            darkroom.build(settings, clock=lambda: int(time.time() * 1000)) as app,
            simcord.run(app.client, approved_intents=discord.Intents(guilds=True)) as env,
        ):
            env.backend.clock.advance((datetime.now(UTC) - env.now()).total_seconds())
            env.backend.bot_user.name = "Darkroom"
            blobs["store"] = env.backend.cdn
            async with app.working(), _scene(app, env, port=port) as scene:
                yield scene


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise BadSettings(f"port {port} cannot be used ({exc.strerror}); --port 0 takes any free one") from exc


def _empty(folder: Path) -> None:
    """Delete the files of the last demo. Raises `BadSettings` if the folder holds anything else."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise BadSettings(f"{folder} holds something other than a demo; name another folder with --data")
    RunningLock(folder / "darkroom.db").release()  # fails while another demo uses the folder
    shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _settings(folder: Path, *, host: ImageService, cdn: str) -> Settings:
    files = json.dumps([each.removeprefix("http://") for each in (host.url, host.runflow_url)])
    return Settings.load(
        {
            "DARKROOM_DISCORD__TOKEN": "the-local-discord-needs-none",
            "DARKROOM_DISCORD__GUILDS": '["*"]',
            "DARKROOM_DISCORD__CDN_HOSTS": f'["{cdn}"]',
            "DARKROOM_RUNCOMFY__API_TOKEN": "the-local-image-service-takes-any",
            "DARKROOM_RUNCOMFY__API_BASE": host.url,
            "DARKROOM_RUNCOMFY__BALANCE_URL": f"{host.url}/prod/v2/balance",
            "DARKROOM_RUNCOMFY__RESULT_HOSTS": files,
            "DARKROOM_RUNFLOW__API_KEY": "rf_live_takes-any-such",
            "DARKROOM_RUNFLOW__API_BASE": host.runflow_url,
            "DARKROOM_RUNFLOW__RESULT_HOSTS": files,
            "DARKROOM_ROUTING__PREFER": '["runcomfy", "runflow"]',
            "DARKROOM_DATABASE__URL": f"sqlite:///{folder / 'darkroom.db'}",
            "DARKROOM_DATA__DIR": str(folder),
            "DARKROOM_WEB__PORT": "0",
            "DARKROOM_QUOTA__USER_DAY_IMAGES": "50",
            "DARKROOM_QUOTA__USER_DAY_USD": "5",
        }
    )


@asynccontextmanager
async def _scene(app: App, env: Any, *, port: int) -> AsyncIterator[Scene]:
    guild = env.create_guild("The Darkroom")
    channel = guild.create_text_channel("pictures")
    manager = guild.create_role("Manager", permissions=discord.Permissions(manage_guild=True))  # for /quota, /settings
    member = guild.add_member(env.create_user("ada", global_name="Ada"), roles=[manager])
    async with env.preview(channel, viewers=[member], layout="channel", port=port or None) as page:
        refresh = asyncio.create_task(_refresh_loop(env, page))
        try:
            yield Scene(app, env, channel=channel, member=member, page=page)
        finally:
            refresh.cancel()
            with suppress(asyncio.CancelledError):
                await refresh


async def _refresh_loop(env: Any, page: Any) -> None:
    """Refresh the page and its clock: it does not receive what the bot sends by itself.

    After a refresh the page rejects actions until it has loaded the new state, up to half a second later. So it is
    refreshed only when the bot has sent something, and every REFRESH_INTERVAL seconds.
    """
    shown, refreshed_at = 0, time.monotonic()
    while True:
        await asyncio.sleep(TICK)
        env.backend.clock.advance((datetime.now(UTC) - env.now()).total_seconds())
        sent = sum(
            "/callback" not in each.path for each in env.http_requests
        )  # the page shows immediate responses itself
        if sent == shown and time.monotonic() - refreshed_at < REFRESH_INTERVAL:
            continue
        with suppress(simcord.SetupError):  # an action is in progress: the next tick retries
            _publish(env, page)
            shown, refreshed_at = sent, time.monotonic()


def _publish(env: Any, page: Any) -> None:
    """The page's own `refresh` without its wait for the bot (simcord 3.2.1, which is pinned).

    An action during that wait fails, and the page accepts no more actions after it.
    """
    env._begin_operation("preview.refresh")  # noqa: SLF001 - SetupError during an action
    try:
        page._advance_presentation_time()  # noqa: SLF001
        for each in tuple(page._pages.values()):  # noqa: SLF001
            page._publish(each, reason="refresh")  # noqa: SLF001
    finally:
        env._end_operation()  # noqa: SLF001


@asynccontextmanager
async def _files(blobs: dict[str, Any]) -> AsyncIterator[str]:
    """Serve the local Discord's attachments over HTTP for the image service. Yields `host:port`."""

    async def get(request: web.Request) -> web.Response:
        found = blobs["store"].get(f"http://{request.host}{request.path}") if "store" in blobs else None
        if found is None:
            raise web.HTTPNotFound
        return web.Response(body=found if isinstance(found, bytes) else found.data)

    served = web.Application()
    served.router.add_get("/cdn/{path:.+}", get)
    runner = web.AppRunner(served)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        assert runner.addresses
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def sample_picture() -> bytes:
    """Return a small PNG for the member's /edit."""
    image = Image.new("RGB", (768, 512), "#8fb8de")
    draw = ImageDraw.Draw(image)
    draw.ellipse((560, 60, 660, 160), fill="#ffe08a")
    draw.rectangle((0, 330, 768, 512), fill="#2f5d8a")
    draw.polygon([(180, 330), (420, 330), (380, 390), (220, 390)], fill="#7a3b2e")
    draw.polygon([(300, 330), (300, 170), (400, 310)], fill="#f5f1e6")
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
