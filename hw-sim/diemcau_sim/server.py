"""The world on a Unix socket (mode 0600), since its devices live in processes of their own.

A request is one JSON line, ``{"do": "camera.grab", "args": {"count": 5}}``; where it has
``"bytes": n``, n raw bytes follow the line. So with answers: ``{"ok": {...}}`` or ``{"error": {kind, detail,
in_use_by}}``. ``{"crash": true}`` tells the caller to die; a hung device gives no answer at all, ever.
``panel.listen`` is answered like any other and from then on sends ``{"pressed": true}`` at each move
of the button.

Whatever comes in, the world lives on: a line that is no request is answered with ``bad_request``;
one whose end cannot be found (too long, too many bytes announced) also ends its connection.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from diemcau_drivers.contract import BadRequest, DeviceError, error_to_dict

from .answer import Answer
from .devices import Crash, Devices, Hang
from .world import World

if TYPE_CHECKING:
    from .acoustics import Acoustics
    from .scene import Scene

MAX_LINE_BYTES = 64 * 1024
MAX_PAYLOAD_BYTES = 32 * 1024 * 1024
"""Two minutes of sound are 23 MB."""
JOIN_S = 2.0


class Unframed(Exception):
    """Where this request ends, and the next begins, cannot be told."""


class WorldServer:
    """Serves ``world`` at ``socket_path`` until :meth:`stop`.

    ``scene``, ``acoustics``: what the camera sees and how the room sounds; each is made when first
    asked for, so that a room without camera never imports Pillow. Raises OSError from :meth:`start`
    where the socket cannot be made (an address in use: another room runs there).
    """

    def __init__(
        self,
        world: World,
        socket_path: Path | str,
        *,
        scene: Callable[[], Scene] | None = None,
        acoustics: Callable[[], Acoustics] | None = None,
    ) -> None:
        self.world = world
        self.path = Path(socket_path)
        self._make_scene = scene
        self._make_acoustics = acoustics
        self._making = threading.Lock()
        self._devices = Devices(world, lambda: self.scene, lambda: self.acoustics)
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()

    @property
    def scene(self) -> Scene:
        with self._making:
            return self._scene

    @cached_property
    def _scene(self) -> Scene:
        if self._make_scene is not None:
            return self._make_scene()
        from .scene import Scene

        return Scene(self.world)

    @property
    def acoustics(self) -> Acoustics:
        with self._making:
            return self._acoustics

    @cached_property
    def _acoustics(self) -> Acoustics:
        if self._make_acoustics is not None:
            return self._make_acoustics()
        from .acoustics import Acoustics

        return Acoustics(self.world)

    def start(self) -> None:
        if self.path.exists() and not _answers(self.path):
            self.path.unlink()  # left behind by a room that was killed
        listener = self._listener = bound(self.path, 32)
        self._accepting = threading.Thread(
            target=self._accept, args=(listener,), name="world-accepts", daemon=True
        )
        self._accepting.start()

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        if self._accepting is not None:
            self._accepting.join(JOIN_S)
        with self._lock:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            _shut(connection)
            thread.join(JOIN_S)
        self.path.unlink(missing_ok=True)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # stopped
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="world-serves", daemon=True
            )
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                Session(self.world, self._devices, connection, stream).run()
        except OSError:
            pass  # the caller is gone
        finally:
            with self._lock:
                del self._connections[connection]


class Session:
    """One connection, one request after the other."""

    def __init__(self, world: World, devices: Devices, connection: socket.socket, stream: BinaryIO) -> None:
        self._world = world
        self._devices = devices
        self._connection = connection
        self._stream = stream
        self._sending = threading.Lock()
        self._forget: Callable[[], None] | None = None

    def run(self) -> None:
        try:
            while self._once():
                pass
        finally:
            if self._forget is not None:
                self._forget()

    def _once(self) -> bool:
        line = self._stream.readline(MAX_LINE_BYTES)
        if not line:
            return False
        try:
            request, payload = self._request(line)
            answer = self._answer(request, payload)
        except DeviceError as error:
            self._send({"error": error_to_dict(error)})
        except Unframed as error:
            self._send({"error": error_to_dict(BadRequest(str(error)))})
            return False
        except Crash:
            self._send({"crash": True})
        except Hang:
            while self._stream.read(4096):  # until the caller is killed
                pass
            return False
        else:
            self._send({"ok": dict(answer.values)}, answer.payload)
        return True

    def _request(self, line: bytes) -> tuple[Mapping[str, Any], bytes]:
        if not line.endswith(b"\n"):
            raise Unframed(f"line: got {len(line)} bytes without an end, expected at most {MAX_LINE_BYTES}")
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise BadRequest(f"line: got {line[:60]!r}, expected JSON") from None
        if not isinstance(request, dict):
            raise BadRequest(f"line: got {line[:60]!r}, expected an object")
        message = cast("dict[str, Any]", request)
        count = message.get("bytes", 0)
        if not isinstance(count, int) or not 0 <= count <= MAX_PAYLOAD_BYTES:
            raise Unframed(f"bytes: got {count!r}, expected 0 to {MAX_PAYLOAD_BYTES}")
        payload = self._stream.read(count)
        if len(payload) < count:
            raise Unframed(f"bytes: got {len(payload)}, expected {count}")
        return message, payload

    def _answer(self, request: Mapping[str, Any], payload: bytes) -> Answer:
        given: object = request.get("args") or {}
        if not isinstance(given, dict):
            raise BadRequest(f"args: got {str(given)[:60]!r}, expected an object")
        args = cast("dict[str, Any]", given)
        if request.get("do") == "panel.listen":
            self._devices.touch("panel")
            if self._forget is None:
                self._forget = self._world.listen(self._tell)
            return Answer({"pressed": self._world.pressed})
        return self._devices.answer(str(request.get("do")), args, payload)

    def _tell(self, pressed: bool) -> None:
        """In the thread that moved the button, which must not wait for a caller that reads nothing."""
        if self._world.faults & {"panel_hung", "panel_crashed", "panel_absent"}:
            return
        try:
            with self._sending:
                self._connection.send(_line({"pressed": pressed}), socket.MSG_DONTWAIT)
        except OSError:
            pass  # gone, or has read nothing for thousands of moves

    def _send(self, message: Mapping[str, Any], payload: bytes = b"") -> None:
        if payload:
            message = {**message, "bytes": len(payload)}
        with self._sending:
            self._connection.sendall(_line(message) + payload)


@contextmanager
def serving(
    world: World,
    socket_path: Path | str,
    *,
    scene: Callable[[], Scene] | None = None,
    acoustics: Callable[[], Acoustics] | None = None,
) -> Generator[WorldServer]:
    """``with serving(World(), path) as server: ...``"""
    server = WorldServer(world, socket_path, scene=scene, acoustics=acoustics)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def bound(path: Path, backlog: int) -> socket.socket:
    """A listener that its owner alone may speak to. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # shut from the other side
