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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import discord
import simcord
import simcord.backend.cdn
from aiohttp import web

from bot import app as darkroom
from bot.app import App
from bot.sandbox.demo_commands import DemoCommands
from bot.sandbox.demo_server import Past, Server
from bot.sandbox.pages import Pages, channel_pages
from bot.sandbox.service import ImageService, Pace
from bot.settings.settings import Settings
from bot.settings.sources import BadSettings
from bot.store.sqlite import RunningLock

QUICK = Pace(queue_s=0.2, run_s=0.4)  # for the pictures that are made at the start
TO_TRY = (
    "Type /imagine and describe a picture. Its card follows it from the queue to the picture.",
    "Press Edit under a picture and say what should change. More... has the rest: the prompt, the cost, Delete.",
    "/history lists your pictures. Press Open at the snowy night, then Made from: it is an edit of another one.",
    "/usage shows your limits and a bonus of 20 pictures.",
    "/demo menu with the entry 'Edit this' edits Ben's harbour, as Apps in the menu of his message would on Discord.",
    "Type flags at the end of a prompt: a fox in the snow --ar 16:9 --hd",
    "Go to #sketches (on the left) and ask for count 2. Change prompt opens the refused request as a form.",
    "Go to #lounge and ask for a picture. The refusal names channels where pictures are made.",
    "View as Noor (top left): /settings show, /quota show, /quota set and /status are hers.",
    "/demo trouble makes the image service slow, down, out of credit or strict. Then try 1 again.",
)
MARKER = ".darkroom-demo"  # file that marks a folder as a demo's, which may be emptied


async def play(*, folder: Path, port: int, once: bool, seconds: float) -> int:
    """Make the pictures of the start, then serve the pages until SIGINT or SIGTERM, unless *once*.

    Returns 0 if all pictures were delivered, else 1. *seconds* is the time that the image service takes for a picture,
    a third of it in its queue.
    """
    stop = _stop_signal()
    async with stage(folder, port=port, pace=QUICK) as scene:
        succeeded = await scene.make_past(stop)
        if stop.is_set():
            return 0
        print(f"\n{'All were delivered.' if succeeded else 'Something went wrong.'} Pictures: {folder}")
        if once or not succeeded:
            return 0 if succeeded else 1
        scene.service.pace = Pace(queue_s=seconds / 3, run_s=seconds * 2 / 3)
        things = "\n".join(f"{n:>3}. {each}" for n, each in enumerate(TO_TRY, start=1))
        print(f"\nTen things to try, at {scene.url}\n\n{things}\n")
        print("It runs until it is told to stop: Ctrl-C (SIGINT) or SIGTERM.", flush=True)
        await stop.wait()
        print("\nStopping.", flush=True)
    return 0


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    return stop


class Scene:
    """The running demo: the bot, the local server and its pages, and the local image service."""

    def __init__(self, app: App, server: Server, pages: Pages, service: ImageService) -> None:
        self.app = app
        self.server = server
        self.service = service
        self.urls = pages.urls  # of the channels, in their order

    @property
    def url(self) -> str:
        return self.urls[0]

    async def make_past(self, stop: asyncio.Event) -> bool:
        """Make the messages and pictures of the start, or a part of them if *stop* is set meanwhile.

        Returns whether all pictures were delivered.
        """
        making = asyncio.create_task(Past(self.app, self.server).make())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({making, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not making.done():
            making.cancel()
            await asyncio.wait({making})
            return False
        return making.result()


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
        async with darkroom.build(settings, clock=lambda: int(time.time() * 1000)) as app:
            commands = DemoCommands(app.client, host, probe=app.jobs.health.probe)
            async with simcord.run(app.client, approved_intents=discord.Intents(guilds=True)) as env:
                env.backend.clock.advance((datetime.now(UTC) - env.now()).total_seconds())
                env.backend.bot_user.name = "Darkroom"
                blobs["store"], commands.backend = env.backend.cdn, env.backend
                server = Server.create(env)
                await server.set_rules(app)
                pages = channel_pages(env, server.channels, viewers=server.members, port=port)
                async with app.working(), pages as served:
                    yield Scene(app, server, served, host)


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
            "DARKROOM_DISCORD__SHARDS": "0/1",
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
