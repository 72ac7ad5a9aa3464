"""The state of the local Discord: users, servers, channels, the application and its permissions."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.discord import payloads
from tests.discord.cdn import Cdn, Upload
from tests.discord.endpoint import Endpoint
from tests.discord.gateway import GUILD_MESSAGES, Gateway
from tests.discord.messages import Message, Shown
from tests.discord.rules import Json, Refused
from tests.discord.waiting import Changes

if TYPE_CHECKING:
    from tests.discord.interactions import Interaction

EPOCH = 1_420_070_400_000  # Discord's, in UTC milliseconds
TEXT, DM, GROUP_DM, THREAD = 0, 1, 3, 11
MIB = 1024 * 1024

ADMINISTRATOR = 1 << 3
MANAGE_GUILD = 1 << 5
VIEW_CHANNEL = 1 << 10
SEND_MESSAGES = 1 << 11
MANAGE_MESSAGES = 1 << 13
EMBED_LINKS = 1 << 14
ATTACH_FILES = 1 << 15
READ_HISTORY = 1 << 16
APP_COMMANDS = 1 << 31
CREATE_PUBLIC_THREADS = 1 << 35
SEND_IN_THREADS = 1 << 38
EXTERNAL_APPS = 1 << 50
EVERYONE = (
    VIEW_CHANNEL
    | SEND_MESSAGES
    | CREATE_PUBLIC_THREADS
    | SEND_IN_THREADS
    | EMBED_LINKS
    | ATTACH_FILES
    | READ_HISTORY
    | APP_COMMANDS
)  # fmt: skip
ALL_PERMISSIONS = (1 << 53) - 1


class Snowflakes:
    """Generates unique ids that contain their creation time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._count = itertools.count(1)

    def next(self) -> int:
        age = max(int(self._now() * 1000) - EPOCH, 0)
        return (age << 22) | (next(self._count) & 0x3FFFFF)


@dataclass(slots=True)
class User:
    id: int
    name: str
    bot: bool = False
    locale: str = "en-US"
    takes_dms: bool = True
    installed: bool = False  # has the application installed for themselves


@dataclass(slots=True)
class Guild:
    world: "World"
    id: int
    name: str
    owner_id: int
    bot_in: bool
    size_limit: int = 10 * MIB
    locale: str = "en-US"
    channels: "list[Channel]" = field(default_factory=list)
    roles: dict[int, tuple[str, int]] = field(default_factory=dict)  # id → name, permissions
    members: dict[int, "Membership"] = field(default_factory=dict)

    def add_channel(
        self,
        name: str,
        *,
        bot_sees: bool = True,
        bot_can_post: bool = True,
        nsfw: bool = False,
        external_apps: bool = True,
    ) -> "Channel":
        channel = Channel(self.world, self.world.ids.next(), name, self, nsfw=nsfw, external_apps=external_apps)
        channel.bot_sees, channel.bot_can_post = bot_sees, bot_can_post
        self.channels.append(channel)
        self.world.channels[channel.id] = channel
        self._tell("CHANNEL_CREATE", channel)
        return channel

    def add_thread(self, parent: "Channel", name: str, *, on: Message | None = None) -> "Channel":
        """Add a public thread, which the bot can view if it can view *parent*; one on a message has its id."""
        number = self.world.ids.next() if on is None else on.id
        thread = Channel(self.world, number, name, self, parent=parent, nsfw=parent.nsfw)
        thread.bot_sees, thread.bot_can_post = parent.bot_sees, parent.bot_can_post
        self.channels.append(thread)
        self.world.channels[thread.id] = thread
        if thread.bot_sees:
            self._tell("THREAD_CREATE", thread)
        return thread

    def let_bot_see(self, channel: "Channel", *, sees: bool) -> None:
        """Change whether the bot may view *channel*, and send the event."""
        channel.bot_sees = sees
        self._tell("CHANNEL_UPDATE", channel)

    def _tell(self, event: str, channel: "Channel") -> None:
        if self.bot_in:
            self.world.gateway.dispatch(event, payloads.channel_for_bot(channel), guild_id=self.id)

    def delete_channel(self, channel: "Channel") -> None:
        """Delete a channel or a thread with all its messages."""
        del self.world.channels[channel.id]
        channel.deleted = True
        if channel in self.channels:
            self.channels.remove(channel)
        if self.bot_in:
            kind = "THREAD_DELETE" if channel.parent else "CHANNEL_DELETE"
            self.world.gateway.dispatch(kind, payloads.channel(channel), guild_id=self.id)

    def remove_bot(self) -> None:
        """Remove the bot from the server; tokens of interactions remain valid."""
        self.bot_in = False
        self.world.gateway.dispatch("GUILD_DELETE", {"id": str(self.id)}, guild_id=self.id)

    def add_bot(self) -> None:
        self.bot_in = True
        self.world.gateway.dispatch("GUILD_CREATE", payloads.guild(self), guild_id=self.id)

    def permissions_of(self, user: User) -> int:
        if user.id == self.owner_id:
            return ALL_PERMISSIONS
        membership = self.members[user.id]
        granted = membership.permissions
        for role in membership.roles:
            granted |= self.roles[role][1]
        return ALL_PERMISSIONS if granted & ADMINISTRATOR else granted

    def add_role(self, name: str, *, permissions: int = 0) -> int:
        role_id = self.world.ids.next()
        self.roles[role_id] = (name, permissions)
        return role_id


