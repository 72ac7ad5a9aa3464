"""Answers Runflow when it calls back: a doorbell, which has the run asked about and decides nothing itself."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from aiohttp import web

from bot.jobs.build import Services
from bot.providers.runflow.client import BadCallback, read_callback
from bot.store.database import DATABASE_ERRORS

log = logging.getLogger(__name__)

BODY_LIMIT = 64 * 1024  # bytes
READ_LIMIT = 5.0  # seconds for a whole body
TIMEOUT = 1.0  # seconds that an answer may wait for the database
REFUSALS = {"token": 404, "too_large": 413, "slow": 408, "broken": 400, "unsigned": 401, "signature": 401}


class CallbackLinks:
    """Where a host calls back about a job: addresses that nobody can guess, signed by this installation."""

    def __init__(self, public_url: str, *, secret: bytes) -> None:
        self._public_url = public_url.rstrip("/")
        self._secret = secret

    def __call__(self, job_id: str) -> str:
        return f"{self._public_url}/callbacks/runflow/{self.token(job_id)}"

    def token(self, job_id: str) -> str:
        return f"{job_id}.{hmac.new(self._secret, f'callback:{job_id}'.encode(), sha256).hexdigest()[:32]}"

    def job_of(self, token: str) -> str | None:
        """The job that *token* was made for; None for one that we never made."""
        job_id = token.partition(".")[0]
        same = hmac.compare_digest(self.token(job_id).encode(errors="replace"), token.encode(errors="replace"))
        return job_id if same else None


class Callbacks:
    provider: Final = "runflow"

    def __init__(
        self,
        services: Services,
        *,
        links: CallbackLinks,
        secrets: Sequence[str],
        count: Callable[[str], None] = lambda _: None,
        read_limit: float = READ_LIMIT,
    ) -> None:
        """*secrets* are those that Runflow may sign with, several during a change.

        *count* is told what came of each call: a key of REFUSALS, `ignored`, or what `ring` returns.
        """
        self.links = links
        self._services = services
        self._count = count
        self._secrets = tuple(secrets)
        self._read_limit = read_limit
        self._refused: set[str] = set()  # kinds that the log has heard of

    async def receive(self, request: web.Request) -> web.Response:
        """Whatever is authentic gets a 200, used or not: to send it again would not help."""
        job_id = self.links.job_of(request.match_info["token"])
        if job_id is None:
            return self._refuse("token")
        body = await self._read(request)
        if isinstance(body, str):
            return self._refuse(body)
        try:
            run_id = read_callback(request.headers, body, secrets=self._secrets)
        except BadCallback as exc:
            return self._refuse(exc.problem) if exc.problem in REFUSALS else self._answer("ignored")
        return self._answer(await self.ring(job_id, run_id))

    async def _read(self, request: web.Request) -> bytes | str:
        """The body as it came; or why there is none."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._read_limit):
                while len(body) <= BODY_LIMIT and (request.content_length or 0) <= BODY_LIMIT:
                    if not (part := await request.content.readany()):
                        return bytes(body)
                    body += part
        except TimeoutError:
            return "slow"
        except (OSError, web.RequestPayloadError, RuntimeError):
            return "broken"  # gone half-way; no body at all by HTTP's rules; gone before we began, in aiohttp's words
        return "too_large"

    async def ring(self, job_id: str, run_id: str) -> str:
        """Have the job's run asked about now; what that was good for."""
        try:
            async with asyncio.timeout(TIMEOUT):
                job = await self._services.store.job(job_id)
                if job is None:
                    return "unknown_job"  # a database that was put back, for one
                if job.provider != self.provider or job.run_id not in (None, run_id):
                    return "other_run"
                if not job.state.is_final:
                    self._services.wakeups.mark_called_back(job_id)
                await self._services.jobs.poll_now(job_id)
                await self._forget_if_over(job_id)
        except DATABASE_ERRORS:  # a timeout is one
            self._services.wakeups.wake(job_id)
            return "unread"
        if job.state.is_final:
            return "late"
        return "early" if job.run_id is None else "rung"

    async def _forget_if_over(self, job_id: str) -> None:
        """A job that ended after we looked, but before we noted its call, will not end again to take that back."""
        job = await self._services.store.job(job_id)
        if job is None or job.state.is_final:
            self._services.wakeups.forget_call(job_id)

    def _answer(self, outcome: str) -> web.Response:
        self._count(outcome)
        return web.Response()

    def _refuse(self, outcome: str) -> web.Response:
        """A short answer that explains nothing; the operator hears of each kind once, for it may be the settings."""
        self._count(outcome)
        if outcome not in self._refused:
            self._refused.add(outcome)
            log.warning("A callback was refused", extra={"event": "callback_refused", "reason": outcome})
        answer = web.Response(status=REFUSALS[outcome])
        answer.force_close()
        return answer
