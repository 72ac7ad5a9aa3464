"""The command `/demo`, which only the demo has: what Discord has and its page lacks, and trouble on request.

`/demo menu` runs an entry of the menu of a message, with the message as Discord would send it. `/demo trouble` gives
the local image service a fault, or takes it away.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import discord
from discord import app_commands
from simcord.backend import serializers

from bot.sandbox.faults import Fault
from bot.sandbox.runs import Pace
from bot.sandbox.service import ImageService
from bot.ui.client import DarkroomClient

MAX_CHOICES = 25  # Discord's limit
MAX_TITLE = 100  # characters of a choice, Discord's limit
NO_PICTURE = "There's no picture by another member in this channel."
Interaction = discord.Interaction[Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the local image service is to do: its name in the command, what the answer says, and the faults."""

    title: str
    said: str
    faults: tuple[Fault, ...] = ()
    pace: Pace | None = None  # None: as before


NORMAL = Trouble("Back to normal", "The image service works again. Jobs that wait for it continue within a minute.")
TROUBLES = (
    Trouble("Slow", "Each picture now takes a minute.", pace=Pace(queue_s=20, run_s=40)),
    Trouble(
        "Down",
        "The image service now answers every request with 503. Request a few pictures, then see `/status` as Noor.",
        (Fault("any", "envelope_503", times=None),),
    ),
    Trouble(
        "Out of credit",
        "The account at the image service is now empty. Request a picture, then see `/status` as Noor.",
        (
            Fault("submit", "status:402", times=None),
            Fault("balance", "status:200", times=None, host="runcomfy", body={"balance_microdollars": 0}),
            Fault("balance", "status:200", times=None, host="runflow", body={"balance_cents": 0}),
        ),
    ),
    Trouble(
        "Refuse the next request",
        "The image service will refuse the next request because of its content, and no other.",
        (Fault("submit", "refuse"),),
    ),
    NORMAL,
)


class DemoCommands:
    """Adds `/demo` to the commands of *client*, which has not logged in yet."""

    def __init__(self, client: DarkroomClient, service: ImageService, *, probe: Callable[[], Awaitable[None]]) -> None:
        """*probe* asks each provider with an outage whether it works again."""
        self.backend: Any = None  # of the local Discord, once it runs
        self._service = service
        self._probe = probe
        self._pace: Pace | None = None  # before the trouble
        self._tree = client.tree
        self._group = app_commands.Group(name="demo", description="Controls that only this demo has")
        self._add_menu()
        self._add_trouble()
        client.tree.add_command(self._group)

    # --- the menu of a message

    def _add_menu(self) -> None:
        menus = self._tree.get_commands(type=discord.AppCommandType.message)
        entries: dict[str, Any] = {each.name: each for each in menus}

        async def menu(interaction: Interaction, entry: str, message: str | None = None) -> None:
            target = self._target(interaction, message)
            if target is None:
                await interaction.response.send_message(NO_PICTURE, ephemeral=True)
                return
            await entries[entry].callback(interaction, target)

        async def complete(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
            found = [(self._title(each), str(each.id)) for each in self._with_pictures(interaction)]
            found = [each for each in found if typed.casefold() in each[0].casefold()]
            return [app_commands.Choice(name=title, value=value) for title, value in found[:MAX_CHOICES]]

        choices = [app_commands.Choice(name=each, value=each) for each in entries]
        app_commands.choices(entry=choices)(menu)
        app_commands.autocomplete(message=complete)(menu)
        app_commands.describe(
            entry="The entry of the menu", message="The message; by default the newest picture by somebody else"
        )(menu)
        self._group.add_command(
            app_commands.Command(
                name="menu", description="The menu of a message, under Apps, which this page lacks", callback=menu
            )
        )

    def _target(self, interaction: Interaction, message_id: str | None) -> discord.Message | None:
        """The message with this id, or the newest with a picture by somebody else, as Discord sends it to a menu."""
        for each in self._with_pictures(interaction):
            if message_id is not None and str(each.id) != message_id:
                continue
            if message_id is None and self._author(each) == interaction.user.id:
                continue
            payload: Any = dict(serializers.message_payload(self.backend, each))
            channel: Any = interaction.channel
            return discord.Message(state=interaction._state, channel=channel, data=payload)  # noqa: SLF001 - as discord.py makes it
        return None

    def _with_pictures(self, interaction: Interaction) -> Iterator[Any]:
        """The messages with files that everybody in the channel can see, newest first."""
        sent = self.backend.messages.get(interaction.channel_id, {})
        for each in sorted(sent.values(), key=lambda one: -int(one.id)):
            if each.attachments and not each.is_ephemeral:
                yield each

    def _author(self, message: Any) -> int:
        """Who posted a message, or asked for what it shows."""
        metadata = message.interaction_metadata
        return int(metadata["user"]["id"]) if metadata else int(message.author_id)

    def _title(self, message: Any) -> str:
        name = self.backend.get_user(self._author(message)).global_name
        words = message.content or next(_texts(message.components), message.attachments[0]["filename"])
        return f"{name}: {words.splitlines()[0].strip('*')}"[:MAX_TITLE]

    # --- trouble

    def _add_trouble(self) -> None:
        async def trouble(interaction: Interaction, service: str) -> None:
            chosen = next(each for each in TROUBLES if each.title == service)
            self._cause(chosen)
            await interaction.response.send_message(chosen.said, ephemeral=True)
            if chosen is NORMAL:
                await self._probe()

        choices = [app_commands.Choice(name=each.title, value=each.title) for each in TROUBLES]
        app_commands.choices(service=choices)(trouble)
        app_commands.describe(service="What the local image service does from now on")(trouble)
        self._group.add_command(
            app_commands.Command(
                name="trouble", description="Make the local image service slow, unavailable or strict", callback=trouble
            )
        )

    def _cause(self, chosen: Trouble) -> None:
        """Replace the trouble that there was."""
        self._service.faults.replace(chosen.faults)
        if self._pace is not None:
            self._service.pace, self._pace = self._pace, None
        if chosen.pace is not None:
            self._pace, self._service.pace = self._service.pace, chosen.pace


def _texts(components: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The texts of a message's components, in their order."""
    for each in components:
        if each.get("content"):
            yield str(each["content"])
        yield from _texts(each.get("components", ()))
