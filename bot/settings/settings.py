"""All settings: reads config files and environment variables into one frozen `Settings`, or raises `BadSettings`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from bot.core.catalog import Catalog
from bot.core.processes import Role
from bot.core.quota import Limits
from bot.core.references import is_loopback
from bot.core.routes import Option
from bot.observability.logging import USERINFO
from bot.settings.sources import CONFIG, BadSettings, Sources, TomlFile, tidy
from bot.settings.types import (
    Address,
    ApiBase,
    BlockedWords,
    ChannelId,
    Count,
    DatabaseUrl,
    Days,
    DirectUrl,
    Dollars,
    Endpoint,
    File,
    Flag,
    Folder,
    GatewayUrl,
    Guilds,
    Hosts,
    Hours,
    Https,
    HttpsOrNone,
    MetricsToken,
    PollRate,
    Port,
    Proxy,
    PublicUrl,
    Region,
    Roles,
    ShardRange,
    SigningSecret,
    Slots,
    StorageSecret,
    StorageUrl,
    Token,
    require_tls,
    without_quotes,
)
from bot.store.database import display_url

SECRETS = {"runcomfy": "DARKROOM_RUNCOMFY__API_TOKEN", "runflow": "DARKROOM_RUNFLOW__API_KEY"}
SECRET_SOURCES = {
    "runcomfy": "the API token from your RunComfy profile",
    "runflow": "an API key of your Runflow organisation",
}
SHIPPED = Path(__file__).parents[1] / "config" / "darkroom.toml"
EARLIER = Path(__file__).parents[2] / "config" / "darkroom.toml"  # where it was shipped before: changes there count


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Leave out user name and password of URLs."""
        for name, value in super().__repr_args__():
            yield name, USERINFO.sub(r"\1…@", value) if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _without_quotes(cls, value: Any) -> Any:
        return without_quotes(value)


class HttpSection(_Section):
    proxy: Proxy

    @property
    def address(self) -> str | None:
        return self.proxy.get_secret_value() if self.proxy else None

    def proxy_to(self, url: str) -> str | None:
        """Return the proxy for requests to *url*: None for loopback."""
        return None if is_loopback(urlsplit(url).hostname or "") else self.address


class DiscordSection(_Section):
    token: Token = SecretStr("")
    transport: Annotated[Literal["gateway", "http"], Field(description="gateway or http", examples=["gateway"])] = (
        "gateway"
    )
    guilds: Guilds = ()
    user_install: Flag = False
    age_restricted: Flag = False
    log_channel: ChannelId = 0
    mentions: Flag = False
    message_content: Flag = False
    shards: ShardRange = "auto"
    rest_proxy: Flag = False
    api_base: ApiBase = "https://discord.com/api/v10"
    gateway_url: GatewayUrl = ""
    ai_label: Flag = False
    blocked_words: BlockedWords = ()
    cdn_hosts: Hosts

    @field_validator("api_base")
    @classmethod
    def _tls_or_rest_proxy(cls, value: str, info: ValidationInfo) -> str:
        return value if info.data.get("rest_proxy") else require_tls(value)

    @property
    def proxied(self) -> bool:
        """Whether a REST proxy keeps Discord's rate limits. With Discord's own address nobody but us would."""
        return self.rest_proxy and not (urlsplit(self.api_base).hostname or "").endswith("discord.com")


class RuncomfySection(_Section):
    api_token: Token = SecretStr("")
    api_base: Https
    balance_url: HttpsOrNone
    result_hosts: Hosts
    max_in_flight: Slots = 4
    polls_per_second: PollRate = 20


class RunflowSection(_Section):
    api_key: Token = SecretStr("")
    webhook_secrets: Annotated[
        tuple[SigningSecret, ...],
        Field(description="a list of secrets, each with 8 characters or more", examples=[["whsec_abc123"]]),
    ] = ()
    api_base: Https
    result_hosts: Hosts = ()
    max_in_flight: Slots = 4
    polls_per_second: PollRate = 20


