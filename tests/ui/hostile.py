"""Hostile input for tests, and the markup in it that must never reach Discord unescaped."""

import re

from hypothesis import strategies as st

WEAPONS = [
    "<@123456789012345678>", "<@!1>", "<@&1>", "<#1>", "</imagine:1>", "<t:1700000000:R>", "<:x:1>", "<a:x:1>",
    "<id:customize>", "<mailto:a@b.c>", "<https://evil.example>", "@everyone", "@here", "https://evil.example/x_y_z",
    "HTTP://evil.example", "discord.gg/abc", "Discord.GG/abc", "discord.com/invite/abc", "[free](https://evil.example)",
    "[a](<https://evil.example>)", "# head", "\n# head", "\n   ## head", "-# small", "\n- a", "\n> q", "\n>>> q",
    "||s||", "```\ncode", "`", "**", "__", "~~", "\\", "\\\\", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff",
    "क\u094d\u200d",
    "\ud83d", "\x00", "\x1b[31m", "\r\n", "\u2028", "\u0301" * 60, "{prompt}", "{0}", "%s", "${jndi:ldap://x}",
    "'; DROP TABLE jobs;--",
    "\u3164", "👨\u200d👩\u200d👧", "🦊" * 40, "*" * 400, "a" * 900,
]  # fmt: skip

# A token that Discord would act on, because nothing before it escapes it.
ACTIVE = re.compile(
    r"""
      <(?:@|\#|/|a?:|t:|id:|mailto:|https?:)
    | @(?:everyone|here)
    | ://
    | discord(?:app)?\.(?:gg|com)
    | (?<!\\)\]\(
    | (?:^|\n)\s*(?:\#{1,3}|-\#|[-+*]|>|>>>|\d+\.)\s
    | (?<!\\)(?:\\\\)*[*_~`|]
    """,
    re.VERBOSE | re.IGNORECASE,
)


def hostile(max_length: int = 4000) -> st.SearchStrategy[str]:
    """Up to *max_length* characters of weapons, of any Unicode, and of plain words."""
    anything = st.text(st.characters(), max_size=30)
    parts = st.lists(st.one_of(st.sampled_from(WEAPONS), anything, st.sampled_from([" ", "fox", "\n"])), max_size=60)
    return parts.map(lambda each: "".join(each)[:max_length])
