"""Files fetched from other people's servers: no token, no private address, never more than asked for."""

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
from bot.core.references import is_loopback, link_of
from bot.providers.http import CHUNK, HEADERS, open_session, proxy_to

GONE = frozenset({404, 410})
MOVED = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 3
TIMES = aiohttp.ClientTimeout(connect=15, sock_connect=10, sock_read=20)
DECODED = frozenset({"", "identity", "gzip", "deflate"})  # by aiohttp, without more libraries; we ask for none

# Written out, since `is_global` differs between Python's releases. https://www.iana.org/assignments: the registries
# iana-ipv4-special-registry, iana-ipv6-special-registry and multicast-addresses.
NOT_PUBLIC = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23",  # protocols, Teredo among them
        "2001:db8::/32", "3fff::/20",  # documents
        "2002::/16",  # 6to4, given up by RFC 7526
    )
)  # fmt: skip
ASSIGNED = ipaddress.ip_network("2000::/3")  # the only part of IPv6 that is handed out
AS_IPV4 = tuple(map(ipaddress.ip_network, ("::ffff:0:0/96", "64:ff9b::/96")))  # mapped, and NAT64 by RFC 6052


class AddressRefused(OSError):
    """A name leads to no address that we connect to."""


def is_public(address: str) -> bool:
    """Whether *address* is one of the open internet, looking through IPv4 written as IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(ip in each for each in AS_IPV4):
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return (ip.version == 4 or ip in ASSIGNED) and not any(ip in each for each in NOT_PUBLIC)


class CheckedResolver(AbstractResolver):
    """Names looked up to public addresses only; the connection is made to what was checked.

    Loopback is for the name `localhost`, which only gets this far together with a listed port. *proxy* is a host of
    the operator's own choice, which may lie anywhere.
    """

    def __init__(self, inner: AbstractResolver, *, proxy: str | None = None) -> None:
        self._inner = inner
        self._proxy = proxy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host != self._proxy:
            fits = is_loopback if is_loopback(host) else is_public
            found = [each for each in found if fits(each["host"])]
        if not found:
            raise AddressRefused(f"{host} has no address we connect to")
        return found

    async def close(self) -> None:
        await self._inner.close()


class Downloader:
    """Fetches reference pictures and results. Every error is `DownloadFailed` or `HostNotAllowed`."""

    def __init__(
        self,
        *,
        total: float = 120.0,
        limit: int = 8,
        lookup: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver,
        proxy: str | None = None,
    ) -> None:
        """With a *proxy* names are looked up there: only listed hosts and written-out addresses can be checked here."""
        resolver = CheckedResolver(lookup(), proxy=URL(proxy).raw_host if proxy else None)
        self._session = open_session(limit=2 * limit, resolver=resolver)
        self._proxy = proxy
        self._total = total
        self._fetches = asyncio.Semaphore(limit)
        self._peeks = asyncio.Semaphore(limit)  # somebody waits for these: they do not queue behind whole files

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._session.close()

    async def fetch(self, url: str, *, hosts: Sequence[str], max_bytes: int) -> bytes:
        """Return the file at *url*, following redirects within *hosts*; at most *max_bytes* bytes decompressed."""
        body = await self._ask(
            url, hosts=hosts, max_bytes=max_bytes, slots=self._fetches, timeout_s=self._total, redirects=MOST_REDIRECTS
        )
        if len(body) > max_bytes:  # whatever the headers announced
            raise FileTooLarge(f"more than {max_bytes} bytes")
        if not body:
            raise DownloadFailed("an empty file", lasting=False)
        return body

    async def read_head(self, url: str, *, hosts: Sequence[str], size: int = 4096, timeout_s: float) -> bytes:
        """Return at most the first *size* bytes of the file at *url*, within *timeout_s* seconds.

        No redirect is followed: Discord sends none, and the host that is handed the link may not follow it.
        """
        part = {"Range": f"bytes=0-{size - 1}"}
        body = await self._ask(
            url, hosts=hosts, max_bytes=size - 1, slots=self._peeks, timeout_s=timeout_s, headers=part
        )
        return body[:size]

    async def _ask(
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
        """What is at *url*; reading ends soon after *max_bytes* bytes."""
        # Errors are raised without their cause: aiohttp's texts hold the whole link, with its signature.
        try:
            async with asyncio.timeout(timeout_s), slots:
                return await self._follow(url, hosts=hosts, max_bytes=max_bytes, redirects=redirects, headers=headers)
        except (DownloadFailed, HostNotAllowed):
            raise
        except TimeoutError:
            raise DownloadFailed("too slow", lasting=False) from None
        except Exception as exc:  # noqa: BLE001 - one request: whatever a server sends, it is this file's trouble alone
            cause = getattr(exc, "os_error", None)  # of the system's, without the link
            raise DownloadFailed(type(exc).__name__, lasting=isinstance(cause, AddressRefused)) from cause

    async def _follow(
        self, url: str, *, hosts: Sequence[str], max_bytes: int, redirects: int, headers: Mapping[str, str] | None
    ) -> bytes:
        while True:
            target = checked(url, hosts)
            async with self._session.get(
                target,
                headers={**HEADERS, **(headers or {})},
                allow_redirects=False,
                timeout=TIMES,
                proxy=proxy_to(target.raw_host or "", self._proxy),
            ) as response:
                if not (redirects and response.status in MOVED and "Location" in response.headers):
                    _check(response, partial=headers is not None)
                    return await _read(response, max_bytes=max_bytes)
            url, redirects = _next(url, response.headers["Location"]), redirects - 1


def checked(url: str, hosts: Sequence[str]) -> URL:
    """*url* as it is requested, byte for byte; `BadLink` or `HostNotAllowed` unless it lies on one of *hosts*.

    It is put together from the parts that were judged, so no second parser can see another host in it.
    """
    link = link_of(url)
    if link is None:
        raise BadLink("not a link that is followed")
    # aiohttp connects to addresses without asking the resolver.
    if link.host.replace(".", "").isdigit() and not is_loopback(link.host) and not is_public(link.host):
        raise BadLink("a private address")
    if not link.is_on(hosts):
        raise HostNotAllowed(link.place)
    target = re.sub(r"[^!-~]+", lambda found: quote(found[0]), link.target)  # a request line is ASCII
    slash = "" if target.startswith("/") else "/"
    # The query is given as part of the path: by itself yarl would drop an empty one.
    return URL.build(scheme=link.scheme, host=link.host, port=link.port, path=slash + target, encoded=True)


def _next(url: str, location: str) -> str:
    """Where *location* leads from *url*; `urljoin` would tidy up what a signature may be made of."""
    place = re.match(r"(\w+:)//[^/?#]*", url)
    assert place is not None  # it was requested
    if location.startswith("//"):
        return place[1] + location
    if location.startswith("/"):
        return place[0] + location
    try:
        return location if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", location) else urljoin(url, location)
    except ValueError:
        raise BadLink("redirected to what is no link") from None


def _check(response: aiohttp.ClientResponse, *, partial: bool) -> None:
    status = response.status
    if status not in ((200, 206) if partial else (200,)):
        raise DownloadFailed(f"HTTP {status}", lasting=status in GONE or 300 <= status < 400)
    if ",".join(response.headers.getall("Content-Encoding", ())).strip().lower() not in DECODED:
        raise DownloadFailed("compressed in a way that we cannot read", lasting=True)
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadFailed("a web page instead of a picture", lasting=False)


async def _read(response: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > max_bytes:
            break
    return bytes(body)
