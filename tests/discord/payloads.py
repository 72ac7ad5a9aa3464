"""JSON of users, servers, channels and messages, with all keys that discord.py requires."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.discord.messages import Message, is_v2, render
from tests.discord.rules import Json

if TYPE_CHECKING:
    from tests.discord.endpoint import Endpoint
    from tests.discord.world import Application, Channel, Guild, Membership, User, World


REPLY = 19  # a type of messages
OBFUSCATED = 1 << 17  # a flag of channels
VIEW_CHANNEL = 1 << 10


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def user(one: "User") -> Json:
    return {
        "id": str(one.id),
        "username": one.name,
        "discriminator": "0000" if one.bot else "0",
        "global_name": None if one.bot else one.name.title(),
        "avatar": None,
        "bot": one.bot,
        "public_flags": 0,
    }


def application(one: "Application", endpoint: "Endpoint") -> Json:
    payload: Json = {
        "id": str(one.id),
        "name": one.name,
        "description": "",
        "icon": None,
        "bot_public": one.bot_public,
        "bot_require_code_grant": False,
        "verify_key": endpoint.verify_key,
        "interactions_endpoint_url": endpoint.urls[0] if endpoint.urls else None,
        "owner": user(one.owner),
        "team": None,
        "flags": one.flags,
        "summary": "",
    }
    if one.team is not None:
        payload["team"] = {
            "id": str(one.id + 1),
            "name": "Team",
            "icon": None,
            "owner_user_id": str(one.owner.id),
            "members": [
                {
                    "user": user(each),
                    "team_id": str(one.id + 1),
                    "membership_state": 2,
                    "role": "admin",
                    "permissions": ["*"],
                }
                for each in one.team
            ],
        }
    return payload


def ready(world: "World") -> Json:
    flags = {"id": str(world.application.id), "flags": world.application.flags}
    return {"v": 10, "user": user(world.bot), "application": flags, "private_channels": []}


def role(role_id: int, name: str, permissions: int) -> Json:
    return {
        "id": str(role_id),
        "name": name,
        "permissions": str(permissions),
        "position": 0,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


def member(membership: "Membership", *, with_user: bool = True) -> Json:
    payload: Json = {
        "roles": [str(each) for each in membership.roles],
        "flags": 0,
        "nick": None,
        "avatar": None,
        "joined_at": "2026-01-01T00:00:00+00:00",
        "premium_since": None,
        "communication_disabled_until": None,
        "deaf": False,
        "mute": False,
        "pending": False,
    }
    return payload | ({"user": user(membership.user)} if with_user else {})


def guild(one: "Guild") -> Json:
    bot = one.members[one.world.bot.id]
    return {
        "id": str(one.id),
        "name": one.name,
        "icon": None,
        "owner_id": str(one.owner_id),
        "roles": [role(role_id, *about) for role_id, about in one.roles.items()],
        "emojis": [],
        "stickers": [],
        "features": [],
        "channels": [channel_for_bot(each) for each in one.channels if each.parent is None],
        "threads": [channel_for_bot(each) for each in one.channels if each.parent is not None and each.bot_sees],
        "members": [member(bot)],
        "member_count": len(one.members),
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
        "large": False,
        "unavailable": False,
        "joined_at": "2026-01-01T00:00:00+00:00",
        "preferred_locale": one.locale,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
        "afk_timeout": 300,
        "system_channel_flags": 0,
    }


def channel(one: "Channel") -> Json:
    payload: Json = {"id": str(one.id), "type": one.kind, "last_message_id": None, "flags": 0}
    if one.guild is None:
        people = [user(each) for each in one.people if each is not one.world.bot]
        return payload | {"recipients": people, "name": one.name, "position": 0}
    if one.parent is not None:
        return payload | _thread(one)
    deny = one.overwrite
    rules = [{"id": str(one.world.bot.id), "type": 1, "allow": "0", "deny": str(deny)}] if deny else []
    return payload | {
        "name": one.name,
        "position": 0,
        "guild_id": str(one.guild.id),
        "nsfw": one.nsfw,
        "topic": None,
        "parent_id": None,
        "rate_limit_per_user": 0,
        "permission_overwrites": rules,
    }


def _thread(one: "Channel") -> Json:
    assert one.guild is not None
    assert one.parent is not None
    return {
        "name": one.name,
        "guild_id": str(one.guild.id),
        "parent_id": str(one.parent.id),
        "owner_id": str(one.guild.owner_id),
        "message_count": len(one.messages),
        "member_count": 1,
        "total_message_sent": 0,
        "rate_limit_per_user": 0,
        "thread_metadata": {
            "archived": one.archived,
            "auto_archive_duration": 1440,
            "archive_timestamp": "2026-01-01T00:00:00+00:00",
            "locked": one.locked,
        },
    }


def channel_for_bot(one: "Channel") -> Json:
    """A server's channel as the gateway sends it to the bot: obfuscated if the bot cannot view it."""
    if one.bot_sees:
        return channel(one)
    rules = [{"id": str(one.guild.id if one.guild else 0), "type": 0, "allow": "0", "deny": str(VIEW_CHANNEL)}]
    hidden = {"name": "___hidden___", "flags": OBFUSCATED, "nsfw": False, "permission_overwrites": rules}
    return channel(one) | hidden


