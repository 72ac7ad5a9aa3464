"""Shared by tests of moderation: moderators, a log channel, and what was written."""

import json
from typing import Any

import discord
from simcord.results import ResponseMessage

from bot.store.quotas import By
from tests.store.ledger_model import rows
from tests.ui.stage import Stage

PERMISSIONS = discord.Permissions(
    manage_messages=True, view_channel=True, send_messages=True, use_application_commands=True, attach_files=True
)


def moderator(on: Stage, name: str = "mona", *, permissions: discord.Permissions = PERMISSIONS) -> Any:
    role = on.guild.create_role(f"{name}'s", permissions=permissions)
    return on.guild.add_member(on.env.create_user(name), roles=[role])


async def log_channel(on: Stage) -> Any:
    """A channel that takes the reports of the server."""
    channel = on.guild.create_text_channel("mods")
    await on.rig.services.quotas.change_server_settings(
        By("log", on.guild.id, 1, on.rig.time.now),
        lambda now: now.model_copy(update={"log": channel.id}),
        body={"setting": "log", "channel": channel.id},
    )
    return channel


def posted(on: Stage, channel: Any, *, viewer: Any = None) -> list[Any]:
    """The messages of a channel, oldest first."""
    found = channel.history(viewer=viewer or on.guild.owner)
    return [ResponseMessage(on.env, on.env.backend.get_message(channel.id, each.id)) for each in found]


async def result(on: Stage, *, by: Any = None, pictures: int = 1, **options: Any) -> tuple[Any, str]:
    """A finished result's message and its job id."""
    _, job = await on.imagine("a red fox", by=by, **options)
    await on.finish(job, pictures=pictures)
    return await on.card(job), job.id


async def history(on: Stage) -> list[tuple[str, int, int, dict[str, Any]]]:
    """What moderators did: action, actor, member and details."""
    found = await rows(on.rig.store, "SELECT action, actor, subject, body FROM changes WHERE id <> 'log' ORDER BY n")
    return [(each["action"], each["actor"], each["subject"], json.loads(each["body"])) for each in found]


async def strikes(on: Stage) -> list[tuple[int, str, int]]:
    """Members with strikes: who, why, and for how many days."""
    found = await rows(on.rig.store, "SELECT user_id, reason, at, expires_at FROM strikes ORDER BY at")
    return [(each["user_id"], each["reason"], round((each["expires_at"] - each["at"]) / 86_400_000)) for each in found]
