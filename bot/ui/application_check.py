"""Asks Discord about the application for `darkroom doctor`, over HTTP only."""

from dataclasses import dataclass

import aiohttp
import discord

from bot.ui.interactions.access import Access


@dataclass(frozen=True, slots=True)
class Server:
    """A server that the bot is in. *may_spend*: pictures may be made there."""

    id: int
    name: str
    may_spend: bool


@dataclass(frozen=True, slots=True)
class Application:
    """*public*: anybody may invite the bot. *commands*: names of the registered global commands.

    *message_content*: the privileged intent of that name is switched on. *endpoint*: the Interactions Endpoint URL, ""
    if none is set.
    """

    name: str
    application_id: int
    public: bool
    commands: tuple[str, ...]
    servers: tuple[Server, ...]
    message_content: bool = False
    endpoint: str = ""


class ApplicationCheckFailed(Exception):
    """The check failed; the message completes the sentence "Discord …" for the operator."""


async def check_application(token: str, *, access: Access, proxy: str | None = None) -> Application:
    """Log in, read the application, its commands and servers, and close the client.

    Sets the owners of *access*. Raises `ApplicationCheckFailed` if the token is wrong or Discord cannot be reached.
    """
    client = discord.Client(intents=discord.Intents(guilds=True), proxy=proxy)
    try:
        await client.login(token)
        info = await client.application_info()
        commands = await discord.app_commands.CommandTree(client).fetch_commands()
        guilds = [guild async for guild in client.fetch_guilds(limit=200)]
        owners = {guild.id: (await client.fetch_guild(guild.id)).owner_id for guild in guilds}
    except discord.LoginFailure as exc:
        raise ApplicationCheckFailed("does not know this token") from exc
    except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
        raise ApplicationCheckFailed(f"cannot be reached ({type(exc).__name__})") from exc
    finally:
        await client.close()
    access.set_owners(owner_ids(info))
    flags = info.flags
    return Application(
        name=info.name,
        application_id=info.id,
        public=info.bot_public,
        commands=tuple(sorted(each.name for each in commands)),
        servers=tuple(
            Server(guild.id, guild.name, access.guild_is_open(guild.id, owner_id=owners[guild.id])) for guild in guilds
        ),
        endpoint=info.interactions_endpoint_url or "",
        message_content=flags.gateway_message_content or flags.gateway_message_content_limited,
    )


def owner_ids(info: discord.AppInfo) -> set[int]:
    """The user ids of an application's owner, or of the members of its team."""
    return {member.id for member in info.team.members} if info.team else {info.owner.id}
