"""The interface that every provider of image models implements, and the values it returns."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from bot.core.jobs import Observation


class CancelOutcome(StrEnum):
    CANCELLED = "cancelled"  # as the provider reports it; the next observation confirms it
    TOO_LATE = "too_late"
    UNKNOWN = "unknown"  # no readable answer: retry


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A route's entry in the provider's catalogue. The price is None where the catalogue does not give one."""

    route: str
    base_price_micro_usd: int | None = None


class Provider(Protocol):
    """Client of one provider. Every method may raise `ProviderUnavailable` or `ProviderPaused`; none retries."""

    name: str
    searchable: bool  # whether `find` can look up the run of a submit that was not answered
    cancels: bool  # whether `cancel` can ever stop a run
    page_size: int  # runs that one request of `observe_many` returns; 0 where it has no such request

    async def submit(
        self, route: str, inputs: Mapping[str, Any], *, job_id: str, callback_url: str | None = None
    ) -> str:
        """Submit a paid run and return its id. The provider may call *callback_url* once the run has ended.

        Raises `ProviderUnavailable` or `ProviderPaused` only if the provider provably accepted nothing,
        `ProviderRejected` (including `ModelGone`) or `ProviderRefused` if it declined the request, and
        `SubmitUnknown` in every other case.
        """
        ...

    async def observe(self, run_id: str) -> Observation:
        """Return the run's current state.

        Raises `RunLost` if the provider does not know the run, `AnswerUnreadable` if the answer has an unknown form.
        Links to pictures may be signed for a few minutes only: to download later, observe again first.
        """
        ...

    async def observe_many(self, run_ids: Collection[str], *, pages: int) -> Mapping[str, Observation]:
        """Return the states of those of *run_ids* that are still queued or running, from at most *pages* requests.

        A run that is missing has ended, or is not among the newest: only `observe` tells. Raises `AnswerUnreadable` if
        the answer has an unknown form.
        """
        ...

    async def cancel(self, run_id: str) -> CancelOutcome: ...

    async def find(self, job_id: str) -> str | None:
        """Return the id of the run submitted for *job_id*, None if there is none (yet). May raise `NotSearchable`."""
        ...

    async def describe(self, route: str) -> ModelInfo:
        """Return the catalogue entry of *route*. Raises `ModelGone` if there is none."""
        ...

    async def balance(self) -> int | None:
        """Return the micro-dollars left on the operator's account, None if the provider does not report them."""
        ...

    async def aclose(self) -> None: ...
