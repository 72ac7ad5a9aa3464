"""`/status`: image services, speed, queue and limits for admins, and money for the application's owners."""

from dataclasses import replace

from bot.core.jobs import Place, State
from bot.core.quota import Holder, Limits, Rule, Unit
from bot.core.windows import Window
from bot.jobs.poll_timing import PolledRun
from bot.store.quotas import By
from tests.ui.admin.quotas import admin
from tests.ui.stage import Stage, on_stage, spend, text


async def learn(on: Stage, model: str, seconds: list[int], **kind: str | int) -> None:
    """Let the bot see runs of *model* that take so many seconds, polled all the time."""
    timing, job = on.rig.services.poll_timing, (await on.imagine(model=model))[1]
    run = timing.run_of(job, calls_back=False)
    run = replace(run, key=replace(run.key, **kind))  # type: ignore[arg-type]
    for n, duration in enumerate(seconds):
        await one(on, replace(run, job_id=f"{model}-{n}", submitted_at=on.rig.time.now), duration)


async def one(on: Stage, run: PolledRun, seconds: int) -> None:
    await on.go(seconds - 0.1)
    run.seen_at = on.rig.time.now
    await on.go(0.1)
    on.rig.services.poll_timing.finished(run, called_back=False)


@on_stage(host="runcomfy", beside="runflow")
async def test_a_service_with_an_outage_is_shown_with_its_reason_and_beginning(on: Stage) -> None:
    ada, availability = admin(on), on.rig.services.availability
    since = on.rig.time.now // 1000
    await availability.report_outage("runflow", "balance")
    await on.go(90)

    shown = await ada.slash(on.channel, "status")

    assert shown.ephemeral
    assert "✅ RunComfy: working\n" in text(shown)
    assert f"🔧 Runflow: out of credit since <t:{since}:f>\n" in text(shown)
    for kind, reason in (("down", "unavailable since"), ("credentials", "rejecting this bot's key since")):
        await availability.report_outage("runflow", kind)
        assert f"🔧 Runflow: {reason} <t:" in text(await ada.slash(on.channel, "status"))
    await availability.report_recovery("runflow")
    assert "✅ Runflow: working\n" in text(await ada.slash(on.channel, "status"))


@on_stage(limits=Limits(*[None] * 11))
async def test_the_time_of_a_model_is_what_was_learnt_over_all_its_sizes(on: Stage) -> None:
    ada = admin(on)
    await learn(on, "nano-banana-2", [20] * 9)
    assert "- Nano Banana 2: not known until more pictures are made\n" in text(await ada.slash(on.channel, "status"))

    await learn(on, "nano-banana-2", [20] * 11)
    await learn(on, "nano-banana-2", [100] * 4, resolution="4K")

    told = text(await ada.slash(on.channel, "status")).splitlines()
    (line,) = [each for each in told if each.startswith("- Nano Banana 2: half are done within ")]
    half, most = [int(each) for each in line.replace("%", " ").split() if each.isdecimal() and each != "95"]
    assert 18 <= half <= 23
    assert 70 <= most <= 140
    assert any(each.startswith("- Nano Banana Pro: not known") for each in told)


@on_stage()
async def test_the_queue_is_that_of_this_server_and_that_of_the_whole_bot(on: Stage) -> None:
    ada, elsewhere = admin(on), Place(on.bob.id, 1, on.guild.id + 1)
    await on.imagine()
    _, job = await on.imagine(by=on.bob)
    await on.rig.store.move(job, State.SUBMITTING, now=on.rig.time.now)
    for _ in range(3):
        await on.rig.imagine(place=elsewhere)

    told = text(await ada.slash(on.channel, "status"))

    assert "This server: 1 in the queue · 1 running\n" in told
    assert "The whole bot: 4 in the queue · 1 running\n" in told


@on_stage()
async def test_the_limits_are_those_of_this_server_only(on: Stage) -> None:
    ada, quotas = admin(on), on.rig.services.quotas
    by = By("1", on.guild.id, ada.id, on.rig.time.now)
    await quotas.set_rule(by, Rule(Holder.CHANNEL, on.channel.id, Unit.IMAGES, Window.MONTH, 40))
    await quotas.set_rule(replace(by, id="2"), Rule(Holder.CAP, 0, Unit.IMAGES, Window.MONTH, 900))
    await spend(on.rig, Place(on.bob.id, on.channel.id, on.guild.id), pictures=2)
    await spend(on.rig, Place(on.bob.id, 1, on.guild.id + 1), pictures=4)

    told = text(await ada.slash(on.channel, "status")).splitlines()

    spending = told[told.index("**This server · spending this month**") + 1]
    assert "$0.16 of $20.00 · $19.84 left · resets <t:" in spending
    assert "2 of 900 · 898 left" in told[told.index("**This server (set by the operator) · pictures this month**") + 1]
    assert not any(each.startswith(("**You", "**This channel", "**The whole bot")) for each in told)


@on_stage(host="runcomfy", beside="runflow", limits=Limits(host_month_micro_usd=160_000))
async def test_balances_and_the_bots_cap_are_for_the_owners_of_the_application(on: Stage) -> None:
    ada = admin(on)
    on.balances["runcomfy"] = 12_340_000
    await on.rig.imagine(place=Place(on.bob.id, 1, on.guild.id + 1), count=2)  # the cap is used up

    told = text(await ada.slash(on.channel, "status"))
    assert not any(each in told for each in ("12.34", "Balance", "The whole bot ·", "0.16"))

    on.client.access.set_owners([ada.id])
    told = text(await ada.slash(on.channel, "status"))
    assert "Balance at RunComfy: $12.34\nBalance at Runflow: unknown\n**The whole bot · spending this month**\n" in told
    assert "$0.00 left" in told
