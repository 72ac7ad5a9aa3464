"""What the loops run by: a clock, and bells that are rung when something may be due sooner than the clock says."""

import asyncio


class Wakeups:
    """Rung when something may be due sooner than its clock says; a lost ring only costs time."""

    def __init__(self) -> None:
        self.worker = asyncio.Event()
        self.replies = asyncio.Event()
        self.jobs: set[str] = set()

    def wake(self, job_id: str) -> None:
        self.jobs.add(job_id)
        self.worker.set()
        self.replies.set()
