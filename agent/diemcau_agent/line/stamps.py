"""A UDP socket whose packets bear the kernel's own times, and those times on a clock that no step moves.

The kernel stamps what comes when it comes and what goes when the driver takes it (SO_TIMESTAMPING,
Documentation/networking/timestamping.rst), so a round trip has in it neither Python nor a busy machine. It
stamps by CLOCK_REALTIME, which chrony, NTP or a person may set while a train is under way. :class:`Wall`
carries stamps over to the monotonic clock, and says so where it cannot be sure of one.

What a send or a receive of ours raises is an OSError; ICMP errors come by :meth:`StampedSocket.notices`.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable

import msgspec

from diemcau_agent.sockets import IP_RECVERR, IPV6_RECVERR, is_ipv6, opened

SO_TIMESTAMPING = 65
"""SO_TIMESTAMPING_NEW of <asm-generic/socket.h>: 64-bit times on 32-bit kernels too; Linux 5.1."""
# <linux/net_tstamp.h>, SOF_TIMESTAMPING_*: TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_TSONLY; and OPT_ID.
_STAMPS = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 11
_NUMBERED = 1 << 7
_ORIGIN_TIMESTAMPING = 4
_TIMES = struct.Struct("=qq")
"""The first of scm_timestamping64's three: software."""
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""sock_extended_err of <linux/errqueue.h>: errno, origin, type, code, pad, info, data (a stamp's number)."""
_PACKET_BYTES = 2048
_ANCILLARY_BYTES = 512
_NOTICES_MAX = 256

STEP_NS = 100_000
"""A wall clock that moved by more against the monotonic one, and by more than reading both may err, was set:
slewing (adjtime, NTP) moves both."""
_SLACK_NS = 100_000
"""How far a kernel stamp may lie outside of what we saw around it: what comparing two clocks may err."""
_NARROW_NS = 20_000


def boottime_ns() -> int:
    """As SystemClock.monotonic: counts through suspend, as the wall clock does."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Clocks(msgspec.Struct, frozen=True):
    """Nanoseconds: since 1970, UTC, and since boot."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = boottime_ns


class Wall:
    """The wall clock as the monotonic one sees it. ``steps``: how often it was set since the first look;
    ``since_ns``: the monotonic time from which ``offset_ns`` (wall minus monotonic) is known to hold."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self.steps = 0
        self.offset_ns, self._width_ns, self._looked_ns = self._compare()
        self.since_ns = self._looked_ns

    def look(self) -> int:
        """Compare the clocks, count a step where there was one; the monotonic time."""
        offset_ns, width_ns, now_ns = self._compare()
        if abs(offset_ns - self.offset_ns) > STEP_NS + width_ns + self._width_ns:
            self.steps += 1
            self.since_ns = now_ns
            self.offset_ns, self._width_ns = offset_ns, width_ns
        elif width_ns < self._width_ns:
            self.offset_ns, self._width_ns = offset_ns, width_ns
        self._looked_ns = now_ns
        return now_ns

    def monotonic(self, wall_ns: int, earliest_ns: int) -> int | None:
        """A kernel stamp as monotonic time. None where it lies before ``earliest_ns``, after the last look,
        or may be from before a step: whoever asks then has to take its own time for it."""
        moment_ns = wall_ns - self.offset_ns
        if earliest_ns < self.since_ns or moment_ns < earliest_ns - _SLACK_NS:
            return None
        return moment_ns if moment_ns <= self._looked_ns + _SLACK_NS else None

    def _compare(self) -> tuple[int, int, int]:
        """Offset, how wide the gap was in which it was read, monotonic time; the best of three, as a thread
        may lose the processor between two readings."""
        best: tuple[int, int, int] | None = None
        for _ in range(3):
            before_ns = self._clocks.monotonic_ns()
            wall_ns = self._clocks.wall_ns()
            after_ns = self._clocks.monotonic_ns()
            width_ns = after_ns - before_ns
            if best is None or width_ns < best[1]:
                best = wall_ns - (before_ns + after_ns) // 2, width_ns, after_ns
            if width_ns <= _NARROW_NS:
                break
        assert best is not None
        return best


class Arrival(msgspec.Struct, frozen=True):
    """A datagram of the peer's, when it came by the wall clock (None: the kernel did not say), its DSCP."""

    data: bytes
    wall_ns: int | None
    dscp: int | None


class Departure(msgspec.Struct, frozen=True):
    """When the driver took the packet that was sent with ``index``, by the wall clock."""

    index: int
    wall_ns: int


class Refusal(msgspec.Struct, frozen=True):
    """An ICMP error about some packet of ours, as the errno that stands for it."""

    errno: int


class StampedSocket:
    """A connected UDP socket that never blocks: of all datagrams it takes the peer's alone.

    Raises OSError where it cannot be opened (no such interface), or the kernel knows no way to ``address``.
    """

    def __init__(self, address: str, port: int, *, dscp: int = 0, interface: str | None = None) -> None:
        self._socket, self._peer = opened(address, port, socket.SOCK_DGRAM, interface=interface)
        self._first = 0
        self._stamping = False
        try:
            self._socket.setblocking(False)
            self._set_up(dscp)
        except OSError:
            self._socket.close()
            raise
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def _set_up(self, dscp: int) -> None:
        if is_ipv6(self._socket):
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            self._socket.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            self._socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        self._stamp_from(0)

    def connect(self) -> None:
        """Raises OSError where the kernel knows no way there. Nothing is sent."""
        self._socket.connect(self._peer)

    def send(self, index: int, packet: bytes) -> None:
        if not self._stamping:
            self._stamp_from(index)
        try:
            self._socket.send(packet)
        except OSError:
            self._stamping = False
            raise

    def receive(self) -> Arrival | None:
        """None where nothing has come."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_PACKET_BYTES, _ANCILLARY_BYTES)
        except OSError:  # nothing there, or an ICMP error, which the error queue tells as well
            return None
        wall_ns = dscp = None
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
                wall_ns = _stamp_ns(value)
            elif (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS):
                dscp = value[0] >> 2
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_TCLASS):
                dscp = struct.unpack_from("=i", value)[0] >> 2 & 0x3F
        return Arrival(data, wall_ns, dscp)

    def notices(self) -> list[Departure | Refusal]:
        """What the error queue has to say; afterwards it is empty, and no error waits for the next send."""
        told: list[Departure | Refusal] = []
        for _ in range(_NOTICES_MAX):
            try:
                _, ancillary, _, _ = self._socket.recvmsg(0, _ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
            except OSError:
                break
            told += self._notice(ancillary)
        if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            told.append(Refusal(code))
        return told

    def wait(self, seconds: float) -> None:
        """Until something has come, or so long; exact to some 0.1 ms, where poll(2) knows whole ms alone."""
        if seconds >= 0.001:
            self._poll.poll(int(seconds * 1000))
        elif seconds > 0:
            time.sleep(seconds)

    def close(self) -> None:
        self._socket.close()

    def _stamp_from(self, index: int) -> None:
        """Number the stamps anew, from ``index`` on: whether the kernel counted a packet that it then refused
        is not told. A stamp under the old count that comes later still is earlier than any packet under the
        new one, so :class:`Wall` does not believe it. A kernel that has no such option gives no stamps."""
        self._first, self._stamping = index, True
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, _STAMPS)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, _STAMPS | _NUMBERED)
        except OSError as error:
            if error.errno not in (errno.ENOPROTOOPT, errno.EINVAL):
                raise

    def _notice(self, ancillary: list[tuple[int, int, bytes]]) -> list[Departure | Refusal]:
        wall_ns, told = None, None
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
                wall_ns = _stamp_ns(value)
            elif kind == (IP_RECVERR if level == socket.IPPROTO_IP else IPV6_RECVERR):
                told = _EXTENDED_ERROR.unpack_from(value)
        if told is None:
            return []
        if told[1] != _ORIGIN_TIMESTAMPING:
            return [Refusal(told[0])]
        return [] if wall_ns is None else [Departure(self._first + told[6], wall_ns)]


def _stamp_ns(value: bytes) -> int | None:
    seconds, rest_ns = _TIMES.unpack_from(value)
    return seconds * 1_000_000_000 + rest_ns if seconds else None
