"""Discord's gateway for any number of bot sessions: identify, heartbeats, events, resume with replay."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable

from aiohttp import ClientConnectionResetError, WSMsgType, web

from tests.discord.rules import Json
from tests.discord.waiting import Changes

GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 9, 1 << 12, 1 << 15
PRIVILEGED = 1 << 1 | 1 << 8 | MESSAGE_CONTENT  # members, presences, message content: not approved at first
FATAL = frozenset({1000, 4004, 4010, 4011, 4012, 4013, 4014})  # after these no session can be resumed
MAX_KEPT_EVENTS = 5000  # events kept for a resume

Greeting = tuple[Json, list[tuple[int, Json]]]  # READY's data; each server's id and GUILD_CREATE


class Connection:
    """A WebSocket connection; frames are sent in the order of `send`."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.session: Session | None = None
        self.closed_by_us = False  # then the client's close code only repeats ours
        self._out: asyncio.Queue[str] = asyncio.Queue()

    def send(self, frame: Json) -> None:
        self._out.put_nowait(json.dumps(frame))

    async def write(self) -> None:
        with contextlib.suppress(ClientConnectionResetError):
            while True:
                await self.socket.send_str(await self._out.get())


class Session:
    """An identified bot process (and shard): the events it was sent, and its connection, if any."""

    def __init__(self, *, intents: int, shard: tuple[int, int]) -> None:
        self.id = secrets.token_hex(16)
        self.intents = intents
        self.shard = shard
        self.sent: list[Json] = []
        self.seq = 0
        self.connection: Connection | None = None

    def receives(self, *, guild_id: int | None, intent: int) -> bool:
        number, count = self.shard
        return ((guild_id or 0) >> 22) % count == number and bool(not intent or self.intents & intent)

    def record(self, event: str, data: Json) -> Json:
        self.seq += 1
        frame: Json = {"op": 0, "t": event, "s": self.seq, "d": data}
        self.sent.append(frame)
        del self.sent[:-MAX_KEPT_EVENTS]
        return frame


class Gateway:
    """The gateway. *greet* returns the first events of a session. `identifies` and `resumes` count requests."""

    def __init__(self, *, token: str, greet: Callable[[], Greeting], changes: Changes) -> None:
        self.url = ""
        self.heartbeat_interval = 41.25  # seconds
        self.approved = 0  # privileged intents
        self.silent = False  # nothing is sent, as on a dead connection
        self.identifies = 0
        self.resumes = 0
        self._token = token
        self._greet = greet
        self._changes = changes
        self._sessions: dict[str, Session] = {}
        self._connections: set[Connection] = set()

    @property
    def live(self) -> list[Session]:
        return [each for each in self._sessions.values() if each.connection is not None]

    def dispatch(
        self, event: str, data: Json, *, guild_id: int | None = None, intent: int = 0, reduced: Json | None = None
    ) -> None:
        """Send an event to every session whose shard and intents match; disconnected ones get it when they resume.

        *reduced* is sent instead to sessions without the message-content intent.
        """
        for session in self._sessions.values():
            if session.receives(guild_id=guild_id, intent=intent):
                whole = reduced is None or session.intents & MESSAGE_CONTENT
                frame = session.record(event, data if whole or reduced is None else reduced)
                if session.connection is not None:
                    self._send(session.connection, frame)

    async def close(self, code: int) -> None:
        """Close every connection with *code*; after the codes in `FATAL` no session can be resumed."""
        if code in FATAL:
            self._sessions.clear()
        await asyncio.gather(*(self._close(connection, code) for connection in tuple(self._connections)))

    async def _close(self, connection: Connection, code: int) -> None:
        connection.closed_by_us = True
        await connection.socket.close(code=code)

    def control(self, op: int, data: object = None) -> None:
        """Send an opcode on every connection: 7 reconnect, 9 invalid session."""
        for connection in self._connections:
            self._send(connection, {"op": op, "d": data})

    def forget(self) -> None:
        """Drop all sessions, so that none can be resumed."""
        self._sessions.clear()

    def _send(self, connection: Connection, frame: Json) -> None:
        if not self.silent:
            connection.send(frame)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0, timeout=1.0)
        await socket.prepare(request)
        connection = Connection(socket)
        self._connections.add(connection)
        self._send(connection, {"op": 10, "d": {"heartbeat_interval": int(self.heartbeat_interval * 1000)}})
        writer = asyncio.create_task(connection.write())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._receive(connection, json.loads(message.data))
        finally:
            writer.cancel()
            self._disconnect(connection)
        return socket

    def _disconnect(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection.session is not None and connection.session.connection is connection:
            connection.session.connection = None
            # With these codes the client ends its session.
            if not connection.closed_by_us and connection.socket.close_code in {1000, 1001}:
                self._sessions.pop(connection.session.id, None)
        self._changes.notify()

    async def _receive(self, connection: Connection, frame: Json) -> None:
        match frame["op"]:
            case 1:
                self._send(connection, {"op": 11})
            case 2:
                await self._identify(connection, frame["d"])
            case 6:
                await self._resume(connection, frame["d"])

    async def _identify(self, connection: Connection, data: Json) -> None:
        if data.get("token") != self._token:
            await self._close(connection, 4004)
        elif data.get("intents", 0) & PRIVILEGED & ~self.approved:
            await self._close(connection, 4014)
        else:
            self.identifies += 1
            number, count = data.get("shard") or (0, 1)
            session = Session(intents=data["intents"], shard=(number, count))
            self._sessions[session.id] = session
            self._attach(connection, session)
            self._send_initial_events(connection, session)
            self._changes.notify()

    def _send_initial_events(self, connection: Connection, session: Session) -> None:
        ready, guilds = self._greet()
        visible = [(guild_id, data) for guild_id, data in guilds if session.receives(guild_id=guild_id, intent=0)]
        extra: Json = {"session_id": session.id, "resume_gateway_url": self.url, "shard": list(session.shard)}
        extra["guilds"] = [{"id": str(guild_id), "unavailable": True} for guild_id, _ in visible]
        self._send(connection, session.record("READY", ready | extra))
        for _, data in visible:
            self._send(connection, session.record("GUILD_CREATE", data))

    async def _resume(self, connection: Connection, data: Json) -> None:
        session = self._sessions.get(data.get("session_id", ""))
        if data.get("token") != self._token:
            await self._close(connection, 4004)
        elif session is None:
            self._send(connection, {"op": 9, "d": False})
        else:
            self.resumes += 1
            self._attach(connection, session)
            for frame in [each for each in session.sent if each["s"] > (data.get("seq") or 0)]:
                self._send(connection, frame)
            self._send(connection, session.record("RESUMED", {"_trace": []}))
            self._changes.notify()

    def _attach(self, connection: Connection, session: Session) -> None:
        connection.session = session
        session.connection = connection
