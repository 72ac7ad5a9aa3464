"""Links to pictures, taken apart without an error whatever they hold, and which of them people may hand in."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from bot.core.errors import UserError
from bot.core.jobs import Reference

# Readers of links differ about user names, a backslash, `%2f`, brackets and dots at the end: none is taken.
LINK = re.compile(
    r"(?P<scheme>https?)://(?P<host>localhost|[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+)(:(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][^#]*)?(#.*)?",
    re.ASCII | re.IGNORECASE,
)
EXPIRES = re.compile(r"[0-9a-f]{1,9}", re.IGNORECASE)
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
MOST_BYTES = 50 * 1024 * 1024  # what RunComfy recommends for inputs
MOST_PIXELS = 51_000_000  # 8192 x 6144, the largest photos of phones
UNSPECIFIC = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ReferenceLimits:
    """How large one reference picture may be: *pixels* is width times height, *size* is in bytes."""

    pixels: int = MOST_PIXELS
    size: int = MOST_BYTES


@dataclass(frozen=True, slots=True)
class Link:
    """A link that may be fetched if its host is listed. *target* is path and query, as they were given."""

    scheme: str
    host: str  # lower case
    port: int | None
    target: str

    @property
    def place(self) -> str:
        """What has to be listed for this link: a name, or `host:port` on this machine."""
        return f"{self.host}:{self.port}" if is_loopback(self.host) else self.host

    def is_on(self, hosts: Iterable[str]) -> bool:
        """Whether it lies on one of *hosts*: exact places, or names with a leading `*.`."""
        listed = [each.lower() for each in hosts]
        if is_loopback(self.host):
            return self.place in listed
        return any(self.host == each or (each.startswith("*.") and self.host.endswith(each[1:])) for each in listed)


def link_of(url: str) -> Link | None:
    """*url* taken apart, where everybody takes it apart the same way; None for what no list could allow.

    That is: over TLS on its own port, or any port of this machine; a plain name, with nobody's password before it.
    """
    found = LINK.fullmatch(url) if url.isprintable() and " " not in url else None
    if found is None:
        return None
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"]) if found["port"] else None
    allowable = 0 < (port or 0) < 65536 if is_loopback(host) else scheme == "https" and port in {None, 443}
    return Link(scheme, host, port, found["target"] or "") if allowable else None


def host_listed(url: str, hosts: Iterable[str]) -> bool:
    """Whether *url* lies on one of *hosts*, in the eyes of whoever may be handed it."""
    link = link_of(url)
    return link is not None and link.is_on(hosts)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return any(ip in each for each in LOOPBACK)  # what `is_loopback` says of IPv4 in IPv6 differs between Pythons


def path_of(url: str) -> str:
    """The path of *url*, with its escapes; all of it where it is no link."""
    try:
        return urlsplit(url).path
    except ValueError:
        return url


def link_expires_at(url: str) -> int | None:
    """When a Discord file link dies (its `ex` parameter: hex seconds), in UTC milliseconds; None if it does not say."""
    try:
        told = parse_qs(urlsplit(url).query)["ex"][0]
    except (KeyError, ValueError):
        return None
    return int(told, 16) * 1000 if EXPIRES.fullmatch(told) else None


def media_type(told: str | None) -> str:
    """The type of a file as Discord tells it, without parameters; `application/octet-stream` where it tells none."""
    return (told or UNSPECIFIC).split(";")[0].strip().lower()


def check_references(references: Sequence[Reference], *, hosts: Iterable[str], limits: ReferenceLimits) -> None:
    """`UserError` for the first picture that cannot be taken, naming the file.

    Discord tells the type of a file from its name, so what it is is left to whoever reads its bytes. Only a web page
    cannot be read: where one comes in place of a picture, a server is in trouble.
    """
    allowed = tuple(hosts)
    for each in references:
        if media_type(each.content_type) == "text/html":
            raise UserError("references.type", file=each.filename)
        if each.size is not None and each.size > limits.size:
            raise UserError("references.large", file=each.filename, limit=limits.size, given=each.size)
        if each.size == 0:
            raise UserError("references.empty", file=each.filename)
        if not host_listed(each.url, allowed):
            raise UserError("references.host", file=each.filename)
