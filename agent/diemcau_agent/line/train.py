"""The STAMP sender (RFC 8762): one train of packets to a reflector, and what came back of it.

:func:`run` blocks, for a thread of the daemon's or for the command line. It is bounded: a train lasts at most
``count * interval_ms + wait_s`` and one second, and a ``stop`` ends it within 0.1 s.

Errors::

    OSError                a socket that cannot be opened: no such interface, not permitted (from run)
    └── socket.gaierror    a host without an address (from resolve)
    ValueError             a plan out of bounds, named by its field

What happens on the line raises nothing: a packet that cannot be sent is a lost one, and ``Train.error`` says
why.
"""

from __future__ import annotations

import errno
import os
import socket
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from math import ceil
from threading import Event

import msgspec

from .packet import MAX_BYTES, error_estimate, request, valid_size
from .record import Train
from .replies import Replies
from .stamps import Clocks, Departure, StampedSocket, Wall

TRAIN_S_MAX = 120.0
RATE_PPS_MAX = 2000
WAIT_S = 2.0
"""From when on a packet counts as lost (RFC 7680, 2.4): longer than any line on Earth needs, satellites and
full buffers included; who takes part in a conference has given up long before."""
WAIT_S_MAX = 10.0
ERROR_S = 0.01
"""What our clock may err by where the kernel says that it is synced: NTP over a line of the country."""

_STOP_S = 0.05
_LATE_S = 0.5
"""By how much a train may end late on a machine that was too busy to send it on time."""
_LINGER_S = 0.1
_READ_MAX = 256
"""Datagrams read in a row: a flood must not keep us from the next packet."""
_LIMITS_S = 0.1
_LIMITS_PACKETS = 10
_ENDING = frozenset(
    (errno.EMSGSIZE, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.ENODEV, errno.EACCES)
)
"""Of our own machine, and no better at the next packet."""


class Address(msgspec.Struct, frozen=True):
    """``host`` is numeric, IPv6 with its scope where it needs one."""

    host: str
    port: int


class Limits(msgspec.Struct, frozen=True):
    """Where a train stops itself: over the packets of ``window_s``, as soon as more than ``loss_percent_max``
    are missing, or the round trip's p95 is over ``rtt_ms_max``. Fewer than 10 packets are not judged."""

    loss_percent_max: float
    rtt_ms_max: float
    window_s: float = 1.0

    def broken(self, replies: Replies, now_ns: int, wait_s: float) -> str | None:
        """By which packet counts whose reply is due: ``rtt_ms_max`` (or ``wait_s``) after it was sent, since
        what comes later is over the limit as well. In words, None where all is well."""
        due_ns = now_ns - round(min(self.rtt_ms_max / 1000, wait_s) * 1e9)
        begin_ns = due_ns - round(self.window_s * 1e9)
        first, last = bisect_left(replies.sent_ns, begin_ns), bisect_right(replies.sent_ns, due_ns)
        if last - first < _LIMITS_PACKETS or replies.sent_ns[0] > begin_ns:
            return None
        rtts_ns = sorted(rtt for index in range(first, last) if (rtt := replies.rtt_ns(index)) is not None)
        if rtts_ns and (p95_ms := rtts_ns[ceil(0.95 * len(rtts_ns)) - 1] / 1e6) > self.rtt_ms_max:
            return f"stopped: round trip {p95_ms:.0f} ms over {self.window_s:g} s"
        percent = 100 * (1 - len(rtts_ns) / (last - first))
        if percent > self.loss_percent_max:
            return f"stopped: loss {percent:.0f} % over {self.window_s:g} s"
        return None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A train: ``count`` packets of ``size_bytes`` (UDP payload), one every ``interval_ms``, marked ``dscp``.

    ``wait_s``: how long after it was sent a packet's reply may come. ``interface``: sent through that one
    alone. ``limits``: where it stops itself. At most 120 s and 2,000 packets a second; ValueError else.
    """

    address: Address
    count: int
    interval_ms: float
    size_bytes: int
    dscp: int = 0
    wait_s: float = WAIT_S
    interface: str | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        least_ms = 1000 / RATE_PPS_MAX
        if not self.count >= 1:
            raise ValueError(f"count: got {self.count}, expected at least 1")
        if not self.interval_ms >= least_ms:
            raise ValueError(f"interval_ms: got {self.interval_ms}, expected at least {least_ms}")
        if not self.count * self.interval_ms <= TRAIN_S_MAX * 1000:
            length_s = self.count * self.interval_ms / 1000
            raise ValueError(f"count, interval_ms: got {length_s:g} s, expected at most {TRAIN_S_MAX:g} s")
        if not valid_size(self.size_bytes):
            raise ValueError(f"size_bytes: got {self.size_bytes}, expected 44, or 48 to {MAX_BYTES}")
        if not 0 <= self.dscp <= 63:
            raise ValueError(f"dscp: got {self.dscp}, expected 0 to 63")
        if not 0 < self.wait_s <= WAIT_S_MAX:
            raise ValueError(f"wait_s: got {self.wait_s}, expected over 0, up to {WAIT_S_MAX:g}")


def resolve(host: str, port: int) -> Address:
    """The first address of ``host``, IPv4 or IPv6 as the system prefers (RFC 6724). Blocks as long as the
    system's resolver does. Raises socket.gaierror, which names the host."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
        return Address(str(found[0][4][0]), port)
    except socket.gaierror as error:
        raise socket.gaierror(error.errno, f"{host}: {error.strerror}") from error
    except (UnicodeError, ValueError) as error:  # a label too long or empty; a null character
        raise socket.gaierror(socket.EAI_NONAME, f"{host}: not a host name") from error


