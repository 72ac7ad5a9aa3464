"""The schedule of replies in memory against a list of rows."""

from hypothesis import given
from hypothesis import strategies as st

from bot.jobs.reply_schedule import ReplySchedule
from bot.store.replies import DueReply
from tests.kit import NOON, Time

SLOTS, LARGE_SLOTS, WAITING_SLOTS = 4, 1, 2
JOBS = st.sampled_from("abcdefgh")


def schedule() -> tuple[ReplySchedule, Time]:
    time = Time()
    return ReplySchedule(time, slots=SLOTS, large_slots=LARGE_SLOTS, waiting_slots=WAITING_SLOTS), time


def waiting(job_id: str, at: int | None = NOON) -> DueReply:
    return DueReply(job_id, at, final=False)


def ended(job_id: str, at: int | None = NOON) -> DueReply:
    return DueReply(job_id, at, final=True)


def test_final_cards_come_first_and_find_slots_while_many_others_are_due() -> None:
    replies, _ = schedule()
    for each in "abcdef":
        replies.set(waiting(each))
    assert replies.take_due() == ["a", "b"]
    assert replies.next_at is None
    assert replies.set(ended("x", NOON + 1))
    assert replies.next_at == NOON + 1
    replies.set(ended("y"))
    assert replies.take_due() == ["y"]
    replies.done("a")
    replies.set(waiting("a", None))
    assert replies.take_due() == ["c"]


def test_versions_wanted_during_a_delivery_are_one_more_delivery() -> None:
    replies, time = schedule()
    replies.set(waiting("a"))
    assert replies.take_due() == ["a"]
    for n in range(5):
        replies.set(waiting("a", NOON + n))
    assert replies.take_due() == []
    replies.done("a", not_before=NOON + 3_000)
    assert (replies.take_due(), replies.next_at) == ([], NOON + 3_000)
    time.go(3)
    assert replies.take_due() == ["a"]
    replies.set(waiting("a", None))
    replies.done("a")
    assert (replies.take_due(), replies.next_at, replies.is_idle) == ([], None, True)


def test_the_card_of_an_ended_job_does_not_wait_for_what_its_earlier_cards_wait_for() -> None:
    replies, _ = schedule()
    replies.set(waiting("a"))
    replies.set(waiting("b"))
    assert replies.take_due() == ["a", "b"]
    replies.set(waiting("a", None))
    replies.done("a", not_before=NOON + 3_000)
    replies.set(ended("a"))
    replies.set(ended("b"))
    replies.done("b", not_before=NOON + 3_000)
    assert replies.take_due() == ["a", "b"]


def test_small_final_cards_pass_those_whose_pictures_must_be_made_smaller() -> None:
    replies, _ = schedule()
    for each in "abcd":
        replies.set(ended(each))
    assert replies.take_due() == ["a", "b", "c", "d"]
    for each in "abc":
        assert not replies.claim_large_slot(each)
        replies.done(each)
    assert replies.take_due() == ["a"]
    assert replies.claim_large_slot("a")
    replies.set(ended("small"))
    assert replies.take_due() == ["small"]
    replies.set(ended("a", None))
    replies.done("a")
    assert replies.take_due() == ["b"]


def test_rows_that_are_read_do_not_undo_a_change_made_meanwhile() -> None:
    replies, _ = schedule()
    for each in "abc":
        replies.set(waiting(each))
    replies.begin_reading()
    replies.set(waiting("a", None))
    replies.set(ended("new"))
    replies.replace({"a": waiting("a"), "b": ended("b"), "outside": waiting("outside")})
    assert sorted(replies.take_due()) == ["b", "new", "outside"]


class Rows:
    """The same decisions, made by looking at every row."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.rows: dict[str, DueReply] = {}
        self.not_before: dict[str, int] = {}
        self.busy: dict[str, bool] = {}

    def set(self, row: DueReply) -> None:
        if row.final and not (row.job_id in self.rows and self.rows[row.job_id].final):
            self.not_before.pop(row.job_id, None)
        self.rows.pop(row.job_id, None)
        if row.due_at is not None:
            self.rows[row.job_id] = row

    def done(self, job_id: str, *, not_before: int | None) -> None:
        was_final = self.busy.pop(job_id)
        if not_before is not None and (job_id not in self.rows or self.rows[job_id].final is was_final):
            self.not_before[job_id] = not_before

    def take_due(self) -> list[str]:
        due = sorted(
            (not each.final, max(each.due_at or 0, self.not_before.get(each.job_id, 0)), each.job_id)
            for each in self.rows.values()
            if each.job_id not in self.busy
        )
        return [
            job_id
            for is_waiting, at, job_id in due
            if at <= self.time.now and self._take(job_id, is_waiting=is_waiting)
        ]

    def _take(self, job_id: str, *, is_waiting: bool) -> bool:
        in_use = len([each for each in self.busy.values() if not each])
        free = len(self.busy) < SLOTS and not (is_waiting and in_use >= WAITING_SLOTS)
        if free:
            self.busy[job_id] = not is_waiting
        return free


Event = tuple[str, str, int]
KINDS = ("wait", "end", "nothing due", "nothing due, ended", "done", "done until", "pass", "take")
EVENTS = st.lists(st.tuples(st.sampled_from(KINDS), JOBS, st.integers(0, 9)), max_size=60)


@given(EVENTS)
def test_what_is_taken_is_what_a_look_at_every_row_says(events: list[Event]) -> None:
    replies, time = schedule()
    rows = Rows(time)
    for kind, job_id, number in [*events, ("take", "a", 0)]:
        match kind:
            case "pass":
                time.now += number
            case "take":
                assert replies.take_due() == rows.take_due()
            case "done" | "done until":
                if job_id in rows.busy:
                    at = time.now + number if kind == "done until" else None
                    rows.done(job_id, not_before=at)
                    replies.done(job_id, not_before=at)
            case _:
                due_at = time.now + number - 4 if kind in ("wait", "end") else None
                row = DueReply(job_id, due_at, final=kind.endswith(("end", "ended")))
                rows.set(row)
                replies.set(row)
