"""One process of the reflector: waits for its sockets, lets the rules answer, says how it goes."""

from __future__ import annotations

import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType

from .reflect import Count, Reflector
from .sockets import Listener

TICK_S = 1.0
"""Between looks at the clock's state and the kernel's counters. A clock that loses its reference takes
minutes to be wrong by what matters here."""


def say(line: str) -> None:
    """One line to stderr, where the journal takes it."""
    print(line, file=sys.stderr, flush=True)


def statistics(counts: Sequence[int]) -> str:
    """``received=… reflected=…``, all of :class:`.reflect.Count`."""
    return " ".join(f"{count.name.lower()}={counts[count]}" for count in Count)


@contextmanager
def ending() -> Generator[socket.socket]:
    """A socket that can be read once SIGTERM or SIGINT has come; a wait for it misses no signal."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def wake(_number: int, _frame: FrameType | None) -> None:
        """The number comes through the wake-up descriptor."""

    before = {number: signal.signal(number, wake) for number in (signal.SIGTERM, signal.SIGINT)}
    woken_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(woken_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()


def serve(
    reflector: Reflector,
    listeners: Sequence[Listener],
    end: socket.socket,
    tick: Callable[[], None] | None = None,
    tick_s: float = TICK_S,
) -> None:
    """Until ``end`` can be read. ``tick`` is called every ``tick_s`` seconds, with the counts up to date."""
    looked_s = ticked_s = time.monotonic()
    with select.epoll() as poller:
        batches = {listener.socket.fileno(): listener.batch for listener in listeners}
        for fd in (*batches, end.fileno()):
            poller.register(fd, select.EPOLLIN)
        ended = False
        while not ended:
            for fd, _ in poller.poll(min(TICK_S, tick_s)):
                if (batch := batches.get(fd)) is not None:
                    reflector.turn(fd, batch)
                else:
                    ended = True
            now_s = time.monotonic()
            due = tick is not None and now_s - ticked_s >= tick_s
            if ended or due or now_s - looked_s >= TICK_S:
                looked_s = now_s
                reflector.counts[Count.OVERRUN] = sum(listener.overrun() for listener in listeners)
                reflector.refresh()
            if tick is not None and due:
                ticked_s = now_s
                tick()
