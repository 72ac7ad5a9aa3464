"""Members' preferences; the language of those who have chosen one is kept in memory, because every answer needs it."""

from collections.abc import Callable

from bot.core.preferences import Preferences
from bot.store.database import Database, Tx


class MemberPreferences:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._languages: dict[int, str] = {}  # by user id
        self._listeners: list[Callable[[int, str | None], None]] = []

    def on_language(self, listener: Callable[[int, str | None], None]) -> None:
        """Call *listener* with a member, and the locale that they have chosen in this process, None for Discord's."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Read which members have chosen a language."""

        async def unit(tx: Tx) -> dict[int, str]:
            rows = await tx.fetch("SELECT user_id, body FROM preferences")
            read = {row["user_id"]: Preferences.model_validate_json(row["body"]).language for row in rows}
            return {user_id: language for user_id, language in read.items() if language is not None}

        self._languages = await self._database.read(unit)

    def language_of(self, user_id: int) -> str | None:
        """The locale that a member has chosen; None for Discord's."""
        return self._languages.get(user_id)

    async def get(self, user_id: int) -> Preferences:
        async def unit(tx: Tx) -> Preferences:
            row = await tx.one("SELECT body FROM preferences WHERE user_id = $1", user_id)
            return Preferences.model_validate_json(row["body"]) if row else Preferences()

        return await self._database.read(unit)

    async def put(self, user_id: int, preferences: Preferences) -> None:
        async def unit(tx: Tx) -> None:
            await tx.run(
                """
                INSERT INTO preferences (user_id, body) VALUES ($1, $2)
                ON CONFLICT (user_id) DO UPDATE SET body = excluded.body
                """,
                user_id,
                preferences.model_dump_json(exclude_defaults=True),
            )

        await self._database.write(unit)
        self.set_language(user_id, preferences.language)
        for each in self._listeners:
            each(user_id, preferences.language)

    def set_language(self, user_id: int, language: str | None) -> None:
        """Keep in memory that a member has chosen *language*."""
        self._languages.pop(user_id, None)
        if language is not None:
            self._languages[user_id] = language
