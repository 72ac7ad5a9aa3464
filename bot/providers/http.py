"""HTTP requests to providers: each is sent at most once, and an error says whether any of it was sent."""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver
from pydantic import SecretStr

from bot.core.errors import ProviderError, ProviderPaused, ProviderRejected, ProviderUnavailable, SubmitUnknown
from bot.core.references import is_loopback
from bot.observability.logging import USERINFO

MAX_BODY_BYTES = 1_000_000  # of an answer; the largest known one has a few kilobytes
PAID = "darkroom_paid"  # request extension: True for a request that costs money
SEND_STARTED = "darkroom_begun"  # request extension: an event, set just before the first byte of the body is sent
MAX_RETRY_AFTER = 900.0
CHUNK = 16 * 1024
HEADERS = {"User-Agent": "darkroom", "Accept-Encoding": "identity"}


def open_session(
    *, limit: int, reuse: bool = True, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:  # fmt: skip
    """Open a session that stores no cookies and reads neither proxy nor password from the environment."""
    connector = aiohttp.TCPConnector(limit=limit, force_close=not reuse, ssl=_ssl_context(), resolver=resolver)
    # aiohttp calls this before it writes a chunk of the body, and buffers the headers until then.
    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(_on_chunk_sent)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace], trust_env=False
    )


async def _on_chunk_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _chunk: aiohttp.TraceRequestChunkSentParams
) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.set()


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    """Trusted certificates, shared by every client: loading them takes 15 ms."""
    return httpx.create_ssl_context(trust_env=False)


def proxy_to(host: str, proxy: str | None) -> str | None:
    """Return the proxy for requests to *host*: None for loopback."""
    return None if is_loopback(host) else proxy


class Transport(httpx.AsyncBaseTransport):
    """httpx transport on aiohttp (httpx's own costs 16 to 27 times the CPU). Raises aiohttp's errors."""

    def __init__(self, *, limit: int, reuse: bool = True, proxy: str | None = None) -> None:
        self._session = open_session(limit=limit, reuse=reuse)
        self._proxy = proxy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts = request.extensions["timeout"]
        response = await self._session.request(
            request.method,
            yarl.URL(str(request.url), encoded=True),
            headers=request.headers,
            data=request.content or None,
            allow_redirects=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                connect=timeouts["pool"], sock_connect=timeouts["connect"], sock_read=timeouts["read"]
            ),
            proxy=proxy_to(request.url.host, self._proxy),
            trace_request_ctx=request.extensions.get(SEND_STARTED),
        )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    async def aclose(self) -> None:
        await self._session.close()


