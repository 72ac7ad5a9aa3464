"""Files fetched from other people's servers: no token, no redirect, no private address, never more than asked for."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult

from bot.core.errors import DownloadFailed, HostNotAllowed
from bot.core.references import host_listed, is_loopback
from bot.providers.http import HEADERS, Transport, no_cookies

GONE = frozenset({404, 410})


class AddressRefused(OSError):
    """A name leads to no address that we connect to."""


def is_public(address: str) -> bool:
    """Whether *address* is one of the open internet, looking through IPv4 written as IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64, RFC 6052
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast


class CheckedResolver(AbstractResolver):
    """Names looked up to public addresses only; the connection is made to what was checked.

    Loopback is for the name `localhost`, which only gets this far together with a listed port.
    """

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        fits = is_loopback if is_loopback(host) else is_public
        try:
            found = [each for each in await self._inner.resolve(host, port, family) if fits(each["host"])]
        except UnicodeError:  # getaddrinfo's word for a label that is empty or too long
            found = []
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
    ) -> None:
        transport = Transport(limit=2 * limit, resolver=lambda: CheckedResolver(lookup()))
        timeout = httpx.Timeout(connect=10, read=20, write=20, pool=15)
        self._http = httpx.AsyncClient(
            transport=transport, headers=HEADERS, cookies=no_cookies(), timeout=timeout, trust_env=False
        )
        self._total = total
        self._fetches = asyncio.Semaphore(limit)
        self._peeks = asyncio.Semaphore(limit)  # somebody waits for these: they do not queue behind whole files

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None, _: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def fetch(self, url: str, *, hosts: Sequence[str], most: int) -> bytes:
        """The whole file at *url*, which must lie on one of *hosts* and hold at most *most* bytes."""
        check_host(url, hosts)
        async with self._open(url, slots=self._fetches, within=self._total) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > most:  # whatever the headers announced
                    raise DownloadFailed(f"more than {most} bytes", lasting=True)
        if not body:
            raise DownloadFailed("an empty file", lasting=False)
        return bytes(body)

    async def peek(self, url: str, *, hosts: Sequence[str], size: int = 4096, within: float) -> bytes:
        """At most the first *size* bytes of the file at *url*, in *within* seconds, however much the server sends."""
        check_host(url, hosts)
        beginning = {"Range": f"bytes=0-{size - 1}"}
        async with self._open(url, slots=self._peeks, within=within, headers=beginning) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= size:
                    break
        return bytes(body[:size])

    @asynccontextmanager
    async def _open(
        self, url: str, *, slots: asyncio.Semaphore, within: float, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[httpx.Response]:
        # Errors are raised without their cause: aiohttp's texts hold the whole link, with its signature.
        try:
            async with asyncio.timeout(within), slots, self._http.stream("GET", url, headers=headers) as response:
                _check(response, partial=headers is not None)
                yield response
        except TimeoutError:
            raise DownloadFailed("too slow", lasting=False) from None
        except (httpx.TransportError, httpx.InvalidURL) as exc:
            raise DownloadFailed(type(exc).__name__, lasting=_is_hopeless(exc)) from None


def check_host(url: str, hosts: Sequence[str]) -> None:
    """`HostNotAllowed` unless *url* lies on one of *hosts*, by the reading of both parsers it goes through."""
    try:
        parts, parsed = urlsplit(url), httpx.URL(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except (ValueError, httpx.InvalidURL):
        raise DownloadFailed("not a link", lasting=True) from None
    if not host:
        raise DownloadFailed("not a link to a host", lasting=True)
    plain = parts.netloc.isascii() and "\\" not in parts.netloc and parsed.host == host
    if not (plain and host_listed(url, hosts)):
        raise HostNotAllowed(f"{host}:{port}" if is_loopback(host) else host)
    if _is_address(host) and not is_loopback(host) and not is_public(host):
        raise DownloadFailed("a private address", lasting=True)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()  # aiohttp connects to these without asking the resolver


def _check(response: httpx.Response, *, partial: bool) -> None:
    status = response.status_code
    if status not in ((200, 206) if partial else (200,)):
        raise DownloadFailed(f"HTTP {status}", lasting=status in GONE or 300 <= status < 400)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise DownloadFailed("compressed, though we asked for it as it is", lasting=True)
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise DownloadFailed("a web page instead of a picture", lasting=False)


def _is_hopeless(exc: Exception) -> bool:
    refused = isinstance(getattr(exc.__cause__, "os_error", None), AddressRefused)
    return refused or isinstance(exc, httpx.UnsupportedProtocol | httpx.InvalidURL)
