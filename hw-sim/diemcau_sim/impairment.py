"""The line between the simulated room and its reflector: a UDP relay on loopback that impairs it, and knows
exactly what it did.

:class:`.chance.Impairment` says what happens to packets, :class:`.chance.Chance` decides it for one after
another, :class:`ImpairedRelay` does it and keeps the truth (:mod:`.ground_truth`): what it really did, delays
by the clock, not what it was asked to do.
"""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

from . import datagram
from .chance import CLEAN, HELD_MAX_NS, Chance, Fate, Impairment
from .datagram import WAYS, Address, Datagram, Dwell, Numbering, Way
from .ground_truth import Handed, PacketTruth, Truth

T = TypeVar("T")
STOP_S = 5.0
IDLE_NS = 60_000_000_000
"""A sender that said nothing for so long gives its socket back when another comes."""
PACKETS_MAX = 50_000
"""Remembered; some 20 MB."""


@dataclass(eq=False, slots=True)
class _Packet:
    sender: _Sender
    number: int
    arrived_ns: int
    copies: int = 0
    unanswered: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    """Of each copy that the upstream has not answered yet: its delay, and when it went. Answered in order."""
    handed: list[Handed] = field(default_factory=list[Handed])


@dataclass(eq=False, slots=True)
class _Sender:
    """Who sends, by source address, and its own socket to the upstream."""

    index: int
    address: Address
    socket: socket.socket
    used_ns: int
    numbered: dict[int, _Packet] = field(default_factory=dict[int, _Packet])
    chances: dict[Way, Chance] = field(default_factory=dict[Way, Chance])
    last_due_ns: dict[Way, int] = field(default_factory=dict[Way, int])
    held: list[_Copy] = field(default_factory=list["_Copy"])


@dataclass(eq=False, slots=True)
class _Copy:
    """On its way. ``packet`` is None for what has no number: it passes, and counts for nothing."""

    sender: _Sender
    way: Way
    came: Datagram
    packet: _Packet | None
    before_ns: int = 0
    path_ns: int = 0
    """On the way back: the delay that the request had, and the path's own since then."""
    order: int = 0
    held_past: int = 0
    gone: bool = False