def run(
    plan: Plan, *, synced: Callable[[], bool], stop: Event | None = None, clocks: Clocks | None = None
) -> Train:
    """Send the train, wait for what comes back, and say what did.

    ``synced``: whether our clock is held to UTC; asked before and after. Raises OSError where no socket can
    be opened for it, and nothing else.
    """
    sock = StampedSocket(plan.address.host, plan.address.port, dscp=plan.dscp, interface=plan.interface)
    try:
        return _Run(plan, sock, Wall(clocks or Clocks()), synced, stop or Event()).run()
    finally:
        sock.close()


class _Run:
    def __init__(
        self, plan: Plan, sock: StampedSocket, wall: Wall, synced: Callable[[], bool], stop: Event
    ) -> None:
        self._plan, self._sock, self._wall, self._synced, self._stop = plan, sock, wall, synced, stop
        self._synced_before = synced()
        self._estimate = error_estimate(ERROR_S, synced=self._synced_before)
        self._ssid = 1 + int.from_bytes(os.urandom(2)) % 0xFFFF
        # Far above any count of a reflector's own, and far enough below 2**32.
        self._first_seq = 0x10000000 + int.from_bytes(os.urandom(4)) % 0xE0000000
        self._replies = Replies(wall, self._ssid, self._first_seq, round(plan.wait_s * 1e9))
        self._unsent = 0
        self._error: str | None = None

    def run(self) -> Train:
        start_ns = self._wall.look()
        ended = self._send_all(start_ns)
        if not self._stop.is_set():
            self._linger(start_ns)
        if self._stop.is_set():
            ended = "stopped"
        return self._train(start_ns, ended or self._error)

    def _send_all(self, start_ns: int) -> str | None:
        """Why it ended early, if it did."""
        try:
            self._sock.connect()
        except OSError as error:
            self._replies.sent(start_ns, 0)
            self._unsent += 1
            return error.strerror
        interval_ns = round(self._plan.interval_ms * 1e6)
        latest_ns = start_ns + self._plan.count * interval_ns + round(_LATE_S * 1e9)
        limits, judge_ns = self._plan.limits, start_ns
        for index in range(self._plan.count):
            now_ns = self._read_until(start_ns + index * interval_ns)
            if self._stop.is_set():
                return None
            if now_ns > latest_ns:
                return "stopped: this machine is too busy to keep up"
            if ended := self._send(index):
                return ended
            if limits and now_ns >= judge_ns:
                judge_ns = now_ns + round(_LIMITS_S * 1e9)
                if ended := limits.broken(self._replies, now_ns, self._plan.wait_s):
                    return ended
        return None

    def _send(self, index: int) -> str | None:
        """Why no other one need be tried, if so. A send may fail for an ICMP error about an earlier packet,
        so it is tried a second time; then this one is lost, and the next one may be luckier."""
        sent_ns = self._wall.look()
        t1_ns = sent_ns + self._wall.offset_ns
        seq = (self._first_seq + index) & 0xFFFFFFFF
        packet = request(seq, t1_ns, self._ssid, self._estimate, self._plan.size_bytes, self._plan.dscp)
        self._replies.sent(sent_ns, t1_ns)
        for last in (False, True):
            try:
                self._sock.send(index, packet)
                break
            except OSError as error:
                self._read_notices()
                if last:
                    self._unsent += 1
                    self._error = error.strerror
                    return error.strerror if error.errno in _ENDING else None
        self._read_notices()
        return None

    def _read_until(self, due_ns: int) -> int:
        """Read what comes until it is time, or until ``stop``; the time. Late or not, it reads once."""
        while True:
            self._read()
            left_ns = due_ns - self._wall.look()
            if left_ns <= 0 or self._stop.is_set():
                return due_ns - left_ns
            self._sock.wait(min(left_ns / 1e9, _STOP_S))

    def _linger(self, start_ns: int) -> None:
        """Until every reply that is due has come, and then for a duplicate of the last one twice as long as
        the slowest took."""
        replies = self._replies
        wait_ns, linger_ns = round(self._plan.wait_s * 1e9), round(_LINGER_S * 1e9)
        length_ns = round((self._plan.count * self._plan.interval_ms / 1000 + _LATE_S) * 1e9)
        end_ns = min(replies.sent_ns[-1], start_ns + length_ns) + wait_ns
        while replies.answered + self._unsent < len(replies.sent_ns):
            if self._read_until(min(end_ns, self._wall.look() + linger_ns)) >= end_ns or self._stop.is_set():
                return
        if replies.answered:
            self._read_until(min(end_ns, self._wall.look() + max(2 * replies.slowest_ns, linger_ns)))

    def _read(self) -> None:
        self._read_notices()
        for _ in range(_READ_MAX):
            arrival = self._sock.receive()
            if arrival is None:
                return
            self._replies.came(arrival, self._wall.look())

    def _read_notices(self) -> None:
        notices = self._sock.notices()
        if notices:
            self._wall.look()
        for notice in notices:
            if isinstance(notice, Departure):
                self._replies.left(notice)
            else:
                self._error = os.strerror(notice.errno)

    def _train(self, start_ns: int, error: str | None) -> Train:
        replies, sent_ns, interval_ms = self._replies, self._replies.sent_ns, self._plan.interval_ms
        count = replies.decided(self._wall.look()) if self._stop.is_set() else len(sent_ns)
        if count > 1:
            interval_ms = (sent_ns[count - 1] - sent_ns[0]) / 1e6 / (count - 1)
        steps = self._wall.steps + replies.reflector_steps()
        synced = self._synced_before and self._synced() and replies.all_synced
        one_way = synced and not steps and replies.answered > 0
        return Train(
            at_s=start_ns / 1e9,
            rtts_ms=replies.rtts_ms(count),
            interval_ms=interval_ms,
            duplicates=replies.duplicates,
            reordered=replies.reordered,
            strange=replies.strange,
            clock_steps=steps,
            forward_ms=replies.forward_ms(count) if one_way else None,
            backward_ms=replies.backward_ms(count) if one_way else None,
            lost_forward=replies.lost_forward(count),
            dscp=self._plan.dscp,
            reflector_dscp=replies.reflector_dscp,
            returned_dscp=replies.returned_dscp,
            error=error,
        )