class RoutingSection(_Section):
    prefer: Annotated[
        tuple[Literal["runcomfy", "runflow"], ...],
        Field(min_length=1, description="a list of runcomfy and runflow", examples=[["runcomfy", "runflow"]]),
    ]
    low_balance_usd: Dollars

    @property
    def low_balance(self) -> int | None:
        """In micro-dollars."""
        return _micro_usd(self.low_balance_usd)


class QuotaSection(_Section):
    user_day_images: Count
    user_day_usd: Dollars
    guild_month_usd: Dollars
    host_month_usd: Dollars
    user_in_flight: Count
    guild_in_flight: Count
    host_in_flight: Count
    direct_day_images: Count
    direct_day_usd: Dollars
    direct_month_usd: Dollars
    direct_in_flight: Count

    def limits(self) -> Limits:
        return Limits(
            user_day_images=self.user_day_images,
            user_day_micro_usd=_micro_usd(self.user_day_usd),
            guild_month_micro_usd=_micro_usd(self.guild_month_usd),
            host_month_micro_usd=_micro_usd(self.host_month_usd),
            user_in_flight=self.user_in_flight,
            guild_in_flight=self.guild_in_flight,
            host_in_flight=self.host_in_flight,
            direct_day_images=self.direct_day_images,
            direct_day_micro_usd=_micro_usd(self.direct_day_usd),
            direct_month_micro_usd=_micro_usd(self.direct_month_usd),
            direct_in_flight=self.direct_in_flight,
        )


class DatabaseSection(_Section):
    url: DatabaseUrl
    direct_url: DirectUrl = SecretStr("")

    @property
    def direct(self) -> str:
        """The URL of the server itself, where `url` may be a pooler's; or of the SQLite file."""
        return self.direct_url.get_secret_value() or self.url.get_secret_value()

    @property
    def shown(self) -> str:
        return display_url(self.direct)


class DataSection(_Section):
    dir: Folder
    url: StorageUrl = ""
    s3_endpoint: Endpoint = ""
    s3_region: Region = ""
    s3_access_key: Token = SecretStr("")
    s3_secret_key: StorageSecret = SecretStr("")
    keep_hours: Hours
    keep_prompts_days: Days


class WebSection(_Section):
    host: Address
    port: Port
    public_url: PublicUrl = ""
    metrics_token: MetricsToken = SecretStr("")


class ProcessSection(_Section):
    roles: Roles


class LogSection(_Section):
    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Field(description="DEBUG, INFO, WARNING or ERROR", examples=["INFO"]),
    ]


class FilesSection(_Section):
    models: File
    locales: Annotated[Folder, Field(examples=["locales"])]