class SplitTransport(httpx.AsyncBaseTransport):
    """Sends each paid request on a new connection and everything else on reused ones.

    A server may close an idle connection at the moment it is reused. For a paid request that would be a
    submit with an unknown outcome, so it opens a new connection.
    """

    def __init__(self, *, limit: int, proxy: str | None) -> None:
        self._reused = Transport(limit=limit, proxy=proxy)
        self._unshared = Transport(limit=limit, proxy=proxy, reuse=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._unshared if request.extensions.get(PAID) else self._reused
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._reused.aclose()
        await self._unshared.aclose()


def refuse_cookies() -> CookieJar:
    """Return a cookie jar that stores nothing: httpx has a jar of its own besides aiohttp's."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_chunked(CHUNK):
            yield chunk

    async def aclose(self) -> None:
        self._response.release()
        await self._response.wait_for_close()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts of one request, in seconds. A submit has longer ones, because a lost answer may cost money."""

    connect: float = 10.0
    read: float = 20.0  # between two chunks of the answer
    total: float = 60.0
    submit_read: float = 90.0
    submit_total: float = 180.0


class Bearer(httpx.Auth):
    """The provider's token as a header, sent to the origins it was issued for and to no other."""

    def __init__(self, token: str, *, url: str) -> None:
        self._header = f"Bearer {token}"
        self._origins = {_origin(httpx.URL(url))}

    def trust(self, url: str) -> None:
        self._origins.add(_origin(httpx.URL(url)))

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Raises `ProviderPaused` for a token that a header cannot hold: only the operator can fix it."""
        if _origin(request.url) in self._origins:
            if not re.fullmatch(r"[ -~]+", self._header):
                raise ProviderPaused("the token holds a character that cannot be sent", kind="credentials")
            request.headers["Authorization"] = self._header
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port  # httpx gives None for the scheme's default port


class Client(httpx.AsyncClient):
    """HTTP client of one provider; requests go through `call`."""

    def __init__(self, base_url: str, *, bearer: Bearer, limit: int, timeouts: Timeouts, proxy: str | None) -> None:
        super().__init__(
            transport=SplitTransport(limit=limit, proxy=proxy),
            base_url=base_url,
            auth=bearer,
            headers=HEADERS,
            cookies=refuse_cookies(),
            follow_redirects=False,
            trust_env=False,
        )
        self.bearer = bearer
        self.timeouts = timeouts
        self.slots = asyncio.Semaphore(limit)  # so that nothing queues in the transport, where waiting has a timeout


def client(
    base_url: str,
    token: str | SecretStr,
    *,
    limit: int = 16,
    timeouts: Timeouts | None = None,
    proxy: str | None = None,
) -> Client:
    """Return a client for *base_url* that sends at most *limit* requests at a time. Close it with `aclose`.

    *proxy* is the URL of an HTTP proxy for all requests except those to loopback.
    """
    secret = token.get_secret_value() if isinstance(token, SecretStr) else token
    return Client(
        base_url, bearer=Bearer(secret, url=base_url), limit=limit, timeouts=timeouts or Timeouts(), proxy=proxy
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer of any status; redirects are not followed."""

    status: int
    headers: Mapping[str, str]  # case-insensitive
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
    """Send one request once and return the answer, whatever its status.

    *submits* marks a paid request, which has a body. For it, raises `SubmitUnknown` once its first byte may have been
    sent; before that, `ProviderRejected` if the request can never be sent, `ProviderPaused` if the token cannot, else
    `ProviderUnavailable`. Other requests raise only `ProviderUnavailable` or `ProviderPaused`: repeating them is free.
    """
    name = USERINFO.sub(r"\1…@", f"{method} {path}")
    started = asyncio.Event()
    try:
        request = _build(
            http, method, path, json=json, params=params, extensions={PAID: submits, SEND_STARTED: started}
        )
    except Exception as exc:
        error: type[ProviderError] = ProviderRejected if submits else ProviderUnavailable
        raise error(f"{name}: cannot be built ({type(exc).__name__})") from exc
    try:
        async with http.slots, asyncio.timeout(http.timeouts.submit_total if submits else http.timeouts.total):
            return await _exchange(http, request)
    except ProviderPaused:
        raise
    except Exception as exc:
        # Not by the error's class: libraries raise the same ones before and after the first byte.
        if submits and started.is_set():
            raise SubmitUnknown(f"{name}: {type(exc).__name__}") from exc
        unsent = ", nothing was sent" if submits else ""
        raise ProviderUnavailable(f"{name}: {type(exc).__name__}{unsent}") from exc


def _build(http: Client, method: str, path: str, *, extensions: Mapping[str, Any], **content: Any) -> httpx.Request:
    timeouts = http.timeouts
    read = timeouts.submit_read if extensions[PAID] else timeouts.read
    # The transport uses the pool timeout for all of connecting, including the name lookup.
    limits = httpx.Timeout(connect=timeouts.connect, read=read, write=read, pool=timeouts.connect + 5)
    return http.build_request(method, path, timeout=limits, extensions=dict(extensions), **content)


async def _exchange(http: Client, request: httpx.Request) -> Answer:
    response = await http.send(request, stream=True)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:  # the truncated body will not parse
                break
    finally:
        await response.aclose()
    return Answer(response.status_code, response.headers, bytes(body))


def retry_after(headers: Mapping[str, str], *, now: int) -> float | None:
    """Return the seconds to wait from a Retry-After header, at most 900; None if it is missing or unreadable.

    The value is a number or a date: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: a year of twenty digits
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, date.timestamp() - now / 1000), MAX_RETRY_AFTER)


def utc_now() -> int:
    return int(time.time() * 1000)
