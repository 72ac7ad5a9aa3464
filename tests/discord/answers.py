"""Handlers for answers to interactions and for messages sent with their tokens, under Discord's rules."""

from tests.discord import payloads
from tests.discord.calls import Call, note_mentions
from tests.discord.interactions import COMMAND, FOLLOWUPS_USER_INSTALL, FORM, Interaction, Modal
from tests.discord.messages import Message, Shown, blank, compose
from tests.discord.rules import EPHEMERAL, LOADING, Json, Refused, check_modal, invalid, walk
from tests.discord.world import World

REPLY, DEFER, DEFER_UPDATE, UPDATE, CHOICES, FORM_ANSWER = 4, 5, 6, 7, 8, 9
CHAT_REPLY, MENU_REPLY, PLAIN_REPLY = 20, 23, 19


def callback(world: World, call: Call) -> Json | None:
    """The first answer to an interaction: exactly one is accepted, within three seconds."""
    interaction = world.interactions.get(int(call.params["id"]))
    if interaction is None or interaction.token != call.params["token"]:
        raise Refused(404, 10062, "Unknown interaction")
    interaction.require_unanswered()
    kind, data = int(call.json["type"]), call.json.get("data") or {}
    _answer(world, interaction, kind=kind, data=data, call=call)
    return _callback_response(interaction, kind) if call.flag("with_response") else None


def _answer(world: World, interaction: Interaction, *, kind: int, data: Json, call: Call) -> None:
    private = bool(int(data.get("flags") or 0) & EPHEMERAL) or interaction.forced_ephemeral
    match kind:
        case 4:
            _new_reply(world, interaction, data, call, ephemeral=private)
        case 5:
            shown = blank(world, flags=LOADING | (EPHEMERAL if private else 0))
            interaction.reply(_message(world, interaction, shown=shown))
            _add_to_world(interaction)
        case 6 | 7 if interaction.source is not None and interaction.kind != COMMAND:
            interaction.reply(interaction.source)
            private = interaction.source.ephemeral
            if kind == UPDATE:
                _edit(world, interaction, interaction.source, body=data, call=call, keep_unlisted=False)
        case 8:
            interaction.answer(CHOICES, choices=data.get("choices") or [])
            return
        case 9 if interaction.kind != FORM:
            interaction.answer(FORM_ANSWER, modal=_modal(interaction, data))
            return
        case _:
            raise invalid("type", f"This interaction cannot be answered by type {kind}")
    interaction.answer(kind, ephemeral=private)


def _modal(interaction: Interaction, data: Json) -> Modal:
    check_modal(data)
    components: list[Json] = data["components"]
    for n, (_, each) in enumerate(walk(components), start=1):
        each["id"] = each.get("id") or n
    return Modal(interaction, data["title"], data["custom_id"], components)


def _callback_response(interaction: Interaction, kind: int) -> Json:
    summary: Json = {"id": str(interaction.id), "type": interaction.kind}
    resource: Json = {"type": kind}
    message = interaction.message
    if message is not None:
        summary |= {
            "response_message_id": str(message.id),
            "response_message_loading": kind == DEFER,
            "response_message_ephemeral": message.ephemeral,
        }
        resource["message"] = payloads.message(message, complete=True)
    return {"interaction": summary, "resource": resource}


def _new_reply(world: World, interaction: Interaction, data: Json, call: Call, *, ephemeral: bool) -> None:
    note_mentions(world, call, data)
    shown = compose(
        world, interaction.channel.id, body=data, files=call.files, limit=interaction.size_limit, ephemeral=ephemeral
    )
    interaction.reply(_message(world, interaction, shown=shown))
    _add_to_world(interaction)


def _message(world: World, interaction: Interaction, *, shown: Shown) -> Message:
    kind = PLAIN_REPLY if interaction.kind != COMMAND else CHAT_REPLY if interaction.data["type"] == 1 else MENU_REPLY
    return Message(
        message_id=world.ids.next(),
        channel=interaction.channel,
        author=world.bot,
        shown=shown,
        kind=kind,
        interaction=interaction,
    )


def _add_to_world(interaction: Interaction) -> None:
    assert interaction.message is not None
    interaction.world.add_message(interaction.message)


def _edit(
    world: World, interaction: Interaction, message: Message, *, body: Json, call: Call, keep_unlisted: bool
) -> None:
    note_mentions(world, call, body)
    shown = compose(
        world,
        message.channel.id,
        body=body,
        files=call.files,
        limit=interaction.size_limit,
        before=message.now,
        keep_unlisted=keep_unlisted,
    )
    message.become(shown)


def _by_token(world: World, call: Call) -> Interaction:
    interaction = world.by_token.get(call.params["token"])
    if interaction is None or call.params["app"] != str(world.application.id):
        raise Refused(404, 10015, "Unknown Webhook")
    interaction.require_token()
    return interaction


def get_by_token(world: World, call: Call) -> Json:
    return payloads.message(_by_token(world, call).owned(call.params["message"]), complete=True)


def edit_by_token(world: World, call: Call) -> Json:
    interaction = _by_token(world, call)
    message = interaction.owned(call.params["message"])
    if not message.ephemeral:
        message.channel.require_editable()
        message.channel.require_files(call.files)
    _edit(world, interaction, message, body=call.json, call=call, keep_unlisted=True)
    return payloads.message(message, complete=True)


def delete_by_token(world: World, call: Call) -> None:
    _by_token(world, call).owned(call.params["message"]).vanish()


def follow_up(world: World, call: Call) -> Json:
    """A follow-up message. The first one after a deferral replaces its placeholder, as at Discord."""
    interaction = _by_token(world, call)
    if interaction.message is not None and interaction.message.now.thinking and not interaction.message.deleted:
        _edit(world, interaction, interaction.message, body=call.json, call=call, keep_unlisted=True)
        return payloads.message(interaction.message, complete=True)
    if interaction.only_user_install and len(interaction.followups) >= FOLLOWUPS_USER_INSTALL:
        raise Refused(400, 40094, "Maximum number of follow-up messages reached")
    note_mentions(world, call, call.json)
    private = bool(int(call.json.get("flags") or 0) & EPHEMERAL) or interaction.forced_ephemeral
    if not private:
        interaction.channel.require_files(call.files)
    shown = compose(
        world, interaction.channel.id, body=call.json, files=call.files, limit=interaction.size_limit, ephemeral=private
    )
    message = _message(world, interaction, shown=shown)
    interaction.follow_up(message)
    world.add_message(message)
    return payloads.message(message, complete=True)
