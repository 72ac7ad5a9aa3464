"""Removes one guard at a time from a copy of the checkout and names the test that fails: `make mutants`.

A guard that can be removed without a failing test is an error, and so is a test that fails without any change.

Longer than other files: it is a list.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "dist", "demo-pictures")
TIMEOUT = 600  # seconds for the tests of one mutant
TESTS_FAILED = 1  # pytest's exit code


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A guard, and the change that removes it: *text*, which stands in *file* exactly once, becomes *instead*."""

    guard: str
    file: str
    text: str
    instead: str
    tests: str  # arguments of pytest: the narrowest that should fail


MUTANTS = (
    # --- no picture is paid for twice
    Mutant(
        guard="a transaction of a lost primary is not mistaken for one of its successor's",
        file="bot/store/postgres.py",
        text=" WHERE {TIMELINE} = $1",
        instead=" WHERE $1::text IS NOT NULL",
        tests="tests/store/test_failover.py -m prove",
    ),
    Mutant(
        guard="a worker whose clock jumps takes no jobs of the living",
        file="bot/jobs/leases.py",
        text="LONGEST_GAP = LEASE // 2",
        instead="LONGEST_GAP = LEASE * 1000",
        tests="tests/jobs/test_several_processes.py -k jumps",
    ),
    Mutant(
        guard="the intent is on disk before the paid request is sent",
        file="bot/jobs/steps/submit.py",
        text="await at.store.begin_submit(job, slots=slots, now=now, due_at=now + PAID_REQUEST)",
        instead="job",
        tests="tests/jobs/test_races.py",
    ),
    Mutant(
        guard="a submit whose answer was lost is searched for, not repeated",
        file="bot/jobs/steps/submit.py",
        text="""job_id=job.id)
            return await self._runs.mark_unknown(job)""",
        instead="""job_id=job.id)
            return await self._not_accepted(job)""",
        tests="tests/jobs/test_lost_submits.py",
    ),
    Mutant(
        guard="a submit that a restart interrupted is not repeated",
        file="bot/core/jobs.py",
        text="return Step.RECOVER",
        instead="return Step.SUBMIT",
        tests="tests/jobs/test_lifecycle.py -k restart",
    ),
    Mutant(
        guard="a run is held until it is on disk",
        file="bot/jobs/steps/submit.py",
        text="if (run_id := self._runs.held(job.id)) is not None:",
        instead="if (run_id := None) is not None:",
        tests="tests/jobs/test_races.py",
    ),
    Mutant(
        guard="a paid request that may have been sent is not reported as unsent",
        file="bot/providers/http.py",
        text="if started.is_set():",
        instead="if False:",
        tests="tests/providers/test_http.py",
    ),
    Mutant(
        guard="an interaction that Discord delivers twice makes one job",
        file="bot/store/store.py",
        text="return row is not None",
        instead="return True",
        tests="tests/store/test_ledger.py",
    ),
    # --- no job is lost
    Mutant(
        guard="a job is settled only when its pictures are on disk",
        file="bot/jobs/steps/collect.py",
        text="if result.incomplete:",
        instead="if False:",
        tests="tests/jobs/test_races.py",
    ),
    Mutant(
        guard="a job that is woken during a step is due again after it",
        file="bot/jobs/schedule.py",
        text="self._woken.add(job_id)",
        instead="pass",
        tests="tests/jobs/test_callback_orders.py",
    ),
    Mutant(
        guard="rows that are read do not undo a change made meanwhile",
        file="bot/jobs/reply_schedule.py",
        text="if job_id not in changed and self._rows.get(job_id) != due:",
        instead="if self._rows.get(job_id) != due:",
        tests="tests/jobs/test_reply_schedule.py",
    ),
    Mutant(
        guard="cards of unfinished jobs leave the last requests of a window to final ones",
        file="bot/ui/transport/rate_limits.py",
        text="left > KEPT_FOR_FINAL",
        instead="left > 0",
        tests="tests/ui/transport/test_rate_limits.py",
    ),
    Mutant(
        guard="a slot that ended while its process slept is not used",
        file="bot/ui/transport/limiter.py",
        text="if self._now() <= slot.ends and self._admit():",
        instead="if self._admit():",
        tests="tests/ui/transport/test_limiter.py",
    ),
    Mutant(
        guard="processes take turns in a channel that others use up",
        file="bot/ui/transport/rate_limits.py",
        text="if not self._takes_turns(route) or window.contended_until <= now:",
        instead="if not self._takes_turns(route) or now > 0:",
        tests="tests/ui/transport/test_shared_channels.py",
    ),
    Mutant(
        guard="the timeline of a limit begins no earlier than now",
        file="bot/store/budgets.py",
        text="WHEN budgets.next_at BETWEEN {CLOCK} AND",
        instead="WHEN budgets.next_at BETWEEN 0 AND",
        tests="tests/store/test_budgets.py",
    ),
    Mutant(
        guard="a due time in the row overrules a step that says never",
        file="bot/jobs/worker.py",
        text="return max(row.due_at or 0, self._clock() + SECOND)",
        instead="return at",
        tests="tests/jobs/test_races.py",
    ),
    Mutant(
        guard="a job moves only under the lease it was seen under",
        file="bot/store/jobs.py",
        text="AND worker = $6 AND lease = $7",
        instead="AND $6 >= 0 AND $7 >= 0",
        tests="tests/store/test_leases.py",
    ),
    Mutant(
        guard="a paid request in progress is left to the process that sends it",
        file="bot/store/processes.py",
        text="OR submitted_at <= $2",
        instead="OR submitted_at <= $2 OR submitted_at > 0",
        tests="tests/store/test_leases.py",
    ),
    Mutant(
        guard="a card shown under an outdated lease is shown again by the job's process",
        file="bot/store/store.py",
        text="shown or await replies.request_redraw(tx, job_id, now=now)",
        instead="shown",
        tests="tests/store/test_leases.py",
    ),
    Mutant(
        guard="a job moves only from the state it was seen in",
        file="bot/store/jobs.py",
        text="WHERE id = $4 AND state = $5",
        instead="WHERE id = $4 AND $5 <> ''",
        tests="tests/store/test_ledger.py",
    ),
    Mutant(
        guard="a card that changed while it was sent is sent again",
        file="bot/store/replies.py",
        text="due_at = CASE WHEN wanted > $2 THEN due_at",
        instead="due_at = CASE WHEN wanted < 0 THEN due_at",
        tests="tests/store/test_verbs.py",
    ),
    Mutant(
        guard="nothing of a failed unit is committed",
        file="bot/store/sqlite.py",
        text='self.execute("ROLLBACK TO unit")',
        instead="pass",
        tests="tests/store/test_sqlite.py",
    ),
    # --- nobody gets over a limit or pays more than they agreed to
    Mutant(
        guard="what others add while requests are decided together is counted",
        file="bot/store/migrations/postgres/0008_acceptance.sql",
        text="    IF exceeded > 0 THEN",
        instead="    IF false THEN",
        tests="tests/store/test_acceptance.py",
    ),
    Mutant(
        guard="a rule that is set while requests are decided together applies to them",
        file="bot/store/migrations/postgres/0008_acceptance.sql",
        text="IF rules <> darkroom_rules(servers, members, channels, since) THEN",
        instead="IF false THEN",
        tests="tests/store/test_acceptance.py",
    ),
    Mutant(
        guard="what requests accepted together add to the host is counted",
        file="bot/store/migrations/postgres/0008_acceptance.sql",
        text="        unseen := 0;\n",
        instead="        unseen := -1000000;\n",
        tests="tests/store/test_acceptance.py",
    ),
    Mutant(
        guard="a reservation is counted before it is judged",
        file="bot/store/ledger.py",
        text="""    counted = await totals.count(tx, affected, local, at=now, jobs=1, reserved=amount)
    before = Used(now, calendar, counted.before(amount))
    granted = await grants.remaining(tx, place.server, place.user_id, now=now)
    try:
        applying, draws = await _admit(tx, place, amount, used=before, limits=limits, granted=granted)
    except UserError as refusal:
        await totals.count(tx, affected, local, at=now, jobs=-1, reserved=Amount() - amount, returning=False)
        return refusal
""",
        instead="""    before = Used(now, calendar, await totals.read(tx, affected, local, at=now))
    granted = await grants.remaining(tx, place.server, place.user_id, now=now)
    try:
        applying, draws = await _admit(tx, place, amount, used=before, limits=limits, granted=granted)
    except UserError as refusal:
        return refusal
    counted = await totals.count(tx, affected, local, at=now, jobs=1, reserved=amount)
""",
        tests="tests/store/test_ledger.py",
    ),
    Mutant(
        guard="a reservation ends once",
        file="bot/store/ledger.py",
        text="WHERE ended.job = $1 AND ended.kind",
        instead="WHERE ended.job = '' AND ended.kind",
        tests="tests/store/test_ledger.py",
    ),
    Mutant(
        guard="a bonus that was not used is returned",
        file="bot/store/ledger.py",
        text='if held["bonus_images"] > from_bonus:',
        instead="if False:",
        tests="tests/store/test_quotas.py",
    ),
    Mutant(
        guard="a limit may be reached but not exceeded",
        file="bot/core/quota.py",
        text="requested[each.unit] > used.left(each):",
        instead="requested[each.unit] > used.left(each) + 1:",
        tests="tests/core/test_quota.py",
    ),
    Mutant(
        guard="a blocked member's request is refused",
        file="bot/store/ledger.py",
        text="    quota.check_blocks(each for each in blocks if each.applies(used.now))\n",
        instead="",
        tests="tests/store/test_quotas.py",
    ),
    Mutant(
        guard="a change of timezone begins no second day",
        file="bot/core/windows.py",
        text="return self.pin if self.pin is not None and self.pin.since <= now < self.pin.until else None",
        instead="return None",
        tests="tests/core/test_windows.py",
    ),
    Mutant(
        guard="a job that costs more than its button said is refused",
        file="bot/jobs/requests.py",
        text="if max_price is not None and amount.micro_usd > max_price:",
        instead="if False:",
        tests="tests/ui/commands/test_current_prices.py",
    ),
    # --- a provider gets no more than it takes
    Mutant(
        guard="a provider runs no more jobs than it has slots",
        file="bot/jobs/queue.py",
        text="if not has_turn or not self._health.accepts(job.provider) or self._outages.unsafe is not None:",
        instead="if not self._health.accepts(job.provider) or self._outages.unsafe is not None:",
        tests="tests/jobs/test_queue.py",
    ),
    Mutant(
        guard="after an outage one paid request is tried before the others",
        file="bot/core/circuit_breaker.py",
        text="(mode is Mode.HALF_OPEN and now >= self.trial_until)",
        instead="mode is Mode.HALF_OPEN",
        tests="tests/core/test_circuit_breaker.py",
    ),
    # --- nobody does more than they may
    Mutant(
        guard="only its own member may change a job",
        file="bot/jobs/service.py",
        text="if job.place.user_id != user_id:",
        instead="if False:",
        tests="tests/ui/buttons/test_router.py",
    ),
    Mutant(
        guard="only admins may use admin commands",
        file="bot/ui/admin/permissions.py",
        text="if not (getattr(interaction.permissions, permission) or interaction.permissions.administrator):",
        instead="if False:",
        tests="tests/ui/admin/test_matrix.py",
    ),
    Mutant(
        guard="only the application's owners see what is left at the image services",
        file="bot/ui/admin/status.py",
        text="if self._access.is_owner(action.interaction.user.id) else None",
        instead="",
        tests="tests/ui/admin/test_status.py",
    ),
    Mutant(
        guard="a server that the operator did not allow spends nothing",
        file="bot/ui/interactions/access.py",
        text="if not self.guild_is_open(location.guild_id, owner_id=location.owner_id):",
        instead="if False:",
        tests="tests/ui/interactions/test_access.py",
    ),
    Mutant(
        guard="a callback with a wrong signature is refused",
        file="bot/providers/runflow/client.py",
        text="hmac.compare_digest(each.encode(), given[0].encode())",
        instead="True",
        tests="tests/web/test_callbacks.py",
    ),
    # --- input from outside does no harm, and secrets stay inside
    Mutant(
        guard="files are downloaded from allowed hosts only",
        file="bot/providers/download.py",
        text="if not link.is_on(hosts):",
        instead="if False:",
        tests="tests/providers/test_download.py",
    ),
    Mutant(
        guard="a provider's token is sent to that provider only",
        file="bot/providers/http.py",
        text="if url is not None and _origin(url) not in self._origins:",
        instead="if False:",
        tests="tests/providers/test_http.py",
    ),
    Mutant(
        guard="a picture of too many pixels is not decoded",
        file="bot/pictures/guard.py",
        text="size[0] * size[1] > limit:",
        instead="False:",
        tests="tests/pictures/test_guard.py",
    ),
    Mutant(
        guard="a truncated HEIC is not taken for a whole one",
        file="bot/pictures/guard.py",
        text='if kind in {"heic", "avif"} and breaks_off(data):',
        instead="if False:",
        tests="tests/pictures/test_convert.py",
    ),
    Mutant(
        guard="links to converted references expire",
        file="bot/web/server.py",
        text="return now < int(ex, 16) * 1000",
        instead="return True",
        tests="tests/web/test_server.py",
    ),
    Mutant(
        guard="secrets are removed from log records",
        file="bot/observability/logging.py",
        text="for secret in self._secrets:",
        instead="for secret in ():",
        tests="tests/observability/test_logging.py",
    ),
    Mutant(
        guard="mentions in a prompt reach nobody",
        file="bot/ui/cards/escape.py",
        text="return piece[0] + ZERO_WIDTH",
        instead="return piece[0]",
        tests="tests/ui/cards/test_escape.py",
    ),
    # --- interactions over HTTP
    Mutant(
        guard="an interaction that Discord has not signed is refused",
        file="bot/web/interactions.py",
        text="if signature is None or not is_signed:",
        instead="if signature is None:",
        tests="tests/web/test_interactions.py",
    ),
    Mutant(
        guard="an interaction that was signed long ago is refused",
        file="bot/web/interactions.py",
        text="""return None if is_time and abs(now - int(time)) <= MAX_CLOCK_DIFFERENCE else "time\"""",
        instead="return None",
        tests="tests/web/test_interactions.py",
    ),
    Mutant(
        guard="an interaction that arrives twice is handled once",
        file="bot/ui/transport/http_interactions.py",
        text="or await self._is_new(payload)",
        instead="or True",
        tests="tests/ui/transport/test_http_interactions.py",
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    mutant: Mutant
    seconds: float
    test: str | None  # the first that failed
    output: str


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the checkout, without what begins with a dot."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        yield copy


def run_tests(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "-q", "-n", "0", *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},  # before the checkout, which is installed as editable
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def remove(mutant: Mutant, copy: Path) -> None:
    """`ValueError` unless the text stands there once: then the table is out of date."""
    path = copy / mutant.file
    code = path.read_text(encoding="utf-8")
    if (found := code.count(mutant.text)) != 1:
        raise ValueError(f"{mutant.file} has {found} times what {mutant.guard!r} replaces")
    path.write_text(code.replace(mutant.text, mutant.instead), encoding="utf-8")


def attempt(mutant: Mutant) -> Outcome:
    begun = time.monotonic()
    with copied() as copy:
        remove(mutant, copy)
        try:
            done = run_tests(copy, "-x", *shlex.split(mutant.tests))
        except subprocess.TimeoutExpired:
            return Outcome(mutant, TIMEOUT, None, "The tests did not end.")
        record = copy / ".pytest_cache/v/cache/lastfailed"
        failed = list(json.loads(record.read_text())) if record.exists() else []
    # Any other exit code, such as that of a file that cannot be imported, is not a test that failed.
    test = failed[0] if done.returncode == TESTS_FAILED and failed else None
    return Outcome(mutant, time.monotonic() - begun, test, done.stdout)


def report(outcome: Outcome) -> None:
    said = outcome.test or "SURVIVED " + outcome.mutant.tests
    print(f"{outcome.seconds:5.1f} s  {outcome.mutant.guard}\n         {said}", flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only guards whose name has one of these in it")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="mutants at a time")
    asked = parser.parse_args(arguments)
    chosen = [each for each in MUTANTS if not asked.words or any(word in each.guard for word in asked.words)]
    with ThreadPoolExecutor(asked.jobs) as pool:
        outcomes = []
        for outcome in pool.map(attempt, chosen):
            report(outcome)
            outcomes.append(outcome)
    survivors = [each for each in outcomes if each.test is None]
    for each in survivors:
        print(f"\n{each.mutant.guard}\n{each.output[-2000:]}")
    if tests := sorted({each.test for each in outcomes if each.test is not None}):
        with copied() as copy:
            unchanged = run_tests(copy, *tests)
        if unchanged.returncode:
            print(f"\nSome of these tests fail without any change:\n{unchanged.stdout[-2000:]}")
            return 1
    print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} mutants were noticed.")
    return 1 if survivors or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