@dataclass(slots=True)
class Membership:
    """A user's membership of a server. *permissions* are in addition to those of their roles."""

    user: User
    roles: list[int] = field(default_factory=list)
    permissions: int = EVERYONE


class Channel:
    """A text channel or thread, or without *guild* a direct channel between *people*."""

    def __init__(
        self,
        world: "World",
        channel_id: int,
        name: str,
        guild: Guild | None = None,
        *,
        people: Sequence[User] = (),
        nsfw: bool = False,
        external_apps: bool = True,
        parent: "Channel | None" = None,
    ) -> None:
        self.world = world
        self.id = channel_id
        self.name = name
        self.guild = guild
        self.people = tuple(people)
        self.nsfw = nsfw
        self.parent = parent  # of a thread
        self.external_apps = external_apps  # whether user-installed apps may answer publicly
        self.archived = self.locked = self.deleted = False
        self.bot_sees = self.bot_can_post = self.bot_can_attach = True
        self.messages: list[Message] = []  # without ephemeral ones
        self.changes = Changes()

    @property
    def with_bot(self) -> bool:
        return self.world.bot in self.people if self.guild is None else self.guild.bot_in

    @property
    def kind(self) -> int:
        if self.guild is None:
            return DM if self.with_bot else GROUP_DM
        return TEXT if self.parent is None else THREAD

    @property
    def bot_permissions(self) -> int:
        if self.guild is None or not self.guild.bot_in:
            return EMBED_LINKS | ATTACH_FILES | (EVERYONE if self.with_bot else 0)
        above = self.parent.overwrite if self.parent is not None else 0
        return EVERYONE & ~(self.overwrite | above)

    @property
    def overwrite(self) -> int:
        """The permissions that the channel denies the bot."""
        posting = SEND_MESSAGES | SEND_IN_THREADS
        denied = 0 if self.bot_can_attach else ATTACH_FILES
        return denied | (0 if self.bot_sees else VIEW_CHANNEL) | (0 if self.bot_can_post and self.bot_sees else posting)

    def require_bot(self) -> None:
        if not self.with_bot or not self.bot_permissions & VIEW_CHANNEL:
            raise Refused(403, 50001, "Missing Access")

    def require_editable(self) -> None:
        """Raise `Refused` in an archived thread: its messages cannot be edited."""
        if self.archived:
            raise Refused(400, 50083, "Thread is archived")

    def require_files(self, files: Sequence[Upload]) -> None:
        if files and not self.bot_permissions & ATTACH_FILES:
            raise Refused(403, 50013, "Missing Permissions")

    def require_posting(self) -> None:
        """Raise `Refused` if the bot cannot post; an archived thread is no obstacle unless it is locked."""
        self.require_bot()
        if self.locked:
            raise Refused(403, 160005, "Thread is locked")
        if not self.bot_permissions & (SEND_MESSAGES if self.parent is None else SEND_IN_THREADS):
            raise Refused(403, 50013, "Missing Permissions")
        if self.guild is None and not all(each.takes_dms for each in self.people):
            raise Refused(403, 50007, "Cannot send messages to this user")

    def unarchive(self) -> None:
        """Reopen a thread: needs the permission to write in it; a locked one cannot be reopened."""
        self.require_bot()
        if self.locked or not self.bot_permissions & SEND_IN_THREADS:
            raise Refused(403, 50013, "Missing Permissions")
        self.archived = False

    async def until(self, predicate: Callable[[Message], bool], *, within: float) -> Message:
        """Wait for a message of the channel for which *predicate* is true."""
        found = lambda: next((each for each in self.messages if predicate(each)), None)  # noqa: E731
        return await self.changes.until(found, within=within, seen=lambda: self.messages[-5:])

    def post(
        self,
        author: "User | HasUser",
        content: str = "",
        *,
        attachments: Sequence[Upload] = (),
        embeds: Sequence[Json] = (),
        reply_to: Message | None = None,
    ) -> Message:
        """Post a plain message. An `Upload` as an embed's image or thumbnail becomes a proxied picture."""
        world = self.world
        files = tuple(world.cdn.keep(each, file_id=world.ids.next(), channel_id=self.id) for each in attachments)
        shown = Shown(world.cdn, world.now(), content, 0, (), tuple(map(self._embed, embeds)), files)
        user = author if isinstance(author, User) else author.user
        message = Message(message_id=world.ids.next(), channel=self, author=user, shown=shown)
        if reply_to is not None:
            message.kind, message.reference = 19, {"channel_id": str(self.id), "message_id": str(reply_to.id)}
        world.add_message(message)
        return message

    def _embed(self, embed: Json) -> Json:
        payload = {"type": "rich", **embed}
        for key in ("image", "thumbnail"):
            if isinstance(payload.get(key), Upload):
                upload: Upload = payload[key]
                cdn, number = self.world.cdn, self.world.ids.next()
                file = cdn.keep(upload, file_id=number, channel_id=self.id, folder="external")
                origin = f"https://pictures.example/{upload.filename}"
                payload[key] = {"url": origin, "proxy_url": cdn.link(file), "width": file.width, "height": file.height}
        return payload


