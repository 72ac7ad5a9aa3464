"""Types of settings: each rejects values that could not be sent or connected to.

A field's description and example complete the message about a wrong value: "… must be <description>, for example …".
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from bot.core.moderation import is_entry
from bot.core.processes import Role
from bot.core.references import is_loopback
from bot.core.shards import Shards

QUOTES = "\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
SQLITE = "sqlite:///"
BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
PROXY = re.compile(r"https?://([^\s/@:]+(:[^\s/@]*)?@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?")


def without_quotes(value: Any) -> Any:
    """Return *value*. Raises `ValueError` if it or one of its entries begins with a quotation mark."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and each[:1] and each[0] in QUOTES:
            raise ValueError("is in quotes: leave them out")
    return value


def _wrong_form() -> PydanticCustomError:
    """Return the error for a value that does not have the form described by its field."""
    return PydanticCustomError("other_form", "another form")


def _none_if_word(value: Any) -> Any:
    return None if value == "none" else value


def _require_integer(value: Any) -> Any:
    if isinstance(value, bool | float):
        raise _wrong_form()
    return value


def _require_path(value: Any) -> Any:
    if (
        not isinstance(value, str | Path)
        or not str(value)
        or "\0" in str(value)
        or any(len(each) > 255 for each in Path(value).parts)
    ):
        raise _wrong_form()
    return value


def _require_sendable(value: str, *, what: str, quotes: bool = False) -> None:
    """Raise `ValueError` for the first character that cannot be sent, without quoting any of the value."""
    for number, char in enumerate(value, start=1):
        kind = (
            "a space" if char == " "
            else "a line end" if char in "\r\n"
            else "a control character" if char < " " or char == "\x7f"
            else "a character outside ASCII" if char > "~"
            else "a quotation mark" if char in QUOTES and not quotes
            else ""
        )  # fmt: skip
        if kind:
            raise ValueError(f"contains {kind} (character {number}): write only {what}")


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if found := re.match(r"(?i)(bot|bearer|basic)\s", text):
        raise ValueError(f'begins with "{found[1]}": write only the token')
    _require_sendable(text, what="the token")
    return value


def _long_or_none(value: SecretStr) -> SecretStr:
    if 0 < len(value.get_secret_value()) < 8:  # a shorter one is not redacted in the log
        raise _wrong_form()
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    _require_sendable(value.get_secret_value(), what="the secret")
    return value


def _address(value: str, *, plain: str, secure: str, anywhere: bool = False) -> str:
    """Return *value* if it uses TLS or is loopback; with *anywhere*, TLS is not required."""
    _require_sendable(value, what="the address", quotes=True)
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
        if ":" not in host:  # labels that are too long or invalid Punycode would fail only when connecting
            host.encode("idna").decode("idna")
    except ValueError:
        raise _wrong_form() from None
    if (
        parts.query
        or parts.fragment
        or parts.scheme not in (plain, secure)
        or not (":" in host or HOST.fullmatch(host))
    ):
        raise _wrong_form()
    if parts.scheme == plain and not anywhere and not is_loopback(host):
        raise ValueError(f"must begin with {secure}:// (without TLS only on this machine)")
    return value.rstrip("/")


