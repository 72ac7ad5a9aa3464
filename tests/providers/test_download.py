"""Downloads: refusals before connecting and while reading, and their errors."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bot.core.errors import BadLink, DownloadFailed, HostNotAllowed
from bot.providers.download import AddressRefused, CheckedResolver, Downloader, is_public
from tests.providers.raw_server import Act, RawServer, answer, close, endless, hang, reset, send, serving

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 64
LISTED = ("files.runcomfy.net", "*.example.com")


class Names(AbstractResolver):
    """Answers from a table, and counts."""

    def __init__(self, table: Mapping[str, list[str]]) -> None:
        self.table = table
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self.table[host]
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def file_server(act: Act, *, total: float = 2.0) -> AsyncIterator[tuple[Downloader, RawServer, tuple[str, ...]]]:
    async with serving(act) as server, Downloader(total=total) as files, asyncio.timeout(5):
        yield files, server, (f"127.0.0.1:{server.port}",)


async def test_a_file_is_downloaded_without_token_cookie_or_compression() -> None:
    async with file_server(answer(body=PNG, kind="image/png", Set_Cookie="a=b")) as (files, server, hosts):
        for _ in range(2):
            assert await files.fetch(f"{server.url}/a.png?sig=x%2Fy%3D&t=1", hosts=hosts, max_bytes=len(PNG)) == PNG
        assert server.connections == 1
        for request in server.got:
            assert not {"authorization", "cookie", "referer"} & set(request.headers)
            assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("act", "permanent"),
    [
        (answer(404), True),
        (answer(410), True),
        (answer(301, Location="http://169.254.169.254/"), True),
        (answer(302, Location="/a?sig=s3cret"), True),
        (answer(303), True),
        (answer(307, Location="//127.0.0.1/"), True),
        (answer(308, Location="https://[broken"), True),
        (answer(300, Location="/other"), True),
        (answer(400), False),
        (answer(403), False),
        (answer(429), False),
        (answer(500), False),
        (answer(503), False),
        (answer(206, PNG, kind="image/png"), False),
        (answer(200, b"", kind="image/png"), False),
        (answer(200, b"<html>wait</html>", kind="text/html; charset=utf-8"), False),
        (answer(200, gzip.compress(bytes(10_000_000)), kind="image/png", Content_Encoding="gzip"), True),
        (answer(200, PNG, kind="image/png", Content_Encoding="compress"), True),
        (answer(200, PNG, kind="image/png", Content_Encoding="gzip, gzip"), True),
        (answer(200, PNG, kind="image/png", Content_Encoding="gzip"), False),
        (answer(200, PNG, kind="image/png", Content_Encoding="br"), False),
        (answer(200, PNG + b"x", kind="image/png"), True),
        (endless, True),
        (send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + PNG * 9, then=close), False),
        (send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + PNG[:500], then=close), False),
        (send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + PNG[:500], then=reset), False),
        (send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + PNG[:500], then=hang), False),
        (send(b"rubbish\r\n\r\n", then=close), False),
        (reset, False),
        (hang, False),
    ],
)
async def test_an_incomplete_download_says_whether_a_retry_is_pointless(
    act: Act,
    permanent: bool,  # noqa: FBT001 - a column
) -> None:
    async with file_server(act, total=0.3) as (files, server, hosts):
        with pytest.raises(DownloadFailed) as caught:
            await files.fetch(f"{server.url}/a?sig=s3cret", hosts=hosts, max_bytes=len(PNG))
        assert caught.value.permanent is permanent
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert {each.target for each in server.got} == {"/a?sig=s3cret"}


async def test_a_refused_connection_may_be_retried() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        async with Downloader() as files:
            with pytest.raises(DownloadFailed) as caught:
                await files.fetch(f"http://{where}/", hosts=(where,), max_bytes=10)
        assert not caught.value.permanent


async def test_the_first_bytes_are_read_without_the_rest() -> None:
    async with file_server(endless) as (files, server, hosts):
        assert await files.read_head(f"{server.url}/a", hosts=hosts, size=100, timeout_s=1) == b"x" * 100
        assert server.got[0].headers["range"] == "bytes=0-99"


async def test_a_partial_answer_is_accepted_for_the_first_bytes() -> None:
    async with file_server(answer(206, PNG[:50], kind="image/png")) as (files, server, hosts):
        assert await files.read_head(f"{server.url}/a", hosts=hosts, size=50, timeout_s=1) == PNG[:50]


async def test_reading_the_first_bytes_times_out() -> None:
    async with file_server(hang) as (files, server, hosts):
        with pytest.raises(DownloadFailed) as caught:
            await files.read_head(f"{server.url}/a", hosts=hosts, timeout_s=0.1)
        assert not caught.value.permanent


async def test_reading_the_first_bytes_checks_hosts_and_answers_like_a_download() -> None:
    async with file_server(answer(404)) as (files, server, hosts):
        with pytest.raises(DownloadFailed) as caught:
            await files.read_head(f"{server.url}/a", hosts=hosts, timeout_s=1)
        assert caught.value.permanent
        with pytest.raises(HostNotAllowed):
            await files.read_head(f"{server.url}/a", hosts=LISTED, timeout_s=1)


@pytest.mark.parametrize(
    ("link", "named"),
    [
        ("http://127.0.0.1:{port}/", "127.0.0.1:{port}"),
        ("http://localhost:{port}/", "localhost:{port}"),
        ("http://[::1]:{port}/", None),
        ("http://[::ffff:127.0.0.1]:{port}/", None),
        ("http://2130706433:{port}/", None),
        ("http://0177.0.0.1:{port}/", None),
        ("http://0x7f.0.0.1:{port}/", None),
        ("http://127.1:{port}/", None),
        ("http://0.0.0.0:{port}/", None),
        ("https://169.254.169.254/latest", None),
        ("http://files.runcomfy.net/a.png", None),
        ("https://files.runcomfy.net:{port}/a.png", None),
        ("https://files.runcomfy.net.evil.com/a.png", "files.runcomfy.net.evil.com"),
        ("https://evilfiles.runcomfy.net/a.png", "evilfiles.runcomfy.net"),
        ("https://files.runcomfy.net./a.png", None),
        ("https://evil.com/files.runcomfy.net", "evil.com"),
        ("https://evil.com#@files.runcomfy.net/", "evil.com"),
        ("https://files.runcomfy.net@evil.com/", None),
        ("https://me:pw@files.runcomfy.net/", None),
        ("https://evil.com\\@files.runcomfy.net/", None),
        ("https://files.runcomfy.net\\.evil.com/", None),
        ("https://files.runcomfy\uff0enet/a.png", None),
        ("https://f\u0456les.runcomfy.net/a.png", None),
        ("https://evil.com\t.example.com/", None),
        ("https://example.com/", "example.com"),
        ("ftp://files.runcomfy.net/a", None),
        ("file:///etc/passwd", None),
        ("//files.runcomfy.net/a", None),
        ("data:image/png;base64,AAAA", None),
        ("https://0x7f.0.0.1/", "0x7f.0.0.1"),
        ("https://127.1/", None),
        ("https://2130706433/", None),
        ("https://evil.com[v1.example.com]/", None),
        ("https://evil.com:443:443/", None),
        ("https://localhost/", None),
        ("https://[bad/", None),
        ("https://files.runcomfy.net:99999/", None),
        ("", None),
    ],
)
async def test_an_unlisted_host_is_not_resolved_and_is_named_only_if_it_could_be_listed(
    link: str, named: str | None
) -> None:
    names = Names({})
    async with serving(answer(body=PNG)) as server, Downloader(lookup=lambda: names) as files:
        with pytest.raises((HostNotAllowed, BadLink)) as caught:
            await files.fetch(link.format(port=server.port), hosts=LISTED, max_bytes=10)
        host = caught.value.host if isinstance(caught.value, HostNotAllowed) else None
        assert host == (named and named.format(port=server.port))
        assert (server.connections, names.asked) == (0, [])


async def test_a_listed_name_with_a_private_address_is_refused_without_a_connection() -> None:
    inside = ["127.0.0.1", "10.0.0.5", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"]
    names = Names({"a.example.com": inside})
    async with serving(answer()) as server, Downloader(lookup=lambda: names) as files:
        with pytest.raises(DownloadFailed) as caught:
            await files.fetch("https://a.example.com/a.png", hosts=LISTED, max_bytes=10)
        assert caught.value.permanent
        assert names.asked == ["a.example.com"]
        assert server.connections == 0


async def test_a_private_address_is_refused_even_if_listed() -> None:
    async with Downloader() as files:
        for address in ("10.0.0.5", "169.254.169.254", "0.0.0.0"):  # noqa: S104 - a hostile link
            with pytest.raises(DownloadFailed) as caught:
                await files.fetch(f"https://{address}/", hosts=(address,), max_bytes=10)
            assert caught.value.permanent


@pytest.mark.parametrize("label", ["x" * 64])
async def test_an_invalid_host_name_is_refused(label: str) -> None:
    async with Downloader() as files:
        with pytest.raises(DownloadFailed) as caught:
            await files.fetch(f"https://{label}.example.com/", hosts=LISTED, max_bytes=10)
        assert caught.value.permanent


async def test_localhost_may_be_listed_with_its_port() -> None:
    names = Names({"localhost": ["203.0.113.9", "127.0.0.1"]})
    async with serving(answer(body=PNG)) as server, Downloader(lookup=lambda: names) as files:
        where = f"localhost:{server.port}"
        assert await files.fetch(f"http://{where}/", hosts=(where,), max_bytes=len(PNG)) == PNG


async def test_only_the_public_ones_of_several_addresses_are_connected_to() -> None:
    mixed = Names({"a.example.com": ["192.168.1.1", "93.184.216.34", "224.0.0.1"], "b.example.com": []})
    resolver = CheckedResolver(mixed)
    assert [each["host"] for each in await resolver.resolve("a.example.com", 443)] == ["93.184.216.34"]
    with pytest.raises(AddressRefused):
        await resolver.resolve("b.example.com", 443)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("100.63.255.255", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("2001:200::1", True),
        ("64:ff9b::5db8:d822", True),
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("172.31.255.255", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),  # noqa: S104 - a hostile answer
        ("192.0.0.170", False),
        ("192.0.2.1", False),
        ("192.88.99.1", False),
        ("198.19.0.1", False),
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::93.184.216.34", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("::ffff:0:93.184.216.34", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("64:ff9b:1::5db8:d822", False),
        ("2002:a00:1::", False),
        ("2002:5db8:d822::1", False),
        ("2001::1", False),
        ("2001:0:5db8:d822::1", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("4000::1", False),
        ("5f00::1", False),
        ("100::1", False),
        ("nonsense", False),
    ],
)
def test_ipv4_addresses_inside_ipv6_are_classified_too(
    address: str,
    public: bool,  # noqa: FBT001 - a column
) -> None:
    assert is_public(address) is public
