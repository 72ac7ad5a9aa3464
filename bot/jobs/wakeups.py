"""Wakes the loops before their next due time, and remembers which providers have called back."""

import asyncio
from collections.abc import Set as AbstractSet


class Wakeups:
    """Events that end a loop's sleep; a lost wake-up only costs time, since due times are in the rows."""

    def __init__(self) -> None:
        self.worker_runs = False  # whether this process has a worker, which takes the jobs that are woken
        self.worker = asyncio.Event()
        self.replies = asyncio.Event()
        self.reread_replies = asyncio.Event()  # another process may have changed when replies are due
        self.reread_replies.set()  # or none was read yet
        self._jobs: set[str] = set()
        self._called_back: set[str] = set()

    def wake(self, job_id: str) -> None:
        """Have both loops attend to a job now."""
        if self.worker_runs:
            self._jobs.add(job_id)
        self.wake_all()

    def wake_all(self) -> None:
        """Have both loops check what is due."""
        self.worker.set()
        self.replies.set()

    @property
    def jobs(self) -> AbstractSet[str]:
        """The jobs that were woken and not taken yet."""
        return self._jobs

    def take_jobs(self) -> set[str]:
        """The jobs that were woken since the last call."""
        jobs, self._jobs = self._jobs, set()
        return jobs

    # --- callbacks

    def mark_called_back(self, job_id: str) -> None:
        """Record a callback: the job's run has ended, even if a poll still shows it as running."""
        self._called_back.add(job_id)

    @property
    def called_back(self) -> AbstractSet[str]:
        """The unfinished jobs whose provider has sent a callback."""
        return self._called_back

    def forget_call(self, job_id: str) -> None:
        self._called_back.discard(job_id)
