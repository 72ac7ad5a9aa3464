"""Receives Runflow's callbacks. A callback only makes the worker poll the run now; its content is not used."""

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
from bot.web.bodies import BadBody, read_body
from bot.web.refusals import Refusals

log = logging.getLogger(__name__)

BODY_LIMIT = 64 * 1024  # bytes
READ_TIMEOUT = 5.0  # seconds for a whole body
TIMEOUT = 1.0  # seconds that the database may take
# HTTP status by reason of the rejection.
REJECTED = {"token": 404, "too_large": 413, "slow": 408, "broken": 400, "unsigned": 401, "signature": 401}


class CallbackLinks:
    """URLs for callbacks about a job, each with an HMAC of the job id as an unguessable token."""

    def __init__(self, public_url: str, *, secret: bytes) -> None:
        self._public_url = public_url.rstrip("/")
        self._secret = secret

    def __call__(self, job_id: str) -> str:
        return f"{self._public_url}/callbacks/runflow/{self.token(job_id)}"

    def token(self, job_id: str) -> str:
        return f"{job_id}.{hmac.new(self._secret, f'callback:{job_id}'.encode(), sha256).hexdigest()[:32]}"

    def job_of(self, token: str) -> str | None:
        """Return the id of the job that *token* was made for, None for a forged token."""
        job_id = token.partition(".")[0]
        is_valid = hmac.compare_digest(self.token(job_id).encode(errors="replace"), token.encode(errors="replace"))
        return job_id if is_valid else None


class Callbacks:
    provider: Final = "runflow"

    def __init__(
        self,
        services: Services,
        *,
        links: CallbackLinks,
        secrets: Sequence[str],
        count: Callable[[str], None] = lambda _: None,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        """*secrets*: the webhook secrets that Runflow may sign with, several during a rotation.

        *count* receives the outcome of each callback: a key of REJECTED, `ignored`, or a result of `handle`.
        """
        self.links = links
        self._services = services
        self._count = count
        self._secrets = tuple(secrets)
        self._read_timeout = read_timeout
        self._refusals = Refusals(log, "A callback was refused", event="callback_refused", status=REJECTED)

    async def receive(self, request: web.Request) -> web.Response:
        """Answer one callback. Every authentic one gets a 200, used or not: sending it again would not help."""
        job_id = self.links.job_of(request.match_info["token"])
        if job_id is None:
            return self._reject("token")
        try:
            body = await read_body(request, limit=BODY_LIMIT, seconds=self._read_timeout)
            run_id = read_callback(request.headers, body, secrets=self._secrets)
        except BadBody as exc:
            return self._reject(exc.problem)
        except BadCallback as exc:
            return self._reject(exc.problem) if exc.problem in REJECTED else self._answer("ignored")
        return self._answer(await self.handle(job_id, run_id))

    async def handle(self, job_id: str, run_id: str) -> str:
        """Make the worker poll the job's run now. Returns the outcome for the metric `darkroom_callbacks_total`."""
        try:
            async with asyncio.timeout(TIMEOUT):
                job = await self._services.store.job(job_id)
                if job is None:
                    return "unknown_job"  # the database was restored from a backup, for example
                if job.provider != self.provider or job.run_id not in (None, run_id):
                    return "other_run"
                if not job.state.is_final:
                    self._services.changes.called_back(job)
                await self._services.jobs.poll_now(job_id)
                await self._forget_if_final(job_id)
        except DATABASE_ERRORS:  # TimeoutError included
            self._services.wakeups.wake(job_id)
            return "unread"
        if job.state.is_final:
            return "late"
        return "early" if job.run_id is None else "rung"

    async def _forget_if_final(self, job_id: str) -> None:
        """Remove the mark of a job that ended between the read and the mark: nothing else would remove it."""
        job = await self._services.store.job(job_id)
        if job is None or job.state.is_final:
            self._services.wakeups.forget_call(job_id)

    def _answer(self, outcome: str) -> web.Response:
        self._count(outcome)
        return web.Response()

    def _reject(self, outcome: str) -> web.Response:
        self._count(outcome)
        return self._refusals.answer(outcome)
