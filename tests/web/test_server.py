"""The bot's web server: health, and pictures at signed URLs."""

import asyncio
import errno
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from bot.core.references import link_expires_at
from bot.jobs import converted_references
from bot.web.callbacks import Callbacks
from bot.web.health import Health, Pulse
from bot.web.listener import HEADERS, Listener
from bot.web.metrics import Page
from bot.web.server import PictureLinks, _reject_metrics, build
from tests.kit import ALICE, Rig, picture, rig
from tests.store.ledger_model import execute


@asynccontextmanager
async def served(site: web.Application) -> AsyncIterator[str]:
    listener = Listener(site)
    try:
        yield "http://{}:{}".format(*await listener.start("127.0.0.1", 0))
    finally:
        await listener.close()


def health(
    *,
    age: float | None = 1.0,
    overdue: float = 0.0,
    writable: bool = True,
    lag: float = 0.0,
    accepts_requests: bool = True,
    outages: Sequence[str] = (),
    unsafe: str | None = None,
) -> Health:
    async def writes() -> bool:
        return writable

    async def late() -> float:
        return overdue

    pulse = Pulse(lambda _: None)
    pulse.worst = lag
    return Health(
        pulse=pulse,
        heartbeat_age=lambda: age,
        overdue=late,
        writable=writes,
        accepts_requests=lambda: accepts_requests,
        outages=lambda: outages,
        unsafe=lambda: unsafe,
    )


def site(
    app: Rig,
    *,
    well: Health | None = None,
    links: PictureLinks | None = None,
    callbacks: Callbacks | None = None,
    balances: Mapping[str, int] | None = None,
    metrics_token: str = "",
) -> web.Application:
    page = Page(
        app.metrics,
        app.services,
        providers=["runcomfy"],
        audit=lambda: {"old": 0},
        balances=lambda: balances or {},
        mode=app.health.mode,
    )
    well = well or health()
    links = links or PictureLinks("", secret=b"x" * 32)
    return build(
        app.services,
        health=well.report,
        unready=well.unready,
        metrics=page.text,
        links=links,
        storage=app.storage,
        callbacks=callbacks,
        metrics_token=metrics_token,
    )


async def test_health_is_ok_when_discord_jobs_and_database_work() -> None:
    report = await health().report()

    assert report["ok"] is True


async def test_health_names_the_part_that_fails() -> None:
    assert (await health(age=None).report())["parts"] == {
        "gateway": False,
        "loop": True,
        "database": True,
        "jobs": True,
    }
    for bad in (health(age=120), health(overdue=900), health(writable=False), health(lag=3)):
        assert (await bad.report())["ok"] is False


async def test_frequent_requests_cause_one_check_a_second_and_a_hanging_database_times_out() -> None:
    asked: list[float] = []

    async def late() -> float:
        asked.append(1.0)
        raise TimeoutError

    well = health()
    well._overdue = late
    reports = await asyncio.gather(*(well.report() for _ in range(20)))

    assert len(asked) == 1
    assert {(each["ok"], each["oldest_due_s"]) for each in reports} == {(False, None)}


async def test_health_and_readiness_name_outages_that_only_the_operator_can_fix() -> None:
    full = health(outages=["clock", "disk_full"], unsafe="disk_full")

    assert (await full.report())["outages"] == ["clock", "disk_full"]
    assert (await full.report())["ok"] is False
    assert await full.unready() == "no run can be submitted: disk_full"


async def test_a_bot_with_an_outage_that_allows_requests_is_ready(app: Rig) -> None:
    app.services.outages.clock_is_off(off=True)
    outages = app.services.outages
    off = health(outages=outages.current, unsafe=outages.unsafe)

    assert ((await off.report())["ok"], await off.unready()) == (False, None)
    await app.imagine()


