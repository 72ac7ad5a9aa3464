"""Where pictures may be made, and which reference pictures are accepted."""

from dataclasses import replace

import discord
import pytest

from bot.core.errors import UserError
from bot.ui.interactions.access import Access, Location
from bot.ui.interactions.parsing import _in_embeds

OPERATOR, MEMBER = 1, 2
OWN, LISTED, OTHER = 10, 11, 12


def access(*guilds: str, user_install: bool = False) -> Access:
    made = Access(guilds, user_install=user_install)
    made.set_owners([OPERATOR])
    return made


def verdict(of: Access, location: Location) -> str | None:
    try:
        of.check(location)
    except UserError as error:
        return error.key
    return None


def in_guild(guild_id: int, *, owner_id: int | None = MEMBER) -> Location:
    return Location(user_id=MEMBER, guild_id=guild_id, owner_id=owner_id, member=True)


def test_spending_is_closed_except_in_the_operators_own_servers() -> None:
    assert verdict(access(), in_guild(OTHER)) == "place.not_open"
    assert verdict(access(), in_guild(OTHER, owner_id=None)) == "place.not_open"
    assert verdict(access(), in_guild(OWN, owner_id=OPERATOR)) is None


def test_ids_open_other_servers_beside_the_operators_own() -> None:
    opened = access(str(LISTED))

    assert verdict(opened, in_guild(LISTED)) is None
    assert verdict(opened, in_guild(OWN, owner_id=OPERATOR)) is None
    assert verdict(opened, in_guild(OTHER)) == "place.not_open"


def test_a_star_opens_every_server_and_direct_messages() -> None:
    assert verdict(access("*"), in_guild(OTHER)) is None
    assert verdict(access("*"), Location(user_id=MEMBER, direct=True)) is None


def test_direct_messages_are_for_the_operator_until_every_server_is_open() -> None:
    assert verdict(access(str(LISTED)), Location(user_id=MEMBER, direct=True)) == "place.dm_off"
    assert verdict(access(), Location(user_id=OPERATOR, direct=True)) is None


@pytest.mark.parametrize("location", [Location(user_id=MEMBER, guild_id=LISTED), Location(user_id=MEMBER)])
def test_outside_the_bots_servers_only_user_install_decides(location: Location) -> None:
    assert verdict(access("*", str(LISTED)), location) == "place.user_install_off"
    assert verdict(access(user_install=True), location) is None


def test_nobody_is_an_owner_before_discord_has_named_the_owners() -> None:
    assert verdict(Access((), user_install=False), in_guild(OWN, owner_id=None)) == "place.not_open"


def test_pictures_in_embeds_are_taken_from_discords_copy() -> None:
    embed = discord.Embed.from_dict(
        {
            "image": {
                "url": "https://anywhere.example/a.png",
                "proxy_url": "https://images-ext-1.discordapp.net/a.png",
            },
            "thumbnail": {"url": "https://anywhere.example/b.png"},
        }
    )

    assert [each.url for each in _in_embeds([embed])] == ["https://images-ext-1.discordapp.net/a.png"]


def test_an_embeds_link_without_an_expiry_is_used_as_given() -> None:
    odd = ["https://[bad/a.png", "https://[v1.evil.example]/b.png?ex=" + "f" * 99, "//[/c.png"]
    embeds = [discord.Embed.from_dict({"image": {"url": each, "proxy_url": each}}) for each in odd]

    found = list(_in_embeds(embeds))

    assert [(each.url, each.filename, each.expires_at) for each in found] == [
        (odd[0], "a.png", None), (odd[1], "b.png", None), (odd[2], "c.png", None)
    ]  # fmt: skip


def test_where_the_operator_wants_it_pictures_are_made_in_age_restricted_channels_only() -> None:
    strict = Access(["*"], user_install=False, age_restricted=True)

    assert verdict(strict, in_guild(OTHER)) == "place.age"
    assert verdict(strict, replace(in_guild(OTHER), age_restricted=True)) is None
    assert verdict(strict, Location(user_id=MEMBER, direct=True)) is None
    assert verdict(access("*"), in_guild(OTHER)) is None
