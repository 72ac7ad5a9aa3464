"""Any link is either followed to the host that every parser sees in it, or raises one of our errors."""

import socket
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadLink, DownloadFailed, HostNotAllowed
from bot.core.references import host_listed, link_expires_at, path_of
from bot.providers.download import Downloader, _redirect_target, checked, is_public
from tests.providers.links import links

LISTED = ("*.example.com", "127.0.0.1:9", "localhost:9")
ALL = list(links())


def judge(link: str) -> yarl.URL | None:
    """Where *link* is followed to; None where it is not. Whatever else is wrong with it is raised."""
    link_expires_at(link)
    path_of(link)
    try:
        target = checked(link, LISTED)
    except BadLink:
        assert not host_listed(link, LISTED)
        return None
    except HostNotAllowed as exc:
        listed = [exc.host]  # what the operator is told to list is what would help
    else:
        assert host_listed(link, LISTED)
        return target
    assert not host_listed(link, LISTED)
    assert checked(link, listed)
    return None


def test_all_links_of_a_corpus_raise_only_our_errors_and_all_parsers_see_the_checked_host() -> None:
    followed = {link: target for link in ALL if (target := judge(link)) is not None}

    assert len(ALL) > 28_000
    assert len(followed) > 50
    for link, target in followed.items():
        host = target.raw_host or ""
        seen = [urlsplit(link).hostname, yarl.URL(link, encoded=True).raw_host, httpx.URL(link).raw_host.decode()]
        assert [(each or "").lower() for each in seen] == [host] * 3, link
        assert host.endswith(".example.com") or host in ("127.0.0.1", "localhost")
        assert target.port in (443, 9)


def test_any_redirect_location_is_checked_or_refused() -> None:
    taken = []
    for link in ALL[::7]:
        with suppress(BadLink, HostNotAllowed):
            taken.append(checked(_redirect_target("https://files.example.com/a?b", link), LISTED))
    assert taken
    hosts = {each.raw_host or "" for each in taken}
    assert {each for each in hosts if not each.endswith(".example.com")} <= {"127.0.0.1", "localhost"}


@given(st.text() | st.builds("https://{}.example.com{}".format, st.text(max_size=8), st.text(max_size=8)))
def test_any_text_is_a_link_or_refused(text: str) -> None:
    judge(text)
    assert not is_public(text)


class Counting(AbstractResolver):
    """Finds nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.add(host)
        host.encode("idna")  # as `getaddrinfo` does
        return []

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("some", [ALL[::97], pytest.param(ALL, marks=pytest.mark.prove)], ids=["a part", "all"])
async def test_downloading_any_link_raises_our_errors_and_resolves_listed_names_only(some: list[str]) -> None:
    names = Counting()
    async with Downloader(lookup=lambda: names) as files:
        for link in some:
            with pytest.raises((DownloadFailed, HostNotAllowed)):
                await files.fetch(link, hosts=LISTED, max_bytes=9)
    assert all(each.endswith(".example.com") or each == "localhost" for each in names.asked)
    assert "xn--zz--.example.com" in names.asked or len(some) < len(ALL)
