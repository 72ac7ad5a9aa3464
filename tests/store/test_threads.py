"""Which result is edited next in a thread, and the servers' channels for requests, on both engines."""

from bot.core.jobs import Job, Place, State
from bot.core.server_settings import ServerSettings
from bot.store.quotas import By, Quotas
from bot.store.store import Store
from bot.store.threads import Threads
from tests.store.ledger_model import NOON, a_job, accept, opened, walk, way_to

ROOT_MESSAGE = 9001


async def result(
    store: Store, job_id: str, *, channel: int = ROOT_MESSAGE, parent: str | None = None, images: int = 1
) -> Job:
    place = Place(1, channel, 5, parent_id=6 if channel == ROOT_MESSAGE else None)
    job = await accept(store, a_job(job_id, place=place, parent_id=parent))
    message_id = ROOT_MESSAGE if channel != ROOT_MESSAGE else 9100 + int(job_id[-1])
    await store.acknowledge(job_id, message_id=message_id, ephemeral=False, now=NOON)
    collecting = await walk(store, job, way_to(State.COLLECTING))
    state = State.SUCCEEDED if images else State.FAILED
    ended = await store.move(collecting, state, now=NOON, images=images)
    assert ended is not None
    return ended


async def next_in(store: Store, thread: int = ROOT_MESSAGE) -> str | None:
    state = await Threads(store.database).state(thread)
    return state.next.job.id if state else None


async def test_the_newest_shown_result_of_the_thread_is_edited_next(url: str) -> None:
    async with opened(url) as store:
        assert await next_in(store) is None
        await result(store, "j1", channel=6)
        assert await next_in(store) == "j1"
        second = await result(store, "j2", parent="j1")
        assert await next_in(store) == "j2"
        await result(store, "j3", parent="j2", images=0)  # it has no picture
        assert await next_in(store) == "j2"
        await store.delete_pictures(second, now=NOON)
        assert await next_in(store) == "j1"
        assert await next_in(store, 4711) is None


async def test_a_step_back_holds_until_there_is_a_newer_result(url: str) -> None:
    async with opened(url) as store:
        threads = Threads(store.database)
        await result(store, "j1", channel=6)
        second = await result(store, "j2", parent="j1")
        assert not await threads.step_back(4711, second, now=NOON)
        for _ in range(2):
            assert await threads.step_back(ROOT_MESSAGE, second, now=NOON)
        assert await next_in(store) == "j1"
        third = await result(store, "j3", parent="j1")
        assert await next_in(store) == "j3"
        assert await threads.step_back(ROOT_MESSAGE, third, now=NOON)
        assert await next_in(store) == "j1"


async def test_channels_for_requests_are_found_in_all_servers(url: str) -> None:
    async with opened(url) as store:
        quotas = Quotas(store.database)
        for server, channels in ((5, (61, 62)), (6, ()), (7, (63,))):
            settings = ServerSettings(generation=channels)
            by = By(f"s{server}", server, 0, NOON)
            await quotas.change_server_settings(by, lambda _, settings=settings: settings, body={})  # type: ignore[misc]

        assert await store.generation_channels() == {5: (61, 62), 7: (63,)}
