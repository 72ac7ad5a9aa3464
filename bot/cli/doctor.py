"""`darkroom doctor`: health checks of a deployment, one line each with how to fix it. Leaves nothing changed."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bot import app
from bot.core.catalog import Catalog
from bot.core.errors import ModelGone, ProviderError, ProviderPaused
from bot.core.references import is_loopback
from bot.files.modes import is_open, is_there
from bot.files.storage import StorageRefused
from bot.observability.logging import Redactor, printable
from bot.providers.base import Provider
from bot.settings.settings import SECRET_SOURCES, SECRETS, Settings
from bot.settings.sources import BadSettings
from bot.store.connect import SQLITE, display_location, status
from bot.store.database import StoreUnusable
from bot.ui.application_check import Application, ApplicationCheckFailed, check_application
from bot.ui.client import connect_to
from bot.ui.interactions.access import Access
from bot.web.interactions import PATH as INTERACTIONS

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Line:
    """Result of one check. *good* is None for a warning: the bot runs, but something may need a change."""

    good: bool | None
    what: str
    fix: str = ""

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "FAIL", None: "warn"}[self.good]
        return f"{mark}  {self.what}" + (f" - {self.fix}" if self.fix else "")


async def examine(settings: Settings) -> int:
    """Print a line for each check. Returns the exit code: 0 if none failed, else 1."""
    failed, redactor = False, Redactor(settings.secrets())
    async for line in findings(settings):
        print(printable(redactor.clean(str(line))))
        failed = failed or line.good is False
    return int(failed)


async def findings(settings: Settings) -> AsyncIterator[Line]:
    try:
        catalog = settings.catalog()
    except BadSettings as exc:
        yield Line(good=False, what=f"catalogue: {exc}", fix="correct the file, or use the shipped one")
        return
    yield Line(good=True, what=f"configuration and catalogue: {len(catalog.models)} models")
    if (line := _proxy(settings, os.environ)) is not None:
        yield line
    try:
        app.texts(settings)
    except BadSettings as exc:
        yield Line(good=False, what=f"locales: {exc}", fix="correct the file, or use the shipped one")
    yield await _database(settings)
    if settings.database.direct_url.get_secret_value():
        yield await _pooler(settings)
    async for line in _pictures(settings):
        yield line
    async for line in _discord(settings):
        yield line
    async for line in _providers(settings, catalog):
        yield line


def _proxy(settings: Settings, environment: Mapping[str, str]) -> Line | None:
    """Warn if the environment has proxy variables, which Darkroom does not use, and `http.proxy` is not set."""
    names = [each for each in PROXIES for each in (each, each.lower()) if environment.get(each)]
    if settings.http.address or not names:
        return None
    fix = "set DARKROOM_HTTP__PROXY to reach Discord and the providers through a proxy"
    return Line(good=None, what=f"proxy variables are set but not used: {', '.join(names)}", fix=fix)


async def _database(settings: Settings) -> Line:
    url = settings.database.direct
    try:
        found = await status(url)
    except StoreUnusable as exc:
        return Line(good=False, what=str(exc))
    except OSError as exc:
        fix = "let the user that runs the bot read it, or change DARKROOM_DATABASE__URL"
        return Line(good=False, what=f"database {display_location(url)}: {exc.strerror}", fix=fix)
    where = f"database {display_location(url)}"
    if found.obstacle:
        return Line(good=False, what=f"{where}: {found.obstacle}", fix="give it to the user that runs the bot")
    if found.version is None:
        return Line(good=None, what=f"{where}: does not exist yet", fix=_missing_database_fix(url))
    if found.version == 0:
        return Line(good=None, what=f"{where}: has no tables yet", fix="darkroom run creates them")
    versions = f"{where} has version {found.version}, this Darkroom"
    if found.version > found.newest:
        return Line(good=False, what=f"{versions} knows {found.newest}", fix="update Darkroom")
    if found.version < found.newest:
        return Line(good=None, what=f"{versions} needs {found.newest}", fix="darkroom run brings it up to date")
    return Line(good=True, what=f"{where} can be opened")


async def _pooler(settings: Settings) -> Line:
    url = settings.database.url.get_secret_value()
    try:
        await status(url, pooled=True)
    except StoreUnusable as exc:
        return Line(good=False, what=f"pooler: {exc}")
    return Line(good=True, what=f"pooler {display_location(url)} can be opened")


def _missing_database_fix(url: str) -> str:
    """Return how to fix a missing database, considering the most likely mistake."""
    path = Path(url.removeprefix(SQLITE))
    if path.is_absolute():
        return "darkroom run creates it; if it should exist, check DARKROOM_DATABASE__URL"
    if Path("/", path.parts[0]).is_dir() and not Path(path.parts[0]).exists():
        return f"an absolute path has four slashes: {SQLITE}/{path}"
    return f"darkroom run creates it; if it should exist, start this in the bot's folder and not in {Path.cwd()}"


async def _pictures(settings: Settings) -> AsyncIterator[Line]:
    if settings.data.url:
        yield await _bucket(settings)
        return
    try:
        for line in _folders(settings):
            yield line
    except OSError as exc:
        fix = "let the user that runs the bot read the folder, or change DARKROOM_DATA__DIR"
        yield Line(good=False, what=f"pictures: {settings.data.dir.absolute()}: {exc.strerror}", fix=fix)


async def _bucket(settings: Settings) -> Line:
    """Write, list, read and delete a file in the bucket."""
    where, name = f"pictures: {settings.data.url}", f"doctor-{secrets.token_hex(8)}.txt"
    try:
        storage = app.bucket(settings)
        await storage.write(name, b"darkroom doctor")
        is_listed = name in [each.name for each in await storage.list()]
        is_stored = await storage.read(name) == b"darkroom doctor"
        await storage.delete([name])
        is_gone = await storage.read(name) is None
        keeps_versions = await storage.keeps_versions()
    except BadSettings as exc:
        return Line(good=False, what=f"pictures: {exc}")
    except StorageRefused as exc:
        fix = "check DARKROOM_DATA__URL and the keys, which must be allowed to list, get, put and delete objects"
        return Line(good=False, what=f"pictures: {exc}", fix=fix)
    except OSError as exc:
        fix = "check DARKROOM_DATA__S3_ENDPOINT, the S3 service and the network"
        return Line(good=False, what=f"pictures: {exc}", fix=fix)
    if not (is_listed and is_stored and is_gone):
        fix = "use an S3 service that is strongly consistent"
        return Line(good=False, what=f"{where} does not show at once what is written and deleted", fix=fix)
    if keeps_versions:
        fix = "turn versioning off, or let a lifecycle rule remove noncurrent versions"
        return Line(good=None, what=f"{where} keeps versions of deleted pictures", fix=fix)
    return Line(good=True, what=f"{where} can be written, read and deleted from")


def _folders(settings: Settings) -> Iterator[Line]:
    data = settings.data.dir.absolute()
    is_made = is_there(data)
    if is_made and not (data.is_dir() and os.access(data, os.W_OK | os.X_OK)):
        yield Line(good=False, what=f"pictures: {data} cannot be written", fix="give it to the user that runs the bot")
        return
    wide = [each for each in app.files_of_ours(settings) if is_open(each)]
    yield Line(good=True, what=f"pictures: {data}{'' if is_made else ' (darkroom run creates it)'}")
    if wide:
        more = f" and {len(wide) - 1} more" if len(wide) > 1 else ""
        fix = "darkroom run corrects files of its own user; for others, run chmod go= as their owner"
        yield Line(good=None, what=f"other users of this machine may open {wide[0].absolute()}{more}", fix=fix)


async def _discord(settings: Settings) -> AsyncIterator[Line]:
    token = settings.discord.token.get_secret_value()
    if not token:
        fix = "set DARKROOM_DISCORD__TOKEN to the bot's token from the Developer Portal"
        yield Line(good=False, what="Discord: no token", fix=fix)
        return
    try:
        discord = settings.discord
        connect_to(discord.api_base, discord.gateway_url, rest_proxy=discord.proxied)
        access = Access(settings.discord.guilds, user_install=settings.discord.user_install)
        proxy = settings.http.proxy_to(settings.discord.api_base)
        found = await check_application(token, access=access, proxy=proxy)
    except ApplicationCheckFailed as exc:
        yield Line(good=False, what=f"Discord {exc}", fix="check DARKROOM_DISCORD__TOKEN and the network")
        return
    intents = ["guilds", *(["messages"] if settings.discord.mentions or settings.discord.message_content else [])]
    intents += ["message content"] if settings.discord.message_content else []
    named = f"{found.name} ({found.application_id})"
    over_gateway = f"; intents: {', '.join(intents)}" if settings.discord.transport == "gateway" else ""
    yield Line(good=True, what=f"Discord knows the token: {named}{over_gateway}")
    if settings.discord.message_content and not found.message_content:
        fix = (
            "turn on Message Content Intent on the Developer Portal's page Bot, or set discord.message_content to false"
        )
        yield Line(
            good=False, what="the application has no message-content intent, so Discord refuses the bot", fix=fix
        )
    if (transport := _transport(settings, found.endpoint)) is not None:
        yield transport
    for line in _application(found):
        yield line


def _transport(settings: Settings, endpoint: str) -> Line | None:
    """Compare how the bot receives interactions with where Discord sends them: *endpoint*, "" for the gateway."""
    field = "Interactions Endpoint URL on the Developer Portal's page General Information"
    if settings.discord.transport == "gateway":
        fix = f"clear {field}, or set discord.transport to http"
        wrong = f"Discord sends interactions to {endpoint} and none over the gateway"
        return Line(good=None, what=wrong, fix=fix) if endpoint else None
    public = urlsplit(settings.web.public_url)
    if public.scheme != "https" and not is_loopback(public.hostname or ""):
        fix = "set web.public_url to the https:// address at which Discord reaches this web server"
        return Line(good=False, what="interactions over HTTP: no public https:// address", fix=fix)
    ours = f"{settings.web.public_url}{INTERACTIONS}"
    if endpoint.rstrip("/") == ours:
        return Line(good=True, what=f"Discord sends interactions to {ours}")
    fix = f"set {field} to {ours}, while darkroom run is running: Discord tests it"
    return Line(good=False, what=f"Discord sends interactions to {endpoint or 'the gateway'}", fix=fix)


def _application(found: Application) -> list[Line]:
    lines = [
        Line(good=True, what=f"commands: {', '.join(found.commands)}")
        if "imagine" in found.commands
        else Line(
            good=None,
            what="the commands are not registered with Discord yet",
            fix="darkroom run or darkroom sync registers them",
        )
    ]
    if found.public:
        fix = "anyone may invite it: turn Public Bot off, or rely on discord.guilds"
        lines.append(Line(good=None, what="the application is public", fix=fix))
    if not found.servers:
        fix = "use the invite link of the README"
        lines.append(Line(good=None, what="the bot is in no server", fix=fix))
    for server in found.servers:
        may = "may spend" if server.may_spend else "may not spend"
        fix = "" if server.may_spend else f'add "{server.id}" to discord.guilds to open it'
        lines.append(
            Line(good=True if server.may_spend else None, what=f"server {server.name} ({server.id}) {may}", fix=fix)
        )
    return lines


async def _providers(settings: Settings, catalog: Catalog) -> AsyncIterator[Line]:
    for provider in app.providers(settings).values():
        if settings.secret_of(provider.name):
            async for line in _provider(provider, catalog, low=settings.routing.low_balance):
                yield line
        else:
            fix = f"set {SECRETS[provider.name]} to {SECRET_SOURCES[provider.name]}"
            yield Line(good=False, what=f"{provider.name}: no token", fix=fix)
        await provider.aclose()
    if "runflow" in settings.routing.prefer:
        for line in _runflow_settings(settings):
            yield line


def _runflow_settings(settings: Settings) -> list[Line]:
    lines = []
    if not settings.runflow.result_hosts:
        fix = "make one picture: the log channel then names the host to add to runflow.result_hosts"
        lines.append(Line(good=None, what="runflow: no host is allowed to download pictures from", fix=fix))
    halves = {"web.public_url": settings.web.public_url, "runflow.webhook_secrets": settings.runflow.webhook_secrets}
    missing = [name for name, value in halves.items() if not value]
    if len(missing) == 1:
        fix = f"set {missing[0]} too, or do without callbacks: runs are then polled every few seconds"
        lines.append(
            Line(good=None, what="runflow: callbacks are off, because only one of two settings is set", fix=fix)
        )
    return lines


async def _provider(provider: Provider, catalog: Catalog, *, low: int | None) -> AsyncIterator[Line]:
    try:
        left = await provider.balance()
    except ProviderPaused as exc:
        yield Line(good=False, what=f"{provider.name}: {exc}", fix="check its API token and balance")
        return
    except ProviderError as exc:
        yield Line(good=False, what=f"{provider.name} cannot be reached: {exc}", fix="check the network and api_base")
        return
    if left is not None:
        is_low = low is not None and left < low
        fix = "top it up" if is_low else ""
        yield Line(good=None if is_low else True, what=f"{provider.name}: balance ${left / 1_000_000:.2f}", fix=fix)
    for route in catalog.routes_at(provider.name):
        yield await _route(provider, route)


async def _route(provider: Provider, route: str) -> Line:
    try:
        info = await provider.describe(route)
    except ModelGone:
        return Line(good=False, what=f"{provider.name} has no model {route}", fix="remove it from models.toml")
    except ProviderError as exc:
        return Line(good=None, what=f"{provider.name} {route}: {exc}")
    price = info.base_price_micro_usd
    suffix = f", base price ${price / 1_000_000:.3f}" if price is not None else ""
    return Line(good=True, what=f"{provider.name} has {route}{suffix}")
