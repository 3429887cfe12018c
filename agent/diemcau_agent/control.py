"""The control socket's server: how a person or a page on this machine talks to the running agent.

A Unix socket of mode 0600; the peer's uid must be the agent's own or root's. Its first line is what is in the
file ``control.key`` beside the socket, which the agent's own device processes cannot read
(:mod:`.control_key`); then one JSON object a line. What can be asked and what comes back:
:mod:`.control_requests`. Whatever goes wrong is
``{"error": {"code", "detail"}}``, with ``got`` and ``expected`` where the request was at fault:

* ``bad_request``    not JSON, no such request, an unknown key, a value out of bounds
* ``too_large``      a line over the limit; the connection is closed
* ``not_permitted``  another user, or one that does not show the key; the connection is closed
* ``busy``           too many connections (closed), or what was asked is going on already
* ``failed``         and any other code with which the room refuses (:class:`Refused`)
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from . import control_key, peer
from . import control_requests as requests
from .control_requests import MAX_REQUEST_BYTES
from .model import Scope, Trigger

SOCKET_NAME = "control.sock"
MAX_CONNECTIONS = 16
IDLE_S = 60.0
"""A connection that asks nothing for this long is closed."""
KEY_S = 5.0
"""As long as it may take to show the key: who has none must not hold a place that others wait for."""
WRITE_S = 30.0
"""A client that reads nothing for this long is dropped; it may come back."""
_SEND_BUFFER_BYTES = 32 * 1024  # small, so that a watcher who was stopped does not see a long past first

Progress = Callable[[Mapping[str, Any]], None]


class Refused(Exception):
    """The room cannot do that now. ``code``: a reply's code (docs/wire.md), e.g. ``busy``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class SocketTaken(Exception):
    """Another agent answers on this socket, or the path cannot be bound."""


class ControlRoom(Protocol):
    """What the control socket needs of the agent. Every method may raise :class:`Refused`.

    A *status* is ``{"birth": Birth, "health": Health or null, "connection": {"state": "online",
    "connecting", "enrolling" or "offline", "broker": url or null, "since": time, "detail": text or null},
    "selftest": {"running": null or {"run", "scope", "trigger", "total", "steps": [progress, ...]},
    "last": Selftest or null}, "events": [Event, ...] (oldest first), "language": "vi" or "en"}``;
    the documents are those on the wire.

    A *progress* is ``{"name", "device", "state", "code", "done", "total"}`` of one step; ``state`` is
    ``running`` or the step's result.
    """

    def status(self) -> Mapping[str, Any]: ...

    async def selftest(self, scope: Scope, trigger: Trigger, progress: Progress) -> Mapping[str, Any]:
        """Run it and return the Selftest document. Refused ``busy`` while one is running."""
        ...

    def cancel(self) -> bool:
        """Cut a running self-test short; False where none was running."""
        ...

    def press(self, hold_s: float) -> None:
        """As if the room's button had been pressed (0) or held for ``hold_s`` seconds."""
        ...

    def subscribe(self) -> AsyncIterator[Mapping[str, Any]]:
        """The status now, then on every change."""
        ...

    async def baseline(self) -> Mapping[str, Any]:
        """Record how the room is today as what is good; returns what was recorded."""
        ...

    def line(self) -> Mapping[str, Any]:
        """``{"line": Judged, **Line.now(), "history": [Minute, ...]}`` (:mod:`.line`), oldest first."""
        ...


