"""`darkroom quota`: invalid arguments end with one sentence and write nothing."""

from pathlib import Path

import pytest

from tests.cli.quotas import MEMBER, SERVER, lite_url
from tests.cli.shell import Run, shell
from tests.kit import ALICE, GUILD
from tests.store.ledger_model import opened, rows


@pytest.fixture
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same on SQLite only, for tests that do not depend on the engine."""
    return shell("quota", lite_url(tmp_path), monkeypatch=monkeypatch, capsys=capsys)


SET, GRANT = ("set", *MEMBER), ("grant", *MEMBER)


REFUSED = (
    ((*SET, "--pictures", "-5"), "--pictures: '-5' is below 0"),
    ((*SET, "--pictures", "1.5"), "'1.5' is not a whole number"),
    ((*SET, "--pictures", "many"), "'many' is not a number"),
    ((*SET, "--pictures", "1000001"), "the maximum is 1000000 pictures"),
    ((*SET, "--dollars", "1000000.01"), "the maximum is $1000000.00"),
    ((*SET, "--dollars", "9e999999"), "is not a number"),
    ((*SET, "--dollars", "0.0000001"), "more than six decimals"),
    ((*SET, "--dollars", "nan"), "is not a number"),
    ((*SET, "--dollars", "1\x1b[2J"), "is not a number"),
    ((*SET, "--jobs", "10001"), "the maximum is 10000 jobs"),
    ((*SET, "--jobs", "1", "--per", "day"), "leave --per out"),
    ((*SET, "--pictures", "1", "--per", "fortnight"), "'fortnight' is not a period; choose one of hour, day, week"),
    ((*SET, "--pictures", "1", "--dollars", "1"), "not allowed with"),
    (SET, "one of the arguments --pictures --dollars --jobs is required"),
    (("set", "--pictures", "1"), "one of the arguments --server --direct --host is required"),
    (("set", "--server", "5", "--direct", "--pictures", "1"), "not allowed with"),
    (("set", "--server", "alice", "--pictures", "1"), "not a Discord ID"),
    (("set", "--server", "-5", "--pictures", "1"), "not a Discord ID"),
    (("set", "--server", "0", "--pictures", "1"), "not a Discord ID"),
    (("set", "--server", "99999999999999999999", "--pictures", "1"), "not a Discord ID"),
    (("set", *SERVER, "--member", "1", "--role", "2", "--pictures", "1"), "not allowed with"),
    (("set", "--direct", "--cap", "--pictures", "1"), "--cap needs --server"),
    (("set", "--direct", "--role", "3", "--pictures", "1"), "no roles outside servers"),
    (("set", "--host", "--member", "3", "--pictures", "1"), "--host covers everything"),
    (("set", "--host", "--cap", "--pictures", "1"), "--host covers everything"),
    (("set", "--host", "--pictures", "none"), "can only lower the configured limit"),
    (("clear", *MEMBER, "--jobs", "--per", "day"), "leave --per out"),
    (("clear", *MEMBER, "--per", "year"), "'year' is not a period"),
    ((*GRANT, "--pictures", "0"), "a bonus must be above 0"),
    ((*GRANT, "--pictures", "-1"), "is below 0"),
    ((*GRANT, "--pictures", "none"), "'none' is not a number"),
    ((*GRANT, "--dollars", "0"), "a bonus must be above 0"),
    ((*GRANT, "--jobs", "1"), "is required"),
    ((*GRANT, "--pictures", "1", "--expires", "soon"), "--expires: 'soon' is not a time; use 12h"),
    ((*GRANT, "--pictures", "1", "--expires", "2020-01-01"), "'2020-01-01' is in the past"),
    ((*GRANT, "--pictures", "1", "--expires", "99999w"), "more than ten years away"),
    ((*GRANT, "--pictures", "1", "--reason", "x" * 301), "the maximum is 300"),
    (("grant", *SERVER, "--pictures", "1"), "--member is required"),
    (("grant", "--host", "--pictures", "1"), "is required"),
    (("revoke", *SERVER, "twelve"), "not the number of a bonus"),
    (("revoke", *SERVER, "-1"), "not the number of a bonus"),
    (("reset", *SERVER, "--role", "3"), "unrecognized arguments: --role 3"),
    (("reset", "--host"), "is required"),
    (("block", *SERVER), "is required"),
    (("block", *SERVER, "--cap"), "is required"),
    (("history", *SERVER, "--limit", "0"), "from 1 to 1000"),
    (("history", *SERVER, "--role", "3", "--spending"), "members, channels and servers only"),
    (("top", *SERVER, "--per", "ever"), "'ever' is not a period"),
    (("export", *SERVER, "--since", "noon"), "'noon' is not a date"),
    (("export", *SERVER, "--since", "2026-11-21", "--until", "2026-11-20"), "ends before it begins"),
    (("export", *SERVER, "--all-servers"), "not allowed with"),
)


async def test_invalid_arguments_end_with_one_sentence_and_write_nothing(lite: Run, tmp_path: Path) -> None:
    async with opened(lite_url(tmp_path)) as store:
        for arguments, named in REFUSED:
            refusal = (await lite(*arguments)).sentence(2)

            assert named in refusal, arguments
            assert refusal.removesuffix("\n").isprintable(), arguments
            for table in ("changes", "limits", "grants", "ledger", "totals"):
                assert await rows(store, f"SELECT * FROM {table}") == [], arguments  # noqa: S608 - names of ours


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("clear", *MEMBER), f"no limit of this kind is set for member {ALICE} in server {GUILD}"),
        (("clear", "--host"), "no limit of this kind is set for everything everywhere"),
        (("revoke", "--direct", "12"), "no bonus 12 is left in everything outside servers"),
        (("unblock", *SERVER, "--role", "3"), f"role 3 in server {GUILD} is not blocked"),
    ],
)
async def test_limits_bonuses_and_blocks_that_do_not_exist_cannot_be_removed(
    lite: Run, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    async with opened(lite_url(tmp_path)) as store:
        assert named in (await lite(*arguments)).sentence(1)
        assert await rows(store, "SELECT * FROM changes") == []
