"""Provider wrapper that counts every call by its outcome."""

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from bot.core.errors import (
    AnswerUnreadable,
    ProviderError,
    ProviderPaused,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
    RunLost,
    SubmitUnknown,
)
from bot.core.jobs import Observation
from bot.providers.base import CancelOutcome, ModelInfo, Provider

Count = Callable[[str, str, str], None]  # provider, call, outcome
OUTCOMES: Mapping[type[ProviderError], str] = {
    ProviderUnavailable: "unavailable",
    ProviderPaused: "paused",
    ProviderRejected: "rejected",
    ProviderRefused: "refused",
    SubmitUnknown: "unknown",
    RunLost: "lost",
    AnswerUnreadable: "unreadable",
}


class Measured:
    """A `Provider` that delegates to *provider* and reports each call to *count*."""

    def __init__(self, provider: Provider, count: Count) -> None:
        self.name = provider.name
        self.searchable = provider.searchable
        self.cancels = provider.cancels
        self.page_size = provider.page_size
        self._provider = provider
        self._count = count

    async def submit(
        self, route: str, inputs: Mapping[str, Any], *, job_id: str, callback_url: str | None = None
    ) -> str:
        with self._counted("submit"):
            return await self._provider.submit(route, inputs, job_id=job_id, callback_url=callback_url)

    async def observe(self, run_id: str) -> Observation:
        with self._counted("observe"):
            return await self._provider.observe(run_id)

    async def observe_many(self, run_ids: Collection[str], *, pages: int) -> Mapping[str, Observation]:
        with self._counted("observe_many"):
            return await self._provider.observe_many(run_ids, pages=pages)

    async def cancel(self, run_id: str) -> CancelOutcome:
        with self._counted("cancel"):
            return await self._provider.cancel(run_id)

    async def find(self, job_id: str) -> str | None:
        with self._counted("find"):
            return await self._provider.find(job_id)

    async def describe(self, route: str) -> ModelInfo:
        with self._counted("describe"):
            return await self._provider.describe(route)

    async def balance(self) -> int | None:
        with self._counted("balance"):
            return await self._provider.balance()

    async def aclose(self) -> None:
        await self._provider.aclose()

    @contextmanager
    def _counted(self, call: str) -> Generator[None]:
        try:
            yield
        except ProviderError as exc:  # `NotSearchable` has no outcome: no request was sent
            outcome = next((outcome for kind, outcome in OUTCOMES.items() if isinstance(exc, kind)), None)
            if outcome is not None:
                self._count(self.name, call, outcome)
            raise
        self._count(self.name, call, "ok")
