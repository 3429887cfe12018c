"""The way from a kit to its broker, which can be shut in every manner a network knows. TCP on loopback."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from typing import Literal

Mood = Literal["open", "refusing", "kicking", "silent", "deaf", "dumb"]
"""``refusing``: who comes is reset at once. ``kicking``: each connection ends :data:`KICK_S` after it came.

What stands when it goes ``silent`` is dead for ever, though neither side is told (a NAT that forgot it), and
new ones get no answer; ``deaf``: nothing of the kit's passes, ``dumb``: nothing of the broker's does, until
it opens again, and then what stood is dead too.
"""
KICK_S = 0.3


class Door:
    """``attempts``: when the kit asked to come in, seconds, monotonic, refused or not."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._selector = selectors.DefaultSelector()
        self.attempts: list[float] = []
        self.mood: Mood = "open"
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended = True
        self._thread.join(5)
        for pair in self._pairs:
            pair.close()
        self._listener.close()
        self._selector.close()

    def go(self, mood: Mood) -> None:
        with self._lock:
            self.mood = mood
            for pair in self._pairs:
                if mood == "refusing":
                    pair.close()
                pair.dead = pair.dead or mood in ("silent", "deaf", "dumb")

    def _run(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.02):
                with self._lock:
                    if key.data is None:
                        self._accept()
                    else:
                        pair: _Pair = key.data
                        self._carry(pair, key.fileobj is pair.kit)
            with self._lock:
                self._kick()

    def _accept(self) -> None:
        try:
            kit, _ = self._listener.accept()
        except OSError:
            return
        self.attempts.append(time.monotonic())
        if self.mood == "refusing":
            kit.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            kit.close()
            return
        try:
            broker = socket.create_connection(("127.0.0.1", self._upstream), 1)
        except OSError:
            kit.close()
            return
        pair = _Pair(self._selector, kit, broker, dead=self.mood in ("silent", "deaf", "dumb"))
        self._pairs = [*(one for one in self._pairs if not one.closed), pair]

    def _carry(self, pair: _Pair, from_kit: bool) -> None:
        if pair.closed:
            return
        source, target = (pair.kit, pair.broker) if from_kit else (pair.broker, pair.kit)
        try:
            data = source.recv(65_536)
            if not data:
                pair.close()
            elif (
                not pair.dead or (self.mood == "dumb" and from_kit) or (self.mood == "deaf" and not from_kit)
            ):
                target.settimeout(1)
                target.sendall(data)
        except OSError:
            pair.close()

    def _kick(self) -> None:
        if self.mood == "kicking":
            for pair in self._pairs:
                if time.monotonic() - pair.began_s > KICK_S:
                    pair.close()


class _Pair:
    def __init__(
        self, selector: selectors.BaseSelector, kit: socket.socket, broker: socket.socket, *, dead: bool
    ) -> None:
        self.kit, self.broker, self.dead = kit, broker, dead
        self.began_s = time.monotonic()
        self.closed = False
        self._selector = selector
        for one in (kit, broker):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(one, selectors.EVENT_READ, self)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            for one in (self.kit, self.broker):
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(one)
                one.close()
