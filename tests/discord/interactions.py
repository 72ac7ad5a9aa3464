"""An interaction: its payload, the bot's first answer, the reply and follow-ups, and the time limits."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.discord import payloads
from tests.discord.messages import Message
from tests.discord.rules import Json, Refused, walk
from tests.discord.waiting import Changes
from tests.discord.world import EXTERNAL_APPS, Channel, User

if TYPE_CHECKING:
    from tests.discord.world import World

COMMAND, COMPONENT, AUTOCOMPLETE, FORM = 2, 3, 4, 5
ANSWER_TIMEOUT = 3.0  # seconds
TOKEN_LIFETIME = 15 * 60.0
FOLLOWUPS_USER_INSTALL = 5


@dataclass(frozen=True, slots=True)
class Field:
    custom_id: str
    kind: int
    label: str
    value: Any  # what the form contains when it opens
    required: bool


@dataclass(frozen=True, slots=True)
class Modal:
    """A form on a member's screen."""

    interaction: "Interaction"
    title: str
    custom_id: str
    components: Sequence[Json]

    @property
    def fields(self) -> list[Field]:
        found = []
        for _, holder in walk(self.components):
            item = holder.get("component") or (holder["components"][0] if holder.get("type") == 1 else None)
            if item is not None:
                label = holder.get("label") or item.get("label") or ""
                required = bool(item.get("required", item["type"] != 23))
                found.append(Field(item["custom_id"], item["type"], label, preset(item), required))
        return found

    @property
    def text(self) -> str:
        return "\n".join(each["content"] for _, each in walk(self.components) if each.get("type") == 10)


def preset(item: Json) -> Any:
    """The initial value of a form's field."""
    chosen = [each["value"] for each in item.get("options") or [] if each.get("default")]
    match item["type"]:
        case 4:
            return item.get("value") or ""
        case 21:
            return chosen[0] if chosen else None
        case 23:
            return bool(item.get("default"))
    return chosen


@dataclass(frozen=True, slots=True)
class Ack:
    """The bot's first answer. *type* is Discord's callback type; *ms* is the real time it took, in milliseconds."""

    type: int
    ephemeral: bool
    ms: float
    message: Message | None
    modal: Modal | None
    choices: Sequence[Json] = ()


