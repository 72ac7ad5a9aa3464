"""Downloads files from other servers: sends no token, connects to no private address, enforces size limits."""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Self
from urllib.parse import quote, urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bot.core.errors import BadLink, DownloadFailed, FileTooLarge, HostNotAllowed
from bot.core.references import is_loopback, parse_link
from bot.providers.http import CHUNK, HEADERS, open_session, proxy_to

GONE = frozenset({404, 410})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3
TIMEOUTS = aiohttp.ClientTimeout(connect=15, sock_connect=10, sock_read=20)
SUPPORTED_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})  # what aiohttp decodes without further libraries

# Written out, since `is_global` differs between Python's releases. https://www.iana.org/assignments: the registries
# iana-ipv4-special-registry, iana-ipv6-special-registry and multicast-addresses.
NON_PUBLIC = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23",  # protocol assignments, including Teredo
        "2001:db8::/32", "3fff::/20",  # documentation
        "2002::/16",  # 6to4, deprecated by RFC 7526
    )
)  # fmt: skip
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # the only part of IPv6 that is allocated
IPV4_IN_IPV6 = tuple(map(ipaddress.ip_network, ("::ffff:0:0/96", "64:ff9b::/96")))  # mapped, and NAT64 by RFC 6052


class AddressRefused(OSError):
    """A host name has no address that may be connected to."""


def is_public(address: str) -> bool:
    """Return whether *address* belongs to the public internet; IPv4 embedded in IPv6 is judged as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(ip in each for each in IPV4_IN_IPV6):
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return (ip.version == 4 or ip in GLOBAL_UNICAST) and not any(ip in each for each in NON_PUBLIC)


class CheckedResolver(AbstractResolver):
    """Resolves host names to public addresses only, so that the address connected to is the one that was checked.

    Loopback addresses are returned for the name `localhost` only, which `checked` allows with a listed port alone.
    *proxy* is the operator's own host and may have any address.
    """

    def __init__(self, inner: AbstractResolver, *, proxy: str | None = None) -> None:
        self._inner = inner
        self._proxy = proxy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await self._inner.resolve(host, port, family)
        if host != self._proxy:
            is_allowed = is_loopback if is_loopback(host) else is_public
            addresses = [each for each in addresses if is_allowed(each["host"])]
        if not addresses:
            raise AddressRefused(f"{host} has no public address")
        return addresses

    async def close(self) -> None:
        await self._inner.close()


class Downloader:
    """Downloads reference pictures and results. Every error is `DownloadFailed` or `HostNotAllowed`."""

    def __init__(
        self,
        *,
        total: float = 120.0,
        limit: int = 8,
        lookup: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver,
        proxy: str | None = None,
    ) -> None:
        """A *proxy* resolves host names itself: then only listed hosts and literal addresses are checked here."""
        resolver = CheckedResolver(lookup(), proxy=URL(proxy).raw_host if proxy else None)
        self._session = open_session(limit=2 * limit, resolver=resolver)
        self._proxy = proxy
        self._total = total
        self._fetch_slots = asyncio.Semaphore(limit)
        self._head_slots = asyncio.Semaphore(limit)  # a member waits for these: they do not queue behind whole files

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._session.close()

    async def fetch(self, url: str, *, hosts: Sequence[str], max_bytes: int) -> bytes:
        """Return the file at *url*, following redirects. Every host on the way must be in *hosts*.

        Raises `FileTooLarge` for more than *max_bytes* bytes after decompression.
        """
        body = await self._get(
            url,
            hosts=hosts,
            max_bytes=max_bytes,
            slots=self._fetch_slots,
            timeout_s=self._total,
            redirects=MAX_REDIRECTS,
        )
        if len(body) > max_bytes:  # the headers may have announced less
            raise FileTooLarge(f"more than {max_bytes} bytes")
        if not body:
            raise DownloadFailed("an empty file", permanent=False)
        return body

    async def read_head(self, url: str, *, hosts: Sequence[str], size: int = 4096, timeout_s: float) -> bytes:
        """Return at most the first *size* bytes of the file at *url*, within *timeout_s* seconds.

        Redirects are not followed: Discord sends none, and the provider that receives the link may not follow it.
        """
        part = {"Range": f"bytes=0-{size - 1}"}
        body = await self._get(
            url, hosts=hosts, max_bytes=size - 1, slots=self._head_slots, timeout_s=timeout_s, headers=part
        )
        return body[:size]

    async def _get(
        self,
        url: str,
        *,
        hosts: Sequence[str],
        max_bytes: int,
        slots: asyncio.Semaphore,
        timeout_s: float,
        redirects: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the body at *url*; reading stops within one chunk after *max_bytes* bytes."""
        # Errors are raised without their cause: aiohttp's messages contain the whole link with its signature.
        try:
            async with asyncio.timeout(timeout_s), slots:
                return await self._follow(url, hosts=hosts, max_bytes=max_bytes, redirects=redirects, headers=headers)
        except (DownloadFailed, HostNotAllowed):
            raise
        except TimeoutError:
            raise DownloadFailed("too slow", permanent=False) from None
        except Exception as exc:  # noqa: BLE001 - one request: whatever a server sends fails this file only
            cause = getattr(exc, "os_error", None)  # the operating system's error does not contain the link
            raise DownloadFailed(type(exc).__name__, permanent=isinstance(cause, AddressRefused)) from cause

    async def _follow(
        self, url: str, *, hosts: Sequence[str], max_bytes: int, redirects: int, headers: Mapping[str, str] | None
    ) -> bytes:
        while True:
            target = checked(url, hosts)
            async with self._session.get(
                target,
                headers={**HEADERS, **(headers or {})},
                allow_redirects=False,
                timeout=TIMEOUTS,
                proxy=proxy_to(target.raw_host or "", self._proxy),
            ) as response:
                if not (redirects and response.status in REDIRECTS and "Location" in response.headers):
                    _check(response, partial=headers is not None)
                    return await _read(response, max_bytes=max_bytes)
            url, redirects = _redirect_target(url, response.headers["Location"]), redirects - 1


