"""About 28,000 links: every combination of scheme, user, host, port and path."""

import itertools
from collections.abc import Iterator

SCHEMES = ("https://", "http://", "HTTPS://", "https:", "//", "javascript://")
USERS = ("", "me:pw@", "files.example.com@", "@", "a%40b@")
HOSTS = (
    "files.example.com",
    "Files.EXAMPLE.com",
    "xn--zz--.example.com",
    "xn--.example.com",
    "xn--a.example.com",
    "xn--\u00fc.example.com",
    "a_b.example.com",
    "files.example.com.",
    "files..example.com",
    ".example.com",
    "x" * 64 + ".example.com",
    ".".join(["x" * 60] * 5) + ".example.com",
    "f\u0456les.example.com",  # a Cyrillic letter
    "files\uff0eexample.com",  # a full-width dot
    "files\u3002example.com",  # an ideographic one
    "files.example.com\uff0f.evil.example",
    "bloc\u212a.example.com",  # the sign for kelvin, which is a k in lower case
    "\u00df.example.com",
    "\u202efiles.example.com",
    "\U0001f600.example.com",
    "evil.example[v1.example.com]",
    "[v1.example.com]",
    "[files.example.com]",
    "[::1]",
    "[::ffff:127.0.0.1%25eth0]",
    "[bad",
    "evil.example\\.example.com",
    "evil.example%2f.example.com",
    "evil.example%00.example.com",
    "evil.example\t.example.com",
    "127.0.0.1",
    "127.1",
    "0x7f.0.0.1",
    "2130706433",
    "169.254.169.254",
    "localhost",
    "",
)
PORTS = ("", ":443", ":", ":99999999999999999999", ":\u0664\u0664\u0663", ":9")
RESTS = (
    "",
    "/a%2Fb.png?ex=65d903de&e=%zz&",
    "?x#y@files.example.com",
    "\\@evil.example/",
    "/\u00e9 \ud800\x00" + "a" * 999,
)


def links() -> Iterator[str]:
    return map("".join, itertools.product(SCHEMES, USERS, HOSTS, PORTS, RESTS))
