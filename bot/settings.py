"""Reads config files and environment into one frozen `Settings`, or says in one line what is wrong with them."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator

from bot.core.catalog import Catalog
from bot.core.quota import Limits
from bot.core.references import is_loopback
from bot.store.database import shown
from bot.telemetry import USERINFO

PREFIX = "DARKROOM_"
CONFIG = "DARKROOM_CONFIG"
SECRETS = {"runcomfy": "DARKROOM_RUNCOMFY__API_TOKEN", "runflow": "DARKROOM_RUNFLOW__API_KEY"}
WHENCE = {"runcomfy": "the API token from your RunComfy profile", "runflow": "an API key of your Runflow organisation"}
PROXY = re.compile(r"https?://([^\s/@:]+(:[^\s/@]*)?@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?")
SHIPPED = Path(__file__).parents[1] / "config" / "darkroom.toml"


class BadSettings(Exception):
    """The configuration cannot be used; the text is one line that names the key."""


def _none(value: Any) -> Any:
    return None if value == "none" else value


Count = Annotated[int | None, Field(ge=0), BeforeValidator(_none)]
Dollars = Annotated[Decimal | None, Field(ge=0, le=1_000_000, decimal_places=6), BeforeValidator(_none)]
Host = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9.\-]+(:\d+)?$")]
Slots = Annotated[int, Field(ge=1, le=1000)]
WebhookSecret = Annotated[SecretStr, Field(min_length=8)]  # shorter ones are not kept out of the log


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Without the name and password that an address may hold."""
        for name, value in super().__repr_args__():
            yield name, USERINFO.sub(r"\1…@", value) if isinstance(value, str) else value


def _secure(value: str, *, plain: str, secure: str) -> str:
    """*value* if it is over TLS, or leads to this machine."""
    parts = urlsplit(value)
    if parts.scheme == secure or (parts.scheme == plain and is_loopback(parts.hostname or "")):
        return value.rstrip("/")
    raise ValueError(f"must begin with {secure}:// (without TLS only on this machine)")


class HttpSection(_Section):
    proxy: Annotated[SecretStr | None, BeforeValidator(lambda value: _none(value) or None)]  # it may hold a password

    @field_validator("proxy")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        url = value.get_secret_value() if value else "http://none"
        found = PROXY.fullmatch(url) if url.isascii() and url.isprintable() else None
        if found is None or not 0 < int(found["port"] or 80) < 65536:
            raise ValueError("must look like http://host:3128 or http://user:password@host:3128")
        return value

    @property
    def address(self) -> str | None:
        return self.proxy.get_secret_value() if self.proxy else None

    def proxy_to(self, url: str) -> str | None:
        """The proxy through which *url* is reached: none for this machine."""
        return None if is_loopback(urlsplit(url).hostname or "") else self.address


class DiscordSection(_Section):
    token: SecretStr = SecretStr("")
    guilds: tuple[str, ...] = ()
    user_install: bool = False
    log_channel: int = 0
    api_base: str = "https://discord.com/api/v10"
    gateway_url: str = ""
    ai_label: bool = False
    cdn_hosts: tuple[Host, ...]

    @field_validator("guilds", mode="before")
    @classmethod
    def _ids_or_star(cls, value: Any) -> Any:
        ids = [str(each) for each in value] if isinstance(value, list | tuple) else value
        if isinstance(ids, list) and not all(each == "*" or each.isdigit() for each in ids):
            raise ValueError('takes server ids, or "*" for all')
        return ids

    @field_validator("api_base")
    @classmethod
    def _https(cls, value: str) -> str:
        return _secure(value, plain="http", secure="https")

    @field_validator("gateway_url")
    @classmethod
    def _wss(cls, value: str) -> str:
        return _secure(value, plain="ws", secure="wss") if value else value


class RuncomfySection(_Section):
    api_token: SecretStr = SecretStr("")
    api_base: str
    balance_url: str
    result_hosts: tuple[Host, ...]
    max_in_flight: Slots = 4

    @field_validator("api_base", "balance_url")
    @classmethod
    def _https(cls, value: str) -> str:
        return _secure(value, plain="http", secure="https") if value else value


class RunflowSection(_Section):
    api_key: SecretStr = SecretStr("")
    webhook_secrets: tuple[WebhookSecret, ...] = ()
    api_base: str
    result_hosts: tuple[Host, ...] = ()
    max_in_flight: Slots = 4

    @field_validator("api_base")
    @classmethod
    def _https(cls, value: str) -> str:
        return _secure(value, plain="http", secure="https")


class RoutingSection(_Section):
    prefer: Annotated[tuple[Literal["runcomfy", "runflow"], ...], Field(min_length=1)]
    low_balance_usd: Dollars

    @property
    def low_balance(self) -> int | None:
        """In micro-dollars."""
        return _micro(self.low_balance_usd)


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
            user_day_micro_usd=_micro(self.user_day_usd),
            guild_month_micro_usd=_micro(self.guild_month_usd),
            host_month_micro_usd=_micro(self.host_month_usd),
            user_in_flight=self.user_in_flight,
            guild_in_flight=self.guild_in_flight,
            host_in_flight=self.host_in_flight,
            direct_day_images=self.direct_day_images,
            direct_day_micro_usd=_micro(self.direct_day_usd),
            direct_month_micro_usd=_micro(self.direct_month_usd),
            direct_in_flight=self.direct_in_flight,
        )


