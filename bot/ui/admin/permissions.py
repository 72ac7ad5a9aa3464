"""Registration, permission check and logging of the admins' commands and buttons.

Discord hides the commands from members without *Manage Server* (those of moderators, without *Manage Messages*), but a
server can show them to anybody in its integration settings. So the permission is checked again for every command,
completion and button.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
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

MAX_CHOICES = 25
MAX_CHOICE_LENGTH = 100  # characters
# Error keys by group, for a command that timed out: its change may still have been made.
LATE_ERRORS = {
    "quota": "admin.unsure",
    "settings": "settings.unsure",
    "status": "busy",
    "style": "style.unsure",
    "moderate": "moderation.unsure",
}
COMPLETION_TIMEOUT = 1.5  # seconds; Discord waits three, and sends a new request for the next letter


class Permission(StrEnum):
    """Discord's permission that a command needs."""

    SERVER = "manage_guild"
    MESSAGES = "manage_messages"


DENIED = {Permission.SERVER: "admin.permission", Permission.MESSAGES: "moderation.permission"}  # error keys


class _AnyChannel(app_commands.Transformer[discord.Client]):
    """An option for a channel or thread of any type; the value is a `discord.Object` if Discord does not know it.

    It declares no channel types, because Discord's published schema does not contain all of them.
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
        """The author of a change, for the audit log. The interaction's id makes a repeated delivery idempotent."""
        return By(str(self.interaction.id), self.server, self.interaction.user.id, self.received_at)


Handler = Callable[[AdminAction], Awaitable[None]]
# From what is typed so far to pairs of label and value.
Completer = Callable[[AdminAction, str], Awaitable[Sequence[tuple[str, str]]]]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an admin's command. *choices*: the only values, as (label, value). *complete*: suggests values."""

    name: str
    type: Any = str
    required: bool = False
    choices: Sequence[tuple[str | locale_str, str]] = ()
    complete: Completer | None = None


