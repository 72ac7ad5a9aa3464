"""Reads config files and environment into one frozen `Settings`, or says in one line what is wrong with them."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from bot.core.catalog import Catalog
from bot.core.quota import Limits
from bot.core.references import is_loopback
from bot.core.routes import Option
from bot.sources import CONFIG, BadSettings, Sources, TomlFile, tidy
from bot.store.database import shown
from bot.telemetry import USERINFO

SECRETS = {"runcomfy": "DARKROOM_RUNCOMFY__API_TOKEN", "runflow": "DARKROOM_RUNFLOW__API_KEY"}
WHENCE = {"runcomfy": "the API token from your RunComfy profile", "runflow": "an API key of your Runflow organisation"}
PROXY = re.compile(r"https?://([^\s/@:]+(:[^\s/@]*)?@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?")
SHIPPED = Path(__file__).parents[1] / "config" / "darkroom.toml"
QUOTES = "\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
SQLITE = "sqlite:///"


# --- what values may look like
#
# A field's description and example complete the sentence about a wrong value: "… must be <description>, for example …".


def _other_form() -> PydanticCustomError:
    """The value has nothing of the form that its field describes."""
    return PydanticCustomError("other_form", "another form")


def _none(value: Any) -> Any:
    return None if value == "none" else value


def _whole(value: Any) -> Any:
    if isinstance(value, bool | float):
        raise _other_form()
    return value


def _filled(value: Any) -> Any:
    if (
        not isinstance(value, str | Path)
        or not str(value)
        or "\0" in str(value)
        or any(len(each) > 255 for each in Path(value).parts)
    ):
        raise _other_form()
    return value


def _only_seen(value: str, *, what: str, quotes: bool = False) -> None:
    """`ValueError` for the first character that could not be sent; it and the rest of the value are not quoted."""
    for number, char in enumerate(value, start=1):
        kind = (
            "a blank" if char == " "
            else "a line end" if char in "\r\n"
            else "a control character" if char < " " or char == "\x7f"
            else "a character outside ASCII" if char > "~"
            else "a quotation mark" if char in QUOTES and not quotes
            else ""
        )  # fmt: skip
        if kind:
            raise ValueError(f"contains {kind} (character {number}): write {what} alone")


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if found := re.match(r"(?i)(bot|bearer|basic)\s", text):
        raise ValueError(f'begins with "{found[1]}": write the token alone')
    _only_seen(text, what="the token")
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    _only_seen(value.get_secret_value(), what="the secret")
    return value


def _address(value: str, *, plain: str, secure: str, anywhere: bool = False) -> str:
    """*value* if it is over TLS, or leads to this machine; *anywhere*, it needs no TLS."""
    _only_seen(value, what="the address", quotes=True)
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
        if ":" not in host:  # labels that are too long or no Punycode would fail only when it is connected to
            host.encode("idna").decode("idna")
    except ValueError:
        raise _other_form() from None
    if (
        parts.query
        or parts.fragment
        or parts.scheme not in (plain, secure)
        or not (":" in host or HOST.fullmatch(host))
    ):
        raise _other_form()
    if parts.scheme == plain and not anywhere and not is_loopback(host):
        raise ValueError(f"must begin with {secure}:// (without TLS only on this machine)")
    return value.rstrip("/")


def _https(value: str) -> str:
    return _address(value, plain="http", secure="https")


def _https_or_none(value: str) -> str:
    return _https(value) if value else value


def _wss_or_none(value: str) -> str:
    return _address(value, plain="ws", secure="wss") if value else value


def _public_or_none(value: str) -> str:
    return _address(value, plain="http", secure="https", anywhere=True) if value else value


def _ids_or_star(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise _other_form()
    ids = [str(each) for each in value]
    if not all(each == "*" or re.fullmatch(r"[0-9]{1,20}", each) for each in ids):
        raise _other_form()
    return ids


def _database(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if not url.isprintable():
        raise ValueError("contains a control character: write the address alone")
    if url.startswith(SQLITE):
        if url in (SQLITE, f"{SQLITE}:memory:"):  # what is in memory would be gone with the process
            raise _other_form()
        return value
    if not re.match(r"postgres(ql)?://.", url):
        raise _other_form()
    if "password=" in url:
        raise ValueError("must have its password before the host, for example postgresql://user:password@host/name")
    for host in urlsplit(url).netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if (port and not (re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 65536)) or " " in url:
            raise ValueError(
                "is no address: / @ # and blanks in its password are written as %2F %40 %23 %20, "
                "for example postgresql://user:pass%2Fword@host/name"
            )
    return value


def _proxy(value: SecretStr | None) -> SecretStr | None:
    url = value.get_secret_value() if value else "http://none"
    found = PROXY.fullmatch(url) if url.isascii() and url.isprintable() else None
    if found is None or not 0 < int(found["port"] or 80) < 65536:
        raise _other_form()
    return value


Flag = Annotated[bool, Field(description="true or false", examples=[True])]
Count = Annotated[
    int | None, Field(ge=0, description='a whole number from 0 up, or "none"', examples=[10]), BeforeValidator(_whole),
    BeforeValidator(_none),
]  # fmt: skip
Dollars = Annotated[
    Decimal | None,
    Field(ge=0, le=1_000_000, decimal_places=6, description='dollars from 0 up, or "none"', examples=["2.50"]),
    BeforeValidator(_none),
]
Host = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9.\-]+(:\d+)?$")]
Hosts = Annotated[
    tuple[Host, ...],
    Field(description="a list of host names, or *. and the end of a name", examples=[["*.example.com"]]),
]
Slots = Annotated[
    int, Field(ge=1, le=1000, description="a whole number from 1 to 1000", examples=[4]), BeforeValidator(_whole)
]
Token = Annotated[
    SecretStr, Field(description="a text", examples=["abc123"]), AfterValidator(_token)
]  # fmt: skip
Https = Annotated[
    str, AfterValidator(_https), Field(description="an address without ? and #", examples=["https://api.example.com"])
]
SigningSecret = Annotated[
    SecretStr, Field(min_length=8), AfterValidator(_signing_secret)
]  # shorter ones are not kept out of the log


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Without the name and password that an address may hold."""
        for name, value in super().__repr_args__():
            yield name, USERINFO.sub(r"\1…@", value) if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _without_quotes(cls, value: Any) -> Any:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and each[:1] and each[0] in QUOTES:
                raise ValueError("is in quotes: leave them out")
        return value


