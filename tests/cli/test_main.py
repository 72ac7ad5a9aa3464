"""The command line: output and exit codes."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from bot.cli.main import main
from bot.sandbox.service import ImageService
from tests.discord.server import LocalDiscord


def test_run_without_secrets_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DARKROOM_DATABASE__URL", f"sqlite:///{tmp_path}/d.db")

    assert main(["run"]) == 2
    output = capsys.readouterr().err
    assert output.startswith("darkroom: DARKROOM_DISCORD__TOKEN is not set")
    assert output.count("\n") == 1


def test_a_wrong_setting_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DARKROOM_WEB__PORT", "eighty")

    assert main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("darkroom: DARKROOM_WEB__PORT must be a port")


def test_migrate_creates_a_database_and_refuses_a_newer_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import sqlite3  # noqa: PLC0415 - to play a newer Darkroom

    monkeypatch.setenv("DARKROOM_DATABASE__URL", f"sqlite:///{tmp_path}/d.db")
    assert main(["migrate"]) == 0
    connection = sqlite3.connect(tmp_path / "d.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    assert main(["migrate"]) == 2
    assert "update Darkroom" in capsys.readouterr().err


async def doctor(env: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "doctor", env={"PATH": "", **env}, stdout=-1, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_doctor_prints_the_result_of_each_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def doctor_here(env: dict[str, str]) -> tuple[int, str]:
        """As above, in this process, which saves the imports."""
        with monkeypatch.context() as its:
            for name, value in env.items():
                its.setenv(name, value)
            code = await asyncio.to_thread(main, ["doctor"])
        return code, capsys.readouterr().out

    async with LocalDiscord() as discord, ImageService(token="host-token").running() as host:
        mine = discord.add_guild("Mine", owner_id=int(discord.application.owner.id))
        other = discord.add_guild("Somebody else's", owner_id=424242)
        env = {
            "DARKROOM_DISCORD__TOKEN": discord.token,
            "DARKROOM_DISCORD__API_BASE": discord.api_base,
            "DARKROOM_DISCORD__GATEWAY_URL": discord.gateway_url,
            "DARKROOM_RUNCOMFY__API_TOKEN": "host-token",
            "DARKROOM_RUNCOMFY__API_BASE": host.url,
            "DARKROOM_RUNCOMFY__BALANCE_URL": f"{host.url}/prod/v2/balance",
            "DARKROOM_DATABASE__URL": f"sqlite:///{tmp_path}/d.db",
            "DARKROOM_DATA__DIR": str(tmp_path / "pictures"),
        }
        code, output = await doctor({**env, "HTTPS_PROXY": "http://127.0.0.1:1", "all_proxy": "socks5://127.0.0.1:1"})
        assert code == 0, output
        assert "warn  proxy variables are set but not used: HTTPS_PROXY, all_proxy - set DARKROOM_HTTP__PROXY" in output
        assert f"ok    server Mine ({mine.id}) may spend" in output
        assert f"warn  server Somebody else's ({other.id}) may not spend" in output
        assert "runcomfy has google/nano-banana/pro/edit" in output

        half = {
            "DARKROOM_ROUTING__PREFER": '["runcomfy", "runflow"]',
            "DARKROOM_ROUTING__LOW_BALANCE_USD": "1000",
            "DARKROOM_RUNFLOW__API_KEY": "host-token",
            "DARKROOM_RUNFLOW__API_BASE": host.url,
            "DARKROOM_WEB__PUBLIC_URL": "https://darkroom.example",
        }
        half |= {"HTTPS_PROXY": "http://127.0.0.1:1", "DARKROOM_HTTP__PROXY": "http://127.0.0.1:1"}
        code, output = await doctor_here({**env, **half, "DARKROOM_DISCORD__TOKEN": "wrong"})
        assert "ok    runflow has" in output  # nothing on this machine is reached through a proxy
        assert "HTTPS_PROXY" not in output
        assert "callbacks are off, because only one of two settings is set - set runflow.webhook_secrets too" in output
        assert "warn  runcomfy: balance $25.00 - top it up" in output

        code, output = await doctor_here(
            {**env, "DARKROOM_RUNCOMFY__API_TOKEN": "wrong", "DARKROOM_DISCORD__TOKEN": "wrong"}
        )
        assert code == 1
        assert "FAIL  Discord does not know this token" in output
        assert "FAIL  runcomfy" in output


async def test_sandbox_serves_other_programs_until_it_is_stopped() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "bot", "sandbox", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
            url = next(word for word in line.split() if word.startswith("http://"))
            headers = {"Authorization": "Bearer anything"}
            async with aiohttp.ClientSession(headers=headers) as http:
                faults = json.dumps([{"op": "submit", "do": "status:402"}])
                async with http.put(f"{url}/_sandbox/faults", data=faults) as answer:
                    assert answer.status == 200
                body = {"prompt": "a lighthouse"}
                async with http.post(f"{url}/v1/models/google/nano-banana-2/text-to-image", json=body) as answer:
                    assert answer.status == 402
                async with http.post(f"{url}/v1/models/google/nano-banana-2/text-to-image", json=body) as answer:
                    assert (await answer.json())["request_id"]
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() in (0, 130)


def test_a_file_that_is_no_database_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "d.db").write_text("this is a shopping list, and not a database at all" * 20)
    monkeypatch.setenv("DARKROOM_DATABASE__URL", f"sqlite:///{tmp_path}/d.db")

    assert main(["migrate"]) == 2
    assert capsys.readouterr().err.startswith(f"darkroom: the database {tmp_path}/d.db cannot be used")
