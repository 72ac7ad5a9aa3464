"""Redirects of downloads, the requests to their targets, and decompression."""

import gzip
import tracemalloc
import zlib

import pytest

from bot.core.errors import BadLink, DownloadFailed, HostNotAllowed
from bot.providers.download import Downloader
from tests.providers.raw_server import answer, in_turn, serving
from tests.providers.test_download import PNG, Names, file_server

DONE = answer(body=PNG, kind="image/png")
TARGETS = [
    "/a%2Fb%7ec%7E.png?sig=a%2Bb%3d&x=1+2%20",
    "/a;v=1/b,c='(d)'!$*@:.png?e=%zz&100%",
    "/?",
    "/a?&&=&",
    "/a/../b/./c//d%2e%2E/",
    "/a?next=https://evil.example/?q=1",
    '/a"<b>`{c}|^[d]\\e?"<b>`{c}|^[d]\\e',
]


@pytest.mark.parametrize("target", TARGETS)
async def test_a_link_is_requested_byte_for_byte_as_it_was_given(target: str) -> None:
    act = in_turn(DONE, answer(302, Location=target), DONE)
    async with file_server(act) as (files, server, hosts):
        assert await files.fetch(f"{server.url}{target}#fragment", hosts=hosts, max_bytes=len(PNG)) == PNG
        assert await files.fetch(f"{server.url}/first", hosts=hosts, max_bytes=len(PNG)) == PNG
        assert [each.target for each in server.got] == [target, "/first", target]


async def test_only_characters_invalid_in_a_request_are_escaped() -> None:
    async with file_server(DONE) as (files, server, hosts):
        for link in (server.url, f"{server.url}?a", f"{server.url}/\u00e9\U0001f600%7e?\u00fc=%C3%bc"):
            await files.fetch(link, hosts=hosts, max_bytes=len(PNG))
        assert [each.target for each in server.got] == ["/", "/?a", "/%C3%A9%F0%9F%98%80%7e?%C3%BC=%C3%bc"]


async def test_three_redirects_are_followed_without_cookies_or_referrer() -> None:
    async with serving(DONE) as store:
        hops = in_turn(
            answer(302, Location="b?sig=1", Set_Cookie="who=me"),
            answer(307, Location="/c"),
            answer(308, Location=f"{store.url}/d?sig=%2f"),
        )
        async with file_server(hops) as (files, server, hosts):
            both = (*hosts, f"127.0.0.1:{store.port}")
            assert await files.fetch(f"{server.url}/x/a?sig=0", hosts=both, max_bytes=len(PNG)) == PNG
            assert [each.target for each in server.got] == ["/x/a?sig=0", "/x/b?sig=1", "/c"]
            assert [each.target for each in store.got] == ["/d?sig=%2f"]
            for request in (*server.got, *store.got):
                assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}


async def test_a_fourth_redirect_is_one_too_many() -> None:
    async with file_server(answer(302, Location="/again")) as (files, server, hosts):
        with pytest.raises(DownloadFailed) as caught:
            await files.fetch(f"{server.url}/a", hosts=hosts, max_bytes=9)
        assert caught.value.permanent
        assert len(server.got) == 4


@pytest.mark.parametrize(
    ("location", "error", "asked"),
    [
        ("https://evil.example/a.png", HostNotAllowed, []),
        ("//evil.example/a.png", BadLink, []),  # over the scheme of the hop before: not TLS
        ("http://127.0.0.1:1/", HostNotAllowed, []),
        ("http://a.example.com/a.png", BadLink, []),
        ("https://me@a.example.com/a.png", BadLink, []),
        ("https://169.254.169.254/latest", BadLink, []),
        ("https://[::1]/", BadLink, []),
        ("file:///etc/passwd", BadLink, []),
        ("https://xn--zz--.a.example.com@/", BadLink, []),
        ("https://a.example.com/", DownloadFailed, ["a.example.com"]),  # its address is private
    ],
)
async def test_each_hop_is_checked_like_the_first(location: str, error: type[Exception], asked: list[str]) -> None:
    names = Names({"a.example.com": ["10.0.0.5"]})
    async with serving(answer(302, Location=location)) as server, Downloader(lookup=lambda: names) as files:
        with pytest.raises(error):
            await files.fetch(f"{server.url}/a", hosts=(f"127.0.0.1:{server.port}", "a.example.com"), max_bytes=9)
        assert names.asked == asked
        assert len(server.got) == 1


async def test_reading_the_first_bytes_follows_no_redirect() -> None:
    async with file_server(in_turn(answer(302, Location="/b"), DONE)) as (files, server, hosts):
        with pytest.raises(DownloadFailed) as caught:
            await files.read_head(f"{server.url}/a", hosts=hosts, timeout_s=1)
        assert caught.value.permanent
        assert len(server.got) == 1


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(PNG)),
        ("GZIP", gzip.compress(PNG[:99]) + gzip.compress(PNG[99:])),
        ("deflate", zlib.compress(PNG)),
        ("deflate", _raw_deflate(PNG)),
    ],
)
async def test_a_compressed_file_is_decompressed_and_its_decompressed_size_counts(encoding: str, packed: bytes) -> None:
    assert len(packed) < len(PNG)
    async with file_server(answer(body=packed, kind="image/png", Content_Encoding=encoding)) as (files, server, hosts):
        assert await files.fetch(f"{server.url}/a", hosts=hosts, max_bytes=len(PNG)) == PNG
        assert await files.read_head(f"{server.url}/a", hosts=hosts, size=50, timeout_s=1) == PNG[:50]
        with pytest.raises(DownloadFailed) as caught:
            await files.fetch(f"{server.url}/a", hosts=hosts, max_bytes=len(PNG) - 1)
        assert caught.value.permanent


async def test_the_first_bytes_of_a_compressed_file_can_be_read() -> None:
    part = answer(206, gzip.compress(PNG)[:300], kind="image/png", Content_Encoding="gzip")
    async with file_server(part) as (files, server, hosts):
        seen = await files.read_head(f"{server.url}/a", hosts=hosts, size=300, timeout_s=1)
        assert seen
        assert PNG.startswith(seen)


async def test_a_decompression_bomb_is_refused_before_it_is_decompressed() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(60)) + packer.flush()
    async with file_server(answer(body=bomb, kind="image/png", Content_Encoding="gzip")) as (files, server, hosts):
        tracemalloc.start()
        try:
            with pytest.raises(DownloadFailed) as caught:
                await files.fetch(f"{server.url}/a", hosts=hosts, max_bytes=100_000)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert caught.value.permanent
        assert most < 4_000_000  # of 60 MB
