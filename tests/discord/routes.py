"""The routes of the local Discord, and conversion of a handler's result into a response."""

from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web

from tests.discord import answers, bot_routes
from tests.discord.calls import Call
from tests.discord.faults import reply
from tests.discord.rules import MAX_REQUEST_BYTES, Json, Refused
from tests.discord.world import World

Handler = Callable[[World, Call], Json | list[Json] | None]


class Route(NamedTuple):
    name: str
    method: str
    path: str
    handle: Handler
    token: bool = True  # whether it needs the bot's token


COMMANDS, GUILD_COMMANDS = "/applications/{app}/commands", "/applications/{app}/guilds/{guild}/commands"
HOOK, MESSAGE = "/webhooks/{app}/{token}", "/channels/{channel}/messages/{message}"
ROUTES = (
    Route("me", "GET", "/users/@me", bot_routes.me),
    Route("my_guilds", "GET", "/users/@me/guilds", bot_routes.my_guilds),
    Route("get_guild", "GET", "/guilds/{guild}", bot_routes.get_guild),
    Route("application", "GET", "/oauth2/applications/@me", bot_routes.application),
    Route("application", "GET", "/applications/@me", bot_routes.application),
    Route("gateway", "GET", "/gateway/bot", bot_routes.gateway_bot),
    Route("sync", "PUT", COMMANDS, bot_routes.put_commands),
    Route("sync", "PUT", GUILD_COMMANDS, bot_routes.put_commands),
    Route("commands", "GET", COMMANDS, bot_routes.get_commands),
    Route("commands", "GET", GUILD_COMMANDS, bot_routes.get_commands),
    Route("entitlements", "GET", "/applications/{app}/entitlements", bot_routes.nothing),
    Route("skus", "GET", "/applications/{app}/skus", bot_routes.nothing),
    Route("callback", "POST", "/interactions/{id}/{token}/callback", answers.callback, token=False),
    Route("get_by_token", "GET", HOOK + "/messages/{message}", answers.get_by_token, token=False),
    Route("edit_by_token", "PATCH", HOOK + "/messages/{message}", answers.edit_by_token, token=False),
    Route("delete_by_token", "DELETE", HOOK + "/messages/{message}", answers.delete_by_token, token=False),
    Route("follow_up", "POST", HOOK, answers.follow_up, token=False),
    Route("open_dm", "POST", "/users/@me/channels", bot_routes.open_dm),
    Route("get_channel", "GET", "/channels/{channel}", bot_routes.get_channel),
    Route("change_channel", "PATCH", "/channels/{channel}", bot_routes.change_channel),
    Route("list_messages", "GET", "/channels/{channel}/messages", bot_routes.list_messages),
    Route("create_message", "POST", "/channels/{channel}/messages", bot_routes.create_message),
    Route("get_message", "GET", MESSAGE, bot_routes.get_message),
    Route("edit_message", "PATCH", MESSAGE, bot_routes.edit_message),
    Route("open_thread", "POST", MESSAGE + "/threads", bot_routes.open_thread),
    Route("delete_message", "DELETE", MESSAGE, bot_routes.delete_message),
)


def handle(world: World, route: Route, *, call: Call) -> web.StreamResponse:
    try:
        _check_access(world, route, call)
        answer = route.handle(world, call)
    except Refused as no:
        return reply(no.status, no.body)
    return web.Response(status=204) if answer is None else reply(200, answer)


def _check_access(world: World, route: Route, call: Call) -> None:
    if route.token and call.authorization != f"Bot {world.token}":
        raise Refused(401, 0, "401: Unauthorized")
    if call.size > MAX_REQUEST_BYTES:
        raise Refused(413, 40005, "Request entity too large")