def checked(url: str, hosts: Sequence[str]) -> URL:
    """Return *url* as it will be requested, byte for byte. Raises `BadLink`, or `HostNotAllowed` if not on *hosts*.

    The URL is built from the parts that were checked, so that no other parser can read a different host from it.
    """
    link = parse_link(url)
    if link is None:
        raise BadLink("not a supported link")
    # aiohttp connects to literal addresses without calling the resolver.
    if link.host.replace(".", "").isdigit() and not is_loopback(link.host) and not is_public(link.host):
        raise BadLink("a private address")
    if not link.is_on(hosts):
        raise HostNotAllowed(link.host_entry)
    target = re.sub(r"[^!-~]+", lambda match: quote(match[0]), link.target)  # a request line is ASCII
    slash = "" if target.startswith("/") else "/"
    # The query is passed as part of the path: as a separate argument, yarl drops an empty one.
    return URL.build(scheme=link.scheme, host=link.host, port=link.port, path=slash + target, encoded=True)


def _redirect_target(url: str, location: str) -> str:
    """Resolve *location* against *url*. `urljoin` would normalise characters that a signature may cover."""
    origin = re.match(r"(\w+:)//[^/?#]*", url)
    assert origin is not None  # *url* was requested before
    if location.startswith("//"):
        return origin[1] + location
    if location.startswith("/"):
        return origin[0] + location
    try:
        return location if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", location) else urljoin(url, location)
    except ValueError:
        raise BadLink("redirected to an invalid link") from None


def _check(response: aiohttp.ClientResponse, *, partial: bool) -> None:
    status = response.status
    if status not in ((200, 206) if partial else (200,)):
        raise DownloadFailed(f"HTTP {status}", permanent=status in GONE or 300 <= status < 400)
    if ",".join(response.headers.getall("Content-Encoding", ())).strip().lower() not in SUPPORTED_ENCODINGS:
        raise DownloadFailed("unsupported compression", permanent=True)
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadFailed("a web page instead of a picture", permanent=False)


async def _read(response: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > max_bytes:
            break
    return bytes(body)