class HasUser:
    """Has a user, such as a `Member`."""

    user: User


@dataclass(slots=True)
class Application:
    id: int
    name: str
    owner: User
    team: list[User] | None = None
    bot_public: bool = True
    flags: int = 0


class World:
    """The whole state, without sockets."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.ids = Snowflakes(now)
        self.cdn = Cdn(now)
        self.token = f"local.{self.ids.next()}.bot-token"
        application_id = self.ids.next()
        self.bot = User(application_id, "Darkroom", bot=True)
        self.users: dict[int, User] = {self.bot.id: self.bot}
        self.application = Application(application_id, "Darkroom", self.add_user("operator"))
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.messages: dict[int, Message] = {}
        self.commands: dict[int | None, list[Json]] = {None: []}  # guild id, None for the global ones
        self.interactions: dict[int, Interaction] = {}
        self.by_token: dict[str, Interaction] = {}
        self.nonces: dict[tuple[int, str], Message] = {}
        self.violations: list[str] = []
        self.changes = Changes()  # notified of every request, sync and connection
        self.gateway = Gateway(token=self.token, greet=self.greet, changes=self.changes)
        self.endpoint = Endpoint(now, violations=self.violations)

    def greet(self) -> tuple[Json, list[tuple[int, Json]]]:
        ready = payloads.ready(self)
        return ready, [(each.id, payloads.guild(each)) for each in self.guilds.values() if each.bot_in]

    def add_user(self, name: str) -> User:
        user = User(self.ids.next(), name)
        self.users[user.id] = user
        return user

    def add_guild(self, name: str, *, bot_in: bool = True, owner_id: int | None = None) -> Guild:
        owner = self.application.owner.id if owner_id is None else owner_id
        guild = Guild(self, self.ids.next(), name, owner, bot_in)
        guild.roles[guild.id] = ("@everyone", EVERYONE)
        guild.members[self.bot.id] = Membership(self.bot)
        self.guilds[guild.id] = guild
        if bot_in:
            guild.add_bot()
        return guild

    def dm(self, *people: User) -> Channel:
        """The direct channel between these people, created the first time."""
        for channel in self.channels.values():
            if channel.guild is None and set(map(_id, channel.people)) == set(map(_id, people)):
                return channel
        channel = Channel(self, self.ids.next(), "", people=people)
        self.channels[channel.id] = channel
        return channel

    def add_message(self, message: Message) -> None:
        self.messages[message.id] = message
        if not message.ephemeral:
            message.channel.messages.append(message)
            self._announce(message)
        message.tell()

    def _announce(self, message: Message) -> None:
        """Send a server's message to the bot, without its content where the bot may not read it."""
        guild = message.channel.guild
        if guild is not None and guild.bot_in and message.channel.bot_sees:
            whole, reduced = (payloads.message_event(message, content=each) for each in (True, False))
            self.gateway.dispatch("MESSAGE_CREATE", whole, guild_id=guild.id, intent=GUILD_MESSAGES, reduced=reduced)

    def find_command(self, name: str, *, kind: int, guild: Guild | None) -> Json:
        places: list[Any] = [guild.id, None] if guild is not None else [None]
        for place in places:
            for command in self.commands.get(place, []):
                if command["name"] == name and command["type"] == kind:
                    return command
        known = sorted(each["name"] for commands in self.commands.values() for each in commands)
        raise LookupError(f"the bot has synced no command {name!r}; there are {known}")


def _id(user: User) -> int:
    return user.id
