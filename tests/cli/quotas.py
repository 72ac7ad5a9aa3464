"""Servers, members and jobs for tests of the command line."""

from pathlib import Path

from bot.core.jobs import State
from bot.core.server_settings import ServerSettings
from bot.store.quotas import By, Quotas
from bot.store.store import Store
from tests.kit import ALICE, GUILD
from tests.store.ledger_model import NOON, a_job, accept, walk, way_to

SERVER = ("--server", str(GUILD))
MEMBER = (*SERVER, "--member", str(ALICE))


def lite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/darkroom.db"


async def paid(store: Store, job_id: str, *, now: int, user: int = ALICE, guild: int | None = GUILD) -> None:
    """A successful job of one picture at 8 cents."""
    job = await accept(store, a_job(job_id, user=user, guild=guild, now=now))
    *way, last = way_to(State.SUCCEEDED)
    await store.move(await walk(store, job, way, now=now), last, now=now, images=1)


async def settle_house(store: Store, server_settings: ServerSettings, *, server: int = GUILD) -> None:
    by = By(f"house-{server}", server, 1, NOON)
    await Quotas(store.database).change_server_settings(by, lambda _: server_settings, body={})
