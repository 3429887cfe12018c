"""How a process of root's is asked: a socket that systemd hands over, one JSON object a line, an answer to
each. It is gone when nobody asks. Nothing is kept in memory between two requests."""

from __future__ import annotations

import json
import logging
import os
import pwd
import select
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diemcau_agent import peer
from diemcau_agent.config import Settings, load

from .guard import MAX_LINE_BYTES, Guard, NotOurs, refusal

IDLE_S = 30.0
REQUEST_S = 5.0
FIRST_FD = 3
"""sd_listen_fds(3)."""

log = logging.getLogger(__name__)


def serve(listener: socket.socket, guard: Guard, idle_s: float = IDLE_S) -> None:
    """One connection after the other, until nobody has come for ``idle_s``, or one was the last.
    Raises OSError where the listener is shut."""
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    listener.setblocking(True)  # with a timeout of its own, accept(2) never hears that the listener was shut
    while poller.poll(idle_s * 1000):
        connection, _ = listener.accept()
        with connection:
            try:
                if _converse(connection, guard):
                    return
            except OSError as error:
                log.info("the connection is over: %s", error)


def _converse(connection: socket.socket, guard: Guard) -> bool:
    """Every request of a connection; whether one of them was the last."""
    uid = peer.uid(connection)
    if uid not in guard.uids:
        log.warning("uid %d asked, and may not", uid)
        _send(connection, refusal("not_permitted", f"got uid {uid}, expected root or the agent's own"))
        return False
    waiting, files = b"", list[int]()
    try:
        while True:
            line, waiting = _line(connection, waiting, files)
            if not line:
                return False
            if len(line) > MAX_LINE_BYTES:
                _send(connection, refusal("too_large", f"expected a line of at most {MAX_LINE_BYTES} bytes"))
                return False
            answer = guard.answer(line, files[-1] if files else None)
            _send(connection, answer)
            if guard.last in answer.get("ok", ()):
                return True
    finally:
        for file in files:
            os.close(file)


def _line(connection: socket.socket, waiting: bytes, files: list[int]) -> tuple[bytes, bytes]:
    """The next line and what came after it; an unended line over the limit as it is; empty at the end.
    ``files``: descriptors that came with it. Raises TimeoutError: who is slow keeps nobody out."""
    deadline = time.monotonic() + REQUEST_S
    buffer = bytearray(waiting)
    while (end := buffer.find(b"\n")) < 0 and len(buffer) <= MAX_LINE_BYTES:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        data, came, _, _ = socket.recv_fds(connection, 65_536, 1)
        files += came
        if len(files) > 1:
            return b"", b""  # nobody of ours hands over two
        if not data:
            return b"", b""
        buffer += data
    return (bytes(buffer), b"") if end < 0 else (bytes(buffer[: end + 1]), bytes(buffer[end + 1 :]))


def _send(connection: socket.socket, answer: Mapping[str, Any]) -> None:
    connection.settimeout(REQUEST_S)
    connection.sendall(json.dumps(answer).encode() + b"\n")


# --- As a process of its own


def listening(unit: str) -> socket.socket | None:
    """Its log, and the socket of ``unit``; None, and told, where systemd hands over none."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    listener = inherited(os.environ)
    if listener is None:
        log.critical("got no socket from systemd (LISTEN_FDS), expected one: see %s", unit)
    return listener


def allowed(user: str) -> frozenset[int]:
    try:
        return frozenset({0, pwd.getpwnam(user).pw_uid})
    except KeyError:
        log.error("there is no user %s here: only root may ask", user)
        return frozenset({0})


def inherited(environment: Mapping[str, str]) -> socket.socket | None:
    """The listening socket that systemd hands over (sd_listen_fds(3)); None where it does not."""
    if environment.get("LISTEN_PID") != str(os.getpid()) or environment.get("LISTEN_FDS") != "1":
        return None
    os.set_inheritable(FIRST_FD, False)
    return socket.socket(fileno=FIRST_FD)


def of_root(path: Path) -> Settings:
    """The settings of a file that only root, or whoever runs this, can write. Raises NotOurs, ConfigError,
    OSError."""
    for place in (path, path.parent):
        status = place.stat()
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise NotOurs(
                f"{place}: got owner {status.st_uid}, mode {status.st_mode & 0o7777:04o}, expected root's, "
                "and writable by nobody else"
            )
    return load(path)
