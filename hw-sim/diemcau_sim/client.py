"""A device's end of the world's socket. Blocking; standard library only.

It waits for an answer as long as it takes: a hung device never answers, and this process hangs with it.

Errors: what the world answers (contract.DeviceError), and Broken where the room is gone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from diemcau_drivers.contract import Broken, error_from_dict


class WorldClient:
    """Connects when first asked, and again after the room was gone. Any thread may ask."""

    def __init__(self, socket_path: Path | str) -> None:
        self._path = str(socket_path)
        self._socket: socket.socket | None = None
        self._stream: BinaryIO | None = None
        self._asking = threading.Lock()

    def ask(self, do: str, payload: bytes = b"", **args: Any) -> dict[str, Any]:
        """The answer's values. Raises DeviceError."""
        return self.ask_bytes(do, payload, **args)[0]

    def ask_bytes(self, do: str, payload: bytes = b"", **args: Any) -> tuple[dict[str, Any], bytes]:
        """The answer's values, and the raw bytes that came with it."""
        request: dict[str, Any] = {"do": do, "args": args}
        if payload:
            request["bytes"] = len(payload)
        line = json.dumps(request).encode() + b"\n"
        try:
            with self._asking:
                self._connected().sendall(line + payload)
                answer, data = self.receive()
        except OSError as error:
            self.close()
            raise Broken(f"the simulated room does not answer at {self._path}: {error}") from error
        if "error" in answer:
            raise error_from_dict(answer["error"])
        return cast("dict[str, Any]", answer["ok"]), data

    def receive(self) -> tuple[Mapping[str, Any], bytes]:
        """The next message. Raises ConnectionError at the end."""
        stream = self._stream  # close() may come from another thread
        if stream is None:
            raise ConnectionError("not connected")
        line = stream.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("end of file")
        message = cast("dict[str, Any]", json.loads(line))
        data = stream.read(message.get("bytes", 0))
        if len(data) < message.get("bytes", 0):
            raise ConnectionError("end of file")
        if message.get("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return message, data

    def close(self) -> None:
        """Also wakes a thread that waits in :meth:`receive`."""
        connection, self._socket, self._stream = self._socket, None, None
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the room is gone
            connection.close()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(self._path)
            except OSError:
                connection.close()
                raise
            self._socket = connection
            self._stream = connection.makefile("rb")
        return self._socket