async def test_a_request_that_fails_because_of_an_outage_is_answered_with_its_name(
    app: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async def full() -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    page = build(
        app.services,
        health=health().report,
        unready=health().unready,
        metrics=full,
        links=PictureLinks("", secret=b"x" * 32),
        storage=app.storage,
    )
    async with served(page) as url, aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        assert (answer.status, await answer.text()) == (503, "disk_full\n")
    assert [each for each in caplog.records if each.exc_info] == []


async def test_an_unhealthy_bot_answers_503(app: Rig) -> None:
    async with (
        served(site(app, well=health(writable=False))) as url,
        aiohttp.ClientSession() as http,
        http.get(f"{url}/healthz") as answer,
    ):
        assert (answer.status, (await answer.json())["parts"]["database"]) == (503, False)


@pytest.mark.parametrize("well", [True, False])
async def test_the_container_images_health_check_uses_no_proxy(
    app: Rig, monkeypatch: pytest.MonkeyPatch, *, well: bool
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    text = (Path(__file__).parents[2] / "Dockerfile").read_text()
    command = json.loads(re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", text, re.MULTILINE)[0])
    assert command[0] == "python"
    async with served(site(app, well=health(writable=well))) as url:
        asks = [each.replace("http://127.0.0.1:8080", url) for each in command[1:]]
        process = await asyncio.create_subprocess_exec(sys.executable, *asks, stderr=asyncio.subprocess.DEVNULL)
        assert (await process.wait() == 0) is well


async def test_a_picture_is_served_at_its_signed_url_only(tmp_path: Path) -> None:
    async with rig(tmp_path) as app:
        app.provider.sees = [app.ready()]
        job_id = await app.imagine()
        await app.until_final(job_id)
        (stored,) = (await app.services.jobs.card(job_id)).pictures
        links = PictureLinks("https://pictures.example/", secret=b"x" * 32)
        address = links(job_id, stored)
        assert address is not None
        path = address.removeprefix("https://pictures.example")
        async with served(site(app, links=links)) as url, aiohttp.ClientSession() as http:
            async with http.get(url + path) as answer:
                assert (answer.status, await answer.read()) == (200, picture())
                assert (answer.content_type, answer.headers["Cache-Control"]) == ("image/png", "private, no-cache")
                assert answer.headers["Content-Disposition"] == f'inline; filename="{job_id}-1.png"'
            for wrong in (path[:-1] + ("0" if path[-1] != "0" else "1"), path.replace("/1/", "/2/"), "/pictures/../x"):
                async with http.get(url + wrong) as answer:
                    assert answer.status == 404


async def test_a_converted_reference_is_served_until_its_link_expires_or_the_file_is_gone(app: Rig) -> None:
    links = PictureLinks("https://pictures.example", secret=b"x" * 32)
    file = "01M7Y0XSNXXPA2WVYTX3MESRVG-r1.jpg"
    folder = app.folder / converted_references.FOLDER
    folder.mkdir()
    (folder / file).write_bytes(b"a photo")
    (folder / file.replace("-r1", "-r2")).write_bytes(b"another")
    path = links.of_reference(file, app.time.now + 60_000).removeprefix("https://pictures.example")
    assert link_expires_at(path) == app.time.now + 60_000
    ex = f"{app.time.now // 1000 + 60:x}"
    wrong = [
        path.replace("-r1", "-r2"),
        path.replace(ex, f"{app.time.now // 1000 + 61:x}"),
        path.partition("&")[0],
        path.partition("?")[0],
        path[:-1] + ("0" if path[-1] != "0" else "1"),
        path + "%ff",
        f"/pictures/{file}?ex=&key=",
    ]

    async with served(site(app, links=links)) as url, aiohttp.ClientSession() as http:

        async def get(path: str) -> tuple[int, bytes]:
            async with http.get(url + path) as answer:
                assert answer.status != 200 or answer.content_type == "image/jpeg"
                return answer.status, await answer.read()

        assert await get(path) == (200, b"a photo")
        assert {(await get(each))[0] for each in wrong} == {404}
        app.time.go(60)
        assert (await get(path))[0] == 404
        app.time.go(-30)
        (folder / file).unlink()
        assert (await get(path))[0] == 404


async def test_a_picture_of_a_deleted_job_is_not_served(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await app.until_final(job_id)
    (stored,) = (await app.services.jobs.card(job_id)).pictures
    links = PictureLinks("https://pictures.example", secret=b"x" * 32)
    path = (links(job_id, stored) or "").removeprefix("https://pictures.example")
    await app.services.jobs.delete(job_id, user_id=ALICE)  # its file is still there, and a fetch may be under way
    await app.store.add_picture(await app.job(job_id), stored, now=app.time.now)
    assert (app.folder / stored.file).exists()
    async with (
        served(site(app, links=links)) as url,
        aiohttp.ClientSession() as http,
        http.get(url + path) as answer,
    ):
        assert answer.status == 404


async def test_without_a_public_url_there_are_no_links(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    await app.until_final(job_id)
    (stored,) = (await app.services.jobs.card(job_id)).pictures

    assert PictureLinks("", secret=b"x" * 32)(job_id, stored) is None


async def test_every_answer_forbids_sniffing_its_type(app: Rig) -> None:
    async def broken() -> bytes:
        raise RuntimeError

    well = health()
    links = PictureLinks("", secret=b"x" * 32)
    whole = build(
        app.services, health=well.report, unready=well.unready, metrics=broken, links=links, storage=app.storage
    )
    raw = [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nVia: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nA B: c\r\n\r\n",
    ]
    async with served(whole) as url:
        answers = [await exchange(url, each) for each in raw]

    assert [int(head.split()[1]) for head in answers] == [200, 404, 405, 403, 500, 400]
    for head in answers:
        lines = dict(each.split(": ", 1) for each in head.splitlines()[1:])
        assert {name: lines.get(name) for name in HEADERS} == HEADERS


async def exchange(url: str, request: bytes) -> str:
    """The head of the answer to *request*."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.decode().strip()


async def test_metrics_need_a_loopback_client_or_the_token(app: Rig) -> None:
    async def status(site: web.Application, **headers: str) -> int:
        async with (
            served(site) as url,
            aiohttp.ClientSession() as http,
            http.get(f"{url}/metrics", headers=headers) as answer,
        ):
            return answer.status

    assert await status(site(app)) == 200
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        assert await status(site(app), **{name: "127.0.0.1"}) == 403
    proxied = PictureLinks("https://darkroom.example", secret=b"x" * 32)
    assert await status(site(app, links=proxied)) == 403  # nginx as it comes leaves no trace in a request
    assert await status(site(app, links=proxied, metrics_token="token"), Authorization="Bearer token") == 200
    locked = [("", 401), ("Bearer", 401), ("Bearer tokeN", 401), ("Basic token", 401), ("Bearer \u00fc", 401)]
    for given, code in [*locked, ("Bearer token", 200), ("bearer  token", 200)]:
        assert (await status(site(app, metrics_token="token"), Authorization=given), given) == (code, given)


@pytest.mark.parametrize(
    ("remote", "code"),
    [("127.0.0.1", None), ("::1", None), ("::ffff:127.0.0.1", None), ("172.17.0.1", 403), ("::ffff:10.0.0.1", 403)],
)
def test_a_client_on_another_machine_needs_a_token(remote: str, code: int | None) -> None:
    request = make_mocked_request("GET", "/metrics", headers={"Host": "localhost:8080"}).clone(remote=remote)
    answer = _reject_metrics(request, "", proxied=False)
    assert (answer and answer.status) == code


@pytest.mark.parametrize(
    ("host", "code"),
    [("127.0.0.1:8080", None), ("[::1]:8080", None), ("LOCALHOST", None), ("darkroom.example", 403), ("", 403)],
)
def test_a_request_for_another_host_name_needs_a_token(host: str, code: int | None) -> None:
    request = make_mocked_request("GET", "/metrics", headers={"Host": host}).clone(remote="127.0.0.1")
    answer = _reject_metrics(request, "", proxied=False)
    assert (answer and answer.status) == code


async def test_concurrent_requests_share_one_check(app: Rig) -> None:
    checks: Counter[str] = Counter()

    async def looked(name: str) -> Any:
        checks[name] += 1
        await asyncio.sleep(0)
        return {"metrics": b"page", "health": {"ok": True}, "unready": None}[name]

    whole = build(
        app.services,
        health=lambda: looked("health"),
        unready=lambda: looked("unready"),
        metrics=lambda: looked("metrics"),
        links=PictureLinks("", secret=b"x" * 32),
        storage=app.storage,
    )
    async with served(whole) as url, aiohttp.ClientSession() as http:

        async def ask(path: str) -> int:
            async with http.get(f"{url}/{path}") as answer:
                return answer.status

        paths = ["metrics", "healthz", "readyz"] * 20
        assert set(await asyncio.gather(*map(ask, paths))) == {200}
        assert checks == {"metrics": 1, "health": 1, "unready": 1}
        app.time.go(1)
        await asyncio.gather(*map(ask, paths))
        assert checks == {"metrics": 2, "health": 2, "unready": 2}


async def test_a_picture_whose_row_cannot_be_read_is_answered_with_503(app: Rig) -> None:
    links = PictureLinks("", secret=b"x" * 32)
    job_id = "0" * 26
    await execute(app.store, "ALTER TABLE pictures RENAME TO elsewhere", "ALTER TABLE jobs RENAME TO away")
    path = f"pictures/{job_id}/1/{links.key(job_id, 1)}"
    async with served(site(app, links=links)) as url, aiohttp.ClientSession() as http:  # noqa: SIM117
        async with http.get(f"{url}/{path}") as answer:
            assert answer.status == 503
