"""Parses links to pictures, and checks which reference pictures a member may submit. Malformed links raise no error."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from bot.core.errors import UserError
from bot.core.jobs import Reference

# URL parsers disagree about user names, backslashes, `%2f`, brackets and trailing dots in a host: none is accepted.
LINK = re.compile(
    r"(?P<scheme>https?)://(?P<host>localhost|[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+)(:(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][^#]*)?(#.*)?",
    re.ASCII | re.IGNORECASE,
)
RESULT_NAME = re.compile(r"(?:SPOILER_)?(?P<job>[0-9A-HJKMNP-TV-Z]{26})-(?P<n>[0-9]{1,3})\.[a-z]{1,5}")
EXPIRES = re.compile(r"[0-9a-f]{1,9}", re.IGNORECASE)
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
MAX_BYTES = 50 * 1024 * 1024  # what RunComfy recommends for inputs
MAX_PIXELS = 51_000_000  # 8192 x 6144, the largest photos of phones
MAX_SOURCE_BYTES = 64 * 1024 * 1024  # of a picture that is converted
CONVERTED_FILE = re.compile(r"[0-9A-Z]{26}-r[0-9]{1,2}\.(?:jpg|png)")  # a job, and the number of its reference
UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ReferenceLimits:
    """The largest reference picture: *pixels* is width times height, *size* is in bytes."""

    pixels: int = MAX_PIXELS
    size: int = MAX_BYTES

    def source_size(self, *, converts: bool) -> int:
        """The size of the largest file that is read: if it can be converted, it may be larger than what is sent."""
        return max(self.size, MAX_SOURCE_BYTES) if converts else self.size


@dataclass(frozen=True, slots=True)
class Link:
    """A link that may be fetched if its host is on an allow list. *target* is path and query, unchanged."""

    scheme: str
    host: str  # lower case
    port: int | None
    target: str

    @property
    def host_entry(self) -> str:
        """The allow-list entry that permits this link: a host name, or `host:port` for a loopback address."""
        return f"{self.host}:{self.port}" if is_loopback(self.host) else self.host

    def is_on(self, hosts: Iterable[str]) -> bool:
        """Whether one of *hosts* permits the link: a host entry, or a name with a leading `*.` for its subdomains."""
        listed = [each.lower() for each in hosts]
        if is_loopback(self.host):
            return self.host_entry in listed
        return any(self.host == each or (each.startswith("*.") and self.host.endswith(each[1:])) for each in listed)


def parse_link(url: str) -> Link | None:
    """Parse *url* if all URL parsers read it the same way; None for a link that no allow list can permit.

    Accepted are https on port 443, and any port of a loopback address; a plain host name, without user or password.
    """
    match = LINK.fullmatch(url) if url.isprintable() and " " not in url else None
    if match is None:
        return None
    scheme, host = match["scheme"].lower(), match["host"].lower()
    port = int(match["port"]) if match["port"] else None
    allowable = 0 < (port or 0) < 65536 if is_loopback(host) else scheme == "https" and port in {None, 443}
    return Link(scheme, host, port, match["target"] or "") if allowable else None


def host_listed(url: str, hosts: Iterable[str]) -> bool:
    """Whether one of *hosts* permits *url*, for every URL parser; entries as in `Link.is_on`."""
    link = parse_link(url)
    return link is not None and link.is_on(hosts)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return any(ip in each for each in LOOPBACK)  # ip.is_loopback differs between Python versions for IPv4 in IPv6


def path_of(url: str) -> str:
    """The path of *url*, still percent-encoded; *url* itself where it cannot be parsed."""
    try:
        return urlsplit(url).path
    except ValueError:
        return url


def link_expires_at(url: str) -> int | None:
    """When a Discord file link expires, in UTC milliseconds; None if it does not say.

    From its query parameter `ex`: seconds since 1970, in hexadecimal.
    """
    try:
        seconds = parse_qs(urlsplit(url).query)["ex"][0]
    except (KeyError, ValueError):
        return None
    return int(seconds, 16) * 1000 if EXPIRES.fullmatch(seconds) else None


def result_of(filename: str) -> tuple[str, int] | None:
    """The job id and the number of the result picture that is called *filename*; None for any other file."""
    match = RESULT_NAME.fullmatch(filename)
    return (match["job"], int(match["n"])) if match else None


def media_type(content_type: str | None) -> str:
    """The media type in *content_type*, in lower case without parameters; `application/octet-stream` for None."""
    return (content_type or UNKNOWN_TYPE).split(";")[0].strip().lower()


def check_references(
    references: Sequence[Reference], *, hosts: Iterable[str], limits: ReferenceLimits, converts: bool = False
) -> None:
    """Raise `UserError` for the first picture that cannot be accepted, naming the file.

    *converts*: pictures that cannot be sent are converted where that is possible.

    Discord derives the content type from the file's name, so the type is checked later, from the bytes. Only
    `text/html` is refused here: it is the error page of a failing server.
    """
    allowed, max_size = tuple(hosts), limits.source_size(converts=converts)
    for each in references:
        if media_type(each.content_type) == "text/html":
            raise UserError("references.type", file=each.filename)
        if each.size is not None and each.size > max_size:
            raise UserError("references.large", file=each.filename, limit=max_size, given=each.size)
        if each.size == 0:
            raise UserError("references.empty", file=each.filename)
        if not host_listed(each.url, allowed):
            raise UserError("references.host", file=each.filename)
