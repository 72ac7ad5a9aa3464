"""A process of each role is killed in every state of a job: the picture arrives, and nothing is paid or shown twice."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.faults import Fault
from tests.discord.interactions import Interaction
from tests.scenarios.cluster import Cluster, cluster
from tests.scenarios.conftest import GATEWAY
from tests.scenarios.harness import NO_LIMITS, SOON, shows

pytestmark = [GATEWAY, pytest.mark.prove]

DONE, UNSURE = "Done", "never confirmed that it received this"
PROCESSES = {"gateway": "gateway", "first": "worker", "second": "worker", "web": "web", "keeper": "keeper"}


async def job_of(on: Cluster, asked: Interaction, condition: str = "TRUE") -> dict[str, Any]:
    """Wait until its job is as *condition* has it; the columns."""
    columns = ("id", "state", "worker", "reason", "cancel")
    sql = (
        f"SELECT {', '.join(columns)} FROM jobs JOIN interactions i ON i.job = jobs.id WHERE i.id = $1 AND {condition}"  # noqa: S608
    )
    (row,) = await on.until(lambda rows: rows, sql.replace("SELECT id", "SELECT jobs.id"), asked.id)
    return dict(zip(columns, row, strict=True))


async def asks(on: Cluster) -> Interaction:
    return await on.scene.asks(on.scene.alice, "killed")


async def waiting(on: Cluster) -> Interaction:
    on.scene.host.hold = True
    first = await on.scene.asks(on.scene.bob, "before it")
    await job_of(on, first, "state = 'queued'")
    asked = await asks(on)
    await job_of(on, asked, "acked_at IS NOT NULL")
    return asked


async def submitting(on: Cluster) -> Interaction:
    """The provider has accepted the run and answers slowly."""
    on.scene.host.faults.add(Fault("submit", "latency", seconds=6))
    before = len(on.scene.host.accepted)
    asked = await asks(on)
    await on.scene.until(lambda: len(on.scene.host.accepted) > before)
    return asked


async def queued(on: Cluster) -> Interaction:
    on.scene.host.hold = True
    asked = await asks(on)
    await job_of(on, asked, "state = 'queued'")
    return asked


async def running(on: Cluster) -> Interaction:
    asked = await queued(on)
    on.scene.host.advance(on.scene.host.accepted[-1], "in_progress")
    await job_of(on, asked, "state = 'running'")
    return asked


async def collecting(on: Cluster) -> Interaction:
    on.scene.host.faults.add(Fault("submit", "file:slow", seconds=5))
    asked = await asks(on)
    await job_of(on, asked, "state = 'collecting'")
    await on.scene.until(lambda: any(each.op == "file" for each in on.scene.host.log))
    on.scene.host.runs[on.scene.host.accepted[-1]].faults.clear()
    return asked


async def cancel_wanted(on: Cluster) -> Interaction:
    asked = await queued(on)
    on.scene.host.faults.add(Fault("cancel", "latency", seconds=5))
    card = await asked.until(shows("Queued"), within=SOON)
    await on.scene.alice.click(card, label="Cancel")
    await job_of(on, asked, "cancel = 'wanted'")
    await on.scene.until(lambda: any(each.op == "cancel" for each in on.scene.host.log))
    return asked


async def not_delivered(on: Cluster) -> Interaction:
    asked = await queued(on)
    await on.scene.discord.down()
    on.scene.host.hold = False
    await job_of(on, asked, "state = 'succeeded'")
    return asked


Stage = Callable[[Cluster], Awaitable[Interaction]]
STAGES: tuple[Stage, ...] = (waiting, submitting, queued, running, collecting, cancel_wanted, not_delivered)


def end_of(stage: Stage, role: str) -> str:
    if stage is submitting and role == "worker":
        return UNSURE
    return "Cancelled" if stage is cancel_wanted else DONE


@pytest.mark.parametrize("role", ["gateway", "worker", "web", "keeper"])
async def test_a_job_survives_a_killed_process_in_every_state(tmp_path: Path, postgres_url: str, role: str) -> None:
    async with cluster(tmp_path, postgres_url, runcomfy__max_in_flight=1, **NO_LIMITS) as on:
        for name, roles in PROCESSES.items():
            await on.start(name, roles)
        shown = 0
        for number, stage in enumerate(STAGES):
            on.scene.host.log.clear()
            asked = await stage(on)
            job = await job_of(on, asked)
            names = {each: name for name, each in on.numbers.items()}
            victim = names[job["worker"]] if role == "worker" else next(n for n in names.values() if n.startswith(role))
            await on.processes[victim].kill()
            del on.numbers[victim]
            if stage is not_delivered:
                await on.scene.discord.up()
            await on.start(f"{role} {number}", role)
            on.scene.host.hold = stage is cancel_wanted

            await asked.until(shows(end_of(stage, role)), within=SOON)
            on.scene.host.hold = False
            await on.at_rest()
            shown += 2 if stage is waiting else 1
            assert len(on.scene.channel.messages) == shown, stage
        assert len(on.scene.host.accepted) == shown


@pytest.mark.parametrize("role", ["gateway", "worker"])
async def test_a_job_whose_card_was_never_shown_costs_nothing(tmp_path: Path, postgres_url: str, role: str) -> None:
    async with cluster(tmp_path, postgres_url, **NO_LIMITS) as on:
        for name, roles in PROCESSES.items():
            await on.start(name, roles)
        hanging = on.scene.discord.fault("callback", do="hang")
        asked = await on.scene.alice.slash(on.scene.channel, "imagine", prompt="never shown")
        job = await job_of(on, asked)
        await on.scene.until(lambda: hanging.hits)
        names = {each: name for name, each in on.numbers.items()}
        await on.processes[names[job["worker"]] if role == "worker" else role].kill()
        await on.start("again", role)

        assert (await job_of(on, asked, "ended_at IS NOT NULL"))["state"] == "cancelled"
        await on.at_rest()
        assert on.scene.host.accepted == []
        assert on.scene.channel.messages == []
        assert await on.rows("SELECT kind FROM ledger ORDER BY id") == [("reserve",), ("release",)]
