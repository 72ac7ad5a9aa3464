"""A submit fails at every position, at either provider, with and without an alternative provider.

The clients, the local image service and the connections between them are real, and time is not: whatever happens, the
two hosts together take a job once at most, and its member pays for the pictures in hand and for nothing else.
"""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.core.jobs import Job, State
from bot.core.quota import Amount
from bot.providers.base import Provider
from bot.providers.download import Downloader
from bot.providers.http import Timeouts, client
from bot.providers.runcomfy.client import RunComfy
from bot.providers.runflow.client import Runflow
from bot.sandbox.service import Fault, ImageService, Pace
from bot.store.ledger_audit import Audit
from tests.kit import Rig, rig
from tests.providers.stages import nobody

HOSTS = ("runcomfy", "runflow")
OTHER = {"runcomfy": "runflow", "runflow": "runcomfy"}
KEY = "rf_live_a-key"
AT_ONCE = Pace(queue_s=0, run_s=0, slots=None)
PRICE = 80_000


@dataclass(frozen=True, slots=True)
class Position:
    """Where a submit fails. *proven*: the provider certainly accepted nothing."""

    name: str
    fault: Mapping[str, Any] | None = None
    proven: bool = False
    taken: bool = False


POSITIONS = (
    Position("no connection", proven=True),
    Position("429", {}, proven=True),
    Position("envelope_503", {}, proven=True),
    Position("status:402", {}, proven=True),
    Position("status:401", {}, proven=True),
    Position("status:404", {}, proven=True),
    Position("reset_before_read", {}),
    Position("reset", {}),
    Position("html_502", {}),
    Position("html_502", {"accepted": True}, taken=True),
    Position("error_200", {}),
    Position("status:500", {"accepted": True}, taken=True),
    Position("accepted_then_lost", {}, taken=True),
    Position("truncated", {}, taken=True),
    Position("no_request_id", {}, taken=True),
    Position("hang", {"accepted": True}, taken=True),
)
KINDS = ("no connection", "429", "status:401", "status:404", "reset", "accepted_then_lost", "hang")


def case(position: Position, host: str, company: str) -> Any:
    """All positions where another provider could take the job; one of each kind for a single provider."""
    name = f"{position.name}{' taken' if position.taken else ''}-{host}-{company}"
    longer = company == "alone" and position.name not in KINDS
    return pytest.param(position, host, company, id=name, marks=pytest.mark.prove if longer else ())


@asynccontextmanager
async def between(
    folder: Path, service: ImageService, *, order: list[str], unreachable: str = ""
) -> AsyncIterator[Rig]:
    """A bot that uses the providers of *service*, in this order of preference."""
    timeouts = Timeouts(connect=0.5, read=2.0, total=4.0, submit_read=0.3, submit_total=1.0)
    urls = {"runcomfy": service.url, "runflow": service.runflow_url} | ({unreachable: nobody()} if unreachable else {})
    kinds = {"runcomfy": RunComfy, "runflow": Runflow}
    real: dict[str, Provider] = {each: kinds[each](client(urls[each], KEY, timeouts=timeouts)) for each in order}
    allowed = [each.removeprefix("http://") for each in (service.url, service.runflow_url)]
    async with AsyncExitStack() as stack:
        files = await stack.enter_async_context(Downloader())
        for each in real.values():
            stack.push_async_callback(each.aclose)
        yield await stack.enter_async_context(
            rig(folder, host=order[0], real=real, fetcher=files, result_hosts=allowed)
        )


@pytest.mark.parametrize(
    ("position", "host", "company"),
    [case(*each) for each in itertools.product(POSITIONS, HOSTS, ("alone", "with another"))],
)
async def test_a_submit_is_accepted_once_at_most(tmp_path: Path, position: Position, host: str, company: str) -> None:
    order = [host, OTHER[host]] if company == "with another" else [host]
    async with (
        ImageService(pace=AT_ONCE, scale=1 / 8).running() as service,
        between(tmp_path, service, order=order, unreachable=host if position.fault is None else "") as app,
    ):
        if position.fault is not None:
            times = None if position.name == "status:404" else 1  # a removed model stays removed
            service.faults.add(Fault("submit", position.name, host=host, times=times, **position.fault))

        job = await app.until_final(await app.imagine(), step=7)

        assert len(service.runs) <= 1, "two hosts took one job, or one took it twice"
        assert (job.state, job.reason, job.provider) == expected(position, host, company)
        assert [each.host for each in service.runs.values()] == ([job.provider] if len(service.runs) else [])
        await assert_books(app, job)


def expected(position: Position, host: str, company: str) -> tuple[State, str | None, str]:
    if position.proven:
        if company == "with another":
            return State.SUCCEEDED, None, OTHER[host]
        ends = {"no connection": "down", "status:404": "rejected"}  # its catalogue still has the model
        if position.name in ends:
            return State.FAILED, ends[position.name], host
        return State.SUCCEEDED, None, host
    if position.taken and host == "runflow":
        return State.SUCCEEDED, None, host  # found by our own reference
    return State.FAILED, "unknown", host


async def assert_books(app: Rig, job: Job) -> None:
    record = await app.store.job_record(job.id)
    assert record is not None
    paid, back = record.charge.settled, record.charge.released
    done = job.state is State.SUCCEEDED
    assert (paid, back) == ((Amount(1, PRICE), None) if done else (None, Amount(1, PRICE)))
    audit = Audit(app.store.database)
    assert await audit.mismatches() == []
    assert app.messenger.last.job.state is job.state
