"""What the values of settings may look like: what could be neither sent nor reached is refused, in words of ours.

A field's description and example complete the sentence about a wrong value: "… must be <description>, for example …".
"""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from bot.core.references import is_loopback

QUOTES = "\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
SQLITE = "sqlite:///"
PROXY = re.compile(r"https?://([^\s/@:]+(:[^\s/@]*)?@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?")


def without_quotes(value: Any) -> Any:
    """*value*, or `ValueError` where it, or an entry of it, begins with a quotation mark."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and each[:1] and each[0] in QUOTES:
            raise ValueError("is in quotes: leave them out")
    return value


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


def _metrics_token(value: SecretStr) -> SecretStr:
    if 0 < len(value.get_secret_value()) < 8:  # a shorter one is not kept out of the log
        raise _other_form()
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
    if " " in url or not _has_hosts(url):
        raise ValueError(
            "is no address: / @ # [ ] and blanks in its password are written as %2F %40 %23 %5B %5D %20, "
            "for example postgresql://user:pass%2Fword@host/name"
        )
    return value


def _has_hosts(url: str) -> bool:
    """Whether the hosts of *url* can be taken apart, and have only ports that there are."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    except ValueError:  # which may quote the password
        return False
    ports = [each.rpartition("]")[2].partition(":")[2] for each in hosts]
    return all(not each or (re.fullmatch(r"[0-9]{1,5}", each) and int(each) < 65536) for each in ports)


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
MetricsToken = Annotated[
    Token,
    AfterValidator(_metrics_token),
    Field(description="a text of 8 characters or more, or empty", examples=["metrics-abc123"]),
]
Https = Annotated[
    str, AfterValidator(_https), Field(description="an address without ? and #", examples=["https://api.example.com"])
]
SigningSecret = Annotated[
    SecretStr, Field(min_length=8), AfterValidator(_signing_secret)
]  # shorter ones are not kept out of the log
Guilds = Annotated[
    tuple[str, ...], BeforeValidator(_ids_or_star), Field(description="a list of IDs", examples=[["1122"]])
]
ChannelId = Annotated[
    int,
    Field(ge=0, lt=2**63, description="the ID of a channel, or 0", examples=[223344556677889900]),
    BeforeValidator(_whole),
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
    BeforeValidator(lambda value: _none(value) or None),
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
Hours = Annotated[
    int,
    Field(ge=1, le=24 * 365, description="a whole number of hours from 1 to 8760", examples=[24]),
    BeforeValidator(_whole),
]
Days = Annotated[
    int,
    Field(ge=1, le=3650, description="a whole number of days from 1 to 3650", examples=[30]),
    BeforeValidator(_whole),
]
Address = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9.:_\-]+$", description="an IP address or a host name", examples=["127.0.0.1"])
]
Port = Annotated[
    int, Field(ge=0, le=65535, description="a port from 0 to 65535", examples=[8080]), BeforeValidator(_whole)
]
Folder = Annotated[
    Path, BeforeValidator(_filled), Field(description="the path of a folder", examples=["data/pictures"])
]
File = Annotated[Path, BeforeValidator(_filled), Field(description="the path of a file", examples=["models.toml"])]
