"""HTTP errors say correctly whether the provider can have received the request."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import httpx
import pytest
from pydantic import SecretStr

from bot.core.errors import ProviderError, ProviderPaused, ProviderRejected, ProviderUnavailable, SubmitUnknown
from bot.providers.http import MAX_BODY_BYTES, Client, Timeouts, call, client, retry_after
from tests.providers.raw_server import Act, answer, close, endless, hang, in_turn, reset, send, serving

QUICK = Timeouts(connect=1.0, read=0.5, submit_read=0.5)
START = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
NOW = 1_795_219_200_000  # 2026-11-21 00:00:00 UTC


@asynccontextmanager
async def talking(url: str, *, timeouts: Timeouts = QUICK, limit: int = 16) -> AsyncIterator[Client]:
    async with asyncio.timeout(5), client(url, "s3cret", timeouts=timeouts, limit=limit) as http:
        yield http


LOST_ANSWERS: dict[str, Act] = {
    "reset after the request was read": reset,
    "closed after the request was read": close,
    "no answer in time": hang,
    "garbage": send(b"\x00\x01 what\r\n\r\n", then=close),
    "not HTTP": send(b"SSH-2.0-OpenSSH_9.2\r\n", then=close),
    "half a header": send(b"HTTP/1.1 200 OK\r\nContent-Le", then=close),
    "half a header, then a reset": send(b"HTTP/1.1 200 OK\r\nContent-Le", then=reset),
    "half a body": send(START + b'Content-Length: 100\r\n\r\n{"request_id"', then=close),
    "half a body, then a reset": send(START + b'Content-Length: 100\r\n\r\n{"request_id"', then=reset),
    "half a body, then silence": send(START + b'Content-Length: 100\r\n\r\n{"request_id"', then=hang),
    "a broken chunk": send(START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", then=close),
    "broken compression": answer(body=b"not gzip", Content_Encoding="gzip"),
    "two lengths": send(START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", then=close),
    "a huge header": send(START + b"X: " + b"x" * 70_000 + b"\r\n\r\n", then=close),
}


@pytest.mark.parametrize("fault", LOST_ANSWERS.values(), ids=LOST_ANSWERS.keys())
async def test_a_paid_request_that_arrived_without_a_readable_answer_is_unknown_and_was_sent_once(fault: Act) -> None:
    async with serving(fault) as server, talking(server.url) as http:
        with pytest.raises(SubmitUnknown):
            await call(http, "POST", "/v1/models/m", json={"prompt": "p"}, submits=True)
        assert [(each.method, each.body) for each in server.got] == [("POST", b'{"prompt":"p"}')]


@pytest.mark.parametrize("fault", LOST_ANSWERS.values(), ids=LOST_ANSWERS.keys())
async def test_a_free_request_without_a_readable_answer_may_be_retried(fault: Act) -> None:
    async with serving(fault) as server, talking(server.url) as http:
        with pytest.raises(ProviderUnavailable):
            await call(http, "GET", "/v1/requests/r/status")
        assert server.got


async def test_a_paid_request_has_its_own_connection_and_is_not_repeated_when_it_breaks() -> None:
    async with serving(in_turn(answer(), reset)) as server, talking(server.url) as http:
        await call(http, "GET", "/warm")
        with pytest.raises(SubmitUnknown):
            await call(http, "POST", "/paid", json={}, submits=True)
        assert server.connections == 2
        assert [each.target for each in server.got] == ["/warm", "/paid"]


async def test_a_refused_connection_proves_that_nothing_was_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        async with talking(f"http://127.0.0.1:{taken.getsockname()[1]}") as http:
            await _assert_nothing_sent(http, aiohttp.ClientConnectorError)


@pytest.mark.parametrize(("total", "cause"), [(5.0, aiohttp.ConnectionTimeoutError), (0.1, TimeoutError)])
async def test_a_connection_that_is_not_made_in_time_proves_that_nothing_was_sent(
    total: float, cause: type[Exception]
) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (first, second):  # the queue is full now: further calls get no answer
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        timeouts = Timeouts(connect=0.5, submit_total=total)
        async with talking(f"http://127.0.0.1:{full.getsockname()[1]}", timeouts=timeouts) as http:
            await _assert_nothing_sent(http, cause)


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        (send(b"HTTP/1.1 400 X\r\n\r\n", then=hang), aiohttp.ClientConnectorError),
        (hang, aiohttp.ConnectionTimeoutError),
        (close, aiohttp.ClientConnectorError),
        (reset, aiohttp.ClientConnectorError),
    ],
)
async def test_a_handshake_that_fails_or_stalls_proves_that_nothing_was_sent(says: Act, cause: type[Exception]) -> None:
    async with serving(says, at_once=True) as server:
        async with talking(f"https://127.0.0.1:{server.port}", timeouts=Timeouts(connect=0.5)) as http:
            await _assert_nothing_sent(http, cause)
        assert server.connections == 1


async def test_an_invalid_or_unresolvable_address_proves_that_nothing_was_sent() -> None:
    async with talking("ftp://127.0.0.1:1") as http:
        await _assert_nothing_sent(http, aiohttp.NonHttpUrlClientError)
    async with talking("https://127.0.0.1:99999") as http:
        await _assert_nothing_sent(http, ValueError)
    async with talking(f"https://{'x' * 64}.invalid") as http:  # no resolver is asked for it
        await _assert_nothing_sent(http, UnicodeError)


async def test_a_client_that_was_closed_sends_nothing() -> None:
    async with serving(answer()) as server, talking(server.url) as http:
        await http.aclose()
        await _assert_nothing_sent(http, RuntimeError)
        assert server.connections == 0


async def test_a_connection_broken_before_the_first_byte_proves_that_nothing_was_sent() -> None:
    async with serving(answer()) as server, talking(server.url) as http:
        http.headers["X-Odd"] = "a\nb"
        await _assert_nothing_sent(http, ValueError)
        assert (server.connections, server.got) == (1, [])


async def _assert_nothing_sent(http: Client, cause: type[Exception]) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        await call(http, "POST", "/v1/models/m", json={}, submits=True)
    assert isinstance(caught.value.__cause__, cause)
    assert str(caught.value).endswith("nothing was sent")


@pytest.mark.parametrize("token", ["s3cret\n", "s3\r\nX: y", "\x00", "schl\u00fcssel", "\u2028s3cret", "\ud800"])
async def test_a_token_that_is_no_valid_header_is_not_sent_and_pauses_the_provider(token: str) -> None:
    async with serving(answer()) as server, client(server.url, token) as http:
        for submits in (True, False):
            with pytest.raises(ProviderPaused) as caught:
                await call(http, "POST", "/", json={}, submits=submits)
            assert caught.value.kind == "credentials"
            assert token not in str(caught.value)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("path", "json"),
    [
        ("/", {"prompt": object()}),
        ("/", {"prompt": "\ud800"}),
        ("/", {"strength": float("nan")}),
        ("/a\nb", {}),
        ("/" + "a" * 70_000, {}),
        ("https://xn--zz--.\u00fc/", {}),
    ],
)
async def test_a_paid_request_that_cannot_be_built_is_not_retried(path: str, json: object) -> None:
    async with serving(answer()) as server, talking(server.url) as http:
        with pytest.raises(ProviderRejected):
            await call(http, "POST", path, json=json, submits=True)
        assert server.connections == 0


@pytest.mark.parametrize("path", ["/a\nb", "/ HTTP/1.1\r\nHost: evil", "https://xn--zz--.\u00fc/"])
async def test_a_free_request_to_what_is_no_address_is_not_sent(path: str) -> None:
    async with serving(answer()) as server, talking(server.url) as http:
        with pytest.raises(ProviderUnavailable):
            await call(http, "GET", path)
        assert server.connections == 0


async def test_slow_submits_do_not_hold_up_free_requests() -> None:
    async with serving(in_turn(hang, hang, answer())) as server, talking(server.url, limit=2) as http:
        paid = [asyncio.create_task(call(http, "POST", "/", json={}, submits=True)) for _ in range(4)]
        while len(server.got) < 2:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0)
        assert (await call(http, "GET", "/")).status == 200
        await asyncio.gather(*paid, return_exceptions=True)


async def test_fifty_requests_at_a_time_open_a_fiftieth_of_a_connection_each() -> None:
    async with serving(answer()) as server, talking(server.url, limit=64) as http:

        async def ask() -> None:
            for _ in range(50):
                await call(http, "GET", "/")

        await asyncio.gather(*(ask() for _ in range(50)))
        assert server.connections / len(server.got) <= 0.02


async def test_an_endless_answer_times_out_although_each_piece_is_in_time() -> None:
    patient = Timeouts(read=5, submit_read=5, total=0.2, submit_total=0.2)
    half = send(START + b"Content-Length: 100\r\n\r\n{", then=hang)
    async with serving(half) as server, talking(server.url, timeouts=patient) as http:
        with pytest.raises(SubmitUnknown):
            await call(http, "POST", "/", json={}, submits=True)
        with pytest.raises(ProviderUnavailable):
            await call(http, "GET", "/")


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 402, 404, 408, 422, 429, 500, 502, 503, 504])
async def test_answers_of_any_status_are_returned_and_redirects_not_followed(status: int) -> None:
    act = answer(status, b'{"a": 1}', Location="/elsewhere", Retry_After="7")
    async with serving(act) as server, talking(server.url) as http:
        got = await call(http, "POST", "/here", json={}, submits=True)
        assert (got.status, got.body, got.headers["retry-after"]) == (status, b'{"a": 1}', "7")
        assert [each.target for each in server.got] == ["/here"]


async def test_the_token_goes_to_the_configured_host_and_to_no_other() -> None:
    async with serving(answer()) as host, serving(answer()) as other, talking(f"{host.url}/prefix") as http:
        await call(http, "GET", "/v1/x", params={"a": "b"})
        await call(http, "GET", f"{other.url}/y")
        http.bearer.trust(f"{other.url}/balance")
        await call(http, "GET", f"{other.url}/balance")
        assert host.got[0].target == "/prefix/v1/x?a=b"
        assert host.got[0].headers["authorization"] == "Bearer s3cret"
        assert ["authorization" in each.headers for each in other.got] == [False, True]


async def test_a_too_long_answer_is_cut_off() -> None:
    async with serving(endless) as server, talking(server.url) as http:
        assert MAX_BODY_BYTES < len((await call(http, "GET", "/v1/x")).body) < MAX_BODY_BYTES + 100_000


async def test_a_secret_is_unwrapped_only_for_the_header() -> None:
    async with serving(answer()) as server, client(server.url, SecretStr("hush")) as http:
        await call(http, "GET", "/")
        assert server.got[0].headers["authorization"] == "Bearer hush"
        assert "hush" not in repr(http.bearer)


async def test_cookies_are_neither_stored_nor_sent() -> None:
    async with serving(answer(Set_Cookie="who=me")) as server, talking(server.url) as http:
        http.cookies.clear()
        for _ in range(2):
            await call(http, "GET", "/")
        assert not any("cookie" in each.headers for each in server.got)


async def test_no_more_connections_are_opened_than_allowed_and_they_are_used_again() -> None:
    async with serving(answer()) as server, talking(server.url, limit=4) as http:
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(call(http, "GET", "/"))
        assert len(server.got) == 40
        assert server.connections <= 4


async def test_errors_name_the_request_and_not_the_token() -> None:
    async with serving(reset) as server, talking(server.url) as http:
        with pytest.raises(ProviderError) as caught:
            await call(http, "POST", "/paid", json={}, submits=True)
        assert str(caught.value) == "POST /paid: ClientOSError"
        with pytest.raises(ProviderError) as caught:
            await call(http, "GET", "http://ada:hush@127.0.0.1:1/balance")
        assert str(caught.value).startswith("GET http://…@127.0.0.1:1/balance: ")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("1.5", 1.5),
        (" 30 ", 30.0),
        ("86400", 900.0),
        ("9" * 400, 900.0),
        ("Sat, 21 Nov 2026 00:00:42 GMT", 42.0),
        ("Sat, 21 Nov 2026 00:00:42 -0000", 42.0),
        ("Fri, 20 Nov 2026 00:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2099 00:00:00 GMT", 900.0),
        ("-5", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Sat, 99 Nov 2026 00:00:00 GMT", None),
        ("Sat, 21 Nov 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date_and_capped(text: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers({"Retry-After": text}), now=NOW) == seconds