class ImpairedRelay:
    """Carries UDP from any sender on loopback to ``host:upstream_port`` and back. Any thread may call.

    ``numbering`` reads a packet's number; what has none (a handshake) passes at once and is not counted.
    DSCP and ECN are carried over. In its order of arrival a packet of the n-th sender always meets the same
    decision of the same impairment, from each :meth:`impair` and :meth:`reset` on.
    """

    def __init__(
        self,
        host: str,
        upstream_port: int,
        *impairments: Impairment,
        numbering: Numbering = datagram.stamp_number,
        dwell_ns: Dwell = datagram.stamp_dwell_ns,
    ) -> None:
        self._upstream, self._numbering, self._dwell_ns = (host, upstream_port), numbering, dwell_ns
        self._impairments: dict[Way, Impairment] = {}
        self._senders: dict[Address, _Sender] = {}
        self._sender_count = 0
        self._packets: deque[_Packet] = deque()
        self._forgotten = 0
        self._bytes = dict.fromkeys(WAYS, 0)
        self._due: list[tuple[int, int, _Copy]] = []
        self._order, self._rank = itertools.count(), itertools.count()
        self._orders: queue.SimpleQueue[tuple[Future[object], Callable[[], object]]] = queue.SimpleQueue()
        self._running = True
        self._impair(impairments)
        self._thread = threading.Thread(target=self._run, name="impaired relay", daemon=True)
        self.port = 0

    def start(self) -> int:
        """The port on 127.0.0.1 at which it listens. Raises OSError where none can be had."""
        self._front = datagram.udp_socket()
        self._front.bind(("127.0.0.1", 0))
        self.port = self._front.getsockname()[1]
        self._wake = os.eventfd(0)
        self._thread.start()
        return self.port

    def stop(self) -> None:
        if self._thread.is_alive():
            self._running = False
            os.eventfd_write(self._wake, 1)
            self._thread.join(STOP_S)

    def impair(self, *impairments: Impairment) -> None:
        """From the next packet on. Each direction has the last that names it; without one it is clean."""
        self._ask(lambda: self._impair(impairments))

    def reset(self) -> None:
        """Begins anew: what is under way is gone, what was is forgotten, the seeds start again."""
        self._ask(self._reset)

    def truth(self) -> Truth:
        """Of every packet since the start or reset, up to now. RuntimeError: more than ``PACKETS_MAX``."""
        truth, forgotten = self._ask(self._tell)
        if forgotten:
            raise RuntimeError(f"the relay has forgotten {forgotten} packets, it remembers {PACKETS_MAX}")
        return truth

    def _ask(self, what: Callable[[], T]) -> T:
        """Done by the relay's own thread, so that nothing is shared."""
        if not self._thread.is_alive():
            return what()
        answer: Future[T] = Future()
        self._orders.put((answer, what))  # pyright: ignore[reportArgumentType]
        os.eventfd_write(self._wake, 1)
        return answer.result(STOP_S)

    def _impair(self, impairments: tuple[Impairment, ...]) -> None:
        self._impairments = {
            way: next((one for one in reversed(impairments) if one.direction in (way, "both")), CLEAN)
            for way in WAYS
        }
        for sender in self._senders.values():
            sender.chances.clear()

    def _reset(self) -> None:
        for sender in self._senders.values():
            sender.socket.close()
        for kept in (self._senders, self._packets, self._due):
            kept.clear()
        self._sender_count = self._forgotten = 0
        self._bytes = dict.fromkeys(WAYS, 0)

    def _tell(self) -> tuple[Truth, int]:
        packets = tuple(
            PacketTruth(packet.sender.index, packet.number, packet.copies, tuple(packet.handed))
            for packet in self._packets
        )
        return Truth(packets, self._bytes["forward"], self._bytes["backward"]), self._forgotten

    def _run(self) -> None:
        try:
            while self._running:
                self._turn()
        finally:
            for one in (self._front, *(sender.socket for sender in self._senders.values())):
                one.close()
            os.close(self._wake)

    def _turn(self) -> None:
        # select, since poll and epoll round to whole milliseconds. Measured: it wakes 0.1 ms late (median);
        # there is nothing to spin for, and what it is late is in the truth.
        sockets: dict[socket.socket, _Sender | None] = {one.socket: one for one in self._senders.values()}
        sockets[self._front] = None
        wait_s = max(0, self._due[0][0] - time.monotonic_ns()) / 1e9 if self._due else None
        ready = select.select([self._wake, *sockets], (), (), wait_s)[0]
        self._send_due()
        for one, sender in sockets.items():
            if one in ready and one.fileno() >= 0:  # a new sender makes room of idle ones
                self._read(one, sender)
        if self._wake in ready:
            os.eventfd_read(self._wake)
        while not self._orders.empty():
            answer, what = self._orders.get()
            answer.set_result(what())

    def _read(self, ready: socket.socket, sender: _Sender | None) -> None:
        for _ in range(64):  # then the others have their turn
            try:
                came = datagram.receive(ready)
            except BlockingIOError:
                return
            except ConnectionError:  # the upstream is not there, and the kernel says so
                continue
            if sender is None:
                self._forward(self._sender(came), came)
            else:
                self._backward(sender, came)
            self._send_due()

    def _sender(self, came: Datagram) -> _Sender:
        sender = self._senders.get(came.source)
        if sender is None:
            for idle in [one for one in self._senders.values() if came.arrived_ns - one.used_ns > IDLE_NS]:
                idle.socket.close()
                del self._senders[idle.address]
            upstream = datagram.udp_socket()
            upstream.connect(self._upstream)
            sender = _Sender(self._sender_count, came.source, upstream, came.arrived_ns)
            self._senders[came.source] = sender
            self._sender_count += 1
        sender.used_ns = came.arrived_ns
        return sender

    def _forward(self, sender: _Sender, came: Datagram) -> None:
        number, packet = self._numbering(came.data, "forward"), None
        if number is not None:
            packet = sender.numbered[number] = _Packet(sender, number, came.arrived_ns)
            self._packets.append(packet)
        if len(self._packets) > PACKETS_MAX:
            self._forgotten += 1
            oldest = self._packets.popleft()
            if oldest.sender.numbered[oldest.number] is oldest:
                del oldest.sender.numbered[oldest.number]
        self._meet(_Copy(sender, "forward", came, packet))

    def _backward(self, sender: _Sender, came: Datagram) -> None:
        number = self._numbering(came.data, "backward")
        packet = None if number is None else sender.numbered.get(number)
        copy = _Copy(sender, "backward", came, packet)
        if packet is not None and packet.unanswered:
            copy.before_ns, sent_ns = packet.unanswered.popleft()
            copy.path_ns = came.arrived_ns - sent_ns - self._dwell_ns(came.data)
        self._meet(copy)

    def _meet(self, copy: _Copy) -> None:
        sender, way = copy.sender, copy.way
        size_bytes = len(copy.came.data) + datagram.IP_UDP_BYTES
        self._bytes[way] += size_bytes
        what = self._impairments[way]
        if copy.packet is None:
            fate = Fate(() if what.silent else (0.0,))
        else:
            if way not in sender.chances:
                sender.chances[way] = Chance(what, f"{way}/{sender.index}")
            fate = sender.chances[way].next(size_bytes)
        for place, delay_ms in enumerate(fate.delays_ms):
            due_ns = copy.came.arrived_ns + round(delay_ms * 1e6)
            one = replace(copy, order=next(self._order))
            if place == 0 and fate.held_past:
                one.held_past = fate.held_past
                sender.held.append(one)
                due_ns += HELD_MAX_NS
            elif what.keeps_order:
                due_ns = sender.last_due_ns[way] = max(due_ns, sender.last_due_ns.get(way, 0))
            heapq.heappush(self._due, (due_ns, one.order, one))

    def _send_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic_ns():
            self._send(heapq.heappop(self._due)[2])

    def _send(self, copy: _Copy) -> None:
        if copy.gone:
            return
        sender, packet, forward, copy.gone = copy.sender, copy.packet, copy.way == "forward", True
        if copy in sender.held:
            sender.held.remove(copy)
        via, to = (sender.socket, None) if forward else (self._front, sender.address)
        try:
            sent_ns = datagram.send(via, copy.came.data, copy.came.tos, to)
        except OSError:
            return  # nobody there, or the sender was forgotten: lost, and counted as such
        delay_ns = sent_ns - copy.came.arrived_ns
        if packet is not None and forward:
            packet.copies += 1
            packet.unanswered.append((delay_ns, sent_ns))
        elif packet is not None:
            after_ms, delay_ms = (sent_ns - packet.arrived_ns) / 1e6, (delay_ns + copy.before_ns) / 1e6
            packet.handed.append(Handed(next(self._rank), after_ms, delay_ms, copy.path_ns / 1e6))
        for held in [one for one in sender.held if one.way == copy.way and one.order < copy.order]:
            held.held_past -= 1
            if held.held_past <= 0:
                self._send(held)