class DatabaseSection(_Section):
    url: SecretStr  # it may hold a password

    @field_validator("url")
    @classmethod
    def _engine(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if not re.match(r"sqlite:///.|postgres(ql)?://.", url):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        if "password=" in url:
            raise ValueError("takes its password as postgresql://user:password@host/name")
        return value

    @property
    def shown(self) -> str:
        return shown(self.url.get_secret_value())


class DataSection(_Section):
    dir: Path
    keep_hours: Annotated[int, Field(ge=1, le=24 * 365)]
    keep_prompts_days: Annotated[int, Field(ge=1, le=3650)]


class WebSection(_Section):
    host: str
    port: Annotated[int, Field(ge=0, le=65535)]
    public_url: str = ""


class LogSection(_Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class FilesSection(_Section):
    models: Path
    locales: Path


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
    log: LogSection
    files: FilesSection

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The shipped file, the operator's own over it, the environment over both; `BadSettings` if they are wrong."""
        env = dict(os.environ if environment is None else environment)
        path = Path(env.get(CONFIG) or SHIPPED)
        merged = _merge(_toml(SHIPPED), _toml(path)) if path != SHIPPED else _toml(path)
        merged = _merge(merged, _environment(env))
        try:
            settings = cls.model_validate(merged)
        except ValidationError as exc:
            raise BadSettings(_one_line(exc)) from exc
        return settings.model_copy(update={"files": _beside(settings.files, path)})

    def catalog(self) -> Catalog:
        """What can be had from the hosts of `routing.prefer`; `BadSettings` where the file is wrong, or nothing is."""
        try:
            whole = Catalog.model_validate(_toml(self.files.models))
        except ValidationError as exc:
            raise BadSettings(f"{self.files.models.name}: {_one_line(exc)}") from exc
        had = whole.at(self.routing.prefer)
        if not had.models:
            hosts = " or ".join(dict.fromkeys(self.routing.prefer))
            raise BadSettings(f"routing.prefer: {self.files.models.name} has no model with a route at {hosts}")
        return had

    def secrets(self) -> Sequence[str]:
        """Everything that must never be printed."""
        held = (self.discord.token, self.runcomfy.api_token, self.runflow.api_key, *self.runflow.webhook_secrets)
        told = [each.get_secret_value() for each in held]
        url = self.database.url.get_secret_value()
        if shown(url) != url:
            told += _with_password(url)
        addresses = (
            self.http.address or "", self.discord.api_base, self.discord.gateway_url, self.runcomfy.api_base,
            self.runcomfy.balance_url, self.runflow.api_base, self.web.public_url,
        )  # fmt: skip
        for address in addresses:
            told += _with_password(address) if "@" in address else ()
        return [each for each in dict.fromkeys(told) if each]

    def require_secrets(self) -> None:
        """`BadSettings` naming the first secret without which the bot cannot run."""
        if not self.discord.token.get_secret_value():
            raise BadSettings("DARKROOM_DISCORD__TOKEN is not set: the bot's token from the Developer Portal, page Bot")
        for provider in self.routing.prefer:
            if not self.secret_of(provider):
                raise BadSettings(f"{SECRETS[provider]} is not set: {WHENCE[provider]}")

    def secret_of(self, provider: str) -> str:
        """What lets us in at *provider*; empty where it is not set."""
        held = {"runcomfy": self.runcomfy.api_token, "runflow": self.runflow.api_key}
        return held[provider].get_secret_value()


def _with_password(url: str) -> tuple[str, str, str]:
    """*url*, and the password in it as it stands there and as it is meant."""
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    return url, password, unquote(password)


def _micro(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * 1_000_000)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BadSettings(f"{path}: cannot be read ({exc.strerror})") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadSettings(f"{path}: is not valid TOML ({exc})") from exc


def _environment(env: Mapping[str, str]) -> dict[str, Any]:
    """`DARKROOM_WEB__PORT=80` as `{"web": {"port": "80"}}`; lists are JSON."""
    found: dict[str, Any] = {}
    for name, value in sorted(env.items()):
        if not name.startswith(PREFIX) or name == CONFIG:
            continue
        section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
        if not separator or section not in Settings.model_fields:
            raise BadSettings(f"{name}: there is no such setting")
        found.setdefault(section, {})[key] = _listed(name, value)
    return found


def _listed(name: str, value: str) -> Any:
    if not value.startswith("["):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as exc:
        raise BadSettings(f'{name}: lists are written as JSON, for instance ["a", "b"]') from exc


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for section, values in above.items():
        old = merged.get(section)
        merged[section] = {**old, **values} if isinstance(old, dict) and isinstance(values, dict) else values
    return merged


def _beside(files: FilesSection, config: Path) -> FilesSection:
    """Paths in `[files]` count from the config file; what is not there is taken from the shipped folder."""
    folders = (config.parent, SHIPPED.parent)

    def find(path: Path) -> Path:
        return next((each / path for each in folders if (each / path).exists()), folders[0] / path)

    return FilesSection(models=find(files.models), locales=find(files.locales))


def _one_line(exc: ValidationError) -> str:
    """The first problem, by its key; values are left out, for they may be secrets."""
    problem = exc.errors(include_input=False, include_url=False)[0]
    key = ".".join(str(each) for each in problem["loc"]) or "the file"
    message = "there is no such setting" if problem["type"] == "extra_forbidden" else problem["msg"]
    return f"{key}: {message}"
