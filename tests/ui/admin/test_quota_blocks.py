"""Blocking and unblocking members, roles and channels."""

import json

from tests.store.ledger_model import rows
from tests.ui.admin.quotas import admin, changes, limits, offered, raw, untouched
from tests.ui.stage import Stage, on_stage, text

# --- block and unblock


@on_stage()
async def test_a_blocked_channel_refuses_requests_until_it_is_unblocked(on: Stage) -> None:
    ada = admin(on)
    shown = await ada.slash(on.channel, "quota block", channel=on.channel, reason="raid")
    await on.alice.slash(on.channel, "imagine", prompt="x")
    assert await on.jobs() == 0
    assert "Pictures can't be made in this channel" in text(shown)
    assert "Reason: raid" in text(shown)
    assert "already blocked" in text(await ada.slash(on.channel, "quota block", channel=on.channel))

    (choice,) = (await offered(on, ada, "unblock", "blocked")).values()
    freed = await ada.slash(on.channel, "quota unblock", blocked=choice)

    assert "The block is removed" in text(freed)
    await on.imagine()
    assert "isn't blocked" in text(await ada.slash(on.channel, "quota unblock", channel=on.channel))
    assert await changes(on) == ["block", "unblock"]


@on_stage()
async def test_a_reason_is_stored_as_typed_and_an_invisible_one_is_dropped(on: Stage) -> None:
    ada = admin(on)

    shown = await ada.slash(on.channel, "quota block", channel=on.channel, reason="\u200b\u3164")
    await ada.slash(on.channel, "quota grant", member=on.alice, amount="1", reason=" 👨\u200d👩\u200d👧 *raid*")

    assert "Reason" not in text(shown)
    told = await rows(on.rig.store, "SELECT body FROM changes ORDER BY at, id")
    assert [json.loads(body)["reason"] for (body,) in told] == [None, " 👨\u200d👩\u200d👧 *raid*"]


@on_stage()
async def test_everyone_can_be_blocked_and_the_reply_says_so(on: Stage) -> None:
    ada = admin(on)

    shown = await raw(on, ada, "block", ("role", 8, str(on.guild.id)))
    assert "no longer exists" in text(shown)  # Discord always describes the roles it knows
    shown = await ada.slash(on.channel, "quota block", role=on.guild.default_role)

    assert "**everyone**" in text(shown)
    assert "Nobody in this server" in text(shown)
    await on.alice.slash(on.channel, "imagine", prompt="x")
    assert await on.jobs() == 0


@on_stage()
async def test_blocks_of_deleted_targets_can_be_removed(on: Stage) -> None:
    ada = admin(on)
    carol = on.guild.add_member(on.env.create_user("carol"))
    await ada.slash(on.channel, "quota block", member=carol)
    on.guild.remove_member(carol)

    shown = await ada.slash(on.channel, "quota unblock", blocked=f"user:{carol.id}")

    assert f"<@{carol.id}>" in text(shown)
    assert await limits(on) == []


@on_stage()
async def test_block_and_unblock_need_a_target(on: Stage) -> None:
    ada = admin(on)

    assert "`@everyone`" in text(await ada.slash(on.channel, "quota block"))
    assert "`blocked`" in text(await ada.slash(on.channel, "quota unblock"))
    assert "isn't one of the choices" in text(await ada.slash(on.channel, "quota unblock", blocked="nobody"))
    assert await untouched(on)
