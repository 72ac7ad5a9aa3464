"""Errors of commands: one line, without secrets and without terminal control characters."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bot.cli import main as cli
from bot.cli.main import main
from bot.cli.output import CannotRun
from bot.ui.transport.gateway import FATAL_CODES
from tests.discord.server import LocalDiscord

SECRET = "canary-of-a-token"


async def darkroom(*arguments: str, env: dict[str, str], stdout: int = -1) -> tuple[int | None, str]:
    """`darkroom …` in its own process: its exit code and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", *arguments, env={"PATH": "", **env}, stdout=stdout, stderr=-1
    )
    async with asyncio.timeout(30):
        _, message = await process.communicate()
    return process.returncode, message.decode()


async def test_sync_ends_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def sync(base: str, place: str) -> tuple[int, str]:
        env = {
            "DARKROOM_DISCORD__TOKEN": SECRET,
            "DARKROOM_DISCORD__API_BASE": base,
            "DARKROOM_RUNCOMFY__API_TOKEN": "host-token",
            "DARKROOM_DATABASE__URL": f"sqlite:///{tmp_path}/{place}/d.db",
            "DARKROOM_DATA__DIR": str(tmp_path / place),
            "DARKROOM_LOG__LEVEL": "WARNING",
        }
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return await asyncio.to_thread(main, ["sync"]), capsys.readouterr().err

    async with LocalDiscord() as discord:
        unknown = await sync(discord.api_base, "a")
    away = await sync("http://127.0.0.1:1/api/v10", "b")

    assert unknown == (2, f"darkroom: {FATAL_CODES[4004]}\n")
    why = "Discord cannot be reached (ClientConnectorError): check the network and DARKROOM_DISCORD__API_BASE"
    assert away == (1, f"darkroom: {why}\n")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OSError(28, "No space left on device"), 1, "failed (No space left on device): try again"),
        (PermissionError(13, "Permission denied", "/x\n/y"), 2, "/x /y cannot be opened: make its owner the user"),
        (KeyboardInterrupt(), 130, ""),
        (ExceptionGroup("some", [ValueError("\x1b[2J")]), 1, "this is a defect (ExceptionGroup)"),
        (RuntimeError(f"told {SECRET}\x1b[31m\u202e"), 1, "this is a defect (RuntimeError)"),
        (CannotRun(f"no {SECRET}\r\nok    all is well\u202e\x1b[2J"), 2, r"no … ok all is well\u202e\x1b[2J"),
    ],
)
def test_any_error_of_a_command_is_printed_in_one_line(
    error: BaseException, code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(_: object) -> int:
        raise error

    monkeypatch.setenv("DARKROOM_DISCORD__TOKEN", SECRET)
    monkeypatch.setattr(cli, "_doctor", breaks)

    assert main(["doctor"]) == code
    message = capsys.readouterr().err
    *log, last = message.splitlines() or [""]
    assert says in last
    assert SECRET not in message
    assert (last.isprintable(), bool(log)) == (True, "defect" in last)


async def test_characters_that_cannot_be_printed_cause_no_traceback() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    gone, pipe = os.pipe()
    os.close(gone)
    try:
        disk, reader = await asyncio.gather(*(darkroom("doctor", env={}, stdout=each) for each in (full, pipe)))
    finally:
        os.close(full)
        os.close(pipe)

    assert (disk[0], disk[1].count("\n"), "No space left on device" in disk[1]) == (1, 1, True)
    assert reader == (0, "")


@pytest.mark.parametrize(
    "arguments", [["nothing\x1b[2J"], ["jobs", "list", "--nothing\nat all"], ["demo", "--port", "x"]]
)
def test_a_mistyped_command_ends_with_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert (message.count("\n"), "\x1b" in message, message.startswith("darkroom: ")) == (1, False, True)
