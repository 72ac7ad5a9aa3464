"""A member's actions in Discord's client, sent to the bot as Discord sends them."""

from collections.abc import Mapping
from typing import Any

from tests.discord import commands, payloads
from tests.discord.cdn import File, Upload
from tests.discord.gateway import DIRECT_MESSAGES, GUILD_MESSAGES
from tests.discord.interactions import AUTOCOMPLETE, COMMAND, COMPONENT, FORM, Interaction, Modal, dispatch, preset
from tests.discord.messages import Message
from tests.discord.rules import Json, walk
from tests.discord.world import Channel, Guild, HasUser, Membership, User, World


class Member(HasUser):
    """A user who acts. Each action sends an interaction to the bot and returns it at once, to wait on."""

    def __init__(self, world: World, user: User) -> None:
        self.world = world
        self.user = user

    @property
    def id(self) -> int:
        return self.user.id

    def join(self, guild: Guild, *, roles: tuple[int, ...] = (), permissions: int | None = None) -> "Member":
        """Join *guild*; *permissions* are added to those of everyone."""
        membership = Membership(self.user, list(roles))
        membership.permissions |= permissions or 0
        guild.members[self.user.id] = membership
        return self

    def dm(self) -> Channel:
        """The direct channel between the member and the bot."""
        return self.world.dm(self.world.bot, self.user)

    async def slash(self, channel: Channel, command: str, /, *, force: bool = False, **options: Any) -> Interaction:
        """Use a slash command, a group's as `quota show`. Raises what the client would not send, unless *force*."""
        entry = self._command(channel, command.split(maxsplit=1)[0], kind=1, force=force)
        data = self._data(entry)
        path = command.split()[1:]
        data["options"] = commands.fill(self, entry, path, options, channel=channel, data=data, force=force)
        return self._act(COMMAND, channel, data)

    async def complete(
        self, channel: Channel, command: str, /, *, option: str, typed: str, force: bool = False, **others: Any
    ) -> Interaction:
        """Type into an option with autocompletion; the choices are in the first answer."""
        entry = self._command(channel, command.split(maxsplit=1)[0], kind=1, force=force)
        data = self._data(entry)
        values, path = {**others, option: typed}, command.split()[1:]
        data["options"] = commands.fill(self, entry, path, values, channel=channel, data=data, force=True, focus=option)
        return self._act(AUTOCOMPLETE, channel, data)

    async def menu(self, channel: Channel, name: str, message: Message, /, *, force: bool = False) -> Interaction:
        """Use a message menu; the payload contains the whole message, even if the bot may not read it."""
        data = self._data(self._command(channel, name, kind=3, force=force))
        data["target_id"] = str(message.id)
        data["resolved"] = {"messages": {str(message.id): payloads.message(message, complete=True)}}
        return self._act(COMMAND, channel, data)

    async def user_menu(self, channel: Channel, name: str, user: User, /) -> Interaction:
        """Use the menu of a user."""
        data = self._data(self._command(channel, name, kind=2, force=False))
        data["target_id"] = str(user.id)
        data["resolved"] = {"users": {str(user.id): payloads.user(user)}}
        return self._act(COMMAND, channel, data)

    async def click(
        self, message: Message, custom_id: str | None = None, /, *, label: str | None = None, force: bool = False
    ) -> Interaction:
        """Press a button, given by custom id or label; with *force* also one that is missing or disabled."""
        buttons = [each for _, each in walk(message.now.components) if each.get("type") == 2]
        named = [b for b in buttons if (b.get("custom_id") == custom_id if custom_id else b.get("label") == label)]
        if force and not named and custom_id:
            named = [{"custom_id": custom_id, "id": 1}]
        if not named:
            raise LookupError(f"no button {custom_id or label!r} on {message!r}")
        if not force and (named[0].get("disabled") or message.deleted or not self._sees(message)):
            raise ValueError(f"{custom_id or label!r} cannot be pressed by {self.user.name} on {message!r}")
        data: Json = {"custom_id": named[0]["custom_id"], "component_type": 2, "id": named[0]["id"]}
        return self._act(COMPONENT, message.channel, data, source=message)

    async def submit(
        self, form: "Interaction | Modal", values: Mapping[str, Any] | None = None, /, *, force: bool = False
    ) -> Interaction:
        """Submit a form; fields not in *values* keep their initial values. Files are lists of `Upload`."""
        modal = form if isinstance(form, Modal) else form.first.modal if form.first else None
        if modal is None:
            raise LookupError(f"{form!r} has opened no form")
        given = dict(values or {})
        if unknown := given.keys() - {each.custom_id for each in modal.fields}:
            raise LookupError(f"no field {sorted(unknown)} among {[each.custom_id for each in modal.fields]}")
        data: Json = {"custom_id": modal.custom_id}
        origin = modal.interaction
        data["components"] = [self._filled(origin.channel, each, given, data, force=force) for each in modal.components]
        return self._act(FORM, origin.channel, data, source=origin.source)

    async def delete(self, message: Message, /) -> None:
        """Delete a message, or dismiss an ephemeral one."""
        message.vanish()
        guild = message.channel.guild
        place = {"guild_id": str(guild.id)} if guild else {}
        if message.channel.with_bot and not message.ephemeral:
            self.world.gateway.dispatch(
                "MESSAGE_DELETE",
                {"id": str(message.id), "channel_id": str(message.channel.id)} | place,
                guild_id=guild.id if guild else None,
                intent=GUILD_MESSAGES if guild else DIRECT_MESSAGES,
            )

    def upload(self, channel: Channel, upload: Upload, *, data: Json) -> File:
        """Store a file uploaded with an interaction, and add it to the data's `resolved`."""
        cdn, number = self.world.cdn, self.world.ids.next()
        file = cdn.keep(upload, file_id=number, channel_id=channel.id, folder="ephemeral-attachments")
        data.setdefault("resolved", {}).setdefault("attachments", {})[str(number)] = cdn.attachment(file)
        return file

    def _act(self, kind: int, channel: Channel, data: Json, *, source: Message | None = None) -> Interaction:
        return dispatch(Interaction(self.world, kind=kind, user=self.user, channel=channel, data=data, source=source))

    def _sees(self, message: Message) -> bool:
        return not message.ephemeral or message.interaction is None or message.interaction.user is self.user

    def _command(self, channel: Channel, name: str, *, kind: int, force: bool) -> Json:
        entry = self.world.find_command(name, kind=kind, guild=channel.guild)
        if not force:
            commands.require_available(entry, channel, self.user)
        return entry

    def _data(self, entry: Json) -> Json:
        data: Json = {"id": entry["id"], "name": entry["name"], "type": entry["type"]}
        if entry.get("guild_id"):
            data["guild_id"] = entry["guild_id"]
        return data

    def _filled(self, channel: Channel, top: Json, given: dict[str, Any], data: Json, *, force: bool) -> Json:
        component: Json = {"type": top["type"], "id": top["id"]}
        match top["type"]:
            case 1:
                component["components"] = [
                    self._field(channel, each, given, data, force=force) for each in top["components"]
                ]
            case 18:
                component["component"] = self._field(channel, top["component"], given, data, force=force)
        return component

    def _field(self, channel: Channel, item: Json, given: dict[str, Any], data: Json, *, force: bool) -> Json:
        value = given.get(item["custom_id"], preset(item))
        if item["type"] == 19:
            value = [str(self.upload(channel, each, data=data).id) for each in value]
        if not force:
            commands.require_field(item, value)
        key = "value" if item["type"] in {4, 21, 23} else "values"
        return {"type": item["type"], "id": item["id"], "custom_id": item["custom_id"], key: value}
