"""Handlers for requests with the bot's token: the application, its commands, channels and messages."""

from tests.discord import payloads
from tests.discord.calls import Call, note_mentions
from tests.discord.messages import Message, compose
from tests.discord.rules import EPHEMERAL, Json, Refused
from tests.discord.world import CREATE_PUBLIC_THREADS, MANAGE_MESSAGES, MIB, Channel, World

NONCE_LIFETIME = 300.0  # seconds; Discord says "past few minutes"


def me(world: World, _: Call) -> Json:
    return payloads.user(world.bot)


def application(world: World, _: Call) -> Json:
    return payloads.application(world.application, world.endpoint)


def gateway_bot(world: World, _: Call) -> Json:
    limit = {
        "total": 1000,
        "remaining": 1000 - world.gateway.identifies,
        "reset_after": 86_400_000,
        "max_concurrency": 1,
    }
    return {"url": world.gateway.url, "shards": 1, "session_start_limit": limit}


def _guild_id(world: World, call: Call) -> int | None:
    if "guild" not in call.params:
        return None
    guild = world.guilds.get(int(call.params["guild"]))
    if guild is None or not guild.bot_in:
        raise Refused(403, 50001, "Missing Access")
    return guild.id


def put_commands(world: World, call: Call) -> list[Json]:
    """Overwrite the commands; a command with the same name and type keeps its id."""
    guild_id = _guild_id(world, call)
    old = {(each["name"], each["type"]): each["id"] for each in world.commands.get(guild_id, [])}
    world.commands[guild_id] = [_command(world, each, guild_id, old) for each in call.json]
    world.changes.notify()
    return world.commands[guild_id]


def _command(world: World, row: Json, guild_id: int | None, old: dict[tuple[str, int], str]) -> Json:
    kind = row.get("type", 1)
    made = {"description": "", "options": [], "default_member_permissions": None, "nsfw": False, **row, "type": kind}
    made |= {
        "id": old.get((row["name"], kind)) or str(world.ids.next()),
        "application_id": str(world.application.id),
        "version": str(world.ids.next()),
    }
    return made | ({"guild_id": str(guild_id)} if guild_id else {})


def get_commands(world: World, call: Call) -> list[Json]:
    return world.commands.get(_guild_id(world, call), [])


def my_guilds(world: World, _: Call) -> list[Json]:
    joined = [each for each in world.guilds.values() if each.bot_in]
    return [
        {"id": str(each.id), "name": each.name, "icon": None, "owner": False, "permissions": "0", "features": []}
        for each in joined
    ]


def get_guild(world: World, call: Call) -> Json:
    guild_id = _guild_id(world, call)
    assert guild_id is not None
    return payloads.guild(world.guilds[guild_id])


def nothing(_: World, __: Call) -> list[Json]:
    return []


def _channel(world: World, call: Call) -> Channel:
    channel = world.channels.get(int(call.params["channel"]))
    if channel is None:
        raise Refused(404, 10003, "Unknown Channel")
    channel.require_bot()
    return channel


def _message(world: World, call: Call) -> Message:
    """The message in the path; ephemeral messages are known only to routes with their token."""
    channel = _channel(world, call)
    message = world.messages.get(int(call.params["message"]))
    if message is None or message.channel is not channel or message.deleted or message.flags & EPHEMERAL:
        raise Refused(404, 10008, "Unknown Message")
    return message


def get_channel(world: World, call: Call) -> Json:
    return payloads.channel(_channel(world, call))


def change_channel(world: World, call: Call) -> Json:
    """Reopen an archived thread; nothing else is supported."""
    channel = _channel(world, call)
    if channel.parent is None or call.json != {"archived": False}:
        raise Refused(403, 50013, "Missing Permissions")
    channel.unarchive()
    return payloads.channel(channel)


def open_dm(world: World, call: Call) -> Json:
    person = world.users.get(int(call.json["recipient_id"]))
    if person is None:
        raise Refused(400, 50033, "Invalid Recipient(s)")
    return payloads.channel(world.dm(world.bot, person))


def create_message(world: World, call: Call) -> Json:
    """Post a message; with an enforced nonce that was used minutes ago, return the earlier message."""
    channel = _channel(world, call)
    channel.require_posting()
    channel.require_files(call.files)
    note_mentions(world, call, call.json)
    nonce = str(call.json["nonce"]) if call.json.get("nonce") is not None else None
    if nonce is not None and len(nonce) > 25:
        raise Refused(400, 50035, "Invalid Form Body")
    known = world.nonces.get((channel.id, nonce)) if nonce and call.json.get("enforce_nonce") else None
    if known is not None and world.now() - known.history[0].at < NONCE_LIFETIME:
        return payloads.message(known, complete=True) | {"nonce": nonce}
    shown = compose(world, channel.id, body=call.json, files=call.files, limit=_limit(channel))
    message = Message(message_id=world.ids.next(), channel=channel, author=world.bot, shown=shown)
    message.reference = call.json.get("message_reference")
    channel.archived = False
    if nonce is not None:
        world.nonces[channel.id, nonce] = message
    world.add_message(message)
    return payloads.message(message, complete=True) | {"nonce": nonce}


def _limit(channel: Channel) -> int:
    return channel.guild.size_limit if channel.guild else 10 * MIB


def get_message(world: World, call: Call) -> Json:
    message = _message(world, call)
    return payloads.message(message, complete=payloads.readable(message))


def list_messages(world: World, call: Call) -> list[Json]:
    every, limit = _channel(world, call).messages, int(call.query.get("limit", 50))
    after = call.query.get("after")
    newest = [each for each in every if each.id > int(after)][:limit][::-1] if after else every[::-1][:limit]
    return [payloads.message(each, complete=payloads.readable(each)) for each in newest]


def edit_message(world: World, call: Call) -> Json:
    message = _message(world, call)
    if message.author is not world.bot:
        raise Refused(403, 50005, "Cannot edit a message authored by another user")
    message.channel.require_editable()
    message.channel.require_files(call.files)
    note_mentions(world, call, call.json)
    limit = _limit(message.channel)
    message.become(
        compose(world, message.channel.id, body=call.json, files=call.files, limit=limit, before=message.now)
    )
    return payloads.message(message, complete=True)


def open_thread(world: World, call: Call) -> Json:
    """Open a public thread on a message of a text channel."""
    message = _message(world, call)
    channel = message.channel
    if channel.guild is None or channel.parent is not None:
        raise Refused(400, 50024, "Cannot execute action on this channel type")
    if not channel.bot_permissions & CREATE_PUBLIC_THREADS:
        raise Refused(403, 50013, "Missing Permissions")
    if message.id in world.channels:
        raise Refused(400, 160004, "A thread has already been created for this message")
    if not 1 <= len(call.json["name"]) <= 100:
        raise Refused(400, 50035, "Invalid Form Body")
    return payloads.channel(channel.guild.add_thread(channel, call.json["name"], on=message))


def delete_message(world: World, call: Call) -> None:
    message = _message(world, call)
    if message.author is not world.bot and not message.channel.bot_permissions & MANAGE_MESSAGES:
        raise Refused(403, 50013, "Missing Permissions")
    message.channel.require_editable()
    message.vanish()
