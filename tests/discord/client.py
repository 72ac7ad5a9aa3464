"""A small discord.py client for tests of the local Discord; each test sets its handler."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from io import BytesIO
from typing import Any

import discord as dpy
from discord import app_commands, ui
from PIL import Image

Event = dpy.Interaction[dpy.Client]
Handler = Callable[[Event], Awaitable[Any]]
SILENT = dpy.AllowedMentions.none()


class SmallBot(dpy.Client):
    def __init__(self) -> None:
        super().__init__(
            intents=dpy.Intents(guilds=True), guild_ready_timeout=0.05, allowed_mentions=SILENT, max_messages=None
        )
        self.tree = app_commands.CommandTree(self)
        self.handle: Handler = _nothing
        self.outcomes: asyncio.Queue[Any] = asyncio.Queue()
        _add_commands(self)

    async def setup_hook(self) -> None:
        await self.tree.sync()

    async def on_interaction(self, event: Event) -> None:
        if event.type in {dpy.InteractionType.component, dpy.InteractionType.modal_submit}:
            await self.run_handler(event)

    async def run_handler(self, event: Event) -> None:
        try:
            self.outcomes.put_nowait(await self.handle(event))
        except (dpy.DiscordException, OSError, ValueError) as error:
            self.outcomes.put_nowait(error)

    async def outcome(self) -> Any:
        """The handler's result, or the exception it raised."""
        async with asyncio.timeout(5):
            return await self.outcomes.get()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """No waiting between two identifies."""


async def _nothing(_: Event) -> None:
    return None


def _add_commands(bot: SmallBot) -> None:
    @app_commands.command(description="Paints")
    @app_commands.allowed_installs(guilds=True, users=True)
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=True)
    @app_commands.choices(count=[app_commands.Choice(name=str(n), value=n) for n in (1, 2, 4)])
    async def paint(
        event: Event,
        *,
        prompt: app_commands.Range[str, 1, 20],
        count: int = 1,
        style: str | None = None,
        image1: dpy.Attachment | None = None,
        friend: dpy.User | None = None,
    ) -> None:
        event.extras.update(prompt=prompt, count=count, style=style, image1=image1, friend=friend)
        await bot.run_handler(event)

    @paint.autocomplete("style")
    async def styles(_: Event, typed: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=typed.upper(), value=typed)]

    @app_commands.context_menu(name="Edit this")
    async def edit_this(event: Event, message: dpy.Message) -> None:
        event.extras["message"] = message
        await bot.run_handler(event)

    quota = app_commands.Group(
        name="quota", description="Quota", default_permissions=dpy.Permissions(manage_guild=True), guild_only=True
    )

    @quota.command(description="Shows")
    async def show(event: Event, who: str = "all") -> None:
        event.extras["who"] = who
        await bot.run_handler(event)

    bot.tree.add_command(paint)
    bot.tree.add_command(edit_this)
    bot.tree.add_command(quota)


def png(colour: str = "red", size: tuple[int, int] = (8, 6)) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def card(
    text: str = "hello",
    *,
    buttons: Sequence[tuple[str, str]] = (),
    pictures: Sequence[str] = (),
    alt: str | None = None,
) -> ui.LayoutView:
    """A v2 view, stopped, so that discord.py does not store it."""
    view = ui.LayoutView(timeout=None)
    if pictures:
        view.add_item(ui.MediaGallery(*(dpy.MediaGalleryItem(each, description=alt) for each in pictures)))
    view.add_item(ui.TextDisplay(text))
    if buttons:
        view.add_item(ui.ActionRow(*(ui.Button[Any](label=label, custom_id=name) for label, name in buttons)))
    view.stop()
    return view


def form(custom_id: str = "form:1", *, with_file: bool = False) -> ui.Modal:
    modal = ui.Modal(title="Change", custom_id=custom_id, timeout=None)
    modal.add_item(ui.TextDisplay("Say what to paint."))
    prompt: ui.TextInput[Any] = ui.TextInput(custom_id="prompt", default="a cat", max_length=20)
    modal.add_item(ui.Label(text="Prompt", component=prompt))
    if with_file:
        upload: ui.FileUpload[Any] = ui.FileUpload(custom_id="files", max_values=2, required=False)
        modal.add_item(ui.Label(text="Pictures", component=upload))
    modal.stop()
    return modal


def file(name: str, data: bytes | None = None) -> dpy.File:
    return dpy.File(BytesIO(png() if data is None else data), filename=name)


async def show(event: Event, text: str = "hello", **parts: Any) -> None:
    """Answer with a card."""
    files = parts.pop("files", [])
    private = parts.pop("ephemeral", False)
    await event.response.send_message(view=card(text, **parts), files=files, ephemeral=private, allowed_mentions=SILENT)