class Control:
    """The server. ``serve`` runs until it is cancelled; ``listening`` is set once it accepts."""

    def __init__(self, path: Path, room: ControlRoom) -> None:
        self._path = path
        self._room = room
        self._key = b""
        self._open = 0
        self._count = 0
        self.listening = asyncio.Event()

    async def serve(self) -> None:
        """Raises SocketTaken where the socket cannot be had."""
        listener, self._key = _bind(self._path)
        inode = self._path.stat().st_ino
        try:
            async with asyncio.TaskGroup() as group:

                def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    self._count += 1
                    group.create_task(self._converse(reader, writer), name=f"control-{self._count}")

                server = await asyncio.start_unix_server(connected, sock=listener, limit=MAX_REQUEST_BYTES)
                self.listening.set()
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    server.close()
        finally:
            self.listening.clear()
            listener.close()
            if self._path.exists() and self._path.stat().st_ino == inode:
                self._path.unlink()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = _Wire(writer)
        self._open += 1
        try:
            if not permitted(wire.peer_uid(), os.geteuid()):
                await wire.error("not_permitted", "only root and the agent's own user may ask")
            elif self._open > MAX_CONNECTIONS:
                await wire.error("busy", f"more than {MAX_CONNECTIONS} connections")
            elif not await self._shows_the_key(reader):
                await wire.error("not_permitted", f"the first line is not what is in {control_key.KEY_NAME}")
            else:
                while await self._exchange(reader, wire):
                    pass
        except (ConnectionError, TimeoutError):
            wire.abort()
        finally:
            self._open -= 1
            writer.close()

    async def _shows_the_key(self, reader: asyncio.StreamReader) -> bool:
        try:
            async with asyncio.timeout(KEY_S):
                shown = await reader.readline()
        except (TimeoutError, ValueError):  # ValueError: a line over the limit
            return False
        return secrets.compare_digest(shown, self._key)

    async def _exchange(self, reader: asyncio.StreamReader, wire: _Wire) -> bool:
        """One request and its answer; False when the connection is over."""
        try:
            async with asyncio.timeout(IDLE_S):
                line = await reader.readline()
        except ValueError:
            await wire.error(
                "too_large",
                "the line is too long",
                got=f"more than {MAX_REQUEST_BYTES} bytes",
                expected=f"at most {MAX_REQUEST_BYTES} bytes and a newline",
            )
            return False
        if not line:
            return False
        try:
            request = requests.parse(line)
        except requests.BadRequest as error:
            await wire.error("bad_request", str(error), got=error.got, expected=requests.EXPECTED)
            return True
        try:
            return await self._answer(request, reader, wire)
        except Refused as refused:
            await wire.error(refused.code, refused.detail)
            return True

    async def _answer(self, request: requests.Request, reader: asyncio.StreamReader, wire: _Wire) -> bool:
        match request:
            case requests.Status():
                await wire.send({"ok": self._room.status()})
            case requests.Cancel():
                await wire.send({"ok": {"cancelled": self._room.cancel()}})
            case requests.Press(hold_s=hold_s):
                self._room.press(hold_s)
                await wire.send({"ok": {"pressed": True, "hold_s": hold_s}})
            case requests.Baseline():
                await wire.send({"ok": await self._room.baseline()})
            case requests.Line():
                await wire.send({"ok": self._room.line()})
            case requests.Selftest(scope=scope, trigger=trigger):
                report = await self._room.selftest(scope, trigger, lambda p: wire.put({"progress": p}))
                await wire.send({"ok": report})
            case requests.Watch():
                await self._watch(reader, wire)
                return False
        return True

    async def _watch(self, reader: asyncio.StreamReader, wire: _Wire) -> None:
        newest: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(maxsize=1)

        async def follow() -> None:
            async for status in self._room.subscribe():
                if newest.full():
                    newest.get_nowait()
                newest.put_nowait(status)

        async def tell() -> None:
            while True:
                await wire.send({"status": await newest.get()})

        async def until_left() -> None:
            while await reader.read(MAX_REQUEST_BYTES):
                pass

        tasks = [
            asyncio.create_task(work(), name=f"control-watch-{work.__name__}")
            for work in (follow, tell, until_left)
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome


class _Wire:
    """One connection's writing side: lines, each write bounded in time."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._socket: socket.socket = writer.get_extra_info("socket")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        writer.transport.set_write_buffer_limits(high=0)

    def peer_uid(self) -> int:
        return peer.uid(self._socket)

    def put(self, message: Mapping[str, Any]) -> None:
        """Write without waiting; nothing where the client has left."""
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def send(self, message: Mapping[str, Any]) -> None:
        self.put(message)
        async with asyncio.timeout(WRITE_S):
            await self._writer.drain()

    async def error(self, code: str, detail: str, **more: str) -> None:
        await self.send({"error": {"code": code, "detail": detail, **more}})

    def abort(self) -> None:
        self._writer.transport.abort()


def permitted(peer_uid: int, own_uid: int) -> bool:
    return peer_uid in (0, own_uid)


def _bind(path: Path) -> tuple[socket.socket, bytes]:
    """Bound but not yet listening with mode 0600, and the new key: nobody connects before both are there."""
    if path.exists():
        if _answers(path):
            raise SocketTaken(f"{path}: another agent is running here")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        key = control_key.make(path.parent)
    except OSError as error:  # no such directory, no right to it, or a path over 107 bytes
        listener.close()
        raise SocketTaken(f"{path}: cannot be bound: {error}") from error
    return listener, key


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True