class Admin:
    """Registers admins' commands and buttons; all of them are checked in `_authorize`."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder
        self.services = responder.services
        self._english = responder.texts.for_locale(texts.ENGLISH)
        self._buttons: dict[str, Handler] = {}
        self._forms: dict[str, tuple[Handler, str]] = {}  # with the error key for one that timed out

    # --- commands

    def group(
        self, name: str, *, parent: app_commands.Group | None = None, permission: Permission = Permission.SERVER
    ) -> app_commands.Group:
        """Create a group of commands that Discord shows in servers only, to members with *permission*."""
        if parent is not None:
            return app_commands.Group(
                name=name, description=self.localized(f"{parent.name}.{name}.about"), parent=parent
            )
        return app_commands.Group(
            name=name,
            description=self.localized(f"{name}.about"),
            guild_only=True,
            default_permissions=_permissions(permission),
            **_in_servers(),
        )

    def add(
        self,
        group: app_commands.Group,
        name: str,
        handle: Handler,
        *,
        options: Sequence[Option] = (),
        permission: Permission = Permission.SERVER,
    ) -> None:
        """Add a command to *group*; its texts are `command.<group>.<name>` and `command.admin_option.<option>`."""
        late = LATE_ERRORS[(group.parent or group).name]
        callback = self._callback(handle, what=f"{group.name} {name}", late=late, permission=permission)
        first = inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Interaction)
        parameters = [first, *(_parameter(each) for each in options)]
        callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app_commands.choices(**{each.name: _choices(each.choices) for each in options if each.choices})(callback)
        app_commands.describe(**{each.name: self.localized(f"admin_option.{each.name}") for each in options})(callback)
        path = f"{group.parent.name}.{group.name}" if group.parent else group.name
        command: app_commands.Command[Any, ..., None] = app_commands.Command(
            name=name, description=self.localized(f"{path}.{name}"), callback=callback
        )
        for each in options:
            if each.complete is not None:
                command.autocomplete(each.name)(self._autocomplete(each.complete, permission))
        group.add_command(command)

    def command(self, name: str, handle: Handler) -> app_commands.Command[Any, ..., None]:
        """Create a command without group and options, shown as groups are; its text is `command.<name>`."""
        callback = self._callback(handle, what=name, late=LATE_ERRORS[name])
        first = inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Interaction)
        callback.__signature__ = inspect.Signature([first])  # type: ignore[attr-defined]
        command: app_commands.Command[Any, ..., None] = app_commands.Command(
            name=name, description=self.localized(name), callback=callback, **_in_servers()
        )
        command.guild_only = True
        command.default_permissions = discord.Permissions(manage_guild=True)
        return command

    def message_menu(self, name: str, handle: Handler, *, permission: Permission) -> app_commands.ContextMenu:
        """Create an entry in the menu of messages, `command.<name>`; the message is the option `message`."""
        run = self._callback(handle, what=name, late="busy", permission=permission)

        async def callback(interaction: Interaction, message: discord.Message) -> None:
            await run(interaction, message=message)

        menu = app_commands.ContextMenu(name=self.localized(name), callback=callback, **_in_servers())
        menu.guild_only = True
        menu.default_permissions = _permissions(permission)
        return menu

    def _callback(
        self, handle: Handler, *, what: str, late: str, permission: Permission = Permission.SERVER
    ) -> Callable[..., Coroutine[Any, Any, None]]:
        async def callback(interaction: Interaction, **given: Any) -> None:
            async def handler(received_at: int) -> None:
                admin_action = self._authorize(
                    interaction, received_at=received_at, given=given, what=what, permission=permission
                )
                if any(getattr(each, "type", None) is discord.ChannelType.category for each in given.values()):
                    raise UserError("admin.category")
                await handle(admin_action)

            await self.responder.handle(interaction, handler, late=late)

        return callback

    def _autocomplete(self, complete: Completer, permission: Permission) -> Any:
        async def offer(interaction: Interaction, current: str) -> list[app_commands.Choice[str]]:
            try:
                given = {name: value for name, value in interaction.namespace}  # noqa: C416 - dict() takes it for a mapping
                admin_action = self._authorize(
                    interaction, received_at=self.responder.clock(), given=given, permission=permission
                )
            except UserError:  # no choices for what the member may not do
                return []
            try:
                async with asyncio.timeout(COMPLETION_TIMEOUT):
                    return _choices(await complete(admin_action, current))
            except (UserError, TimeoutError):
                return []

        return offer

    # --- buttons

    def button(self, action: str, handle: Handler) -> None:
        """Register *handle* for buttons with the custom id `q1:<action>:…`; `given["parts"]` holds the rest."""
        self._buttons[action] = handle

    async def press(self, interaction: Interaction, *, received_at: int, parts: Sequence[str]) -> None:
        """Run the handler of a pressed button; *parts* are those of its custom id."""
        action = parts[1] if len(parts) > 1 else ""
        if action not in self._buttons:
            raise UserError("button.too_old")
        given = {"parts": tuple(parts[2:])}
        await self._buttons[action](self._authorize(interaction, received_at=received_at, given=given, what=action))

    # --- forms

    def form(self, action: str, handle: Handler, *, late: str) -> None:
        """Register *handle* for forms with the custom id `a1:<action>:…`; `given["parts"]` holds the rest.

        *late*: the error key for a form that timed out: its change may still have been made.
        """
        self._forms[action] = (handle, late)

    def late_error(self, parts: Sequence[str]) -> str:
        """The error key for a form that timed out; *parts* are those of its custom id."""
        return self._forms[parts[1]][1] if len(parts) > 1 and parts[1] in self._forms else "busy"

    async def submit(self, interaction: Interaction, *, received_at: int, parts: Sequence[str]) -> None:
        """Run the handler of a submitted form; *parts* are those of its custom id."""
        action = parts[1] if len(parts) > 1 else ""
        if action not in self._forms:
            raise UserError("button.too_old")
        given = {"parts": tuple(parts[2:])}
        what = f"the form {action}"
        await self._forms[action][0](self._authorize(interaction, received_at=received_at, given=given, what=what))

    # --- permission

    def _authorize(
        self,
        interaction: Interaction,
        *,
        received_at: int,
        given: Mapping[str, Any],
        what: str | None = None,
        permission: Permission = Permission.SERVER,
    ) -> AdminAction:
        """Check the permission; `UserError` without it. *what* is logged; None (a completion) is not."""
        server = interaction.guild_id
        if server is None or not self.responder.is_member(interaction):
            raise UserError("admin.server")
        extra = {"what": what, "guild_id": server, "user_id": interaction.user.id}
        if not (getattr(interaction.permissions, permission) or interaction.permissions.administrator):
            if what is not None:
                log.warning(
                    "A member without permission used an admin's command", extra={"event": "admin_refused", **extra}
                )
            raise UserError(DENIED[permission])
        if what is not None:
            log.info("An admin used %s", what, extra={"event": "admin", **extra})
        return AdminAction(interaction, server, received_at, self.responder.words(interaction), dict(given))

    def localized(self, key: str) -> locale_str:
        """The text `command.<key>`, which `CommandTranslator` translates for Discord."""
        return locale_str(self._english.say(f"command.{key}"), key=f"command.{key}")


def _permissions(permission: Permission) -> discord.Permissions:
    return discord.Permissions(**{permission.value: True})


def _in_servers() -> dict[str, Any]:
    """Where Discord shows admins' commands: in servers that the bot was added to."""
    return {
        "allowed_installs": app_commands.AppInstallationType(guild=True, user=False),
        "allowed_contexts": app_commands.AppCommandContext(guild=True, dm_channel=False, private_channel=False),
    }


def _parameter(option: Option) -> inspect.Parameter:
    default = inspect.Parameter.empty if option.required else None
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option.type
    )  # fmt: skip


def _choices(offered: Sequence[tuple[str | locale_str, str]]) -> list[app_commands.Choice[str]]:
    fitting = [(shown, sent) for shown, sent in offered if len(sent) <= MAX_CHOICE_LENGTH][:MAX_CHOICES]
    return [app_commands.Choice(name=shown if isinstance(shown, locale_str) else shown[:MAX_CHOICE_LENGTH], value=sent)
            for shown, sent in fitting]  # fmt: skip
