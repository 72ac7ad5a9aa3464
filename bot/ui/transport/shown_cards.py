"""Remembers in memory what messages of unfinished jobs show, so that an equal card needs no request."""

import hashlib
import json

from discord import ui

from bot.core.cards import Reply

MAX_CARDS = 20_000  # the oldest is forgotten first; that costs one request


class ShownCards:
    """Digests of what was sent, by message."""

    def __init__(self, *, max_cards: int = MAX_CARDS) -> None:
        self._max_cards = max_cards
        self._shown: dict[int, bytes] = {}

    def shows(self, message_id: int, digest: bytes) -> bool:
        return self._shown.get(message_id) == digest

    def remember(self, message_id: int, digest: bytes) -> None:
        self._shown[message_id] = digest
        if len(self._shown) > self._max_cards:
            del self._shown[next(iter(self._shown))]

    def forget(self, message_id: int) -> None:
        self._shown.pop(message_id, None)


def digest_of(view: ui.LayoutView, reply: Reply) -> bytes:
    """A digest of *view*, and of the reply's token: a click brings a new one, and its answer may change the message."""
    components = view.to_components()  # type: ignore[no-untyped-call]
    return hashlib.blake2b(json.dumps([reply.token, components]).encode(), digest_size=16).digest()
