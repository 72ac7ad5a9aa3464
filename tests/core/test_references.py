"""Which links are trusted, and which reference pictures are accepted."""

from typing import Any

import pytest

from bot.core.errors import UserError
from bot.core.jobs import Reference
from bot.core.references import ReferenceLimits, check_references, host_listed, is_loopback, link_expires_at

LISTED = ("cdn.discordapp.com", "*.runcomfy.net", "127.0.0.1:8080", "localhost:9000")


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.discordapp.com/attachments/1/2/a.png?ex=1&is=2&hm=3",
        "HTTPS://CDN.DiscordApp.COM/a.png",
        "https://cdn.discordapp.com:443/a.png",
        "https://files.runcomfy.net/a.png",
        "https://a.b.runcomfy.net/a.png",
        "http://127.0.0.1:8080/a.png",
        "https://127.0.0.1:8080/a.png",
        "http://localhost:9000/a.png",
        "https://cdn.discordapp.com/#@evil.com/",
        "https://cdn.discordapp.com/a.png?next=https://evil.com",
    ],
)
def test_links_to_listed_hosts_are_trusted(url: str) -> None:
    assert host_listed(url, LISTED)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.png",
        "//cdn.discordapp.com/a.png",
        "https:cdn.discordapp.com/a.png",
        "https:///cdn.discordapp.com/a.png",
        "http://cdn.discordapp.com/a.png",
        "ftp://cdn.discordapp.com/a.png",
        "file:///etc/passwd",
        "file://cdn.discordapp.com/etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "https://cdn.discordapp.com@evil.com/a.png",
        "https://cdn.discordapp.com:x@evil.com/a.png",
        "https://evil.com@cdn.discordapp.com/a.png",
        "https://@cdn.discordapp.com/a.png",
        "https://:@cdn.discordapp.com/a.png",
        "https://cdn.discordapp.com\\@evil.com/a.png",
        "https://cdn.discordapp.com./a.png",
        "https://files.runcomfy.net./a.png",
        "https://cdn.discordapp.com.evil.com/a.png",
        "https://evilcdn.discordapp.com/a.png",
        "https://sub.cdn.discordapp.com/a.png",
        "https://discordapp.com/a.png",
        "https://runcomfy.net/a.png",
        "https://evilruncomfy.net/a.png",
        "https://files.runcomfy.net.evil.com/a.png",
        "https://evil.com/.runcomfy.net",
        "https://evil.com?.runcomfy.net",
        "https://evil.com#.runcomfy.net",
        "https://cdn.discordapp.com:444/a.png",
        "https://cdn.discordapp.com:80/a.png",
        "https://cdn.discordapp.com:99999/a.png",
        "https://cdn.discordapp.com:port/a.png",
        "https://cdn.disc\u043erdapp.com/a.png",  # a Cyrillic letter
        "https://xn--cdn-discordapp-com.example/a.png",
        "https://\uff43dn.discordapp.com/a.png",  # a full-width letter
        "https://evil.com\uff0f.runcomfy.net/a.png",  # a full-width slash
        "https://evil.com\uff03.runcomfy.net/a.png",
        "http://127.0.0.1/a.png",
        "http://127.0.0.1:8081/a.png",
        "http://127.0.0.1:9000/a.png",
        "http://localhost:8080/a.png",
        "http://localhost.:9000/a.png",
        "ftp://127.0.0.1:8080/a.png",
        "http://127.1:8080/a.png",
        "http://2130706433:8080/a.png",
        "http://0x7f000001:8080/a.png",
        "http://0177.0.0.1:8080/a.png",
        "http://[::1]:8080/a.png",
        "http://[::ffff:127.0.0.1]:8080/a.png",
        "https://[::ffff:169.254.169.254]/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1].runcomfy.net/a.png",
        "https://[cdn.discordapp.com/a.png",
        "https://evil.com[v1.runcomfy.net]/a.png",
        "https://cdn.discordapp.com\\.runcomfy.net/a.png",
        "https://bloc\u212a.runcomfy.net/a.png",  # the sign for kelvin, a k in lower case
        "https://cdn.discordapp.com/a b.png",
        "https://cdn.discordapp.com/a.png\n",
        "https://cdn.discordapp.com/\ud800.png",
        "https://10.0.0.1/a.png",
    ],
)
def test_other_links_are_not_trusted(url: str) -> None:
    assert not host_listed(url, LISTED)


