"""The simulated kit's reboot helper: the real one, but that it restarts the world."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

from diemcau_agent.config import Settings
from diemcau_agent.privileged.moment import Moment
from diemcau_agent.privileged.serve import serve
from diemcau_agent.reboot.guard import Guard
from diemcau_agent.reboot.record import Record

from .server import bound
from .world import World

SOCKET_NAME = "reboot.sock"
JOIN_S = 10.0


class Rebooting:
    """In ``directory``: ``reboot.sock`` and ``reboot/``, its record. :meth:`start` raises OSError."""

    def __init__(self, world: World, directory: Path) -> None:
        self.path = directory / SOCKET_NAME
        self._world = world
        self._boot_id = directory / "boot_id"
        self._folder = directory / "reboot"
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._booted_s = time.monotonic()

    def booted(self) -> None:
        """The simulated machine has started: its monotonic clock begins."""
        self._booted_s = time.monotonic()

    def start(self, settings: Settings) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self.path.unlink(missing_ok=True)
        listener = bound(self.path, 8)
        guard = Guard(
            lambda: settings,
            Record(self._folder, self._folder),
            frozenset({os.geteuid()}),
            self._world.reboot,
            self._now,
        )
        self._listener = listener
        self._thread = threading.Thread(
            target=self._serve, args=(listener, guard), name="rebooting", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None or self._thread is None:
            return
        listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(JOIN_S)
        listener.close()
        self.path.unlink(missing_ok=True)

    def _serve(self, listener: socket.socket, guard: Guard) -> None:
        try:
            while True:
                serve(listener, guard)
        except OSError:
            return  # stopped

    def _now(self) -> Moment:
        mono_s = time.monotonic() - self._booted_s
        synced = "clock_unsynced" not in self._world.faults
        return Moment(self._boot_id.read_text().strip(), mono_s, time.time(), synced)
