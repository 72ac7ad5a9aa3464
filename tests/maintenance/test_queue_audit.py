"""The queue in memory is compared with the rows, and repaired from them."""

from pathlib import Path

from bot.core.jobs import Observation, State
from bot.maintenance.queue_audit import QueueAudit
from tests.kit import ALICE, BOB, rig

REPAIRS = "darkroom_queue_repairs_total"


async def test_a_job_that_memory_has_lost_is_queued_again_and_counted(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=1) as app:
        app.provider.sees = [Observation(State.RUNNING)]
        await app.imagine(ALICE)
        waiting = await app.imagine(BOB)
        await app.turn()
        audit = QueueAudit(app.services)
        await audit.run_once()
        assert f"{REPAIRS} 0.0" in app.metrics.text({}).decode()

        app.services.queues.of("runcomfy").leave(waiting)
        await audit.run_once()
        assert f"{REPAIRS} 0.0" in app.metrics.text({}).decode()  # another process may just have changed its row
        await audit.run_once()

        assert f"{REPAIRS} 1.0" in app.metrics.text({}).decode()
        assert app.services.queues.of("runcomfy").waiting == [waiting]


async def test_a_slot_that_memory_keeps_for_an_ended_job_is_given_away(tmp_path: Path) -> None:
    async with rig(tmp_path, slots=1) as app:
        await app.turn()
        app.services.queues.of("runcomfy").run("of nobody", ALICE)
        job_id = await app.imagine(BOB)
        await app.turn(1, times=3)
        assert (await app.job(job_id)).state is State.ACCEPTED

        audit = QueueAudit(app.services)
        await audit.run_once()
        await audit.run_once()
        await app.turn()

        assert (await app.job(job_id)).state is State.QUEUED