class Settings(_Section):
    discord: DiscordSection
    runcomfy: RuncomfySection
    runflow: RunflowSection
    http: HttpSection
    routing: RoutingSection
    quota: QuotaSection
    database: DatabaseSection
    data: DataSection
    web: WebSection
    process: ProcessSection
    log: LogSection
    files: FilesSection

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the shipped file, then the operator's file, then the environment; later sources override earlier ones.

        Raises `BadSettings` for the first wrong value.
        """
        env = dict(os.environ if environment is None else environment)
        places = [SHIPPED, EARLIER] if EARLIER.exists() else [SHIPPED]
        path = Path(tidy(env.get(CONFIG, "")) or places[-1])
        files = [TomlFile.read(each) for each in dict.fromkeys((*places, path))]
        sources = Sources(files, env, model=cls)
        try:
            settings = cls.model_validate(sources.values)
        except ValidationError as exc:
            raise BadSettings(sources.sentence(exc)) from None  # pydantic's message quotes the values
        if settings.database.url.get_secret_value().startswith("sqlite"):
            if set(settings.process.roles) < set(Role):
                raise BadSettings(
                    "process.roles: on SQLite, Darkroom is one process with every role; several processes need "
                    "PostgreSQL"
                )
            if settings.database.direct_url.get_secret_value():
                raise BadSettings("database.direct_url: is only for PostgreSQL, and database.url is a SQLite file")
        if settings.discord.transport == "http" and (settings.discord.mentions or settings.discord.message_content):
            name = "mentions" if settings.discord.mentions else "message_content"
            raise BadSettings(f'discord.{name}: needs the gateway: set it to false, or discord.transport to "gateway"')
        if settings.discord.proxied and settings.http.address:
            raise BadSettings(
                "http.proxy: with discord.rest_proxy it must be none; let the REST proxy use the HTTP proxy itself"
            )
        return settings.model_copy(update={"files": _resolve_paths(settings.files, path)})

    @property
    def answers(self) -> bool:
        """Whether this process answers interactions: with the role `gateway`, over HTTP with the role `web`."""
        return (Role.WEB if self.discord.transport == "http" else Role.GATEWAY) in self.process.roles

    def catalog(self) -> Catalog:
        """Return the models with a route at a provider of `routing.prefer`. Raises `BadSettings` if there is none."""
        file = TomlFile.read(self.files.models)
        try:
            whole = Catalog.model_validate(file.table)
        except ValidationError as exc:
            raise BadSettings(file.sentence(exc, kinds=[each.__name__ for each in get_args(Option)])) from None
        offered = whole.for_providers(self.routing.prefer)
        if not offered.models:
            providers = " or ".join(dict.fromkeys(self.routing.prefer))
            raise BadSettings(f"routing.prefer: {self.files.models.name} has no model with a route at {providers}")
        return offered

    def secrets(self) -> Sequence[str]:
        """Return every value that must never be printed."""
        fields = (self.discord.token, self.runcomfy.api_token, self.runflow.api_key, *self.runflow.webhook_secrets,
                  self.web.metrics_token, self.data.s3_access_key, self.data.s3_secret_key)  # fmt: skip
        secrets = [each.get_secret_value() for each in fields]
        for url in (self.database.url.get_secret_value(), self.database.direct):
            if display_url(url) != url:
                secrets += _url_and_password(url)
        addresses = (
            self.http.address or "", self.discord.api_base, self.discord.gateway_url, self.runcomfy.api_base,
            self.runcomfy.balance_url, self.runflow.api_base, self.web.public_url, self.data.s3_endpoint,
        )  # fmt: skip
        for address in addresses:
            secrets += _url_and_password(address) if "@" in address else ()
        return [each for each in dict.fromkeys(secrets) if each]

    def require_secrets(self) -> None:
        """Raise `BadSettings` for the first secret that is required but not set."""
        if not self.discord.token.get_secret_value():
            raise BadSettings("DARKROOM_DISCORD__TOKEN is not set: the bot's token from the Developer Portal, page Bot")
        for provider in self.routing.prefer:
            if not self.secret_of(provider):
                raise BadSettings(f"{SECRETS[provider]} is not set: {SECRET_SOURCES[provider]}")

    def secret_of(self, provider: str) -> str:
        """Return the API token of *provider*, "" if it is not set."""
        tokens = {"runcomfy": self.runcomfy.api_token, "runflow": self.runflow.api_key}
        return tokens[provider].get_secret_value()


def _url_and_password(url: str) -> tuple[str, str, str]:
    """Return *url*, and its password both percent-encoded and decoded."""
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return url, password, unquote(password)


def _micro_usd(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * 1_000_000)


def _resolve_paths(files: FilesSection, config: Path) -> FilesSection:
    """Resolve paths in `[files]` relative to the config file; missing files are taken from the shipped folder.

    A file where earlier versions had it counts before the shipped one: the operator has put it there.
    """
    folders = [each.parent for each in (config, EARLIER, SHIPPED) if each != SHIPPED] + [SHIPPED.parent]

    def find(path: Path) -> Path:
        return next((each / path for each in folders if (each / path).exists()), config.parent / path)

    return FilesSection(models=find(files.models), locales=find(files.locales))
