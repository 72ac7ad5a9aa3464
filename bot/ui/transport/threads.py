"""Opens threads on the messages of results, named by the first words of the prompt."""

import asyncio
from typing import Final

import discord

from bot.core.visible import visible
from bot.ui.transport.errors import THREAD_EXISTS
from bot.ui.transport.rate_limits import RateLimits

TIMEOUT = 10.0  # seconds
MAX_NAME_LENGTH = 60  # characters; Discord's limit is 100
NAMELESS = "🖼️"
ARCHIVE_AFTER: Final = 1440  # minutes without a message


class ThreadOpener:
    def __init__(self, client: discord.Client, *, limits: RateLimits) -> None:
        self._client = client
        self._limits = limits

    async def open(self, prompt: str, *, channel_id: int, message_id: int, seconds: float = TIMEOUT) -> int:
        """Open a thread on a message and return its id, which is the message's; one that exists is not an error."""
        try:
            async with asyncio.timeout(seconds):
                await self._limits.wait_for_token(final=False)
                await self._client.http.start_thread_with_message(  # a partial message needs a cached server
                    channel_id, message_id, name=thread_name(prompt), auto_archive_duration=ARCHIVE_AFTER
                )
        except discord.HTTPException as exc:
            if exc.code != THREAD_EXISTS:
                raise
        return message_id


def thread_name(prompt: str) -> str:
    """The first words of *prompt*."""
    text = visible(prompt)
    if len(text) <= MAX_NAME_LENGTH:
        return text or NAMELESS
    cut = text[: MAX_NAME_LENGTH - 1]
    return f"{cut.rpartition(' ')[0] or cut}…"
