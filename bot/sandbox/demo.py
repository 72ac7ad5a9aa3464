"""The real bot against a local Discord and the local image service, with nothing to sign up for.

The database is a real file, the host is asked over real HTTP, and the page at the printed address is a
Discord-like channel in which commands and buttons reach the real bot.
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

TICK = 0.25  # seconds between looks for something new to show
IDLE = 30.0  # seconds after which the page is renewed anyhow, for its "5 minutes ago"
TIMEOUT = 60.0  # seconds a demo job may take
PROMPT = "a lighthouse on a cliff at dusk, watercolour"
CHANGE = "make it a snowy winter night"
MARK = ".darkroom-demo"  # a folder with this file in it is a demo's, and may be emptied


async def play(*, folder: Path, port: int, once: bool, seconds: float) -> int:
    """Play one /imagine and one /edit; then stay until interrupted, unless *once*. 0 when both ended well.

    *seconds* is how long the image service takes for a picture, a third of it in its queue.
    """
    async with stage(folder, port=port, pace=Pace(queue_s=seconds / 3, run_s=seconds * 2 / 3)) as scene:
        good = await scene.perform()
        print(f"\n{'Both were delivered.' if good else 'Something went wrong.'} Pictures: {folder}")
        if once or not good:
            return 0 if good else 1
        told = _told_to_stop()
        print(f"\nOpen {scene.url}\nType /imagine, /edit, /jobs, /usage or /help there. Ctrl-C ends it.")
        await told.wait()
    return 0


def _told_to_stop() -> asyncio.Event:
    """What is set by Ctrl-C or a polite kill, from now on."""
    told = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, told.set)
    return told


class Scene:
    """A server with one channel and a member, on stage with the bot."""

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
        print(f'\n/edit prompt:"{CHANGE}" image1:harbour.png')
        picture = ("harbour.png", harbour())
        edited = await self._job(lambda: self.member.slash(self.channel, "edit", prompt=CHANGE, image1=picture))
        return made and edited

    async def _job(self, act: Callable[[], Any]) -> bool:
        """Have the member do something and watch the job that comes of it, printing each state."""
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
    """Everything up and running on this machine, and down again afterwards. *folder* is emptied first."""
    _require_free(port)
    _empty(folder)
    blobs: dict[str, Any] = {}
    async with _files(blobs) as cdn, ImageService(pace=pace).running() as host:
        simcord.backend.cdn.CDN_BASE = f"http://{cdn}/cdn"
        settings = _settings(folder, host=host, cdn=cdn)
        # SimCord stands in for the event loop's clock while it runs the bot, so the plain one is used here.
        async with (
            darkroom.build(settings, clock=lambda: int(time.time() * 1000)) as app,
            simcord.run(app.client, approved_intents=discord.Intents(guilds=True)) as env,
        ):
            env.backend.clock.advance((datetime.now(UTC) - env.now()).total_seconds())
            env.backend.bot_user.name = "Darkroom"
            blobs["store"] = env.backend.cdn
            async with app.working(), _set(app, env, port=port) as scene:
                yield scene


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise BadSettings(f"port {port} cannot be used ({exc.strerror}); --port 0 takes any free one") from exc


def _empty(folder: Path) -> None:
    """Forget the last demo, but nothing else: the folder may have been named by mistake."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise BadSettings(f"{folder} holds something other than a demo; name another folder with --data")
    RunningLock(folder / "darkroom.db").release()  # a demo that is still running keeps its files
    shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


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
async def _set(app: App, env: Any, *, port: int) -> AsyncIterator[Scene]:
    guild = env.create_guild("The Darkroom")
    channel = guild.create_text_channel("pictures")
    manager = guild.create_role("Manager", permissions=discord.Permissions(manage_guild=True))  # for /quota, /settings
    member = guild.add_member(env.create_user("ada", global_name="Ada"), roles=[manager])
    async with env.preview(channel, viewers=[member], layout="channel", port=port or None) as page:
        renewal = asyncio.create_task(_renew(env, page))
        try:
            yield Scene(app, env, channel=channel, member=member, page=page)
        finally:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal


async def _renew(env: Any, page: Any) -> None:
    """Keep the page and its clock in step: what the bot sends by itself does not reach the page otherwise.

    A renewal makes the page refuse whatever is done on it before it has read the new state, up to half a second
    later. So it is renewed when the bot has sent something, and not by the clock alone.
    """
    shown, renewed_at = 0, time.monotonic()
    while True:
        await asyncio.sleep(TICK)
        env.backend.clock.advance((datetime.now(UTC) - env.now()).total_seconds())
        sent = sum("/callback" not in each.path for each in env.http_requests)  # the page shows first answers itself
        if sent == shown and time.monotonic() - renewed_at < IDLE:
            continue
        with suppress(simcord.SetupError):  # somebody is using the page: the next tick comes soon
            _publish(env, page)
            shown, renewed_at = sent, time.monotonic()


def _publish(env: Any, page: Any) -> None:
    """The page's own `refresh` without its wait for the bot (simcord 3.2.1, which is pinned).

    What a member does during that wait is answered with an error, after which the page takes no more acts at all.
    """
    env._begin_operation("preview.refresh")  # noqa: SLF001 - SetupError while somebody acts
    try:
        page._advance_presentation_time()  # noqa: SLF001
        for each in tuple(page._pages.values()):  # noqa: SLF001
            page._publish(each, reason="refresh")  # noqa: SLF001
    finally:
        env._end_operation()  # noqa: SLF001


@asynccontextmanager
async def _files(blobs: dict[str, Any]) -> AsyncIterator[str]:
    """Serve the local Discord's attachments over HTTP, so that the image service can fetch them; `host:port`."""

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


def harbour() -> bytes:
    """A small picture for the member to hand in."""
    image = Image.new("RGB", (768, 512), "#8fb8de")
    draw = ImageDraw.Draw(image)
    draw.ellipse((560, 60, 660, 160), fill="#ffe08a")
    draw.rectangle((0, 330, 768, 512), fill="#2f5d8a")
    draw.polygon([(180, 330), (420, 330), (380, 390), (220, 390)], fill="#7a3b2e")
    draw.polygon([(300, 330), (300, 170), (400, 310)], fill="#f5f1e6")
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
