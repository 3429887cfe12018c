"""A line of real sockets for the impaired relay: an echo, senders, and counts of their own by the RFCs."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

from diemcau_sim.chance import Impairment
from diemcau_sim.ground_truth import Truth
from diemcau_sim.impairment import ImpairedRelay

TEST_PACKET = struct.Struct("!I20xI")
"""The number where a STAMP request has it and where its reply has it: an echo of it is a reply."""
QUIET_S = 0.12
"""The line is taken for empty after so long a silence, unless told otherwise."""


class Echo:
    """Sends back what it gets, and remembers the numbers and the octet of DSCP and ECN."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.tos: list[int] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            data, ancillary, _, source = self._socket.recvmsg(2000, 100)
            if data == b"end":
                return
            if len(data) >= 4:
                self.numbers.append(int.from_bytes(data[:4]))
                self.tos += [value[0] for _, kind, value in ancillary if kind == socket.IP_TOS]
            self._socket.sendto(data, source)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


class Sender:
    """Numbered packets, and what came back: the numbers in their order, and how long each took first."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.numbers: list[int] = []
        self.took_ms: dict[int, float] = {}
        self._sent_s: dict[int, float] = {}

    def send(
        self,
        count: int,
        interval_s: float = 0.002,
        size_bytes: int = 28,
        first: int = 0,
        quiet_s: float = QUIET_S,
    ) -> None:
        due_s = time.monotonic()
        for number in range(first, first + count):
            self.listen(due_s)
            self._sent_s[number] = time.monotonic()
            self.socket.send(TEST_PACKET.pack(number, number).ljust(size_bytes, b"\0"))
            due_s += interval_s
        while self.listen(time.monotonic() + quiet_s):
            pass

    def listen(self, until_s: float) -> bool:
        """Until then; whether something came."""
        came = False
        while (left_s := until_s - time.monotonic()) > 0:
            if select.select([self.socket], (), (), left_s)[0]:
                number = int.from_bytes(self.socket.recv(2000)[:4])
                self.numbers.append(number)
                self.took_ms.setdefault(number, (time.monotonic() - self._sent_s[number]) * 1e3)
                came = True
        return came


class Line:
    """Senders, a relay and an echo."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.echo = Echo()
        stack.callback(self.echo.close)
        self.relay = ImpairedRelay("127.0.0.1", self.echo.port)
        stack.callback(self.relay.stop)
        self.relay.start()

    def sender(self) -> Sender:
        made = Sender(self.relay.port)
        self._stack.enter_context(made.socket)
        return made

    def run(self, count: int, *impairments: Impairment, **how: Any) -> tuple[Sender, Truth]:
        """A sender's packets through the line anew."""
        self.relay.reset()
        self.relay.impair(*impairments)
        self.echo.numbers.clear()
        sender = self.sender()
        sender.send(count, **how)
        deadline_s = time.monotonic() + 5
        while True:
            truth = self.relay.truth()
            if sum(len(packet.handed) for packet in truth.packets) == len(sender.numbers):
                return sender, truth
            assert time.monotonic() < deadline_s, "the sender did not get all that the relay handed over"
            sender.listen(time.monotonic() + QUIET_S)


def reordered(numbers: list[int]) -> int:
    """RFC 4737, 3.3, as it is written there: NextExp, and no duplicates."""
    found = next_expected = 0
    for number in dict.fromkeys(numbers):
        if number >= next_expected:
            next_expected = number + 1
        else:
            found += 1
    return found


def bursts(lost: set[int]) -> tuple[int, ...]:
    """Run lengths: a number less its place among the lost is the same throughout a run."""
    return tuple(Counter(number - place for place, number in enumerate(sorted(lost))).values())