def test_no_link_is_trusted_by_an_empty_list() -> None:
    assert not host_listed("https://cdn.discordapp.com/a.png", ())
    assert not host_listed("http://127.0.0.1:8080/a.png", ("127.0.0.1",))


def test_a_star_matches_only_as_the_first_label() -> None:
    for pattern in ("*", "*runcomfy.net", "files.*.net", "files.*"):
        assert not host_listed("https://files.runcomfy.net/a.png", (pattern,))


def test_hosts_may_be_listed_in_any_case() -> None:
    assert host_listed("https://files.runcomfy.net/a.png", ("*.RunComfy.NET",))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True),
        ("128.0.0.1", False), ("localhost.evil.com", False), ("127.0.0.1.evil.com", False), ("10.0.0.1", False),
        ("", False), ("::ffff:127.0.0.1", False), ("::127.0.0.1", False),
    ],
)  # fmt: skip
def test_only_loopback_addresses_are_loopback(host: str, loopback: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("url", "expires_at"),
    [
        ("https://cdn.discordapp.com/attachments/1/2/a.png?ex=65d903de&is=65c68ede&hm=24", 1_708_721_118_000),
        ("https://cdn.discordapp.com/a.png?is=65c68ede&ex=65D903DE", 1_708_721_118_000),
        ("https://cdn.discordapp.com/a.png?ex=65d903de&ex=0", 1_708_721_118_000),
        ("https://cdn.discordapp.com/a.png?ex=soon", None),
        ("https://cdn.discordapp.com/a.png?ex=-1", None),
        ("https://cdn.discordapp.com/a.png?ex=ffffffffffffffffffff", None),  # no database holds that
        ("https://cdn.discordapp.com/a.png?ex=", None),
        ("https://cdn.discordapp.com/a.png?hex=65d903de", None),
        ("https://cdn.discordapp.com/a.png#?ex=65d903de", None),
        ("https://cdn.discordapp.com/a.png", None),
        ("https://[broken", None),
        ("", None),
    ],
)
def test_the_expiry_of_a_link_is_read_where_it_has_one(url: str, expires_at: int | None) -> None:
    assert link_expires_at(url) == expires_at


# --- pictures as Discord describes them


LIMITS = ReferenceLimits(pixels=1, size=1_000)


def picture(**changes: Any) -> Reference:
    fields = {"url": "https://cdn.discordapp.com/a.png", "filename": "a.png", "content_type": "image/png", "size": 900}
    return Reference(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"content_type": None},
        {"content_type": "image/JPEG; charset=x"},
        {"content_type": "text/plain"},  # Discord derives it from the name
        {"content_type": "application/octet-stream"},
        {"size": None},
        {"size": 1_000},
    ],
)
def test_what_may_be_a_picture_is_accepted_for_checking(changes: dict[str, Any]) -> None:
    check_references([picture(**changes)], hosts=LISTED, limits=LIMITS)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"content_type": "text/html"}, "references.type"),
        ({"size": 1_001}, "references.large"),
        ({"size": 0}, "references.empty"),
        ({"url": "https://evil.com/a.png"}, "references.host"),
    ],
)
def test_a_refused_reference_is_named_by_its_file(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as caught:
        check_references([picture(), picture(filename="bad.png", **changes)], hosts=iter(LISTED), limits=LIMITS)
    assert (caught.value.key, caught.value.values["file"]) == (key, "bad.png")
