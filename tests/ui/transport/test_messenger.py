"""Sending cards to Discord, and the delivery error for each of its errors."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
import pytest

from bot.core.cards import Card, Reply, ReplyPath
from bot.core.errors import ContentBlocked, DeliverLater, MessageGone, PathClosed, TooLarge
from bot.jobs.delivery import Upload
from bot.ui.client import connect_to
from bot.ui.transport.errors import classify_error, retry_after
from tests.ui.stage import PNG, Stage, gallery, on_stage

NOW = 1_795_176_000_000
REPLY = Reply(
    job_id="01JD3KX9GZ8Q4T7VYB2N5M6P7R",
    application_id=42,
    channel_id=6,
    guild_id=5,
    message_id=7,
    ephemeral=False,
    bot_can_edit=True,
    bot_can_post=True,
    filesize_limit=10 * 1024 * 1024,
    locale="en-US",
    wanted=2,
    delivered=1,
    token="canary-token",
    token_expires_at=NOW + 600_000,
)


def refusal(status: int, code: int, **headers: str) -> discord.HTTPException:
    response: Any = SimpleNamespace(status=status, reason="no", headers=headers)
    kinds = {403: discord.Forbidden, 404: discord.NotFound}
    kind = kinds.get(status, discord.DiscordServerError if status >= 500 else discord.HTTPException)
    return kind(response, {"code": code, "message": "no"})


def classified(
    exc: Exception, *, path: ReplyPath = ReplyPath.TOKEN, attempts: int = 0, files: bool = True
) -> Exception:
    return classify_error(exc, path=path, reply=replace(REPLY, attempts=attempts), now=NOW, files=files)


@pytest.mark.parametrize(
    ("status", "code", "path", "outcome"),
    [
        (401, 50027, ReplyPath.TOKEN, PathClosed),
        (401, 0, ReplyPath.TOKEN, PathClosed),
        (401, 0, ReplyPath.CHANNEL, DeliverLater),  # about the bot's token, not about this reply
        (403, 50001, ReplyPath.CHANNEL, PathClosed),
        (403, 50013, ReplyPath.POST, ContentBlocked),  # perhaps only the permission to attach files is missing
        (403, 160005, ReplyPath.POST, PathClosed),
        (400, 50083, ReplyPath.CHANNEL, PathClosed),
        (404, 10003, ReplyPath.CHANNEL, PathClosed),
        (404, 10008, ReplyPath.TOKEN, MessageGone),
        (404, 10008, ReplyPath.CHANNEL, MessageGone),
        (413, 0, ReplyPath.TOKEN, TooLarge),
        (400, 40005, ReplyPath.CHANNEL, TooLarge),
        (400, 50045, ReplyPath.TOKEN, TooLarge),
        (400, 200000, ReplyPath.CHANNEL, ContentBlocked),
        (400, 240000, ReplyPath.TOKEN, ContentBlocked),
        (400, 20009, ReplyPath.TOKEN, ContentBlocked),
        (400, 400001, ReplyPath.TOKEN, ContentBlocked),
        (429, 0, ReplyPath.CHANNEL, DeliverLater),
        (429, 30046, ReplyPath.CHANNEL, DeliverLater),
        (500, 0, ReplyPath.TOKEN, DeliverLater),
        (503, 0, ReplyPath.CHANNEL, DeliverLater),
    ],
)
def test_each_discord_error_has_its_delivery_error(
    status: int, code: int, path: ReplyPath, outcome: type[Exception]
) -> None:
    assert type(classified(refusal(status, code), path=path)) is outcome


def test_a_valid_token_that_discord_does_not_know_is_tried_three_times() -> None:
    outcomes = [type(classified(refusal(404, 10015), attempts=each)) for each in range(4)]

    assert outcomes[:3] == [DeliverLater] * 3
    assert outcomes[3] is PathClosed


def test_an_expired_token_that_discord_does_not_know_is_not_retried() -> None:
    outcome = classify_error(
        refusal(404, 10015), path=ReplyPath.TOKEN, reply=REPLY, now=REPLY.token_expires_at, files=False
    )

    assert type(outcome) is PathClosed


@pytest.mark.parametrize(
    ("asks", "seconds"), [("1e999", 86_400.0), ("inf", 86_400.0), ("nan", None), ("-1", None), ("soon", None)]
)
def test_an_invalid_retry_after_is_ignored_or_limited_to_a_day(asks: str, seconds: float | None) -> None:
    assert retry_after(refusal(429, 0, **{"Retry-After": asks})) == seconds


def test_a_retry_waits_as_long_as_discord_asks() -> None:
    outcome = classified(refusal(429, 30046, **{"Retry-After": "37.5"}))

    assert isinstance(outcome, DeliverLater)
    assert outcome.retry_after == 37.5
    limited = classified(discord.RateLimited(90.0))
    assert isinstance(limited, DeliverLater)
    assert limited.retry_after == 90.0


@pytest.mark.parametrize("exc", [aiohttp.ClientError(), OSError(), TimeoutError(), RuntimeError("Session is closed")])
def test_a_broken_connection_is_retried(exc: Exception) -> None:
    assert type(classified(exc)) is DeliverLater


@pytest.mark.parametrize(
    ("code", "permanent"), [(50027, True), (10003, True), (50013, False), (50001, False), (50083, False)]
)
def test_only_permanent_errors_close_a_path_for_good(code: int, *, permanent: bool) -> None:
    outcome = classified(refusal(404 if code == 10003 else 403, code), files=False)

    assert isinstance(outcome, PathClosed)
    assert outcome.permanent is permanent


def test_a_card_rejected_as_malformed_is_sent_without_files_then_by_another_path() -> None:
    assert type(classified(refusal(400, 50035), files=True)) is ContentBlocked
    assert type(classified(refusal(400, 50035), files=False)) is PathClosed


def test_a_raised_error_does_not_contain_the_token() -> None:
    outcome = classified(refusal(401, 50027))

    assert "canary" not in str(outcome)
    assert "canary" not in repr(outcome)


# --- sending


@on_stage()
async def test_a_card_is_sent_by_token_and_by_channel_with_new_files(on: Stage) -> None:
    card, reply = await _finished(on)

    for path in (ReplyPath.TOKEN, ReplyPath.CHANNEL):
        sent = await on.messenger.send(card, reply, path=path, uploads=_uploads(card))
        assert sent == reply.message_id

    shown = await on.card(card.job)
    assert [each.rpartition("/")[2] for each in gallery(shown)] == [f"{card.job.id}-1.png"]
    assert on.env.backend.cdn.get(gallery(shown)[0]) == PNG[1]


@on_stage()
async def test_a_new_message_is_not_posted_twice(on: Stage) -> None:
    card, reply = await _finished(on)

    posted = await on.messenger.send(card, reply, path=ReplyPath.POST, uploads=_uploads(card))
    again = await on.messenger.send(card, _attempted(reply), path=ReplyPath.POST, uploads=_uploads(card))

    assert posted != reply.message_id
    assert again == posted
    assert [each.id for each in on.channel.history()] == [posted]  # the outdated one was deleted
    (sent,) = [each for each in on.env.http_requests if each.method == "POST" and each.path.endswith("/messages")]
    assert (sent.json["nonce"], sent.json["enforce_nonce"]) == (reply.job_id[-25:], True)  # Discord prevents duplicates


@on_stage()
async def test_every_card_forbids_mentions(on: Stage) -> None:
    _, job = await on.imagine("@everyone")
    record = await on.finish(job)
    card = await on.rig.services.jobs.card_of(record)
    await on.alice.slash(on.channel, "jobs")
    await on.alice.click((await on.card(job)).message, label="More…")
    for path in (ReplyPath.CHANNEL, ReplyPath.POST):
        await on.messenger.send(card, record.reply, path=path, uploads=_uploads(card))
    await on.messenger.notify(card, record.reply)

    bodies = [each.json.get("data", each.json) for each in on.env.http_requests if isinstance(each.json, dict)]
    shown = [each for each in bodies if "components" in each]
    assert len(shown) == 7
    assert all(each["allowed_mentions"] == {"parse": []} for each in shown)


@on_stage()
async def test_a_deleted_reply_raises_message_gone(on: Stage) -> None:
    card, reply = await _finished(on)
    await on.channel.history()[0].delete()

    with pytest.raises(MessageGone):
        await on.messenger.send(card, reply, path=ReplyPath.TOKEN, uploads=())


@on_stage()
async def test_an_expired_token_closes_its_path(on: Stage) -> None:
    card, reply = await _finished(on)
    on.env.inject_error("PATCH", "/webhooks/*", status=401, code=50027, message="Invalid Webhook Token")

    with pytest.raises(PathClosed):
        await on.messenger.send(card, reply, path=ReplyPath.TOKEN, uploads=())


@on_stage()
async def test_a_blocked_address_stops_every_request(on: Stage) -> None:
    card, reply = await _finished(on)
    on.messenger._note_block(refusal(429, 0, **{"Retry-After": "120"}))
    before = len(on.env.http_requests)

    with pytest.raises(DeliverLater) as caught:
        await on.messenger.send(card, reply, path=ReplyPath.TOKEN, uploads=())
    assert caught.value.retry_after == 120
    assert len(on.env.http_requests) == before

    on.rig.time.go(121)
    assert await on.messenger.send(card, reply, path=ReplyPath.TOKEN, uploads=()) == reply.message_id


@on_stage()
async def test_nothing_is_sent_before_the_client_is_logged_in(on: Stage) -> None:
    card, reply = await _finished(on)
    on.client._connection.user = None

    with pytest.raises(DeliverLater):
        await on.messenger.send(card, reply, path=ReplyPath.TOKEN, uploads=())


# --- look-up


@on_stage()
async def test_a_shown_card_is_found_by_its_token(on: Stage) -> None:
    shown, job = await on.imagine(private=True)

    found = await on.messenger.find((await on.record(job.id)).reply)

    assert found == (shown.response.id, True)


@on_stage()
async def test_an_answer_that_is_not_the_jobs_card_does_not_prove_that_it_is_shown(on: Stage) -> None:
    _, job = await on.imagine()
    reply = (await on.record(job.id)).reply

    assert await on.messenger.find(replace(reply, job_id="01M7Y0XSNXXPA2WVYTX3MESRVG")) is None


@on_stage()
async def test_a_card_that_was_never_shown_is_not_found(on: Stage) -> None:
    on.env.inject_error("POST", "/interactions/*/callback", status=400, code=40060, message="lost")
    _, job = await on.imagine()

    assert await on.messenger.find((await on.record(job.id)).reply) is None


@on_stage()
async def test_a_card_with_an_expired_token_is_not_looked_up(on: Stage) -> None:
    _, job = await on.imagine()
    on.rig.time.go(15 * 60)
    before = len(on.env.http_requests)

    assert await on.messenger.find((await on.record(job.id)).reply) is None
    assert len(on.env.http_requests) == before


@on_stage()
async def test_nothing_is_concluded_about_a_card_while_discord_is_down(on: Stage) -> None:
    _, job = await on.imagine()
    on.env.inject_error("GET", "/webhooks/*", status=503, code=0, times=None)

    with pytest.raises(DeliverLater):
        await on.messenger.find((await on.record(job.id)).reply)


# --- addresses


@pytest.mark.parametrize(
    ("api", "gateway"), [("http://discord.example/api/v10", ""), ("", "ws://gateway.example"), ("ftp://x", "")]
)
def test_another_address_for_discord_needs_tls_unless_it_is_local(api: str, gateway: str) -> None:
    with pytest.raises(ValueError, match="must begin with"):
        connect_to(api, gateway)


def test_a_local_discord_is_used_for_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)
    gateway = discord.gateway.DiscordWebSocket
    monkeypatch.setattr(gateway, "DEFAULT_GATEWAY", gateway.DEFAULT_GATEWAY)

    connect_to("http://127.0.0.1:8080/api/v10/", "ws://127.0.0.1:8080/gateway")

    assert discord.http.Route.BASE == "http://127.0.0.1:8080/api/v10"
    assert str(gateway.DEFAULT_GATEWAY) == "ws://127.0.0.1:8080/gateway"


async def _finished(on: Stage) -> tuple[Card, Reply]:
    _, job = await on.imagine()
    record = await on.finish(job, show=False)
    return await on.rig.services.jobs.card_of(record), record.reply


def _uploads(card: Card) -> Sequence[Upload]:
    return [Upload(each.file, PNG[1]) for each in card.pictures]


def _attempted(reply: Reply) -> Reply:
    return replace(reply, attempts=1)
