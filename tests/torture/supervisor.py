"""What stands in for systemd around a kit under torture: ``Type=notify``, ``Restart=always`` and the watchdog
of our own unit, with a real NOTIFY_SOCKET.

As systemd does, it sends SIGABRT and SIGCONT to a process that did not feed the watchdog, SIGKILL after
``TimeoutAbortSec``, and SIGKILL to whatever the process leaves behind.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from kits import Failed, Kit

from diemcau_sim.service import MARK, kill_marked

UNIT = Path(__file__).parents[2] / "systemd" / "diemcau-agent.service"
TURN_S = 0.05
END_S = 15.0


def unit(path: Path = UNIT) -> Mapping[str, str]:
    """The unit's settings, by name."""
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


class Supervisor:
    """Keeps ``kit`` running from enter to exit. ``watchdog_s``: the unit's by default.

    ``ready_after_s``: from each start to its READY=1. ``found``: ``time.monotonic()`` of each time that the
    watchdog was found unfed. ``ended``: exit codes of processes that ended of themselves.
    """

    def __init__(self, kit: Kit, *, watchdog_s: float | None = None) -> None:
        settings = unit()
        self.kit = kit
        self.watchdog_s = float(settings["WatchdogSec"]) if watchdog_s is None else watchdog_s
        self._abort_s = float(settings["TimeoutAbortSec"])
        self._restart_s = float(settings["RestartSec"])
        self.ready_after_s: list[float] = []
        self.found: list[float] = []
        self.ended: list[int] = []
        self._started_s = self._fed_s = 0.0
        self._leaving = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"supervisor of {kit.point}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = kit.place / "notify.sock"
        address.unlink(missing_ok=True)
        self._socket.bind(str(address))
        kit.environment |= {
            "NOTIFY_SOCKET": str(address),
            "WATCHDOG_USEC": str(round(self.watchdog_s * 1e6)),
            MARK: str(kit.place),
            "PYTHONFAULTHANDLER": "1",
        }

    def __enter__(self) -> Self:
        self._start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()
        self.kit.kill()
        kill_marked(str(self.kit.place))
        self._socket.close()

    def until_ready(self, timeout_s: float, lives: int = 1) -> None:
        """Until the ``lives``-th process said READY=1. Raises Failed."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.ready_after_s) >= lives, timeout_s):
                raise Failed(f"{self.kit.point}: not up in {timeout_s:g} s: {self.kit.words()}")

    def _start(self) -> None:
        self._started_s = self._fed_s = time.monotonic()
        self.kit.start()

    def _run(self) -> None:
        while not self._leaving.is_set():
            if select.select([self._socket], [], [], TURN_S)[0]:
                self._hear(self._socket.recv(4096).decode(errors="replace").split("\n"))
            now_s = time.monotonic()
            code = self.kit.ended
            if code is not None:
                self.ended.append(code)
                self._again()
            elif self.ready_after_s and now_s - self._fed_s > self.watchdog_s:
                self.found.append(now_s)
                self._abort()
                self._again()

    def _hear(self, said: list[str]) -> None:
        if "READY=1" in said or "WATCHDOG=1" in said:
            self._fed_s = time.monotonic()
        if "READY=1" in said:
            with self._changed:
                self.ready_after_s.append(self._fed_s - self._started_s)
                self._changed.notify_all()

    def _abort(self) -> None:
        pid = self.kit.pid
        os.kill(pid, signal.SIGABRT)
        os.kill(pid, signal.SIGCONT)
        ends_s = time.monotonic() + self._abort_s
        while self.kit.ended is None and time.monotonic() < ends_s:
            self._leaving.wait(TURN_S)

    def _again(self) -> None:
        self.kit.kill()
        kill_marked(str(self.kit.place))
        if not self._leaving.wait(self._restart_s):
            self._start()
