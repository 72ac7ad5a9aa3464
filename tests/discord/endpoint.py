"""Discord's other way to deliver interactions: signed requests to the bot's endpoint, which it checks first."""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import aiohttp
from nacl.signing import SigningKey

from tests.discord.rules import Json

ANSWER_TIMEOUT = 3.0  # seconds
TICK = 0.01  # seconds between attempts to save an address: a bot that has logged in does not say so
PING: Json = {"type": 1}


class EndpointRefused(Exception):
    """Discord does not save the address: the message says what was wrong with the answers."""


class Endpoint:
    """The interactions endpoint. With several addresses, requests go to each in turn, as behind a balancer."""

    def __init__(self, now: Callable[[], float], *, violations: list[str]) -> None:
        self.urls: Sequence[str] = ()
        self.refused = 0  # interactions that no process took
        self._key = SigningKey.generate()
        self._now = now
        self._violations = violations
        self._http: aiohttp.ClientSession | None = None
        self._turn = itertools.count()
        self._deliveries: set[asyncio.Task[None]] = set()

    @property
    def verify_key(self) -> str:
        return bytes(self._key.verify_key).hex()

    async def use(self, *urls: str) -> None:
        """Deliver to these addresses from now on. Raises `EndpointRefused` if one does not pass Discord's checks."""
        for url in urls:
            status, answer = await self.post(url, PING)
            if (status, answer) != (200, PING):
                raise EndpointRefused(f"PING was answered by {status} {answer}")
            status, _ = await self.post(url, PING, headers=self.sign(b"another body"))
            if status != 401:
                raise EndpointRefused(f"a wrong signature was answered by {status}")
        self.urls = urls

    async def use_when_ready(self, *urls: str, within: float) -> None:
        """As `use`, as soon as the addresses pass the checks; `TimeoutError` after *within* real seconds."""
        async with asyncio.timeout(within):
            while True:
                with suppress(EndpointRefused, aiohttp.ClientError):
                    await self.use(*urls)
                    return
                await asyncio.sleep(TICK)

    def deliver(self, payload: Json) -> None:
        """Send an interaction, in the background."""
        url = self.urls[next(self._turn) % len(self.urls)]
        delivery = asyncio.create_task(self._deliver(url, payload))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, url: str, payload: Json) -> None:
        try:
            status, answer = await self.post(url, payload)
        except (aiohttp.ClientError, TimeoutError):
            self.refused += 1
            return
        if status >= 500:
            self.refused += 1
        elif (status, answer) != (202, None):
            self._violations.append(f"an interaction was answered by {status} {answer}")

    async def post(
        self, url: str, payload: Json, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Json | None]:  # fmt: skip
        """Status and JSON of the answer; signs the body if *headers* is None."""
        body = json.dumps(payload).encode()
        signed = {"Content-Type": "application/json", **(self.sign(body) if headers is None else headers)}
        async with self._session().post(url, data=body, headers=signed) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else None

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            timeout, connector = aiohttp.ClientTimeout(ANSWER_TIMEOUT), aiohttp.TCPConnector(limit=0)
            self._http = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self._http

    def sign(self, body: bytes, *, at: float | None = None) -> dict[str, str]:
        """The headers of a request with *body*."""
        time = str(int(self._now() if at is None else at))
        signature = self._key.sign(time.encode() + body).signature
        return {"X-Signature-Ed25519": signature.hex(), "X-Signature-Timestamp": time}

    async def delivered(self) -> None:
        """Wait until every request has been answered."""
        await asyncio.gather(*self._deliveries)

    async def close(self) -> None:
        await self.delivered()
        if self._http is not None:
            await self._http.close()
