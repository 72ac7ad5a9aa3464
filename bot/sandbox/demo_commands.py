"""The command `/demo`, which only the demo has: what Discord has and its page lacks, and trouble on request.

`/demo menu` runs an entry of the menu of a message, with the message as Discord would send it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import discord
from discord import app_commands
from simcord.backend import serializers

from bot.ui.client import DarkroomClient

MAX_CHOICES = 25  # Discord's limit
MAX_TITLE = 100  # characters of a choice, Discord's limit
NO_PICTURE = "There's no picture by another member in this channel."
Interaction = discord.Interaction[Any]


class DemoCommands:
    """Adds `/demo` to the commands of *client*, which has not logged in yet."""

    def __init__(self, client: DarkroomClient) -> None:
        self.backend: Any = None  # of the local Discord, once it runs
        self._tree = client.tree
        self._group = app_commands.Group(name="demo", description="Controls that only this demo has")
        self._add_menu()
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


def _texts(components: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The texts of a message's components, in their order."""
    for each in components:
        if each.get("content"):
            yield str(each["content"])
        yield from _texts(each.get("components", ()))
