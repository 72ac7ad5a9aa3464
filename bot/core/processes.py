"""The processes that Darkroom runs as, what each of them does, and which worker gets a new job. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    GATEWAY = "gateway"  # holds Discord's connection and answers interactions
    WORKER = "worker"  # submits, polls, downloads and delivers
    WEB = "web"  # serves health, links and callbacks
    KEEPER = "keeper"  # audits, cleans and checks the providers, one process at a time


EVERY_ROLE = tuple(Role)


@dataclass(frozen=True, slots=True)
class Process:
    """One process; *id* is never used again."""

    id: int
    roles: tuple[Role, ...]
    host: str  # the machine's name
    machine: str  # processes with the same value see each other's pid; empty: unknown
    pid: int
    version: str
    started_at: int  # UTC milliseconds


def next_worker(live: Sequence[Process], *, before: int) -> int:
    """The worker that gets a new job, each in turn: the one after *before*, which got the last one.

    0 where none is alive: the first one to start takes the job.
    """
    workers = sorted(each.id for each in live if Role.WORKER in each.roles)
    return next((each for each in workers if each > before), workers[0] if workers else 0)