class Interaction:
    """An interaction of a member, with methods to wait for the bot's answers."""

    def __init__(
        self, world: "World", *, kind: int, user: User, channel: Channel, data: Json, source: Message | None = None
    ) -> None:
        self.world = world
        self.id = world.ids.next()
        self.token = secrets.token_urlsafe(72)
        self.kind = kind
        self.user = user
        self.channel = channel
        self.data = data
        self.source = source  # the message of the pressed button, also for a form opened by it
        self.created_at = world.now()
        self.first: Ack | None = None
        self.message: Message | None = None
        self.followups: list[Message] = []
        self.changes = Changes()
        self._started = time.perf_counter()

    def __repr__(self) -> str:
        answer = "unanswered" if self.first is None else f"type {self.first.type}"
        return f"<Interaction {self.data.get('name') or self.data.get('custom_id')} {answer} {self.message}>"

    async def acked(self, *, within: float = 3.0) -> Ack:
        """Wait for the first answer; `TimeoutError` after *within* real seconds."""
        return await self.changes.until(lambda: self.first, within=within, seen=lambda: self)

    async def until(self, predicate: Callable[[Message], bool], *, within: float) -> Message:
        """Wait until *predicate* is true for a version of the reply."""

        def look() -> Message | None:
            return self.message if self.message is not None and predicate(self.message) else None

        return await self.changes.until(look, within=within, seen=lambda: self)

    async def followed_up(self, predicate: Callable[[Message], bool], *, within: float) -> Message:
        """Wait for a follow-up for which *predicate* is true."""
        look = lambda: next((each for each in self.followups if predicate(each)), None)  # noqa: E731
        return await self.changes.until(look, within=within, seen=lambda: self.followups)

    @property
    def owners(self) -> Json:
        """`authorizing_integration_owners`: key 0 is the server ("0" in the bot's direct messages), 1 the user."""
        owners: Json = {}
        if self.channel.with_bot:
            owners["0"] = str(self.channel.guild.id) if self.channel.guild else "0"
        if self.user.installed:
            owners["1"] = str(self.user.id)
        return owners

    @property
    def only_user_install(self) -> bool:
        return not self.channel.with_bot

    @property
    def forced_ephemeral(self) -> bool:
        """Whether answers are private: a user-installed app in a channel without the external-apps permission."""
        return self.only_user_install and not self.channel.external_apps

    @property
    def size_limit(self) -> int:
        return self.channel.guild.size_limit if self.channel.guild else 10 * 1024 * 1024

    def reply(self, message: Message) -> None:
        self.message = message
        message.listeners.append(self.changes)

    def follow_up(self, message: Message) -> None:
        self.followups.append(message)
        message.listeners.append(self.changes)

    def answer(
        self, kind: int, *, ephemeral: bool = False, modal: Modal | None = None, choices: Sequence[Json] = ()
    ) -> None:
        took = (time.perf_counter() - self._started) * 1000
        message = None if kind in {8, 9} else self.message
        self.first = Ack(kind, ephemeral, took, message, modal, choices)
        self.changes.notify()

    def require_unanswered(self) -> None:
        if self.first is not None:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        if self.world.now() - self.created_at > ANSWER_TIMEOUT:
            raise Refused(404, 10062, "Unknown interaction")

    def require_token(self) -> None:
        if self.world.now() - self.created_at >= TOKEN_LIFETIME:
            raise Refused(401, 50027, "Invalid Webhook Token")
        if self.first is None:
            raise Refused(404, 10015, "Unknown Webhook")
        if self.channel.deleted:
            raise Refused(404, 10003, "Unknown Channel")

    def owned(self, message_id: str) -> Message:
        """The message of this token with the given id; `Refused` 10008 if there is none."""
        mine = [each for each in (self.message, self.source, *self.followups) if each is not None]
        named = self.message if message_id == "@original" else next((m for m in mine if str(m.id) == message_id), None)
        if named is None or named.deleted:
            raise Refused(404, 10008, "Unknown Message")
        return named

    def payload(self) -> Json:
        """The data of the INTERACTION_CREATE event."""
        body: Json = {
            "id": str(self.id),
            "application_id": str(self.world.application.id),
            "type": self.kind,
            "token": self.token,
            "version": 1,
            "data": self.data,
            "channel": payloads.channel(self.channel) | {"permissions": str(self._member_permissions())},
            "channel_id": str(self.channel.id),
            "app_permissions": str(self.channel.bot_permissions),
            "locale": self.user.locale,
            "entitlements": [],
            "entitlement_sku_ids": [],
            "authorizing_integration_owners": self.owners,
            "context": 0 if self.channel.guild else 1 if self.channel.with_bot else 2,
            "attachment_size_limit": self.size_limit,
        }
        if self.source is not None:
            body["message"] = payloads.message(self.source, complete=True)
        return body | self._who()

    def _member_permissions(self) -> int:
        granted = self.channel.guild.permissions_of(self.user) if self.channel.guild else EXTERNAL_APPS - 1
        return granted | (EXTERNAL_APPS if self.channel.external_apps else 0)

    def _who(self) -> Json:
        guild = self.channel.guild
        if guild is None:
            return {"user": payloads.user(self.user)}
        member = payloads.member(guild.members[self.user.id])
        return {
            "member": member | {"permissions": str(self._member_permissions())},
            "guild_id": str(guild.id),
            "guild": {"id": str(guild.id), "locale": guild.locale, "features": []},
            "guild_locale": guild.locale,
        }


def dispatch(interaction: Interaction) -> Interaction:
    """Send a new interaction to the bot."""
    world = interaction.world
    world.interactions[interaction.id] = interaction
    world.by_token[interaction.token] = interaction
    send(interaction)
    return interaction


def send(interaction: Interaction) -> None:
    """Send the interaction to the endpoint if the application has one, else over the gateway."""
    world, guild = interaction.world, interaction.channel.guild
    if world.endpoint.urls:
        world.endpoint.deliver(interaction.payload())
    else:
        where = guild.id if guild is not None and guild.bot_in else None
        world.gateway.dispatch("INTERACTION_CREATE", interaction.payload(), guild_id=where)
