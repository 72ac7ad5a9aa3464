"""The order in which waiting jobs get a provider's free slots, kept up to date job by job."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

EXACT_PLACES = 10  # on cards
MANY = 64  # jobs of one member, from which on sorting everything is faster than moving each
Key = tuple[int, int, str]  # slots that the job's member has before it, when it was accepted, its id


@dataclass(frozen=True, slots=True)
class Waiting:
    job_id: str
    user_id: int
    created_at: int


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs wait for a slot, and how many have one."""

    waiting: int = 0
    running: int = 0


class FairQueue:
    """The jobs that wait for a slot of one provider, and those that have one.

    Next is the oldest job of the member with the fewest slots. No member can keep the others waiting by submitting many
    jobs: the second job of a member counts as if the first one had a slot already, and so on.

    A change costs O(log n) for each job of the same member whose turn it moves, which the limit of jobs in flight
    bounds, and nothing for the jobs of the others. Python moves the entries of a list of 5,000 in a microsecond or two,
    so that a sorted list is faster here than a tree.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._running: dict[str, int] = {}  # job → member
        self._own: dict[int, list[tuple[int, str]]] = {}  # member → their waiting jobs, oldest first
        self._slots: dict[int, int] = {}  # member → slots in use
        self._order: list[Key] = []
        self._turned_away: list[Key] = []  # those of the order that asked for a slot too early

    @property
    def waiting(self) -> Sequence[str]:
        """The ids of all waiting jobs, next first."""
        return [job_id for _, _, job_id in self._order]

    def first(self, number: int) -> Sequence[str]:
        """The ids of the first *number* waiting jobs, next first."""
        return [job_id for _, _, job_id in self._order[: max(0, number)]]

    @property
    def running(self) -> int:
        """How many slots are in use."""
        return len(self._running)

    # --- changes

    def wait(self, job: Waiting) -> None:
        """*job* waits for a slot from now on."""
        if self._waiting.get(job.job_id) == job:
            return
        self.leave(job.job_id)
        own = self._own.setdefault(job.user_id, [])
        index = bisect_left(own, (job.created_at, job.job_id))
        behind = self._take_out(job.user_id, index)
        own.insert(index, (job.created_at, job.job_id))
        self._waiting[job.job_id] = job
        self._put_in(job.user_id, index, behind)

    def run(self, job_id: str, user_id: int) -> None:
        """The job has a slot from now on. For the member's other jobs nothing changes, unless they were before it."""
        if self._running.get(job_id) == user_id:
            return
        if job_id in self._running:
            self.leave(job_id)
        turned_away: set[str] = set()
        own = self._own.get(user_id, [])
        if (job := self._waiting.pop(job_id, None)) is not None:
            index = bisect_left(own, (job.created_at, job_id))
            turned_away = self._take_out(user_id, 0, index + 1)
            del own[index]
        else:
            index = len(own)
            turned_away = self._take_out(user_id, 0)
        self._running[job_id] = user_id
        self._slots[user_id] = self._slots.get(user_id, 0) + 1
        self._put_in(user_id, 0, turned_away, index)
        self._drop_empty(user_id)

    def leave(self, job_id: str) -> None:
        """The job neither waits here nor has a slot any more."""
        if (job := self._waiting.pop(job_id, None)) is not None:
            own = self._own[job.user_id]
            index = bisect_left(own, (job.created_at, job_id))
            behind = self._take_out(job.user_id, index)
            del own[index]
            self._put_in(job.user_id, index, behind)
            self._drop_empty(job.user_id)
        elif (user_id := self._running.pop(job_id, None)) is not None:
            turned_away = self._take_out(user_id, 0)
            self._slots[user_id] -= 1
            self._put_in(user_id, 0, turned_away)
            self._drop_empty(user_id)

    def load(self, waiting: Iterable[Waiting], running: Mapping[str, int]) -> None:
        """Replace everything by what the rows say. *running*: the member of each job with a slot."""
        turned_away = {job_id for _, _, job_id in self._turned_away}
        self._waiting, self._own, self._slots, self._order = {}, {}, {}, []
        self._running = dict(running)
        for user_id in running.values():
            self._slots[user_id] = self._slots.get(user_id, 0) + 1
        for job in waiting:
            self._waiting[job.job_id] = job
            self._own.setdefault(job.user_id, []).append((job.created_at, job.job_id))
        for user_id, own in self._own.items():
            own.sort()
            self._order += self._keys(user_id, 0, len(own))
        self._order.sort()
        self._turned_away = [key for key in self._order if key[2] in turned_away]

    # --- questions

    def place(self, job: Waiting) -> int:
        """The place of a job, 1 is next; of one that does not wait yet, the place that it would have."""
        return bisect_left(self._order, self._key(job)) + 1

    def has_turn(self, job_id: str, *, free: int) -> bool:
        """Whether a waiting job may take one of *free* slots; otherwise `turns` names it once it may."""
        if (job := self._waiting.get(job_id)) is None:
            return False
        if self.place(job) <= free:
            return True
        key = self._key(job)
        index = bisect_left(self._turned_away, key)
        if self._turned_away[index : index + 1] != [key]:
            self._turned_away.insert(index, key)
        return False

    def turns(self, *, free: int) -> Sequence[str]:
        """The jobs that were turned away, and whose turn has come with *free* slots; each is named once."""
        found = []
        while self._turned_away and bisect_left(self._order, self._turned_away[0]) < free:
            found.append(self._turned_away.pop(0)[2])
        return found

    def differences(self, waiting: Iterable[Waiting], running: Mapping[str, int]) -> set[str]:
        """The jobs that the rows show otherwise."""
        rows = {job.job_id: job for job in waiting}
        return {job_id for job_id, _ in rows.items() ^ self._waiting.items()} | {
            job_id for job_id, _ in running.items() ^ self._running.items()
        }

    # --- keys

    def _key(self, job: Waiting) -> Key:
        before = bisect_left(self._own.get(job.user_id, []), (job.created_at, job.job_id))
        return self._slots.get(job.user_id, 0) + before, job.created_at, job.job_id

    def _keys(self, user_id: int, first: int, end: int) -> list[Key]:
        own, slots = self._own.get(user_id, []), self._slots.get(user_id, 0)
        return [(slots + n, *own[n]) for n in range(first, min(end, len(own)))]

    def _take_out(self, user_id: int, first: int, end: int = 2**31) -> set[str]:
        """Take a member's jobs from *first* to *end* out of the order; returns those that were turned away."""
        keys, turned_away = self._keys(user_id, first, end), set()
        if len(keys) > MANY:
            moved = set(keys)
            turned_away = {key[2] for key in self._turned_away if key in moved}
            self._order = [key for key in self._order if key not in moved]
            self._turned_away = [key for key in self._turned_away if key not in moved]
            return turned_away
        for key in keys:
            del self._order[bisect_left(self._order, key)]
            index = bisect_left(self._turned_away, key)
            if self._turned_away[index : index + 1] == [key]:
                del self._turned_away[index]
                turned_away.add(key[2])
        return turned_away

    def _put_in(self, user_id: int, first: int, turned_away: set[str], end: int = 2**31) -> None:
        keys = self._keys(user_id, first, end)
        if len(keys) > MANY:
            self._order = sorted([*self._order, *keys])
            self._turned_away = sorted([*self._turned_away, *(key for key in keys if key[2] in turned_away)])
            return
        for key in keys:
            insort(self._order, key)
            if key[2] in turned_away:
                insort(self._turned_away, key)

    def _drop_empty(self, user_id: int) -> None:
        if not self._own.get(user_id, True):
            del self._own[user_id]
        if not self._slots.get(user_id, 1):
            del self._slots[user_id]


def shown_place(place: int) -> int:
    """The place that a card shows: exact for the first ten, then rounded up, so that not every move is news.

    To the next 5 up to 50, to the next 25 up to 250, and so on: a job that moves up from any place is redrawn about ten
    times for each factor of five.
    """
    step = 1
    while place > EXACT_PLACES * step:
        step *= 5
    return -(-place // step) * step
