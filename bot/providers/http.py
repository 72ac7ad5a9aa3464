"""One request to a host of image models: sent at most once, and never in doubt about whether it was sent."""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport
from pydantic import SecretStr

from bot.core.errors import ProviderUnavailable, SubmitUnknown

NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
MOST_BYTES = 1_000_000  # of an answer; the largest we know is a few kilobytes
PAID = "darkroom_paid"  # marks a request that costs money, for the transport
MOST_RETRY_AFTER = 900.0
HEADERS = {"User-Agent": "darkroom", "Accept-Encoding": "identity"}


class Transport(AiohttpTransport):
    """httpx over aiohttp, with errors that say truly whether the request can have arrived.

    As it comes, httpx-aiohttp reports a reset after the request was read as `ConnectTimeout`, and
    lets some of aiohttp's own errors through. What really happened is in the error's cause.
    """

    def __init__(
        self, *, limit: int, reuse: bool = True, resolver: Callable[[], AbstractResolver] | None = None
    ) -> None:
        super().__init__(client=self._open, verify=_trusted(), trust_env=False)
        self._limit = limit
        self._reuse = reuse
        self._resolver = resolver

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with _true_errors():
            response = await super().handle_async_request(request)
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _Body(response.stream)
        return response

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._limit,
            force_close=not self._reuse,
            ssl=self.ssl_context,
            resolver=self._resolver() if self._resolver else None,
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """Whose certificates we believe: the same for every client, and 15 ms of work to read."""
    return httpx.create_ssl_context(trust_env=False)


class TransportByPrice(httpx.AsyncBaseTransport):
    """Paid requests on connections of their own, everything else on kept ones.

    A host may close a kept connection in the moment it is used again; for a paid request that would be
    a submit whose fate nobody knows, so it pays for a handshake instead.
    """

    def __init__(self, *, limit: int) -> None:
        self._kept = Transport(limit=limit)
        self._single = Transport(limit=limit, reuse=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        chosen = self._single if request.extensions.get(PAID) else self._kept
        return await chosen.handle_async_request(request)

    async def aclose(self) -> None:
        await self._kept.aclose()
        await self._single.aclose()


def no_cookies() -> CookieJar:
    """A jar that takes nothing, for httpx, which keeps cookies besides those of aiohttp."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class _Body(httpx.AsyncByteStream):
    """A response's body; whatever goes wrong in it went wrong after the request was sent."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _true_errors(sent=True):
            async for chunk in self._inner:
                yield chunk

    async def aclose(self) -> None:
        with _true_errors(sent=True):
            await self._inner.aclose()


@contextmanager
def _true_errors(*, sent: bool = False) -> Generator[None]:
    try:
        yield
    except (httpx.ConnectTimeout, httpx.ConnectError) as exc:
        cause = exc.__cause__
        if not sent and isinstance(cause, aiohttp.ClientConnectorError):
            raise httpx.ConnectError(str(exc)) from cause
        if not sent and isinstance(cause, aiohttp.ConnectionTimeoutError):
            raise
        raise httpx.ReadError(str(exc)) from cause
    except aiohttp.ClientError as exc:
        raise httpx.RemoteProtocolError(str(exc)) from exc


@dataclass(frozen=True, slots=True)
class Times:
    """How long one request may take, in seconds. A submit is read longer, since its answer is worth money."""

    connect: float = 10.0
    read: float = 20.0  # between two pieces of the answer
    total: float = 60.0
    submit_read: float = 90.0
    submit_total: float = 180.0


class Bearer(httpx.Auth):
    """The host's token, sent to the origins it belongs to and nowhere else."""

    def __init__(self, token: str, *, url: str) -> None:
        self._header = f"Bearer {token}"
        self._origins = {_origin(httpx.URL(url))}

    def trust(self, url: str) -> None:
        self._origins.add(_origin(httpx.URL(url)))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        if _origin(request.url) in self._origins:
            request.headers["Authorization"] = self._header
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port  # httpx leaves out the port where it is the scheme's own


class Client(httpx.AsyncClient):
    """One host's client; requests go through `call`."""

    def __init__(self, base_url: str, *, bearer: Bearer, limit: int, times: Times) -> None:
        super().__init__(
            transport=TransportByPrice(limit=limit),
            base_url=base_url,
            auth=bearer,
            headers=HEADERS,
            cookies=no_cookies(),
            follow_redirects=False,
            trust_env=False,
        )
        self.bearer = bearer
        self.times = times
        self.slots = asyncio.Semaphore(limit)  # nobody queues inside the transport, where waiting has a timeout


def client(base_url: str, token: str | SecretStr, *, limit: int = 16, times: Times | None = None) -> Client:
    """A client for the host at *base_url*, for at most *limit* requests at a time. Close it with `aclose`."""
    secret = token.get_secret_value() if isinstance(token, SecretStr) else token
    return Client(base_url, bearer=Bearer(secret, url=base_url), limit=limit, times=times or Times())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered, whatever its status; never a redirect's target."""

    status: int
    headers: Mapping[str, str]  # looked up in any case
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


async def call(
    http: Client,
    method: str,
    path: str,
    *,
    json: Any = None,
    params: Mapping[str, str] | None = None,
    submits: bool = False,
) -> Answer:
    """Send one request, once, and return the answer of whatever status.

    *submits* marks a paid request. `ProviderUnavailable` when nothing was sent, or when it costs
    nothing to ask again; `SubmitUnknown` when a paid request may have arrived.
    """
    times = http.times
    read, total = (times.submit_read, times.submit_total) if submits else (times.read, times.total)
    # The transport takes the pool's time for the whole of connecting, looking the name up included.
    limits = httpx.Timeout(connect=times.connect, read=read, write=read, pool=times.connect + 5)
    request = http.build_request(method, path, json=json, params=params, timeout=limits, extensions={PAID: submits})
    try:
        async with http.slots, asyncio.timeout(total):
            return await _exchange(http, request)
    except NOTHING_SENT as exc:
        raise ProviderUnavailable(f"{method} {path}: {type(exc).__name__}") from exc
    except Exception as exc:
        error = SubmitUnknown if submits else ProviderUnavailable
        raise error(f"{method} {path}: {type(exc).__name__}") from exc


async def _exchange(http: Client, request: httpx.Request) -> Answer:
    response = await http.send(request, stream=True)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:
                raise httpx.RemoteProtocolError(f"more than {MOST_BYTES} bytes")
    finally:
        await response.aclose()
    return Answer(response.status_code, response.headers, bytes(body))


def retry_after(headers: Mapping[str, str], *, now: int) -> float | None:
    """Seconds that the host asks us to wait, 900 at most; None where it says nothing readable.

    Either number or date: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), MOST_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, date.timestamp() - now / 1000), MOST_RETRY_AFTER)


def utc_now() -> int:
    return int(time.time() * 1000)