class HttpSection(_Section):
    proxy: Annotated[  # it may hold a password
        SecretStr | None,
        AfterValidator(_proxy),
        BeforeValidator(lambda value: _none(value) or None),
        Field(
            description="an address like http://host:3128 or http://user:password@host:3128, or none",
            examples=["http://proxy.example.com:3128"],
        ),
    ]

    @property
    def address(self) -> str | None:
        return self.proxy.get_secret_value() if self.proxy else None

    def proxy_to(self, url: str) -> str | None:
        """The proxy through which *url* is reached: none for this machine."""
        return None if is_loopback(urlsplit(url).hostname or "") else self.address


class DiscordSection(_Section):
    token: Token = SecretStr("")
    guilds: Annotated[
        tuple[str, ...], BeforeValidator(_ids_or_star), Field(description="a list of IDs", examples=[["1122"]])
    ] = ()
    user_install: Flag = False
    log_channel: Annotated[
        int,
        Field(ge=0, lt=2**63, description="the ID of a channel, or 0", examples=[223344556677889900]),
        BeforeValidator(_whole),
    ] = 0
    api_base: Https = "https://discord.com/api/v10"
    gateway_url: Annotated[
        str,
        AfterValidator(_wss_or_none),
        Field(description="an address that begins with wss://, or empty", examples=["wss://gateway.example.com"]),
    ] = ""
    cdn_hosts: Hosts


class RuncomfySection(_Section):
    api_token: Token = SecretStr("")
    api_base: Https
    balance_url: Annotated[
        str,
        AfterValidator(_https_or_none),
        Field(
            description="an address that begins with https://, or empty", examples=["https://api.example.com/balance"]
        ),
    ]
    result_hosts: Hosts
    max_in_flight: Slots = 4


