"""What Darkroom needs of a host of image models; each provider file translates to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from bot.core.jobs import Observation


class CancelOutcome(StrEnum):
    CANCELLED = "cancelled"  # the host says so; the next observation is the proof
    TOO_LATE = "too_late"
    UNKNOWN = "unknown"  # no readable answer: ask again


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a host's own catalogue says of a route. Money in micro-dollars, None where it says nothing."""

    route: str
    base_price_micro_usd: int | None = None


class Provider(Protocol):
    """One host. Every method may raise `ProviderUnavailable` or `ProviderPaused`; none retries."""

    name: str
    searchable: bool  # whether `find` can tell what became of a submit without an answer
    cancels: bool  # whether `cancel` can ever stop a run

    async def submit(
        self, route: str, inputs: Mapping[str, Any], *, job_id: str, callback_url: str | None = None
    ) -> str:
        """Order a paid run and return its id. The host may call *callback_url* when the run has ended, or never.

        `ProviderUnavailable` and `ProviderPaused` only where the host provably took nothing;
        `ProviderRejected` (with `ModelGone`), `ProviderRefused`; anything else is `SubmitUnknown`.
        """
        ...

    async def observe(self, run_id: str) -> Observation:
        """What the run has come to; `RunLost` when the host does not know it, `AnswerUnreadable` for an unknown form.

        Links to pictures may be signed for minutes only: whoever fetches later observes again first.
        """
        ...

    async def cancel(self, run_id: str) -> CancelOutcome: ...

    async def find(self, job_id: str) -> str | None:
        """The run submitted for *job_id*, None if there is none (yet); `NotSearchable` if the host cannot say."""
        ...

    async def describe(self, route: str) -> ModelInfo:
        """What the host's catalogue says of *route*; `ModelGone` when it is not there."""
        ...

    async def balance(self) -> int | None:
        """Micro-dollars left on the operator's account; None where the host does not say."""
        ...

    async def aclose(self) -> None: ...
