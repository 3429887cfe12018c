"""Keeps the agent running as systemd would: Type=notify, Restart=always, RestartSec=1, WatchdogSec=30,
KillMode=control-group.

The program's stderr goes to a log file. Every process that it starts carries the service's mark in its
environment, as on a kit it would be in its control group: what is left of them when the program ends
is killed before it starts again.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .mortal import MORTAL

RESTART_S = 1.0
START_S = 90.0
WATCHDOG_S = 30.0
STOP_S = 10.0
REAP_S = 5.0
USAGE = 2
"""The agent's exit code for settings that it refuses: starting it again would change nothing."""
MARK = "DIEMCAU_ROOM"


class Service:
    """``argv`` with ``env`` over this process's own. ``mark`` names all of its processes.

    ``before_start``: called before each start, with True where the machine itself was started again.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        mark: str,
        log_path: Path,
        notify_path: Path,
        before_start: Callable[[bool], None],
    ) -> None:
        self._argv = tuple(argv)
        self._mark = mark
        self._log_path = log_path
        self._notify_path = notify_path
        self._before_start = before_start
        self._env = {
            **os.environ,
            **env,
            MARK: mark,
            "NOTIFY_SOCKET": str(notify_path),
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
        }
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._stopping = False
        self._rebooting = False
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self.ready = threading.Event()
        """The program said READY=1, and has not ended since."""
        self.starts = 0
        self.refused = False
        """The program refused its settings; it is not started again."""

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        self._wake = socket.socketpair()
        self._thread.start()

    def stop(self) -> None:
        """Ends the program and whatever it started: SIGTERM, then SIGKILL. Bounded."""
        if not self._thread.is_alive():
            return
        self._stopping = True
        self._call()
        self._thread.join(STOP_S + 2 * REAP_S + 5.0)

    def reboot(self) -> None:
        """As if the machine were started again; returns at once."""
        self._rebooting = True
        self._call()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until it has ended: stopped, or refused."""
        return self._ended.wait(timeout_s)

    def _call(self) -> None:
        if self._wake is None:
            return
        try:
            self._wake[0].send(b".")
        except OSError:
            pass  # it has ended in the meantime

    def _run(self) -> None:
        assert self._wake is not None
        caller, wake = self._wake
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify_path.unlink(missing_ok=True)
        try:
            with caller, wake, notify, self._log_path.open("ab", buffering=0) as log:
                notify.bind(str(self._notify_path))
                kill_marked(self._mark)  # left behind by a room that was killed
                booted = True
                while not self._stopping and not self.refused:
                    self._before_start(booted)
                    self._rebooting = False
                    self._once(notify, wake, log.fileno())
                    if (
                        not self._stopping
                        and not self.refused
                        and select.select([wake], [], [], RESTART_S)[0]
                    ):
                        wake.recv(64)
                    booted = self._rebooting
        finally:
            self._notify_path.unlink(missing_ok=True)
            self._ended.set()

    def _once(self, notify: socket.socket, wake: socket.socket, log_fd: int) -> None:
        """One life of the program."""
        process = subprocess.Popen(
            (*MORTAL, *self._argv),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            start_new_session=True,
        )
        self._process = process
        self.starts += 1
        try:
            why = self._watch(process, notify, wake)
            os.write(log_fd, f"service: pid {process.pid}: {why}\n".encode())
            self.refused = process.poll() == USAGE and not self._stopping
        finally:
            self.ready.clear()
            self._end(process, process.poll() is None and (self._stopping or self._rebooting))
            kill_marked(self._mark)

    def _watch(self, process: subprocess.Popen[bytes], notify: socket.socket, wake: socket.socket) -> str:
        """Until the program ends, has to be ended, or is to be stopped; says why."""
        deadline = time.monotonic() + START_S
        pidfd = os.pidfd_open(process.pid)
        try:
            while True:
                wait_s = max(0.0, deadline - time.monotonic())
                readable, _, _ = select.select([pidfd, notify, wake], [], [], wait_s)
                if wake in readable:
                    wake.recv(64)
                    return "stopped" if self._stopping else "reboot"
                if pidfd in readable:
                    return f"ended with {process.wait()}"
                if notify in readable:
                    said = notify.recv(4096).decode(errors="replace").split("\n")
                    if "READY=1" in said:
                        self.ready.set()
                    if "READY=1" in said or "WATCHDOG=1" in said:
                        deadline = time.monotonic() + WATCHDOG_S
                if time.monotonic() >= deadline:
                    return "the watchdog was not fed" if self.ready.is_set() else "did not become ready"
        finally:
            os.close(pidfd)

    def _end(self, process: subprocess.Popen[bytes], politely: bool) -> None:
        if politely:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass  # SIGKILL comes next
        process.kill()
        process.wait(REAP_S)


def marked(mark: str) -> list[int]:
    """The processes that carry ``mark``; those that have ended, or are another user's, are not seen."""
    wanted = f"{MARK}={mark}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if wanted in environment.split(b"\0"):
                found.append(int(entry.name))
    return found


def kill_marked(mark: str) -> None:
    """SIGKILL to all that carry ``mark``, until none is left or ``REAP_S`` are over."""
    deadline = time.monotonic() + REAP_S
    while (left := marked(mark)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # ended by itself
        time.sleep(0.02)
