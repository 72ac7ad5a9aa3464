"""A job from acceptance to delivery: real store, services, worker and delivery, simulated provider and Discord.

Longer than other files: each test is a few lines, and they follow a job's course in order.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.core.cards import ReplyPath
from bot.core.errors import (
    BadLink,
    DeliverLater,
    DownloadFailed,
    HostNotAllowed,
    MessageGone,
    ModelGone,
    PathClosed,
    ProviderPaused,
    ProviderRefused,
    ProviderRejected,
    ProviderUnavailable,
    RunLost,
    SubmitUnknown,
    TooLarge,
    UserError,
)
from bot.core.jobs import Cancel, Observation, State, Verb
from bot.core.quota import Amount, Limits
from bot.core.request_draft import RequestDraft
from bot.providers.base import CancelOutcome
from bot.store.store import AlreadySeen
from tests.kit import ALICE, BOB, NOON, Rig, Time, rig
from tests.store.ledger_model import rows, seen


@pytest.fixture
async def app(tmp_path: Path, url: str) -> AsyncIterator[Rig]:
    async with rig(tmp_path, url=url) as found:
        yield found


QUEUED, RUNNING = Observation(State.QUEUED, position=3), Observation(State.RUNNING)


async def test_a_picture_is_made_delivered_and_paid_for_once(app: Rig) -> None:
    app.provider.sees = [QUEUED, RUNNING, app.ready()]
    job_id = await app.imagine()

    job = await app.until_final(job_id, step=5)
    await app.turn()

    assert job.state is State.SUCCEEDED
    assert app.messenger.states() == [State.QUEUED, State.QUEUED, State.RUNNING, State.SUCCEEDED]
    card = app.messenger.last
    assert (card.charge.settled, card.charge.released) == (Amount(1, 80_000), None)
    assert len(app.messenger.shown[-1][2]) == 1
    assert len(app.provider.submitted) == 1
    assert app.provider.bodies[0]["num_images"] == 1
    assert app.provider.bodies[0]["limit_generations"] is True


async def test_three_of_four_pictures_cost_three(app: Rig) -> None:
    app.provider.sees = [app.ready(n=3)]
    job_id = await app.imagine(count=4)

    await app.until_final(job_id)
    card = await app.services.jobs.card(job_id)

    assert (card.charge.reserved.images, card.charge.settled) == (4, Amount(3, 240_000))


async def test_more_pictures_than_asked_for_are_neither_kept_nor_charged(app: Rig) -> None:
    app.provider.sees = [app.ready(n=3)]
    job_id = await app.imagine()

    await app.until_final(job_id)
    card = await app.services.jobs.card(job_id)

    assert (len(card.pictures), card.charge.settled) == (1, Amount(1, 80_000))


async def test_nothing_is_submitted_before_the_card_is_known_to_be_shown(app: Rig) -> None:
    job_id = await app.imagine(acked=False)
    await app.turn()
    assert app.provider.submitted == []

    app.found_replies[job_id] = (77, False)
    await app.turn(4)

    assert app.provider.submitted == [job_id]


async def test_a_card_that_discord_never_showed_costs_nothing(app: Rig) -> None:
    job_id = await app.imagine(acked=False)

    await app.turn(4, times=3)

    card = await app.services.jobs.card(job_id)
    assert (card.job.state, card.charge.released) == (State.CANCELLED, Amount(1, 80_000))
    assert app.provider.submitted == []


async def test_the_same_interaction_twice_makes_one_job(app: Rig) -> None:
    context, draft = app.context(), RequestDraft(verb=Verb.IMAGINE, prompt="a lighthouse")
    await app.services.requests.accept(context, draft)

    with pytest.raises(AlreadySeen):
        await app.services.requests.accept(context, draft)

    assert (await seen(app.store, context.place, now=NOON)).user_day == Amount(1, 80_000)


async def test_an_unanswered_submission_is_never_sent_twice_and_costs_the_member_nothing(app: Rig) -> None:
    app.provider.submits = [SubmitUnknown("read timeout")]
    job_id = await app.imagine()

    job = await app.until_final(job_id)

    assert (job.state, job.reason) == (State.FAILED, "unknown")
    assert app.provider.submitted == [job_id]
    used = await seen(app.store, job.place, now=NOON)
    assert (used.user_day, used.host_month.micro_usd) == (Amount(), 80_000)  # the provider may have billed it


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (ProviderRejected("422"), State.FAILED, "rejected"),
        (ModelGone("404"), State.FAILED, "rejected"),  # its catalogue still has the model
        (ProviderRefused("policy"), State.REFUSED, "refused"),
    ],
)
async def test_a_rejection_by_the_provider_ends_the_job_and_refunds_it(
    app: Rig, error: Exception, state: State, reason: str
) -> None:
    app.provider.submits = [error]
    job_id = await app.imagine()

    await app.turn()

    card = await app.services.jobs.card(job_id)
    assert (card.job.state, card.job.reason, card.charge.settled) == (state, reason, None)
    assert card.charge.released == Amount(1, 80_000)


async def test_an_unreachable_provider_is_retried_with_delays_and_the_job_finishes_when_it_is_back(app: Rig) -> None:
    app.provider.submits = [ProviderUnavailable("refused", retry_after=20.0)] * 3
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()

    await app.turn()
    assert len(app.provider.submitted) == 1
    await app.turn(5)
    assert len(app.provider.submitted) == 1, "the host asked for twenty seconds"
    await app.turn(20)
    await app.turn(25)
    await app.turn()
    assert app.messenger.last.outage == "down"
    job = await app.until_final(job_id)

    assert job.state is State.SUCCEEDED
    assert [key for key, _ in app.notifications] == ["operator.down", "operator.recovered"]


async def test_an_empty_balance_pauses_the_provider_notifies_the_operator_once_and_ends_refunded(app: Rig) -> None:
    app.provider.submits = [ProviderPaused("402", kind="balance")] * 100
    first, second = await app.imagine(), await app.imagine(BOB)

    await app.turn(1, times=5)
    assert app.messenger.last.outage == "balance"
    assert len(app.provider.submitted) <= 2
    await app.until_final(first, step=30)
    await app.until_final(second, step=30)

    assert [key for key, _ in app.notifications] == ["operator.balance"]
    card = await app.services.jobs.card(first)
    assert (card.job.reason, card.charge.released) == ("balance", Amount(1, 80_000))


async def test_cancelling_before_the_submit_is_free_and_immediate(tmp_path: Path, url: str) -> None:
    async with rig(tmp_path, url=url, slots=0) as app:
        job_id = await app.imagine()
        await app.turn()

        card = await app.services.jobs.cancel(job_id, user_id=ALICE)

        assert (card.job.state, card.charge.released) == (State.CANCELLED, Amount(1, 80_000))
        assert app.provider.submitted == []


async def test_cancelling_a_queued_run_takes_effect_when_its_status_says_so(app: Rig) -> None:
    app.provider.sees = [QUEUED]
    app.provider.cancellings = [CancelOutcome.CANCELLED]
    job_id = await app.imagine()
    await app.turn()

    await app.services.jobs.cancel(job_id, user_id=ALICE)
    await app.turn()
    assert (await app.job(job_id)).cancel is Cancel.ASKED
    app.provider.sees = [Observation(State.CANCELLED)]
    job = await app.until_final(job_id)

    assert (job.state, job.reason) == (State.CANCELLED, None)
    used = await seen(app.store, job.place, now=NOON)
    assert used.host_month == Amount()


async def test_a_cancel_that_is_too_late_says_so_and_the_picture_is_charged(app: Rig) -> None:
    app.provider.sees = [QUEUED]
    job_id = await app.imagine()
    await app.turn()

    await app.services.jobs.cancel(job_id, user_id=ALICE)
    await app.turn()
    assert (await app.job(job_id)).cancel is Cancel.TOO_LATE
    with pytest.raises(UserError, match=r"cancel\.too_late"):  # no further request to the provider
        await app.services.jobs.cancel(job_id, user_id=ALICE)
    assert (await app.job(job_id)).cancel is Cancel.TOO_LATE
    app.provider.sees = [RUNNING, app.ready()]
    job = await app.until_final(job_id)

    assert job.state is State.SUCCEEDED


async def test_only_the_owner_cancels_a_job(app: Rig) -> None:
    job_id = await app.imagine()

    with pytest.raises(UserError) as caught:
        await app.services.jobs.cancel(job_id, user_id=BOB)

    assert caught.value.key == "cancel.not_yours"


async def test_a_refusal_by_the_providers_filter_has_its_own_state(app: Rig) -> None:
    app.provider.sees = [Observation(State.REFUSED, reason="safety", cost_micro_usd=0)]
    job_id = await app.imagine()

    job = await app.until_final(job_id)

    assert (job.state, job.reason) == (State.REFUSED, "refused")
    used = await seen(app.store, job.place, now=NOON)
    assert (used.user_day, used.host_month) == (Amount(), Amount())


async def test_a_run_that_never_ends_is_given_up_and_its_late_picture_is_free(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()

    job = await app.until_final(job_id, step=30)
    assert (job.state, job.reason) == (State.FAILED, "gave_up")
    app.provider.sees = [app.ready()]
    await app.turn(400)
    await app.turn()

    card = app.messenger.last
    assert (card.job.reason, card.job.images, card.charge.settled) == ("late", 1, None)
    assert len(app.messenger.shown[-1][2]) == 1


async def test_a_run_that_the_provider_has_lost_is_refunded(app: Rig) -> None:
    app.provider.sees = [RunLost("404001")]
    job_id = await app.imagine()

    job = await app.until_final(job_id)

    assert (job.state, job.reason) == (State.FAILED, "run_lost")


async def test_pictures_on_a_host_that_is_not_allowed_wait_for_the_operator(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    url = next(iter(app.files.files))
    data, app.files.files[url] = app.files.files[url], HostNotAllowed("evil.example")
    job_id = await app.imagine()

    await app.turn(5, times=3)
    assert app.messenger.last.blocked_host == "evil.example"
    assert [key for key, _ in app.notifications] == ["operator.result_host"]
    app.files.files[url] = data
    job = await app.until_final(job_id)

    assert job.state is State.SUCCEEDED


async def test_a_bad_link_does_not_delay_the_other_pictures(app: Rig) -> None:
    app.provider.sees = [app.ready(n=2)]
    first = next(iter(app.files.files))
    app.files.files[first] = BadLink("not a link that is followed")
    job_id = await app.imagine(count=2)

    job = await app.until_final(job_id)
    card = await app.services.jobs.card(job_id)

    assert job.state is State.SUCCEEDED
    assert [each.n for each in card.pictures] == [2]
    assert card.charge.settled == Amount(1, 80_000)
    assert app.files.fetched.count(first) == 1


async def test_a_result_that_is_not_available_yet_is_requested_again(app: Rig) -> None:
    ready = app.ready()
    app.provider.sees = [ready, RUNNING, ready]
    (url,) = ready.image_urls
    data, app.files.files[url] = app.files.files[url], DownloadFailed("503", permanent=False)
    job_id = await app.imagine()
    await app.turn()
    await app.turn(10)
    assert (await app.job(job_id)).state is State.COLLECTING
    app.files.files[url] = data

    job = await app.until_final(job_id)

    assert (job.state, job.images) == (State.SUCCEEDED, 1)


async def test_pictures_that_stay_unreachable_are_refunded(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    app.files.files = dict.fromkeys(app.files.files, DownloadFailed("404", permanent=True))
    job_id = await app.imagine()

    job = await app.until_final(job_id)

    assert (job.state, job.reason) == (State.FAILED, "no_pictures")


async def test_a_file_that_is_no_picture_is_neither_kept_nor_charged(app: Rig) -> None:
    app.provider.sees = [app.ready(n=2)]
    first = next(iter(app.files.files))
    app.files.files[first] = b"<html>no</html>"
    job_id = await app.imagine(count=2)

    await app.until_final(job_id)
    card = await app.services.jobs.card(job_id)

    assert [each.n for each in card.pictures] == [2]
    assert card.charge.settled == Amount(1, 80_000)


async def test_reference_pictures_are_checked_before_the_paid_request(app: Rig) -> None:
    job_id = await app.edit()
    job = await app.job(job_id)
    fault = {"key": "references.broken", "file": "a.png"}
    app.reference_checks[:] = [(replace(job.request.references[0], fault=fault),)]

    await app.turn()

    card = await app.services.jobs.card(job_id)
    assert (card.job.state, card.job.reason, card.charge.settled) == (State.FAILED, "bad_input_picture", None)
    assert [each.fault for each in card.job.request.references] == [fault]
    assert [each.fault for each in app.services.drafts.repeat(card.job).references] == [None]
    assert app.provider.submitted == []


async def test_an_unreachable_reference_is_retried_until_the_deadline(
    app: Rig,
) -> None:
    away = DownloadFailed("HTTP 503", permanent=False)
    fine = await app.edit()
    app.reference_checks[:] = [away] * 6
    await app.turn(60, times=9)
    assert app.provider.submitted == [fine]

    slow = await app.edit()
    app.reference_checks[:] = [TimeoutError()] * 3
    await app.turn(2, times=3)
    lost = await app.edit()
    app.reference_checks[:] = [away] * 100
    await app.turn(60, times=16)

    ended = [await app.job(each) for each in (slow, lost)]
    assert [(each.state, each.reason) for each in ended] == [
        (State.FAILED, "bad_input_picture"),
        (State.FAILED, "expired_waiting"),
    ]
    assert app.provider.submitted == [fine]


async def test_an_expiring_link_limits_the_wait(tmp_path: Path, url: str) -> None:
    async with rig(tmp_path, url=url, slots=0) as app:
        job_id = await app.edit(expires_at=NOON + 120_000)

        await app.turn(121)

        job = await app.job(job_id)
        assert (job.state, job.reason) == (State.FAILED, "inputs_expired")


async def test_a_converted_picture_is_sent_by_our_link_and_repeated_from_the_original(app: Rig) -> None:
    job_id = await app.edit(expires_at=NOON + 120_000)
    (original,) = (await app.job(job_id)).request.references
    app.reference_checks[:] = [(replace(original, converted_url="https://ours.example/a.jpg"),)]
    app.provider.submits = [ProviderUnavailable("away")]

    await app.turn()
    await app.turn(121)  # Discord's link has expired

    assert [each["image_urls"] for each in app.provider.bodies] == [["https://ours.example/a.jpg"]] * 2
    assert app.services.drafts.repeat(await app.job(job_id)).references == (original,)


async def test_an_unacknowledged_job_takes_no_place_in_the_queue(tmp_path: Path, url: str) -> None:
    async with rig(tmp_path, url=url, slots=1) as app:
        app.provider.sees = [RUNNING]
        unseen = await app.imagine(BOB, acked=False)
        app.time.go(1)
        assert (await app.services.jobs.card(await app.imagine(ALICE))).queue_position == 1
        await app.turn()
        assert len(app.provider.submitted) == 1
        assert unseen not in app.provider.submitted


async def test_one_busy_member_does_not_starve_the_next(tmp_path: Path, url: str) -> None:
    """Thirty jobs of one member, then one of another, with four slots."""
    unlimited = Limits(user_day_images=None, user_day_micro_usd=None, user_in_flight=None)
    async with rig(tmp_path, url=url, limits=unlimited) as app:
        app.provider.sees = [RUNNING]
        for _ in range(30):
            await app.imagine(ALICE)
        await app.turn()
        assert len(app.provider.submitted) == 4
        theirs = await app.imagine(BOB)
        card = await app.services.jobs.card(theirs)
        assert card.queue_position == 1

        app.provider.sees = [Observation(State.FAILED, cost_micro_usd=0), RUNNING]
        await app.turn(10)

        assert app.provider.submitted[4] == theirs


async def test_a_restart_in_every_state_continues_with_one_submit_and_one_charge(tmp_path: Path, url: str) -> None:
    clock = Time()
    async with rig(tmp_path, url=url, time=clock) as before:
        before.provider.sees = [RUNNING]
        job_id = await before.imagine()
        await before.turn(5, times=2)
        assert (await before.job(job_id)).state is State.RUNNING

    async with rig(tmp_path, url=url, time=clock) as after:
        after.provider.sees = [after.ready()]
        job = await after.until_final(job_id)
        await after.turn()

        assert (job.state, after.provider.submitted) == (State.SUCCEEDED, [])
        assert after.messenger.last.charge.settled == Amount(1, 80_000)


async def test_a_restart_during_a_submit_never_sends_it_again(tmp_path: Path, url: str) -> None:
    clock = Time()
    async with rig(tmp_path, url=url, time=clock) as before:
        job_id = await before.imagine()
        job = await before.job(job_id)
        await before.store.move(job, State.SUBMITTING, now=clock.now, submitted_at=clock.now, due_at=clock.now)

    async with rig(tmp_path, url=url, time=clock) as after:
        job = await after.until_final(job_id)

        assert (job.state, job.reason, after.provider.submitted) == (State.FAILED, "unknown", [])


async def test_old_replies_are_edited_through_the_channel(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    await app.imagine()
    await app.turn(5)
    app.provider.sees = [app.ready()]

    await app.turn(16 * 60)
    await app.turn()

    assert app.messenger.shown[-1][0] is ReplyPath.CHANNEL


async def test_a_reply_that_only_its_token_can_reach_says_so_before_the_token_expires(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    job_id = await app.imagine(bot_can_edit=False, bot_can_post=False)
    await app.turn(5)
    await app.turn(13 * 60)
    assert app.messenger.last.final_edit

    app.provider.sees = [app.ready()]
    await app.turn(5 * 60)
    await app.turn()
    assert app.messenger.states()[-1] is State.RUNNING
    assert [card.job.id for card in (await app.services.jobs.open_jobs(ALICE))[0]] == [job_id]

    await app.services.jobs.button_clicked(job_id, "fresh", received_at=app.time.now, message_id=NOON % 10**9)
    await app.turn()
    assert app.messenger.states()[-1] is State.SUCCEEDED
    assert await app.services.jobs.open_jobs(ALICE) == ([], 0)


async def test_a_job_whose_reply_was_deleted_is_settled_and_waits_in_jobs(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    app.messenger.errors = [MessageGone()]

    job = await app.until_final(job_id)
    await app.turn(5)

    assert job.state is State.SUCCEEDED
    assert [card.job.id for card in (await app.services.jobs.open_jobs(ALICE))[0]] == [job_id]


async def test_an_active_job_cannot_be_deleted(app: Rig) -> None:
    app.provider.sees = [RUNNING]
    job_id = await app.imagine()
    await app.turn()
    before = await app.job(job_id)

    with pytest.raises(UserError, match=r"job\.running"):
        await app.services.jobs.delete(job_id, user_id=ALICE)

    assert await app.job(job_id) == before


async def test_pressing_check_now_does_not_shorten_the_wait_of_an_unsubmitted_job(app: Rig) -> None:
    job = await app.job(await app.imagine())
    waiting = await app.store.update(job, now=app.time.now, due_at=app.time.now + 60_000)

    await app.services.jobs.poll_now(job.id)

    assert await app.job(job.id) == waiting


async def test_a_link_that_expires_within_a_minute_is_refused(app: Rig) -> None:
    with pytest.raises(UserError, match=r"references\.expired"):
        await app.edit(expires_at=app.time.now + 60_000)
    assert await app.edit(expires_at=app.time.now + 60_001)


async def test_nothing_is_sent_to_a_reply_deleted_while_its_delivery_was_due(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    gone, deleted = await app.imagine(), await app.imagine()
    for each in (gone, deleted):
        await app.until_final(each)
    shown = len(app.messenger.shown)
    await app.store.request_redraw([gone, deleted], now=app.time.now)
    await app.store.mark_reply_gone(gone)
    await app.services.jobs.delete(deleted, user_id=ALICE)

    for each in (gone, deleted):
        await app.delivery.deliver(each)  # as for a delivery that was due before

    assert len(app.messenger.shown) == shown
    assert app.messenger.deleted == [deleted]
    assert [row["attempts"] for row in await rows(app.store, "SELECT attempts FROM replies")] == [0, 0]


async def test_the_message_of_a_deleted_job_is_deleted_after_an_outage_of_discord_and_a_restart(tmp_path: Path) -> None:
    time = Time()
    async with rig(tmp_path, time=time) as before:
        before.provider.sees = [before.ready()]
        job_id = await before.imagine()
        await before.until_final(job_id)
        before.messenger.errors = [DeliverLater("503")]
        await before.services.jobs.delete(job_id, user_id=ALICE)
        await before.turn()
        assert before.messenger.deleted == []

    async with rig(tmp_path, time=time) as after:
        await after.turn(60)
        await after.turn(60)

        assert after.messenger.deleted == [job_id]


async def test_an_outage_of_discord_at_the_end_of_a_job_only_delays_its_card(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine()
    app.messenger.errors = [DeliverLater("503")] * 4

    await app.until_final(job_id)
    await app.turn(60, times=8)

    assert app.messenger.states() == [State.SUCCEEDED]


async def test_an_expired_token_leads_to_the_next_path(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    app.messenger.errors = [PathClosed("50027", permanent=True)]
    job_id = await app.imagine()

    await app.until_final(job_id)
    await app.turn(5)

    assert app.messenger.shown[-1][0] is ReplyPath.CHANNEL


async def test_files_that_discord_rejects_as_too_large_are_shrunk(app: Rig) -> None:
    app.provider.sees = [app.ready()]
    job_id = await app.imagine(filesize_limit=66_000)
    app.messenger.errors = [TooLarge()]

    await app.until_final(job_id)
    await app.turn(5)

    sizes = [len(upload.data) for upload in app.messenger.shown[-1][2]]
    assert sizes == [len(picture_bytes(app, job_id))]


def picture_bytes(app: Rig, job_id: str) -> bytes:
    return (app.folder / f"{job_id}-1.png").read_bytes()


async def test_a_refusal_over_the_limit_says_what_is_left_and_writes_nothing(app: Rig) -> None:
    app.provider.sees = [app.ready(n=4)]
    for _ in range(2):
        await app.until_final(await app.imagine(count=4))

    with pytest.raises(UserError) as caught:
        await app.imagine(count=3)

    assert caught.value.key == "quota.user_day_images"
    assert (caught.value.values["left"], caught.value.values["limit"]) == (2, 10)
