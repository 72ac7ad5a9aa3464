"""Refuses requests without an explanation; each reason is logged once, because it may be a wrong setting."""

import logging
from collections.abc import Mapping

from aiohttp import web


class Refusals:
    def __init__(self, log: logging.Logger, message: str, *, event: str, status: Mapping[str, int]) -> None:
        """*message* and *event* go to *log*; *status* has the HTTP status for each reason."""
        self._log = log
        self._message = message
        self._event = event
        self._status = status
        self._logged: set[str] = set()

    def answer(self, reason: str) -> web.Response:
        """Return the answer to a refused request, after which its connection is closed."""
        if reason not in self._logged:
            self._logged.add(reason)
            self._log.warning(self._message, extra={"event": self._event, "reason": reason})
        answer = web.Response(status=self._status[reason])
        answer.force_close()
        return answer
