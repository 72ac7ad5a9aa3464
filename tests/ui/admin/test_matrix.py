"""Every command, completion and button of admins, used by every kind of member in every place.

A new one without a permission check fails here. Discord hides the commands from most members; these tests send them
anyway, as a server can that shows the commands to everybody.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from discord import AppCommandType, app_commands

from bot.core.quota import Block, Grant, Holder, Rule, Unit
from bot.core.styles import Style
from bot.core.windows import Window
from bot.store.quotas import By
from bot.ui.cards.reports import HistoryQuery
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.messages import Message
from tests.discord.rules import walk
from tests.discord.world import ADMINISTRATOR, MANAGE_GUILD, MANAGE_MESSAGES, Channel, Guild
from tests.store.ledger_model import rows
from tests.ui.cards.drawing import TEXTS
from tests.ui.transport.test_sockets import SOON, Scene, connected

MENUS = frozenset({"Edit this", "Add to tray", "Edit avatar"})
COMMANDS = frozenset(
    {"imagine", "edit", "tray", "history", "favorites", "show", "preferences", "privacy", "jobs", "usage", "help"}
)
MENUS_OF_MODERATORS = frozenset({"Take down"})
OF_MEMBERS = MENUS | COMMANDS
MIXED = {"style": frozenset({"style list"})}  # groups that everybody sees, with the commands that are for members
TABLES = ("limits", "changes", "houses", "grants", "ledger", "totals", "strikes")
ROLES: Mapping[str, int] = {
    "member": 0,
    "moderator": MANAGE_MESSAGES,
    "manager": MANAGE_GUILD,
    "administrator": ADMINISTRATOR,
    "owner": 0,
}
MAY = {
    "manage_guild": frozenset({"manager", "administrator", "owner"}),
    "manage_messages": frozenset({"moderator", "administrator", "owner"}),
}
DENIED = {"manage_guild": "admin.permission", "manage_messages": "moderation.permission"}
HERE, ELSEWHERE, DIRECT = "a server with the bot", "a server where only the user has it", "a direct message"
CASES = [(role, HERE) for role in ROLES] + [(role, ELSEWHERE) for role in ROLES] + [("member", DIRECT)]
PRESSED: Mapping[str, str] = {  # each button that admins have, by its action; a new one has to be added here
    "history": HistoryQuery(start=(2**40, 1)).custom_id,
    "panel": "q1:panel:gallery",
}
FORMS: Mapping[str, str] = {"style": "a1:style:House"}  # each form that admins have, by its action
EN = TEXTS.for_locale("en")
WHY = frozenset(EN.say(f"error.{each}") for each in ("admin.server", *DENIED.values()))
ONLY_ADMINS = "moderate words"  # in a group of moderators


@dataclass
class Case:
    """A member in a place."""

    on: Scene
    who: Member
    channel: Channel
    role: str
    place: str

    def allowed(self, needs: str = "manage_guild") -> bool:
        return self.place == HERE and self.role in MAY[needs]

    def reason(self, needs: str) -> str:
        return EN.say(f"error.{DENIED[needs]}" if self.place == HERE else "error.admin.server")

    async def written(self) -> Any:
        return [await rows(self.on.rig.store, f"SELECT * FROM {each}") for each in TABLES]  # noqa: S608 - see above

    async def check(self, done: Interaction, needs: str = "manage_guild") -> None:
        """Assert that *done* was answered privately, and refused with the reason exactly if it should be."""
        ack = await done.acked(within=SOON)
        if ack.modal is not None:
            assert self.allowed(needs), done
            return
        said = _text(
            ack.message if ack.type != 5 else await done.until(lambda each: not each.now.thinking, within=SOON)
        )
        assert ack.ephemeral or (ack.message is not None and ack.message.ephemeral), done
        allowed = self.allowed(needs)
        assert (self.reason(needs) in said) is not allowed, (done, said)
        assert not allowed or not any(each in said for each in WHY), (done, said)


def case_of(on: Scene, role: str, place: str) -> Case:
    """Everybody has installed the application too, where Discord allows it."""
    if place == DIRECT:
        who = on.discord.add_member("alice", installed=True)
        return Case(on, who, who.dm(), role, place)
    guild: Guild = on.discord.add_guild("Studio", bot_in=place == HERE, owner_id=4711)
    channel = guild.add_channel("pictures")
    who = on.discord.add_member("alice", guild, permissions=ROLES[role], installed=True)
    if role == "owner":
        guild.owner_id = who.id
    return Case(on, who, channel, role, place)


async def furnish(case: Case) -> None:
    """Create something for every completion to suggest, and for the history to show."""
    server, now = case.channel.guild.id if case.channel.guild else 0, case.on.rig.time.now
    quotas, user = case.on.rig.services.quotas, case.who.id

    def by(name: str) -> By:
        return By(f"{name} of {server}", server, 0, now)

    await quotas.set_rule(by("rule"), Rule(Holder.GUILD, 0, Unit.IMAGES, Window.DAY, 50))
    await quotas.block(by("block"), Block(Holder.USER, 77))
    await quotas.grant(by("grant"), user, Grant(0, Unit.IMAGES, 5))
    await quotas.change_server_settings(
        by("house"),
        lambda server_settings: server_settings.model_copy(
            update={
                "models": ("gone",),
                "denied": (9,),
                "styles": {"House": Style(after="in brick")},
                "words": ("gore",),
            }
        ),
        body={"setting": "other"},
    )


# --- commands and buttons


def leaves(tree: app_commands.CommandTree[Any]) -> Iterator[app_commands.Command[Any, ..., Any]]:
    """Every command that Discord shows to admins or moderators only."""
    for top in tree.get_commands():
        if isinstance(top, app_commands.Group) and top.name in MIXED:
            yield from (
                each
                for each in top.walk_commands()
                if isinstance(each, app_commands.Command) and each.qualified_name not in MIXED[top.name]
            )
        elif isinstance(top, app_commands.Group) and guarded(top):
            yield from (each for each in top.walk_commands() if isinstance(each, app_commands.Command))
        elif isinstance(top, app_commands.Command) and guarded(top):
            yield top


def needed(command: app_commands.Command[Any, ..., Any]) -> str:
    """The permission that a command of admins or moderators needs."""
    top = command.root_parent or command
    messages = top.default_permissions is not None and top.default_permissions.manage_messages
    return "manage_messages" if messages and not command.qualified_name.startswith(ONLY_ADMINS) else "manage_guild"


def guarded(top: app_commands.Group | app_commands.Command[Any, ..., Any] | app_commands.ContextMenu) -> bool:
    """Whether Discord shows a group or command only to admins or moderators, and only in servers with the bot."""
    asks = top.default_permissions
    contexts, installs = top.allowed_contexts, top.allowed_installs
    return (
        asks is not None
        and (asks.manage_guild or asks.manage_messages)
        and bool(top.guild_only)
        and contexts is not None
        and (contexts.guild, contexts.dm_channel, contexts.private_channel) == (True, False, False)
        and installs is not None
        and (installs.guild, installs.user) == (True, False)
    )


def unguarded(tree: app_commands.CommandTree[Any]) -> set[str]:
    """The commands that are neither for members nor for admins."""
    return {
        each.name
        for kind in AppCommandType
        for each in tree.get_commands(type=kind)
        if each.name not in OF_MEMBERS | MIXED.keys() and not guarded(each)
    }


def given(case: Case, command: app_commands.Command[Any, ..., Any], *, but: str = "") -> dict[str, Any]:
    """A value for every option that a command requires or that its completions read."""
    values: dict[str, Any] = {
        "amount": "7",
        "unit": "images",
        "channel": case.channel,
        "member": case.who,
        "model": "nano-banana-pro",
        "timezone": "Asia/Tokyo",
        "style": "House",
        "result": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "word": "blood",
        "listed_word": "gore",
        "choice": "withhold",
    }
    needed = [each.name for each in command.parameters if each.required and each.name != but]
    return {each: values[each] for each in needed}  # an option that is not here has to be added


def completed(command: app_commands.Command[Any, ..., Any]) -> list[str]:
    return [each.name for each in command.parameters if each.autocomplete]


# --- trials


async def try_commands(case: Case, commands: Sequence[app_commands.Command[Any, ..., Any]]) -> None:
    for each in commands:
        done = await case.who.slash(case.channel, each.qualified_name, force=True, **given(case, each))
        await case.check(done, needed(each))


async def try_completions(case: Case, commands: Sequence[app_commands.Command[Any, ..., Any]]) -> None:
    for each in commands:
        for option in completed(each):
            others = given(case, each, but=option)
            typing = await case.who.complete(
                case.channel, each.qualified_name, option=option, typed="", force=True, **others
            )
            ack = await typing.acked(within=SOON)
            allowed = case.allowed(needed(each))
            assert (ack.type, bool(ack.choices)) == (8, allowed), (each.qualified_name, option, ack.choices)


async def try_buttons(case: Case) -> None:
    actions = case.on.client.interface.router._admin._buttons
    assert set(actions) == set(PRESSED)
    message = case.channel.post(case.on.discord.bot)
    for custom_id in PRESSED.values():
        pressed = await case.who.click(message, custom_id, force=True)
        if case.allowed():
            assert (await pressed.acked(within=SOON)).type == 7
        else:
            await case.check(pressed)


async def try_forms(case: Case) -> None:
    forms = case.on.client.interface.router._admin._forms
    assert set(forms) == set(FORMS)
    message = case.channel.post(case.on.discord.bot)
    for custom_id in FORMS.values():  # without its fields: refused for another reason where it is allowed
        await case.check(await case.who.click(message, custom_id, force=True))


@pytest.mark.parametrize(("role", "place"), CASES)
async def test_only_managers_of_a_server_may_use_admin_commands_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, place: str
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",), user_install=True, mentions=True) as on:
        await on.discord.ready("quota", "settings", "style")
        case, commands = case_of(on, role, place), list(leaves(on.client.tree))
        await furnish(case)

        assert len(commands) >= 20
        assert sum(len(completed(each)) for each in commands) >= 10
        before = await case.written()
        await try_completions(case, commands)
        await try_buttons(case)
        await try_forms(case)
        assert await case.written() == before  # a completion changes nothing
        await try_commands(case, commands)
        may_write = case.allowed() or case.allowed("manage_messages")
        assert (await case.written() == before) is not may_write

        assert on.discord.violations == []


@pytest.mark.parametrize(("role", "place"), CASES)
async def test_only_moderators_of_a_server_may_use_its_menu_and_buttons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, place: str
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",), user_install=True) as on:
        await on.discord.ready("moderate")
        case = case_of(on, role, place)
        message = case.channel.post(on.discord.bot)
        for action in ("takedown", "dismiss"):
            await case.check(
                await case.who.click(message, f"m1:01ARZ3NDEKTSV4RRFFQ69G5FAV:{action}", force=True), "manage_messages"
            )
        for name in MENUS_OF_MODERATORS:
            await case.check(await case.who.menu(case.channel, name, message, force=True), "manage_messages")
        assert on.discord.violations == []


async def test_discord_hides_the_commands_from_members_and_outside_of_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch, guilds=("*",), user_install=True) as on:
        await on.discord.ready("quota", "settings", "style")
        for role, place in (("moderator", HERE), ("owner", ELSEWHERE), ("member", DIRECT)):
            case = case_of(on, role, place)
            for name in ("quota top", "settings show"):
                with pytest.raises(PermissionError):
                    await case.who.slash(case.channel, name)


async def test_every_command_is_for_members_or_for_admins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(tmp_path, monkeypatch) as on:
        assert unguarded(on.client.tree) == set()


async def test_a_new_command_without_a_permission_check_is_detected_inside_and_outside_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that the tests above detect a missing check."""

    async def rogue(interaction: Any) -> None:
        await interaction.response.send_message("done", ephemeral=True)

    async with connected(tmp_path, monkeypatch, guilds=("*",)) as on:
        tree = on.client.tree
        tree.add_command(app_commands.Command(name="purge", description="-", callback=rogue))
        settings = tree.get_command("settings")
        assert isinstance(settings, app_commands.Group)
        settings.add_command(app_commands.Command(name="purge", description="-", callback=rogue))
        await on.client.sync(force=True)
        await on.discord.ready("purge")
        case = case_of(on, "member", HERE)

        assert unguarded(tree) == {"purge"}
        with pytest.raises(AssertionError):
            await try_commands(case, list(leaves(tree)))


def _text(message: Message | None) -> str:
    assert message is not None
    return "\n".join(each["content"] for _, each in walk(message.now.components) if each.get("type") == 10)
