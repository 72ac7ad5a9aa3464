"""One request to a host of image models: sent at most once, and never in doubt about whether it was sent."""

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

MOST_BYTES = 1_000_000  # of an answer; the largest we know is a few kilobytes
PAID = "darkroom_paid"  # marks a request that costs money, for the transport
BEGUN = "darkroom_begun"  # an event, set when the first byte of a request with a body is about to leave
MOST_RETRY_AFTER = 900.0
CHUNK = 16 * 1024
HEADERS = {"User-Agent": "darkroom", "Accept-Encoding": "identity"}


def open_session(
    *, limit: int, reuse: bool = True, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:  # fmt: skip
    """A session that keeps no cookies and takes neither proxy nor password from the environment."""
    connector = aiohttp.TCPConnector(limit=limit, force_close=not reuse, ssl=_trusted(), resolver=resolver)
    # aiohttp reports a chunk of the body before it writes it, and keeps the headers back until then.
    begins = aiohttp.TraceConfig()
    begins.on_request_chunk_sent.append(_begins)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[begins], trust_env=False
    )


async def _begins(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _chunk: aiohttp.TraceRequestChunkSentParams
) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.set()


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """Whose certificates we believe: the same for every client, and 15 ms of work to read."""
    return httpx.create_ssl_context(trust_env=False)


def proxy_to(host: str, proxy: str | None) -> str | None:
    """The proxy through which *host* is reached: none for this machine."""
    return None if is_loopback(host) else proxy


class Transport(httpx.AsyncBaseTransport):
    """httpx over aiohttp (stock httpx costs 16 to 27 times the CPU); errors are aiohttp's own."""

    def __init__(self, *, limit: int, reuse: bool = True, proxy: str | None = None) -> None:
        self._session = open_session(limit=limit, reuse=reuse)
        self._proxy = proxy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        times = request.extensions["timeout"]
        response = await self._session.request(
            request.method,
            yarl.URL(str(request.url), encoded=True),
            headers=request.headers,
            data=request.content or None,
            allow_redirects=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                connect=times["pool"], sock_connect=times["connect"], sock_read=times["read"]
            ),
            proxy=proxy_to(request.url.host, self._proxy),
            trace_request_ctx=request.extensions.get(BEGUN),
        )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    async def aclose(self) -> None:
        await self._session.close()


class TransportByPrice(httpx.AsyncBaseTransport):
    """Paid requests on connections of their own, everything else on kept ones.

    A host may close a kept connection in the moment it is used again; for a paid request that would be
    a submit whose fate nobody knows, so it pays for a handshake instead.
    """

    def __init__(self, *, limit: int, proxy: str | None) -> None:
        self._kept = Transport(limit=limit, proxy=proxy)
        self._single = Transport(limit=limit, proxy=proxy, reuse=False)

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
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_chunked(CHUNK):
            yield chunk

    async def aclose(self) -> None:
        self._response.release()
        await self._response.wait_for_close()


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
        """`ProviderPaused` for a token that no header can hold: only the operator can mend that."""
        if _origin(request.url) in self._origins:
            if not re.fullmatch(r"[ -~]+", self._header):
                raise ProviderPaused("the token holds a character that cannot be sent", kind="credentials")
            request.headers["Authorization"] = self._header
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port  # httpx leaves out the port where it is the scheme's own


class Client(httpx.AsyncClient):
    """One host's client; requests go through `call`."""

    def __init__(self, base_url: str, *, bearer: Bearer, limit: int, times: Times, proxy: str | None) -> None:
        super().__init__(
            transport=TransportByPrice(limit=limit, proxy=proxy),
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


def client(
    base_url: str, token: str | SecretStr, *, limit: int = 16, times: Times | None = None, proxy: str | None = None
) -> Client:
    """A client for the host at *base_url*, for at most *limit* requests at a time. Close it with `aclose`.

    *proxy* is the address of an HTTP proxy, through which everything goes but requests to this machine.
    """
    secret = token.get_secret_value() if isinstance(token, SecretStr) else token
    return Client(base_url, bearer=Bearer(secret, url=base_url), limit=limit, times=times or Times(), proxy=proxy)


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

    *submits* marks a paid request, which has a body. `SubmitUnknown` once its first byte may have left; before that
    `ProviderRejected` when it can never be sent, `ProviderPaused` when the token cannot, else `ProviderUnavailable`.
    For other requests it is always `ProviderUnavailable` or `ProviderPaused`, since it costs nothing to ask again.
    """
    what = USERINFO.sub(r"\1…@", f"{method} {path}")
    begun = asyncio.Event()
    try:
        request = _build(http, method, path, json=json, params=params, extensions={PAID: submits, BEGUN: begun})
    except Exception as exc:
        error: type[ProviderError] = ProviderRejected if submits else ProviderUnavailable
        raise error(f"{what}: cannot be built ({type(exc).__name__})") from exc
    try:
        async with http.slots, asyncio.timeout(http.times.submit_total if submits else http.times.total):
            return await _exchange(http, request)
    except ProviderPaused:
        raise
    except Exception as exc:
        # By what happened, not by the error's class: libraries use one for both sides of the first byte.
        if submits and begun.is_set():
            raise SubmitUnknown(f"{what}: {type(exc).__name__}") from exc
        unsent = ", nothing was sent" if submits else ""
        raise ProviderUnavailable(f"{what}: {type(exc).__name__}{unsent}") from exc


def _build(http: Client, method: str, path: str, *, extensions: Mapping[str, Any], **content: Any) -> httpx.Request:
    times = http.times
    read = times.submit_read if extensions[PAID] else times.read
    # The transport takes the pool's time for the whole of connecting, looking the name up included.
    limits = httpx.Timeout(connect=times.connect, read=read, write=read, pool=times.connect + 5)
    return http.build_request(method, path, timeout=limits, extensions=dict(extensions), **content)


async def _exchange(http: Client, request: httpx.Request) -> Answer:
    response = await http.send(request, stream=True)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:  # cut off, it is nothing that can be read
                break
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
    except (ValueError, OverflowError):  # the latter for a year of twenty digits
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, date.timestamp() - now / 1000), MOST_RETRY_AFTER)


def utc_now() -> int:
    return int(time.time() * 1000)
