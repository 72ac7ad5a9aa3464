"""Providers and pictures behind an HTTP proxy: what it sees, what is still checked, what its failures prove."""

import ssl
from base64 import b64encode
from pathlib import Path

import pytest

from bot.core.errors import BadLink, DownloadFailed, HostNotAllowed, ProviderUnavailable, SubmitUnknown
from bot.providers import http
from bot.providers.download import Downloader
from bot.providers.http import Timeouts, call, client
from tests.providers.proxy import proxying
from tests.providers.raw_server import Act, answer, close, in_turn, reset, serving
from tests.providers.stages import nobody
from tests.providers.test_download import PNG, Names

SAMPLE = Path(__file__).parents[1] / "samples" / "tls" / "images.pem"  # a certificate of our own, and its key
HOST = "images.example"  # nobody knows this name but the proxy
QUICK = Timeouts(connect=0.5, submit_read=0.5)
DONE = answer(body=PNG, kind="image/png")


@pytest.fixture
def tls() -> ssl.SSLContext:
    """The TLS certificate of a server with the sample's names, and a context that trusts it."""
    http._ssl_context().load_verify_locations(SAMPLE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SAMPLE)
    return context


async def test_requests_to_a_provider_use_the_proxy_which_sees_neither_token_nor_request(tls: ssl.SSLContext) -> None:
    async with serving(answer(), tls=tls) as server, proxying({HOST: server.port}) as proxy:
        address = f"http://me:p%40ss%2F@127.0.0.1:{proxy.port}"
        async with client(f"https://{HOST}", "s3cret", proxy=address) as host:
            await call(host, "GET", "/free")
            await call(host, "POST", "/paid", json={}, submits=True)
        assert proxy.asked == [f"CONNECT {HOST}"] * 2
        assert proxy.authorizations == [f"Basic {b64encode(b'me:p@ss/').decode()}"] * 2
        assert [each.target for each in server.got] == ["/free", "/paid"]
        for each in server.got:
            assert each.headers["authorization"] == "Bearer s3cret"
            assert "proxy-authorization" not in each.headers


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\n",
        b"HTTP/1.1 200 Connection established\r\n\r\n",  # and nothing behind it
        b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"",
    ],
)
async def test_a_proxy_that_refuses_the_tunnel_proves_that_nothing_was_sent(says: bytes) -> None:
    async with (
        proxying({}, says=says) as proxy,
        client(f"https://{HOST}", "t", timeouts=QUICK, proxy=proxy.url) as host,
    ):
        with pytest.raises(ProviderUnavailable, match="nothing was sent"):
            await call(host, "POST", "/paid", json={}, submits=True)
        assert proxy.asked == [f"CONNECT {HOST}"]


async def test_an_unreachable_proxy_proves_that_nothing_was_sent() -> None:
    async with client(f"https://{HOST}", "t", timeouts=QUICK, proxy=nobody()) as host:
        with pytest.raises(ProviderUnavailable, match="nothing was sent"):
            await call(host, "POST", "/paid", json={}, submits=True)


@pytest.mark.parametrize("cut", [reset, close])
async def test_a_tunnel_that_breaks_after_the_request_leaves_it_unknown(tls: ssl.SSLContext, cut: Act) -> None:
    async with serving(cut, tls=tls) as server, proxying({HOST: server.port}) as proxy:
        async with client(f"https://{HOST}", "t", timeouts=QUICK, proxy=proxy.url) as host:
            with pytest.raises(SubmitUnknown):
                await call(host, "POST", "/paid", json={}, submits=True)
        assert len(server.got) == len(proxy.asked) == 1


async def test_pictures_are_downloaded_through_the_proxy_which_resolves_names(tls: ssl.SSLContext) -> None:
    target = "/a%2Fb.png?sig=%7e"
    names = Names({"proxy.internal": ["127.0.0.1"]})  # the operator's own: it may lie inside
    redirected = in_turn(answer(302, Location=f"https://files.{HOST}{target}"), DONE)
    async with serving(redirected, tls=tls) as server, serving(DONE) as own:
        async with proxying({HOST: server.port, f"files.{HOST}": server.port}) as proxy:
            address = f"http://proxy.internal:{proxy.port}"
            hosts = (HOST, f"files.{HOST}", f"127.0.0.1:{own.port}", "169.254.169.254")
            async with Downloader(lookup=lambda: names, proxy=address) as files:
                assert await files.fetch(f"https://{HOST}/a", hosts=hosts, max_bytes=len(PNG)) == PNG
                assert await files.fetch(f"{own.url}/b", hosts=hosts, max_bytes=len(PNG)) == PNG
                with pytest.raises(BadLink):
                    await files.fetch("https://169.254.169.254/latest", hosts=hosts, max_bytes=9)
                with pytest.raises(HostNotAllowed):
                    await files.fetch("https://evil.example/", hosts=hosts, max_bytes=9)
        assert proxy.asked == [f"CONNECT {HOST}", f"CONNECT files.{HOST}"]
        assert set(names.asked) == {"proxy.internal"}
        assert [each.target for each in server.got] == ["/a", target]
        assert len(own.got) == 1


async def test_a_picture_refused_by_the_proxy_may_be_retried() -> None:
    no = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with proxying({}, says=no) as proxy, Downloader(proxy=proxy.url) as files:
        with pytest.raises(DownloadFailed) as caught:
            await files.fetch(f"https://{HOST}/a", hosts=(HOST,), max_bytes=9)
        assert not caught.value.permanent


async def test_proxies_and_passwords_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with serving(DONE) as server, proxying({}) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with client(server.url, "s3cret", timeouts=QUICK) as host, Downloader() as files:
            await call(host, "GET", "/free")
            await call(host, "POST", "/paid", json={}, submits=True)
            await call(host, "GET", server.url.replace("127.0.0.1", "localhost"))  # not our token's
            await files.fetch(f"{server.url}/a", hosts=(f"127.0.0.1:{server.port}",), max_bytes=len(PNG))
        assert proxy.asked == []
        told = [each.headers.get("authorization") for each in server.got]
        assert told == ["Bearer s3cret", "Bearer s3cret", None, None]
