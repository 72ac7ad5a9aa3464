"""Looks at the first bytes of reference pictures: a file that lies about its type is found before money moves."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from bot.core.errors import BadPicture, DownloadFailed, HostNotAllowed, UserError
from bot.core.jobs import Reference

QUICKLY = 1.2  # seconds: an interaction has three in all
SLOWLY = 15.0
HEAD = 4096  # bytes


class Peeker(Protocol):
    async def peek(self, url: str, *, hosts: Sequence[str], size: int, within: float) -> bytes: ...


class Looker:
    def __init__(self, peeker: Peeker, *, judge: Callable[[bytes], None], hosts: Sequence[str]) -> None:
        """*judge* raises `BadPicture` for the first bytes of something that is no picture we take."""
        self._peeker = peeker
        self._judge = judge
        self._hosts = tuple(hosts)

    async def look(self, references: Sequence[Reference], *, within: float = SLOWLY) -> None:
        """Raise `BadPicture`, `HostNotAllowed` or `DownloadFailed` for the first picture that cannot be used."""
        await asyncio.gather(*(self._one(each, within) for each in references))

    async def quickly(self, references: Sequence[Reference]) -> bool:
        """True when all are fine, False when that could not be said in time; `UserError` for one that lies."""
        for_each = [self._quick(each) for each in references]
        return all(await asyncio.gather(*for_each))

    async def _quick(self, reference: Reference) -> bool:
        try:
            async with asyncio.timeout(QUICKLY):
                await self._one(reference, QUICKLY)
        except BadPicture as exc:
            raise UserError("references.unreadable", file=reference.filename, problem=exc.problem) from exc
        except HostNotAllowed as exc:
            raise UserError("references.host", file=reference.filename) from exc
        except DownloadFailed as exc:
            if exc.lasting:
                raise UserError("references.expired", file=reference.filename) from exc
            return False
        except TimeoutError:
            return False
        return True

    async def _one(self, reference: Reference, within: float) -> None:
        self._judge(await self._peeker.peek(reference.url, hosts=self._hosts, size=HEAD, within=within))
