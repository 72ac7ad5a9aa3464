"""`darkroom demo` as its own process, as `make demo` starts it."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.cli.main import main
from bot.core.jobs import State
from bot.sandbox import demo

ROOT = Path(demo.__file__).parents[2]


@asynccontextmanager
async def started(*arguments: str, terminal: bool = False) -> AsyncIterator[asyncio.subprocess.Process]:
    """The demo's process, with its output to a pipe or a *terminal*; always ended."""
    ours, theirs = os.openpty() if terminal else (None, asyncio.subprocess.DEVNULL)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "bot", "demo", "--seconds", "1", *arguments),
        cwd=ROOT,
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        for each in (ours, theirs if terminal else None):
            if each is not None:
                os.close(each)


async def finished(*arguments: str) -> tuple[int | None, str]:
    async with started(*arguments) as process, asyncio.timeout(60):
        printed, _ = await process.communicate()
        return process.returncode, printed.decode()


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The only line that the demo prints when it cannot start."""
    assert main(["demo", "--once", "--port", *arguments]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    return captured.err


async def lines_until(process: asyncio.subprocess.Process, words: str) -> str:
    """What it prints, up to the line with *words*."""
    assert process.stdout is not None
    lines = []
    async for line in process.stdout:
        lines.append(line.decode())
        if words in lines[-1]:
            return "".join(lines)
    raise AssertionError(f"it ended without saying {words!r}: {lines}")


@pytest.mark.prove
async def test_without_a_terminal_it_makes_pictures_and_serves_until_sigterm(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    async with started("--port", "0", "--data", str(folder)) as process, asyncio.timeout(60):
        printed = await lines_until(process, "told to stop")
        process.send_signal(signal.SIGTERM)
        rest, _ = await process.communicate()

    assert process.returncode == 0
    assert "Traceback" not in rest.decode()
    states = re.findall(r"^ +[\d.]+ s  (\w+)$", printed, re.MULTILINE)
    assert states.count(State.SUCCEEDED) == 4
    pictures = re.findall(r"^ +(\S+\.\w+)  \d+ x \d+$", printed, re.MULTILINE)
    assert len(pictures) == 5
    assert set(pictures) <= {each.name for each in folder.rglob("*") if each.is_file()}
    things = re.findall(r"^ +(\d+)\. \S", printed, re.MULTILINE)
    assert things == [str(each) for each in range(1, 11)]
    assert "http://127.0.0.1:" in printed


@pytest.mark.prove
async def test_once_it_ends_after_the_first_pictures(tmp_path: Path) -> None:
    code, printed = await finished("--once", "--port", "0", "--data", str(tmp_path / "pictures"))

    assert code == 0, printed
    assert "All were delivered." in printed
    assert "http://" not in printed


@pytest.mark.prove
@pytest.mark.parametrize("words", ["queued", "Ctrl-C"])
async def test_ctrl_c_ends_it_soon_without_a_traceback_or_a_process_left(tmp_path: Path, words: str) -> None:
    async with started("--port", "0", "--data", str(tmp_path / "pictures"), terminal=True) as process:
        async with asyncio.timeout(60):
            await lines_until(process, words)
        async with asyncio.timeout(5):  # two seconds, and more where the machine is busy
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody in the group gets it
            assert process.stdout is not None
            rest = await process.stdout.read()  # its end: nobody is left who could write
            code = await process.wait()

        assert code == 0
        assert "Traceback" not in rest.decode()


def test_a_port_in_use_ends_the_demo_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        message = refused(str(port), "--data", str(tmp_path / "pictures"), capsys=capsys)

    assert message.startswith(f"darkroom: port {port} cannot be used")
    assert not (tmp_path / "pictures").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"precious")

    message = refused("0", "--data", str(tmp_path), capsys=capsys)

    assert message.startswith(f"darkroom: {tmp_path} holds something other than a demo")
    assert (tmp_path / "holiday.jpg").read_bytes() == b"precious"


@pytest.mark.prove
async def test_a_second_demo_does_not_erase_what_the_first_still_shows(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    async with started("--port", "0", "--data", str(folder), terminal=True) as first:
        async with asyncio.timeout(60):
            await lines_until(first, "queued")
            code, printed = await finished("--once", "--port", "0", "--data", str(folder))
            assert code == 2
            assert printed.startswith("darkroom: another Darkroom is running on")
            await lines_until(first, "All were delivered.")
