"""What Discord says of our application, for `darkroom doctor`: asked over HTTP, without connecting."""

from dataclasses import dataclass

import aiohttp
import discord

from bot.ui.interactions.access import Access


@dataclass(frozen=True, slots=True)
class Server:
    id: int
    name: str
    may_spend: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """*public*: whether anybody may invite the bot."""

    name: str
    application_id: int
    public: bool
    commands: tuple[str, ...]
    servers: tuple[Server, ...]


class DiscordSaysNo(Exception):
    """Discord did not let us look; the text is for the operator."""


async def examine(token: str, *, access: Access, proxy: str | None = None) -> Findings:
    """Log in, look around, leave. `DiscordSaysNo` when the token is wrong or Discord cannot be reached."""
    client = discord.Client(intents=discord.Intents(guilds=True), proxy=proxy)
    try:
        await client.login(token)
        info = await client.application_info()
        commands = await discord.app_commands.CommandTree(client).fetch_commands()
        guilds = [guild async for guild in client.fetch_guilds(limit=200)]
        owners = {guild.id: (await client.fetch_guild(guild.id)).owner_id for guild in guilds}
    except discord.LoginFailure as exc:
        raise DiscordSaysNo("does not know this token") from exc
    except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
        raise DiscordSaysNo(f"cannot be asked ({type(exc).__name__})") from exc
    finally:
        await client.close()
    access.set_owners(owner_ids(info))
    return Findings(
        name=info.name,
        application_id=info.id,
        public=info.bot_public,
        commands=tuple(sorted(each.name for each in commands)),
        servers=tuple(
            Server(guild.id, guild.name, access.guild_is_open(guild.id, owner_id=owners[guild.id])) for guild in guilds
        ),
    )


def owner_ids(info: discord.AppInfo) -> set[int]:
    """The people an application belongs to: its owner, or the members of its team."""
    return {member.id for member in info.team.members} if info.team else {info.owner.id}