def readable(one: Message) -> bool:
    """Whether a bot without the message-content intent may read it: its own, direct messages and mentions."""
    bot = one.channel.world.bot
    return one.author is bot or one.channel.guild is None or bot in _mentioned(one)


def _mentioned(one: Message) -> "list[User]":
    """The users whom a message mentions, among them the author of the message that it replies to."""
    found = [each for each in one.channel.world.users.values() if f"<@{each.id}>" in one.now.content]
    origin = _replied_to(one)
    return found if origin is None or origin.author in found else [*found, origin.author]


def _replied_to(one: Message) -> Message | None:
    number = int((one.reference or {}).get("message_id") or 0) if one.kind == REPLY else 0
    return one.channel.world.messages.get(number)


def message_event(one: Message, *, content: bool) -> Json:
    """The data of MESSAGE_CREATE in a server; *content*: for a session with the message-content intent."""
    guild, origin = one.channel.guild, _replied_to(one)
    assert guild is not None
    payload = message(one, complete=content or readable(one)) | {"guild_id": str(guild.id)}
    if (membership := guild.members.get(one.author.id)) is not None:
        payload["member"] = member(membership, with_user=False)
    payload["mentions"] = [user(each) for each in _mentioned(one)]
    if origin is not None:
        payload["referenced_message"] = message(origin, complete=content or readable(origin))
    return payload


def message(one: Message, *, complete: bool) -> Json:
    """A message; unless *complete*, without the fields that need the message-content intent."""
    shown = one.now
    hidden = shown.shown_ids if is_v2(shown) else frozenset()
    cdn = shown.cdn
    return {
        "id": str(one.id),
        "type": one.kind,
        "channel_id": str(one.channel.id),
        "author": user(one.author),
        "content": shown.content if complete else "",
        "components": render(shown) if complete else [],
        "embeds": list(shown.embeds) if complete else [],
        "attachments": [cdn.attachment(each) for each in shown.attachments if each.id not in hidden]
        if complete
        else [],
        "flags": shown.flags,
        "timestamp": iso(one.history[0].at),
        "edited_timestamp": iso(shown.at) if len(one.history) > 1 else None,
        "mentions": [],
        "mention_roles": [],
        "mention_everyone": False,
        "pinned": False,
        "tts": False,
        **_origin(one),
    }


def _origin(one: Message) -> Json:
    origin: Json = {"message_reference": one.reference} if one.reference else {}
    if one.author is not one.channel.world.bot or one.interaction is None:
        return origin
    caused = one.interaction
    application_id = str(one.channel.world.application.id)
    return origin | {
        "application_id": application_id,
        "webhook_id": application_id,
        "interaction_metadata": {
            "id": str(caused.id),
            "type": caused.kind,
            "user": user(caused.user),
            "authorizing_integration_owners": caused.owners,
        },
    }