def _searchable(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(is_entry(each) for each in value):
        raise _wrong_form()
    return value


def require_tls(value: str) -> str:
    """Return *value*. Raises `ValueError` if it is the address of another machine and does not use TLS."""
    return _address(value, plain="http", secure="https")


def _https_or_none(value: str) -> str:
    return require_tls(value) if value else value


def _endpoint_or_none(value: str) -> str:
    """Allow no TLS also to a name without a dot, which only a network of containers has."""
    inside = re.fullmatch(r"http://[A-Za-z0-9-]+(:[0-9]+)?/?", value)
    return _with_or_without_tls(value) if inside else _https_or_none(value)


def _wss_or_none(value: str) -> str:
    return _address(value, plain="ws", secure="wss") if value else value


def _with_or_without_tls(value: str) -> str:
    return _address(value, plain="http", secure="https", anywhere=True)


def _bucket_or_none(value: str) -> str:
    if value and not BUCKET.fullmatch(value):
        raise _wrong_form()
    return value.rstrip("/")


def _public_or_none(value: str) -> str:
    return _with_or_without_tls(value) if value else value


def _ids_or_star(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong_form()
    ids = [str(each) for each in value]
    if not all(each == "*" or re.fullmatch(r"[0-9]{1,20}", each) for each in ids):
        raise _wrong_form()
    return ids


def _shards(value: str) -> str:
    try:
        Shards.parse(value)
    except ValueError:
        raise _wrong_form() from None
    return value


def _database(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if not url.isprintable():
        raise ValueError("contains a control character: write only the address")
    if url.startswith(SQLITE):
        if url in (SQLITE, f"{SQLITE}:memory:"):  # an in-memory database would be lost with the process
            raise _wrong_form()
        return value
    if not re.match(r"postgres(ql)?://.", url):
        raise _wrong_form()
    if "password=" in url:
        raise ValueError("must have its password before the host, for example postgresql://user:password@host/name")
    if " " in url or not _has_hosts(url):
        raise ValueError(
            "is not a valid address: write / @ # [ ] and spaces in its password as %2F %40 %23 %5B %5D %20, "
            "for example postgresql://user:pass%2Fword@host/name"
        )
    return value


def _server_or_none(value: SecretStr) -> SecretStr:
    if value.get_secret_value().startswith(SQLITE):
        raise _wrong_form()
    return _database(value) if value.get_secret_value() else value


def _has_hosts(url: str) -> bool:
    """Return whether the hosts of *url* can be parsed and their ports are valid."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    except ValueError:  # its message may quote the password
        return False
    ports = [each.rpartition("]")[2].partition(":")[2] for each in hosts]
    return all(not each or (re.fullmatch(r"[0-9]{1,5}", each) and int(each) < 65536) for each in ports)


def _proxy(value: SecretStr | None) -> SecretStr | None:
    url = value.get_secret_value() if value else "http://none"
    found = PROXY.fullmatch(url) if url.isascii() and url.isprintable() else None
    if found is None or not 0 < int(found["port"] or 80) < 65536:
        raise _wrong_form()
    return value


Flag = Annotated[bool, Field(description="true or false", examples=[True])]
Count = Annotated[
    int | None,
    Field(ge=0, description='a whole number from 0 up, or "none"', examples=[10]),
    BeforeValidator(_require_integer),
    BeforeValidator(_none_if_word),
]
Dollars = Annotated[
    Decimal | None,
    Field(ge=0, le=1_000_000, decimal_places=6, description='dollars from 0 up, or "none"', examples=["2.50"]),
    BeforeValidator(_none_if_word),
]
Host = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9.\-]+(:\d+)?$")]
Hosts = Annotated[
    tuple[Host, ...],
    Field(description="a list of host names, or *. and the end of a name", examples=[["*.example.com"]]),
]
PollRate = Annotated[
    int,
    Field(ge=1, le=10_000, description="a whole number from 1 to 10000", examples=[50]),
    BeforeValidator(_require_integer),
]
Slots = Annotated[
    int,
    Field(ge=1, le=10_000, description="a whole number from 1 to 10000", examples=[4]),
    BeforeValidator(_require_integer),
]
ShardRange = Annotated[
    str, AfterValidator(_shards), Field(description="auto, or shards like 0-3/8", examples=["0-3/8"])
]
Roles = Annotated[
    tuple[Role, ...],
    Field(
        min_length=1,
        description="a list of gateway, worker, web and keeper",
        examples=[["gateway", "worker", "web", "keeper"]],
    ),
    AfterValidator(lambda roles: tuple(dict.fromkeys(roles))),
]
Token = Annotated[
    SecretStr, Field(description="a string", examples=["abc123"]), AfterValidator(_token)
]  # fmt: skip
MetricsToken = Annotated[
    Token,
    AfterValidator(_long_or_none),
    Field(description="a string of 8 characters or more, or empty", examples=["metrics-abc123"]),
]
Https = Annotated[
    str,
    AfterValidator(require_tls),
    Field(description="an address without ? and #", examples=["https://api.example.com"]),
]
ApiBase = Annotated[
    str,
    AfterValidator(_with_or_without_tls),
    Field(description="an address without ? and #", examples=["https://discord.com/api/v10"]),
]
SigningSecret = Annotated[
    SecretStr, Field(min_length=8), AfterValidator(_signing_secret)
]  # shorter ones are not redacted in the log
Guilds = Annotated[
    tuple[str, ...], BeforeValidator(_ids_or_star), Field(description="a list of IDs", examples=[["1122"]])
]
BlockedWords = Annotated[
    tuple[str, ...],
    AfterValidator(_searchable),
    Field(description="a list of words, each with a letter or digit", examples=[["word", "two words", "begin*"]]),
]
ChannelId = Annotated[
    int,
    Field(ge=0, lt=2**63, description="the ID of a channel, or 0", examples=[223344556677889900]),
    BeforeValidator(_require_integer),
]
GatewayUrl = Annotated[
    str,
    AfterValidator(_wss_or_none),
    Field(description="an address that begins with wss://, or empty", examples=["wss://gateway.example.com"]),
]
HttpsOrNone = Annotated[
    str,
    AfterValidator(_https_or_none),
    Field(description="an address that begins with https://, or empty", examples=["https://api.example.com/balance"]),
]
PublicUrl = Annotated[
    str,
    AfterValidator(_public_or_none),
    Field(description="an address without ? and #, or empty", examples=["https://darkroom.example.com"]),
]
Proxy = Annotated[  # it may hold a password
    SecretStr | None,
    AfterValidator(_proxy),
    BeforeValidator(lambda value: _none_if_word(value) or None),
    Field(
        description="an address like http://host:3128 or http://user:password@host:3128, or none",
        examples=["http://proxy.example.com:3128"],
    ),
]
DatabaseUrl = Annotated[  # it may hold a password
    SecretStr,
    AfterValidator(_database),
    Field(
        description="the path of a file after sqlite:///, or an address that begins with postgresql://",
        examples=["sqlite:///data/darkroom.db"],
    ),
]
DirectUrl = Annotated[  # it may hold a password
    SecretStr,
    AfterValidator(_server_or_none),
    Field(description="an address that begins with postgresql://, or empty", examples=["postgresql://host/name"]),
]
Hours = Annotated[
    int,
    Field(ge=1, le=24 * 365, description="a whole number of hours from 1 to 8760", examples=[24]),
    BeforeValidator(_require_integer),
]
Days = Annotated[
    int,
    Field(ge=1, le=3650, description="a whole number of days from 1 to 3650", examples=[30]),
    BeforeValidator(_require_integer),
]
Address = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9.:_\-]+$", description="an IP address or a host name", examples=["127.0.0.1"])
]
Port = Annotated[
    int, Field(ge=0, le=65535, description="a port from 0 to 65535", examples=[8080]), BeforeValidator(_require_integer)
]
Folder = Annotated[
    Path, BeforeValidator(_require_path), Field(description="the path of a folder", examples=["data/pictures"])
]
StorageUrl = Annotated[
    str,
    AfterValidator(_bucket_or_none),
    Field(description="an address that begins with s3://, or empty", examples=["s3://my-pictures/darkroom"]),
]
Endpoint = Annotated[
    str,
    AfterValidator(_endpoint_or_none),
    Field(description="an address that begins with https://, or empty", examples=["https://s3.example.com"]),
]
Region = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9-]*$", description="the name of a region, or empty", examples=["eu-central-1"])
]
StorageSecret = Annotated[
    Token,
    AfterValidator(_long_or_none),
    Field(description="a string of 8 characters or more, or empty", examples=["abc123abc123"]),
]
File = Annotated[
    Path, BeforeValidator(_require_path), Field(description="the path of a file", examples=["models.toml"])
]
