"""Speaks Discord's gateway to any number of bot sessions: identify, heartbeats, events, resume with replay."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable

from aiohttp import ClientConnectionResetError, WSMsgType, web

from tests.discord.rules import Json
from tests.discord.waiting import Changes

PRIVILEGED = 1 << 1 | 1 << 8 | 1 << 15  # members, presences, message content: nobody has approved them
GUILD_MESSAGES, DIRECT_MESSAGES = 1 << 9, 1 << 12
FATAL = frozenset({1000, 4004, 4010, 4011, 4012, 4013, 4014})  # after these no session can be resumed
MOST_KEPT = 5000  # events kept for a resume

Greeting = tuple[Json, list[tuple[int, Json]]]  # READY's data; each server's id and GUILD_CREATE


class Line:
    """One connection: frames go out in order, whoever sends them."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.session: Session | None = None
        self.cut = False  # by us: the client's own close code is an echo then
        self._out: asyncio.Queue[str] = asyncio.Queue()

    def send(self, frame: Json) -> None:
        self._out.put_nowait(json.dumps(frame))

    async def write(self) -> None:
        with contextlib.suppress(ClientConnectionResetError):
            while True:
                await self.socket.send_str(await self._out.get())


class Session:
    """One identified bot process (and shard): what it was told, and the line it listens on, if any."""

    def __init__(self, *, intents: int, shard: tuple[int, int]) -> None:
        self.id = secrets.token_hex(16)
        self.intents = intents
        self.shard = shard
        self.sent: list[Json] = []
        self.seq = 0
        self.line: Line | None = None

    def wants(self, *, guild_id: int | None, intent: int) -> bool:
        number, count = self.shard
        return ((guild_id or 0) >> 22) % count == number and bool(not intent or self.intents & intent)

    def note(self, event: str, data: Json) -> Json:
        self.seq += 1
        frame: Json = {"op": 0, "t": event, "s": self.seq, "d": data}
        self.sent.append(frame)
        del self.sent[:-MOST_KEPT]
        return frame


class Gateway:
    """*greet* says what a bot hears first. `identifies` and `resumes` count what bots asked for."""

    def __init__(self, *, token: str, greet: Callable[[], Greeting], changes: Changes) -> None:
        self.url = ""
        self.heartbeat_interval = 41.25  # seconds
        self.silent = False  # nothing is answered and nothing sent, as a dead connection looks
        self.identifies = 0
        self.resumes = 0
        self._token = token
        self._greet = greet
        self._changes = changes
        self._sessions: dict[str, Session] = {}
        self._lines: set[Line] = set()

    @property
    def live(self) -> list[Session]:
        return [each for each in self._sessions.values() if each.line is not None]

    def dispatch(self, event: str, data: Json, *, guild_id: int | None = None, intent: int = 0) -> None:
        """Tells every session whose shard and intents it concerns; the disconnected get it when they resume."""
        for session in self._sessions.values():
            if session.wants(guild_id=guild_id, intent=intent):
                frame = session.note(event, data)
                if session.line is not None:
                    self._send(session.line, frame)

    async def close(self, code: int) -> None:
        """Closes every connection with *code*; after some codes no session can be resumed."""
        if code in FATAL:
            self._sessions.clear()
        await asyncio.gather(*(self._cut(line, code) for line in tuple(self._lines)))

    async def _cut(self, line: Line, code: int) -> None:
        line.cut = True
        await line.socket.close(code=code)

    def control(self, op: int, data: object = None) -> None:
        """Sends an opcode to everybody connected: 7 reconnect, 9 invalid session."""
        for line in self._lines:
            self._send(line, {"op": op, "d": data})

    def forget(self) -> None:
        """No session can be resumed any more."""
        self._sessions.clear()

    def _send(self, line: Line, frame: Json) -> None:
        if not self.silent:
            line.send(frame)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0, timeout=1.0)
        await socket.prepare(request)
        line = Line(socket)
        self._lines.add(line)
        self._send(line, {"op": 10, "d": {"heartbeat_interval": int(self.heartbeat_interval * 1000)}})
        writer = asyncio.create_task(line.write())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._receive(line, json.loads(message.data))
        finally:
            writer.cancel()
            self._leave(line)
        return socket

    def _leave(self, line: Line) -> None:
        self._lines.discard(line)
        if line.session is not None and line.session.line is line:
            line.session.line = None
            if not line.cut and line.socket.close_code in {1000, 1001}:  # the client said goodbye for good
                self._sessions.pop(line.session.id, None)
        self._changes.notify()

    async def _receive(self, line: Line, frame: Json) -> None:
        match frame["op"]:
            case 1:
                self._send(line, {"op": 11})
            case 2:
                await self._identify(line, frame["d"])
            case 6:
                await self._resume(line, frame["d"])

    async def _identify(self, line: Line, data: Json) -> None:
        if data.get("token") != self._token:
            await self._cut(line, 4004)
        elif data.get("intents", 0) & PRIVILEGED:
            await self._cut(line, 4014)
        else:
            self.identifies += 1
            number, count = data.get("shard") or (0, 1)
            session = Session(intents=data["intents"], shard=(number, count))
            self._sessions[session.id] = session
            self._join(line, session)
            self._welcome(line, session)
            self._changes.notify()

    def _welcome(self, line: Line, session: Session) -> None:
        ready, guilds = self._greet()
        mine = [(guild_id, data) for guild_id, data in guilds if session.wants(guild_id=guild_id, intent=0)]
        extra: Json = {"session_id": session.id, "resume_gateway_url": self.url, "shard": list(session.shard)}
        extra["guilds"] = [{"id": str(guild_id), "unavailable": True} for guild_id, _ in mine]
        self._send(line, session.note("READY", ready | extra))
        for _, data in mine:
            self._send(line, session.note("GUILD_CREATE", data))

    async def _resume(self, line: Line, data: Json) -> None:
        session = self._sessions.get(data.get("session_id", ""))
        if data.get("token") != self._token:
            await self._cut(line, 4004)
        elif session is None:
            self._send(line, {"op": 9, "d": False})
        else:
            self.resumes += 1
            self._join(line, session)
            for frame in [each for each in session.sent if each["s"] > (data.get("seq") or 0)]:
                self._send(line, frame)
            self._send(line, session.note("RESUMED", {"_trace": []}))
            self._changes.notify()

    def _join(self, line: Line, session: Session) -> None:
        line.session = session
        session.line = line
