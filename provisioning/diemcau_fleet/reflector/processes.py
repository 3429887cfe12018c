"""The reflector as a whole: one process, or several that share the port and one who looks after them.

The kernel hands each sender's packets to one of the sockets (SO_REUSEPORT, by addresses and ports), so a
session stays with a process. The cap on a source counts in each of them. The sockets are opened once, before
there is a child: what comes while a dead child is replaced waits in its socket.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import signal
import time
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from diemcau_agent.exits import NOT, OK

from .reflect import Count, Reflector
from .serve import ending as ending_signal
from .serve import say, serve, statistics
from .sockets import BUFFER_BYTES, Listen, Listener, open_listeners

RESPAWN_S = 1.0
"""From one start of a child to the next, at least."""
STOP_S = 5.0
_PR_SET_PDEATHSIG = 1
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    listens: list[Listen]
    stateful: bool
    processes: int
    source_pps: int
    stats_s: float | None


def main(options: Options) -> int:
    """Runs until SIGTERM or SIGINT; 1 where an address cannot be had."""
    try:
        opened = open_listeners(options.listens, options.processes)
    except OSError as error:
        say(error.strerror or str(error))
        return NOT
    rows = _counts(options.processes)
    if options.processes == 1:
        _one(opened[0], rows[0], options)
    else:
        _Several(opened, rows, options).run()
    say(statistics(_sum(rows)))
    return OK


def _announce(listeners: Sequence[Listener], options: Options) -> None:
    """Said once signals are taken care of: whoever reads it may send one."""
    where = ", ".join(str(listener.listen) for listener in listeners)
    how = "stateful" if options.stateful else "stateless"
    buffer_bytes = min(listener.buffer_bytes for listener in listeners)
    say(
        f"listening on {where} ({how}, processes={options.processes}, source_pps={options.source_pps}, "
        f"receive_buffer_bytes={buffer_bytes})"
    )
    if buffer_bytes < BUFFER_BYTES:
        say(
            f"receive buffer: got {buffer_bytes} octets, wanted {BUFFER_BYTES}: a busy moment may cost "
            f"packets; raise net.core.rmem_max"
        )


def _counts(processes: int) -> list[memoryview[int]]:
    """A row for each process, in memory that they share with whoever made it."""
    size = len(Count) * 8
    memory = memoryview(mmap.mmap(-1, size * processes))
    return [memory[row * size : (row + 1) * size].cast("q") for row in range(processes)]


def _sum(rows: Sequence[memoryview[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)]


def _reflector(row: memoryview[int], options: Options) -> Reflector:
    return Reflector(row, stateful=options.stateful, source_pps=options.source_pps)


def _one(listeners: list[Listener], row: memoryview[int], options: Options) -> None:
    with ending_signal() as end:
        _announce(listeners, options)
        _steady()
        reflector = _reflector(row, options)
        if options.stats_s is None:
            serve(reflector, listeners, end)
        else:
            serve(reflector, listeners, end, lambda: say(statistics(row)), options.stats_s)


def _steady() -> None:
    """The loop makes no cycles: nothing for the collector to look for."""
    gc.collect()
    gc.freeze()
    gc.disable()


class _Several:
    def __init__(self, opened: list[list[Listener]], rows: list[memoryview[int]], options: Options) -> None:
        self._opened = opened
        self._rows = rows
        self._options = options
        self._children: dict[int, int] = {}
        """pid -> which one."""
        self._started_s = [0.0] * len(opened)
        self._due_s: dict[int, float] = {}
        """Which one is to be started again -> when."""

    def run(self) -> None:
        # Signals wait to be asked for: no handler, nothing that a fork could cut in two.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            _announce(self._opened[0], self._options)
            for number in range(len(self._opened)):
                self._start(number)
            self._look_after()
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _look_after(self) -> None:
        stats_s = self._options.stats_s
        said_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            waits = [due_s - now_s for due_s in self._due_s.values()]
            if stats_s is not None:
                waits.append(said_s + stats_s - now_s)
            came = signal.sigtimedwait(_SIGNALS, max(0.0, min([*waits, 3600.0])))
            if came is not None and came.si_signo != signal.SIGCHLD:
                return
            now_s = time.monotonic()
            if stats_s is not None and now_s - said_s >= stats_s:
                said_s = now_s
                say(statistics(_sum(self._rows)))
            self._bury(now_s)
            for number in [number for number, due_s in self._due_s.items() if due_s <= now_s]:
                self._start(number)

    def _bury(self, now_s: float) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                number = self._children.pop(pid)
                self._due_s[number] = max(now_s, self._started_s[number] + RESPAWN_S)
                say(f"process {number} ended ({os.waitstatus_to_exitcode(status)}), is started again")

    def _start(self, number: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            self._child(number, parent)
        self._due_s.pop(number, None)
        self._started_s[number] = time.monotonic()
        self._children[pid] = number

    def _child(self, number: int, parent: int) -> NoReturn:
        code = NOT
        try:
            with ending_signal() as end:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
                if os.getppid() == parent:  # else it was gone before it could be asked for a sign
                    _steady()
                    serve(_reflector(self._rows[number], self._options), self._opened[number], end)
            code = OK
        except BaseException as error:  # whatever it is, it must not run on into the parent's code
            say(f"process {number}: {type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def _stop(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        while self._children:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                for pid in self._children:
                    os.kill(pid, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, max(0.0, min(left_s, 0.2)))
            for pid in list(self._children):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del self._children[pid]
