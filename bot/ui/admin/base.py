"""What all commands and buttons of admins have in common: who may use them, in which server, and that it is logged.

Discord hides the commands from members without *Manage Server*, but a server's own settings may show them to anybody:
so the permission is checked again at every command, completion and button.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import locale_str

from bot.core.errors import UserError
from bot.store.quotas import By
from bot.ui.cards import texts
from bot.ui.cards.texts import Words
from bot.ui.interactions.responder import Interaction, Responder

log = logging.getLogger(__name__)

MOST_CHOICES = 25
MOST_CHOICE = 100  # characters
LATE = {"quota": "admin.unsure", "settings": "settings.unsure"}  # by group: a change may have been made all the same
COMPLETING = 1.5  # seconds; Discord waits three, and the next letter asks again


class _AnyChannel(app_commands.Transformer[discord.Client]):
    """A channel or thread as Discord describes it, or only its number where Discord does not know it any more.

    Of every type: Discord's published schema does not know all the types that its channels have.
    """

    @property
    def type(self) -> discord.AppCommandOptionType:
        return discord.AppCommandOptionType.channel

    async def transform(self, _: Interaction, value: Any, /) -> Any:
        return value


CHANNEL = app_commands.Transform[Any, _AnyChannel]


@dataclass(frozen=True, slots=True)
class AdminAction:
    """An admin's command or button, permission checked. *given* holds the options, None where one was left out."""

    interaction: Interaction
    server: int
    received_at: int
    words: Words
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by(self) -> By:
        """Who to write down for a change; the interaction's id keeps one delivered twice from changing twice."""
        return By(str(self.interaction.id), self.server, self.interaction.user.id, self.received_at)


Work = Callable[[AdminAction], Awaitable[None]]
Complete = Callable[
    [AdminAction, str], Awaitable[Sequence[tuple[str, str]]]
]  # shown and sent, for what is typed so far


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an admin's command; *complete* offers what exists, *choices* is all there is (see `Admin.said`)."""

    name: str
    type: Any = str
    required: bool = False
    choices: Sequence[tuple[str | locale_str, str]] = ()
    complete: Complete | None = None


class Admin:
    """The door: nothing an admin can do goes past `add` or `press`."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder
        self.services = responder.services
        self._english = responder.texts.for_locale(texts.ENGLISH)
        self._buttons: dict[str, Work] = {}

    # --- commands

    def group(self, name: str, *, parent: app_commands.Group | None = None) -> app_commands.Group:
        """A group of commands, shown by Discord to those who manage the server, and nowhere but in servers."""
        if parent is not None:
            return app_commands.Group(name=name, description=self.said(f"{parent.name}.{name}.about"), parent=parent)
        return app_commands.Group(
            name=name,
            description=self.said(f"{name}.about"),
            guild_only=True,
            default_permissions=discord.Permissions(manage_guild=True),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=False, private_channel=False),
        )

    def add(self, group: app_commands.Group, name: str, work: Work, *, options: Sequence[Option] = ()) -> None:
        """Add a command to *group*; its words are `command.<group>.<name>` and `command.admin_option.<option>`."""

        async def callback(interaction: Interaction, **given: Any) -> None:
            async def handler(received_at: int) -> None:
                act = self._act(interaction, received_at=received_at, given=given, what=f"{group.name} {name}")
                if any(getattr(each, "type", None) is discord.ChannelType.category for each in given.values()):
                    raise UserError("admin.category")
                await work(act)

            await self.responder.handle(interaction, handler, late=LATE[(group.parent or group).name])

        first = inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Interaction)
        parameters = [first, *(_parameter(each) for each in options)]
        callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app_commands.choices(**{each.name: _choices(each.choices) for each in options if each.choices})(callback)
        app_commands.describe(**{each.name: self.said(f"admin_option.{each.name}") for each in options})(callback)
        path = f"{group.parent.name}.{group.name}" if group.parent else group.name
        command: app_commands.Command[Any, ..., None] = app_commands.Command(
            name=name, description=self.said(f"{path}.{name}"), callback=callback
        )
        for each in options:
            if each.complete is not None:
                command.autocomplete(each.name)(self._completing(each.complete))
        group.add_command(command)

    def _completing(self, complete: Complete) -> Any:
        async def offer(interaction: Interaction, current: str) -> list[app_commands.Choice[str]]:
            try:
                given = {name: value for name, value in interaction.namespace}  # noqa: C416 - dict() takes it for a mapping
                act = self._act(interaction, received_at=self.responder.clock(), given=given)
            except UserError:  # what may not be done is not completed either
                return []
            try:
                async with asyncio.timeout(COMPLETING):
                    return _choices(await complete(act, current))
            except (UserError, TimeoutError):
                return []

        return offer

    # --- buttons

    def button(self, action: str, work: Work) -> None:
        """Answer buttons called `q1:<action>:…`; *work* finds the rest in `given["parts"]`."""
        self._buttons[action] = work

    async def press(self, interaction: Interaction, *, received_at: int, parts: Sequence[str]) -> None:
        action = parts[1] if len(parts) > 1 else ""
        if action not in self._buttons:
            raise UserError("button.too_old")
        given = {"parts": tuple(parts[2:])}
        await self._buttons[action](self._act(interaction, received_at=received_at, given=given, what=action))

    # --- who may

    def _act(
        self, interaction: Interaction, *, received_at: int, given: Mapping[str, Any], what: str | None = None
    ) -> AdminAction:  # fmt: skip
        """`UserError` for whoever may not; *what* is logged, and None for what is typed before a command is sent."""
        server = interaction.guild_id
        if server is None or not self.responder.is_member(interaction):
            raise UserError("admin.server")
        extra = {"what": what, "guild_id": server, "user_id": interaction.user.id}
        if not (interaction.permissions.manage_guild or interaction.permissions.administrator):
            if what is not None:
                log.warning("Somebody tried an admin's command", extra={"event": "admin_refused", **extra})
            raise UserError("admin.permission")
        if what is not None:
            log.info("An admin used %s", what, extra={"event": "admin", **extra})
        return AdminAction(interaction, server, received_at, self.responder.words(interaction), dict(given))

    def said(self, key: str) -> locale_str:
        """The sentence `command.<key>` as Discord is told it, in every language."""
        return locale_str(self._english.say(f"command.{key}"), key=f"command.{key}")


def _parameter(option: Option) -> inspect.Parameter:
    default = inspect.Parameter.empty if option.required else None
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option.type
    )  # fmt: skip


def _choices(offered: Sequence[tuple[str | locale_str, str]]) -> list[app_commands.Choice[str]]:
    few = [(shown, sent) for shown, sent in offered if len(sent) <= MOST_CHOICE][:MOST_CHOICES]
    return [app_commands.Choice(name=shown if isinstance(shown, locale_str) else shown[:MOST_CHOICE], value=sent)
            for shown, sent in few]  # fmt: skip
