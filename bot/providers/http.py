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
from urllib.parse import urlencode

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver
from pydantic import SecretStr

from bot.core.errors import ProviderPaused, ProviderRejected, ProviderUnavailable, SubmitUnknown
from bot.core.references import is_loopback
from bot.observability.logging import USERINFO

MAX_BODY_BYTES = 1_000_000  # of an answer; the largest known one has a few kilobytes
SEND_STARTED = "darkroom_begun"  # request extension: an event, set just before the first byte of the body is sent
MAX_RETRY_AFTER = 900.0
CHUNK = 16 * 1024
SENDABLE = re.compile(r"[ -~]+")
ADDRESS = re.compile(r"[!-~]+")
HEADERS = {"User-Agent": "darkroom", "Accept-Encoding": "identity"}


def open_session(
    *, limit: int, reuse: bool = True, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:  # fmt: skip
    """Open a session that stores no cookies and reads neither proxy nor password from the environment.

    One that does not *reuse* connections is for paid requests, and reports when it begins to send a body.
    """
    connector = aiohttp.TCPConnector(limit=limit, force_close=not reuse, ssl=_ssl_context(), resolver=resolver)
    # aiohttp calls this before it writes a chunk of the body, and buffers the headers until then.
    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(_on_chunk_sent)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[] if reuse else [trace],
        trust_env=False,
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
    """httpx transport on aiohttp that opens a connection for each request. Raises aiohttp's errors.

    A server may close an idle connection at the moment it is reused. For a paid request that would be a submit with an
    unknown outcome, so it opens a new connection.
    """

    def __init__(self, *, limit: int, proxy: str | None) -> None:
        self._session = open_session(limit=limit, reuse=False)
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

    def header_for(self, url: httpx.URL | None) -> str | None:
        """The header for *url*; None: for the configured address. Raises `ProviderPaused` as `auth_flow` does."""
        if url is not None and _origin(url) not in self._origins:
            return None
        if not SENDABLE.fullmatch(self._header):
            raise ProviderPaused("the token holds a character that cannot be sent", kind="credentials")
        return self._header

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Raises `ProviderPaused` for a token that a header cannot hold: only the operator can fix it."""
        if (header := self.header_for(request.url)) is not None:
            request.headers["Authorization"] = header
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port  # httpx gives None for the scheme's default port


class FreeRequests:
    """Sends requests that cost nothing, without httpx, whose work is more than that of sending them.

    Connections are reused: a request that is lost with one may be sent again.
    """

    def __init__(self, base_url: str, *, bearer: Bearer, limit: int, timeouts: Timeouts, proxy: str | None) -> None:
        self._session = open_session(limit=limit)
        self._base_url = base_url.rstrip("/")
        self._bearer = bearer
        self._proxy = proxy
        # One timer for each request. aiohttp counts the name lookup as part of `connect`.
        self._timeout = aiohttp.ClientTimeout(
            total=min(timeouts.total, timeouts.connect + timeouts.read),
            connect=timeouts.connect + 5,
            sock_connect=timeouts.connect,
        )
        self.slots = asyncio.Semaphore(limit)  # so that nothing queues in the session, where waiting has a timeout

    async def send(self, method: str, path: str, params: Mapping[str, str] | None) -> "Answer":
        """Send one request without a body; *path* is a path of the provider or a whole address."""
        address = path if path.startswith(("https://", "http://")) else self._base_url + path
        if not ADDRESS.fullmatch(address):
            raise ValueError("not an address")
        url = yarl.URL(f"{address}?{urlencode(params)}" if params else address, encoded=True)
        authorization = self._bearer.header_for(httpx.URL(str(url)) if address is path else None)
        async with self._session.request(
            method,
            url,
            headers=HEADERS | ({"Authorization": authorization} if authorization else {}),
            allow_redirects=False,
            timeout=self._timeout,
            proxy=proxy_to(url.host or "", self._proxy) if self._proxy else None,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK):
                body += chunk
                if len(body) > MAX_BODY_BYTES:  # the truncated body will not parse
                    break
            return Answer(response.status, response.headers, bytes(body))

    async def aclose(self) -> None:
        await self._session.close()


class Client(httpx.AsyncClient):
    """HTTP client of one provider; requests go through `call`.

    Paid and free requests have places of their own, so that slow submits do not hold up the polls, nor the reverse.
    """

    def __init__(self, base_url: str, *, bearer: Bearer, limit: int, timeouts: Timeouts, proxy: str | None) -> None:
        super().__init__(
            transport=Transport(limit=limit, proxy=proxy),
            base_url=base_url,
            auth=bearer,
            headers=HEADERS,
            cookies=refuse_cookies(),
            follow_redirects=False,
            trust_env=False,
        )
        self.bearer = bearer
        self.timeouts = timeouts
        self.free = FreeRequests(base_url, bearer=bearer, limit=limit, timeouts=timeouts, proxy=proxy)
        self.slots = asyncio.Semaphore(limit)  # of paid requests

    async def aclose(self) -> None:
        await super().aclose()
        await self.free.aclose()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


def client(
    base_url: str,
    token: str | SecretStr,
    *,
    limit: int = 64,
    timeouts: Timeouts | None = None,
    proxy: str | None = None,
) -> Client:
    """Return a client for *base_url* that sends at most *limit* paid and *limit* free requests at a time.

    Close it with `aclose`. The default is enough for 600 polls a second at a round trip of 100 ms.

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

    *submits* marks a paid request, the only kind that has a body, *json*. For it, raises `SubmitUnknown` once its first
    byte may have been sent; before that, `ProviderRejected` if the request can never be sent, `ProviderPaused` if the
    token cannot, else `ProviderUnavailable`. Other requests raise only `ProviderUnavailable` or `ProviderPaused`:
    repeating them is free.
    """
    if not submits:
        return await _call_free(http, method, path, params)
    name = _name(method, path)
    started = asyncio.Event()
    try:
        request = _build(http, method, path, json=json, params=params, extensions={SEND_STARTED: started})
    except Exception as exc:
        raise ProviderRejected(f"{name}: cannot be built ({type(exc).__name__})") from exc
    try:
        async with http.slots, asyncio.timeout(http.timeouts.submit_total):
            return await _exchange(http, request)
    except ProviderPaused:
        raise
    except Exception as exc:
        # Not by the error's class: libraries raise the same ones before and after the first byte.
        if started.is_set():
            raise SubmitUnknown(f"{name}: {type(exc).__name__}") from exc
        raise ProviderUnavailable(f"{name}: {type(exc).__name__}, nothing was sent") from exc


async def _call_free(http: Client, method: str, path: str, params: Mapping[str, str] | None) -> Answer:
    try:
        async with http.free.slots:
            return await http.free.send(method, path, params)
    except ProviderPaused:
        raise
    except Exception as exc:
        raise ProviderUnavailable(f"{_name(method, path)}: {type(exc).__name__}") from exc


def _name(method: str, path: str) -> str:
    """The request in errors, without a password in its address."""
    return USERINFO.sub(r"\1…@", f"{method} {path}")


def _build(http: Client, method: str, path: str, *, extensions: Mapping[str, Any], **content: Any) -> httpx.Request:
    timeouts = http.timeouts
    # The transport uses the pool timeout for all of connecting, including the name lookup.
    limits = httpx.Timeout(
        connect=timeouts.connect, read=timeouts.submit_read, write=timeouts.submit_read, pool=timeouts.connect + 5
    )
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
