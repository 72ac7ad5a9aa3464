"""`darkroom jobs list` and `show`: what they print, and what they never print."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.cli.main import main
from bot.core.jobs import State
from tests.cli.shell import FIRST, SECOND, THIRD, Run, shell, three
from tests.kit import rig
from tests.store.ledger_model import NOON, a_job, accept, execute, opened

HOSTILE = "\x1b]0;owned\x07\u202ered\nstate  succeeded\x7f\x9b31m"


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return shell("jobs", url, monkeypatch=monkeypatch, capsys=capsys)


# --- looking


async def test_a_list_is_a_table_with_the_newest_job_first(url: str, run: Run) -> None:
    async with opened(url) as store:
        await three(store)

    lines = (await run("list")).out.splitlines()

    assert lines[0].split("  ")[0] == "job"
    assert [line.split()[0] for line in lines[1:]] == [THIRD, SECOND, FIRST]
    assert lines[3].split()[1:] == ["2026-11-20", "12:00:00", "cancelled", "1", "5", "m", "0", "no", "-"]
    assert {line.index("  accepted") for line in lines[1:3]} == {lines[3].index("  cancelled")}


async def test_a_list_as_json_is_one_document(url: str, run: Run) -> None:
    async with opened(url) as store:
        await three(store)

    ended = await run("list", "--state", "cancelled", "--json")

    assert ended.document == [
        {
            "id": FIRST,
            "state": "cancelled",
            "reason": None,
            "created_at": "2026-11-20T12:00:00.000Z",
            "ended_at": "2026-11-20T12:00:01.000Z",
            "user_id": "1",
            "server_id": "5",
            "model": "m",
            "provider": "runcomfy",
            "pictures": 0,
            "delivered": False,
        }
    ]


async def test_a_list_can_be_narrowed(url: str, run: Run) -> None:
    async with opened(url) as store:
        await three(store)

    async def ids(*arguments: str) -> list[str]:
        return [each["id"] for each in (await run("list", "--json", *arguments)).document]

    assert await ids("--open") == [THIRD, SECOND]
    assert await ids("--user", "1") == [THIRD, FIRST]
    assert await ids("--server", "5", "--open") == [SECOND]
    assert await ids("--limit", "1") == [THIRD]
    assert await ids("--user", "3") == []
    assert (await run("list", "--user", "3")).out == "No jobs.\n"


async def test_a_list_shows_twenty_jobs_by_default(url: str, run: Run) -> None:
    async with opened(url) as store:
        for n in range(21):
            await accept(store, a_job(f"01KAF{n:021d}"))

    assert len((await run("list", "--json")).document) == 20
    assert len((await run("list", "--json", "--limit", "100")).document) == 21


async def test_show_prints_everything_except_the_prompt(url: str, run: Run) -> None:
    async with opened(url) as store:
        job = await accept(store, a_job(FIRST, count=2))
        sending = await store.move(job, State.SUBMITTING, now=NOON + 1000)
        assert sending is not None
        await store.move(sending, State.QUEUED, now=NOON + 2000, run_id="run-1", submitted_at=NOON + 1000)
        await store.hide(FIRST, now=NOON + 3000)

    document = (await run("show", FIRST, "--json")).document
    table = (await run("show", FIRST)).out

    assert document["state"] == "queued"
    assert document["submitted_at"] == "2026-11-20T12:00:01.000Z"
    assert document["hidden_at"] == "2026-11-20T12:00:03.000Z"
    assert document["price"] == {"pictures": 2, "micro_usd": 160_000}
    assert document["charge"] is document["host_cost"] is document["ended_at"] is None
    assert [each["after"] for each in document["events"]] == ["accepted", "submitting", "queued"]
    assert document["reply"]["delivered"] is False
    for words in (
        "run-1",
        "user 1 in server 5, channel 6",
        "a/b at runcomfy",
        "$0.16, 2 pictures",
        "12:00:03",
        "not delivered",
    ):
        assert words in table
    assert "prompt" not in document
    assert "a boat" not in table + str(document)


async def test_show_prints_the_prompt_when_asked_to(url: str, run: Run) -> None:
    async with opened(url) as store:
        await accept(store, a_job(FIRST))

    assert (await run("show", FIRST, "--prompt", "--json")).document["prompt"] == "a boat"
    assert "a boat" in (await run("show", FIRST, "--prompt")).out


async def test_no_command_prints_a_token(url: str, run: Run) -> None:
    async with opened(url) as store:
        job = await accept(store, a_job(FIRST))
        await store.acknowledge(job.id, message_id=77, ephemeral=False, now=NOON)
        await execute(store, "UPDATE tokens SET token = 'the-secret-token'")

    reads = [["list", "--json"], ["show", FIRST, "--json", "--prompt"], ["show", FIRST]]
    changes = [["retry-delivery", FIRST, "--json"], ["cancel", FIRST, "--json"]]
    results = [await run(*each) for each in (*reads, *changes)]

    assert [each.code for each in results] == [0] * 5
    assert "the-secret-token" not in "".join(each.out + each.err for each in results)


async def test_a_finished_job_shows_its_costs_and_that_its_card_was_delivered(
    url: str, run: Run, tmp_path: Path
) -> None:
    async with rig(tmp_path, url=url) as app:
        job_id = await app.imagine()
        app.provider.sees = [app.ready(cost=67_000)]
        job = await app.until_final(job_id)
        await app.turn(10)

    document = (await run("show", job_id, "--json")).document
    table = (await run("show", job_id)).out

    assert job.state is State.SUCCEEDED
    assert document["charge"] == document["price"]
    assert (document["host_cost"]["micro_usd"], document["host_cost"]["basis"]) == (67_000, "known")
    assert document["reply"]["delivered"] is True
    assert "$0.067, known" in table
    assert "reply         delivered" in table


async def test_hostile_text_neither_controls_the_terminal_nor_imitates_output(url: str, run: Run) -> None:
    async with opened(url) as store:
        job = await accept(store, a_job(FIRST, provider=HOSTILE, route=HOSTILE))
        await store.move(job, State.FAILED, now=NOON, reason=HOSTILE)

        async def rename(tx: Any) -> None:
            await tx.run("UPDATE jobs SET model = $1", HOSTILE)

        await store.database.write(rename)

    listed, shown = await run("list"), await run("show", FIRST)
    as_json = [await run("list", "--json"), await run("show", FIRST, "--json")]

    assert len(listed.out.splitlines()) == 2
    assert [line for line in shown.out.splitlines() if line.startswith("state")] == ["state         failed"]
    for each in (listed, shown, *as_json):
        assert each.out.replace("\n", "").isprintable()
    assert as_json[1].document["reason"] == HOSTILE


async def test_lines_of_a_prompt_are_distinct_from_other_output(url: str, run: Run) -> None:
    async with opened(url) as store:
        job = a_job(FIRST)
        request = replace(job.request, prompt="a boat\nstate  succeeded\x1b[2J")
        await accept(store, replace(job, request=request))

    lines = (await run("show", FIRST, "--prompt")).out.splitlines()

    assert "prompt        a boat" in lines
    assert "              state  succeeded\\x1b[2J" in lines


# --- which job


async def test_a_unique_prefix_of_an_id_is_enough(url: str, run: Run) -> None:
    async with opened(url) as store:
        await three(store)

    assert (await run("show", "01kaf0", "--json")).document["id"] == FIRST
    sentence = (await run("show", "01KAF11")).sentence(1)
    assert f"{THIRD} or {SECOND}" in sentence
    assert "give more of the ID" in sentence


@pytest.mark.parametrize("verb", ["show", "cancel", "retry-delivery"])
async def test_a_missing_job_is_reported(url: str, run: Run, verb: str) -> None:
    async with opened(url) as store:
        await three(store)

    assert "no job with ID 01KAF9" in (await run(verb, "01KAF9")).sentence(1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["show", "01KAF"], "first 6 characters"),
        (["show", "01KAF'; DROP TABLE jobs"], "is not a job ID"),
        (["list", "--state", "done\x1b[2J"], "choose one of accepted, submitting"),
        (["list", "--user", "alice"], "not a Discord ID"),
        (["list", "--server", "99999999999999999999"], "not a Discord ID"),
        (["list", "--limit", "0"], "from 1 to 1000"),
        (["list", "--limit", "1001"], "from 1 to 1000"),
    ],
)
def test_mistyped_arguments_end_with_one_line(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", *arguments]) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.removesuffix("\n").isprintable()