class RunflowSection(_Section):
    api_key: Token = SecretStr("")
    webhook_secrets: Annotated[
        tuple[SigningSecret, ...],
        Field(description="a list of secrets, each with 8 characters or more", examples=[["whsec_abc123"]]),
    ] = ()
    api_base: Https
    result_hosts: Hosts = ()
    max_in_flight: Slots = 4


class RoutingSection(_Section):
    prefer: Annotated[
        tuple[Literal["runcomfy", "runflow"], ...],
        Field(min_length=1, description="a list of runcomfy and runflow", examples=[["runcomfy", "runflow"]]),
    ]
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
    url: Annotated[  # it may hold a password
        SecretStr,
        AfterValidator(_database),
        Field(
            description="the path of a file after sqlite:///, or an address that begins with postgresql://",
            examples=["sqlite:///data/darkroom.db"],
        ),
    ]

    @property
    def shown(self) -> str:
        return shown(self.url.get_secret_value())


Folder = Annotated[
    Path, BeforeValidator(_filled), Field(description="the path of a folder", examples=["data/pictures"])
]


class DataSection(_Section):
    dir: Folder
    keep_hours: Annotated[
        int,
        Field(ge=1, le=24 * 365, description="a whole number of hours from 1 to 8760", examples=[24]),
        BeforeValidator(_whole),
    ]
    keep_prompts_days: Annotated[
        int,
        Field(ge=1, le=3650, description="a whole number of days from 1 to 3650", examples=[30]),
        BeforeValidator(_whole),
    ]


class WebSection(_Section):
    host: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9.:_\-]+$", description="an IP address or a host name", examples=["127.0.0.1"]),
    ]
    port: Annotated[
        int, Field(ge=0, le=65535, description="a port from 0 to 65535", examples=[8080]), BeforeValidator(_whole)
    ]
    public_url: Annotated[
        str,
        AfterValidator(_public_or_none),
        Field(description="an address without ? and #, or empty", examples=["https://darkroom.example.com"]),
    ] = ""
    metrics_token: Token = SecretStr("")


class LogSection(_Section):
    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Field(description="DEBUG, INFO, WARNING or ERROR", examples=["INFO"]),
    ]


class FilesSection(_Section):
    models: Annotated[Path, BeforeValidator(_filled), Field(description="the path of a file", examples=["models.toml"])]
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
    log: LogSection
    files: FilesSection

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The shipped file, the operator's own over it, the environment over both; `BadSettings` if they are wrong."""
        env = dict(os.environ if environment is None else environment)
        path = Path(tidy(env.get(CONFIG, "")) or SHIPPED)
        files = [TomlFile.read(each) for each in dict.fromkeys((SHIPPED, path))]
        sources = Sources(files, env, model=cls)
        try:
            settings = cls.model_validate(sources.values)
        except ValidationError as exc:
            raise BadSettings(sources.sentence(exc)) from None  # its own words quote the values
        return settings.model_copy(update={"files": _beside(settings.files, path)})

    def catalog(self) -> Catalog:
        """What can be had from the hosts of `routing.prefer`; `BadSettings` where the file is wrong, or nothing is."""
        file = TomlFile.read(self.files.models)
        try:
            whole = Catalog.model_validate(file.table)
        except ValidationError as exc:
            raise BadSettings(file.sentence(exc, kinds=[each.__name__ for each in get_args(Option)])) from None
        had = whole.at(self.routing.prefer)
        if not had.models:
            hosts = " or ".join(dict.fromkeys(self.routing.prefer))
            raise BadSettings(f"routing.prefer: {self.files.models.name} has no model with a route at {hosts}")
        return had

    def secrets(self) -> Sequence[str]:
        """Everything that must never be printed."""
        held = (self.discord.token, self.runcomfy.api_token, self.runflow.api_key, *self.runflow.webhook_secrets,
                self.web.metrics_token)  # fmt: skip
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


def _beside(files: FilesSection, config: Path) -> FilesSection:
    """Paths in `[files]` count from the config file; what is not there is taken from the shipped folder."""
    folders = (config.parent, SHIPPED.parent)

    def find(path: Path) -> Path:
        return next((each / path for each in folders if (each / path).exists()), folders[0] / path)

    return FilesSection(models=find(files.models), locales=find(files.locales))
