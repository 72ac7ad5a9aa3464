"""Reads for the operator: the newest jobs, ids by prefix, and everything about one job."""

from bot.core.jobs import State
from bot.core.quota import Amount
from bot.store.job_details import Entry, Event, HostCost, JobDetails, Record
from bot.store.store import Store
from tests.store.ledger_model import NOON, a_job, accept, execute, walk

FIRST = "01KAF0000000000000000000AA"
SECOND = "01KAF1111100000000000000BB"
THIRD = "01KAF1111122222222222222CC"


async def three(store: Store) -> JobDetails:
    """A job of user 1 in server 5 that has ended, one of user 2 there, and one of user 1 in direct messages."""
    await walk(store, await accept(store, a_job(FIRST)), [State.CANCELLED])
    await accept(store, a_job(SECOND, user=2, now=NOON + 1))
    await accept(store, a_job(THIRD, guild=None, now=NOON + 2))
    return JobDetails(store.database)


async def full(store: Store, job_id: str) -> Record:
    record = await JobDetails(store.database).full(job_id)
    assert record is not None
    return record


async def test_a_list_is_newest_first_and_never_longer_than_asked(store: Store) -> None:
    records = await three(store)

    assert [each.id for each in await records.newest(limit=10)] == [THIRD, SECOND, FIRST]
    assert [each.id for each in await records.newest(limit=2)] == [THIRD, SECOND]


async def test_a_list_has_only_jobs_that_match_its_filters(store: Store) -> None:
    records = await three(store)

    async def ids(**given: object) -> list[str]:
        return [each.id for each in await records.newest(limit=10, **given)]  # type: ignore[arg-type]

    assert await ids(state=State.CANCELLED) == [FIRST]
    assert await ids(user_id=1) == [THIRD, FIRST]
    assert await ids(guild_id=5) == [SECOND, FIRST]
    assert await ids(unfinished=True) == [THIRD, SECOND]
    assert await ids(user_id=1, guild_id=5, unfinished=True) == []


async def test_a_list_says_whether_the_newest_card_is_shown(store: Store) -> None:
    records = await three(store)
    await store.mark_delivered(FIRST, version=2, message_id=9, now=NOON)
    await store.request_redraw([SECOND], now=NOON)
    await store.mark_reply_gone(THIRD)

    shown = {each.id: each.delivered for each in await records.newest(limit=10)}

    assert shown == {FIRST: True, SECOND: False, THIRD: False}


async def test_ids_are_found_by_their_first_characters(store: Store) -> None:
    records = await three(store)

    assert await records.ids_starting_with("01KAF0", limit=5) == [FIRST]
    assert await records.ids_starting_with("01KAF11111", limit=5) == [THIRD, SECOND]
    assert await records.ids_starting_with("01KAF11111", limit=1) == [THIRD]
    assert await records.ids_starting_with(SECOND, limit=5) == [SECOND]
    assert await records.ids_starting_with("01KAF2", limit=5) == []
    assert await records.ids_starting_with("99KAF2", limit=5) == []


async def test_a_record_has_everything_about_a_job(store: Store) -> None:
    job = await accept(store, a_job(FIRST, count=2), price=80_000)
    sending = await store.move(job, State.SUBMITTING, now=NOON + 1)
    assert sending is not None
    queued = await store.move(sending, State.QUEUED, now=NOON + 2, run_id="run-1", submitted_at=NOON + 1)
    assert queued is not None
    await store.move(queued, State.FAILED, now=NOON + 3, reason="rejected", cost_micro_usd=70_000)

    record = await full(store, FIRST)

    assert record.job == await store.job(FIRST)
    assert list(record.events) == [
        Event(NOON, None, State.ACCEPTED, None, "runcomfy"),
        Event(NOON + 1, State.ACCEPTED, State.SUBMITTING, None, "runcomfy"),
        Event(NOON + 2, State.SUBMITTING, State.QUEUED, None, "runcomfy"),
        Event(NOON + 3, State.QUEUED, State.FAILED, "rejected", "runcomfy"),
    ]
    assert list(record.entries) == [
        Entry(NOON, "reserve", Amount(2, 160_000)),
        Entry(NOON + 3, "release", Amount(2, 160_000)),
    ]
    assert record.host_cost == HostCost(NOON + 3, 70_000, "known")
    assert record.reply is not None
    assert not record.reply.is_delivered
    assert record.reply.wanted == 3


async def test_a_record_holds_no_token(store: Store) -> None:
    await accept(store, a_job(FIRST))
    await execute(store, "UPDATE tokens SET token = 'the-secret-token'")

    assert "the-secret-token" not in repr(await full(store, FIRST))


async def test_a_missing_job_has_no_record(store: Store) -> None:
    assert await JobDetails(store.database).full(FIRST) is None
