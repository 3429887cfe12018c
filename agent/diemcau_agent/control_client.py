"""The other end of the control socket: blocking, standard library only, every wait bounded.

Errors::

    ControlError
    ├── NoAgent        no socket there, nobody behind it, or it went away
    ├── NoAnswer       it is there and did not answer in time
    └── AgentRefused   it answered with an error: ``code`` and ``detail``
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, cast

from . import control_key

CONNECT_S = 5.0
MAX_LINE_BYTES = 4 * 1024 * 1024

Document = dict[str, Any]


class ControlError(Exception):
    pass


class NoAgent(ControlError):
    pass


class NoAnswer(ControlError):
    pass


class AgentRefused(ControlError):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ControlClient:
    """A connection to the agent at ``path``. Raises NoAgent where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._buffer = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(CONNECT_S)
        try:
            self._socket.connect(os.fspath(path))
        except OSError as error:
            self._socket.close()
            raise NoAgent(f"{path}: {error.strerror or error}") from error
        try:
            self._write(control_key.read(path.parent))
        except OSError as error:
            self._socket.close()
            raise NoAgent(f"{path.with_name(control_key.KEY_NAME)}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For select(2)."""
        return self._socket.fileno()

    def call(
        self,
        do: str,
        *,
        timeout_s: float,
        progress: Callable[[Document], None] | None = None,
        **arguments: Any,
    ) -> Document:
        """Ask and wait for the answer, at most ``timeout_s`` in all. Raises ControlError."""
        deadline = time.monotonic() + timeout_s
        self.send({"do": do, **arguments})
        while True:
            message = self.receive(deadline - time.monotonic())
            if "progress" in message:
                if progress is not None:
                    progress(message["progress"])
            else:
                return cast("Document", message.get("ok", {}))

    def send(self, request: Mapping[str, Any]) -> None:
        self._write(json.dumps(request).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        self._socket.settimeout(CONNECT_S)
        try:
            self._socket.sendall(line)
        except TimeoutError as error:
            raise NoAnswer(f"{self.path}: the agent reads nothing") from error
        except OSError:
            pass  # it closed on us: what it said first is still there to read

    def receive(self, timeout_s: float) -> Document:
        """The next message. Raises NoAnswer, NoAgent, AgentRefused."""
        deadline = time.monotonic() + timeout_s
        while (message := self._take()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NoAnswer(f"{self.path}: the agent did not answer in time")
            self._fill(left)
        return message

    def newest(self) -> Document | None:
        """The newest of what has come, without waiting; None where nothing whole has."""
        message: Document | None = None
        self._fill(0.0)
        while (later := self._take()) is not None:
            message = later
        return message

    def _fill(self, timeout_s: float) -> None:
        self._socket.settimeout(timeout_s)
        try:
            chunk = self._socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return
        except OSError as error:
            raise NoAgent(f"{self.path}: {error.strerror or error}") from error
        if not chunk:
            raise NoAgent(f"{self.path}: the agent has gone")
        self._buffer += chunk
        if len(self._buffer) > MAX_LINE_BYTES and b"\n" not in self._buffer:
            raise NoAnswer(f"{self.path}: a line over {MAX_LINE_BYTES} bytes")

    def _take(self) -> Document | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            message = json.loads(line)
        except ValueError as error:
            raise NoAnswer(f"{self.path}: not JSON: {line[:80]!r}") from error
        error = message.get("error")
        if error is not None:
            raise AgentRefused(str(error.get("code")), str(error.get("detail")))
        return cast("Document", message)
