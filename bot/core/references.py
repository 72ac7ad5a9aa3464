"""Which pictures people may hand in: judged from what Discord says of them, before anything is fetched."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qs, urlsplit

from bot.core.errors import UserError
from bot.core.jobs import Reference

MOST_BYTES = 50 * 1024 * 1024  # what RunComfy recommends for inputs
PLAIN_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})


def host_listed(url: str, hosts: Iterable[str]) -> bool:
    """Whether *url* lies on one of *hosts*: exact names or a leading `*.`, over TLS on its own port.

    A loopback `host:port` may be listed too and is then allowed without TLS. Anything with a user
    name in it, another port, or a trailing dot is not.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    if not url.isprintable() or " " in url or parts.username is not None or parts.password is not None:
        return False
    listed = [each.lower() for each in hosts]
    if is_loopback(host):
        return parts.scheme in {"http", "https"} and f"{host}:{port}" in listed
    # Readers of links differ about a backslash, `%2f` and their like in a host: only plain names are taken.
    if parts.scheme != "https" or port not in (None, 443) or not PLAIN_NAME.fullmatch(host):
        return False
    return any(host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in listed)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def link_expires_at(url: str) -> int | None:
    """When a Discord file link dies (its `ex` parameter: hex seconds), in UTC milliseconds; None if it does not say."""
    try:
        return int(parse_qs(urlsplit(url).query)["ex"][0], 16) * 1000
    except (KeyError, ValueError, IndexError):
        return None


def check_references(references: Sequence[Reference], *, hosts: Iterable[str]) -> None:
    """`UserError` for the first picture that cannot be taken, naming the file."""
    allowed = tuple(hosts)
    for each in references:
        kind = (each.content_type or "").split(";")[0].strip().lower()
        if kind and kind not in TYPES:
            raise UserError("references.type", file=each.filename, given=kind)
        if each.size is not None and each.size > MOST_BYTES:
            raise UserError("references.large", file=each.filename, limit=MOST_BYTES, given=each.size)
        if each.size == 0:
            raise UserError("references.empty", file=each.filename)
        if not host_listed(each.url, allowed):
            raise UserError("references.host", file=each.filename)
