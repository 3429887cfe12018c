"""The rules of the reflector: which packet is answered, and with what (RFC 8762, section 4.3; RFC 8972).

A reply is exactly as long as its request, and has the request's DSCP unless it asks for another. Every packet
is counted as received, and as what became of it::

    reflected   the reply went out
    malformed   under 44 octets, or over 2048. A TWAMP Light sender's short packet (RFC 8762, section 4.6)
                would have to get a longer reply: whoever forges sources could use us to amplify
    capped      its source sent more than its share
    looped      not from a sender, but from somebody who answers
    unsent      the kernel would not take the reply (no route, a full queue)

**Loops.** A packet with the forged source of another reflector makes the two answer each other for ever. So
what comes from a well-known port is dropped (below 1024: STAMP's own 862, echo, DNS, NTP, TFTP; a NAT keeps
a sender's port above, RFC 4787, REQ-3). So is what carries a time of the last minute where only a reply has
one: T2, or the echo of its sender's time, which in a reply to us is our own T3. Requests have zeros there. A
loop so ends at the first packet that comes back, whatever port and clock the other has; a random padding of
TWAMP Light is taken for a reply once in 35 million packets.

**State** is a counter a session (source, port, SSID), from 0 on (RFC 8762, section 4.2), forgotten when it
was idle for :data:`SESSION_IDLE_S` to twice that, or sooner where forged sources fill the table.
"""

from __future__ import annotations

import enum
import socket
import struct
import time
from collections.abc import Callable

import msgspec

from diemcau_agent.clock import kernel_clock_synced
from diemcau_agent.line.packet import BASE_BYTES, REPLY, error_estimate, to_ntp

from . import tlvs
from .mmsg import STRIDE, Batch, Layout
from .tables import Generations

SOURCE_PPS = 4000
"""Packets a second that a source may send, with bursts of one second's: a whole province may sit behind one
address (in a conference, a burst of 10 every 2 s: 800 rooms). A source is an IPv4 address, or the first 64
bits of an IPv6 one, since whoever has one of those has them all."""
SOURCES_MAX = 65_536
SESSIONS_MAX = 262_144
SOURCE_IDLE_S = 10
"""A source that was silent for longer than its burst is as good as new."""
SESSION_IDLE_S = 900
"""TWAMP's REFWAIT (RFC 5357, section 4.2)."""
LOOP_S = 60
PORT_MIN = 1024

ERROR_SYNCED_S = 0.001
ERROR_UNSYNCED_S = 1.0
"""What the error estimate says (RFC 4656, section 4.1.2): assumed, of a clock that NTP holds, and of one that
nobody does."""

_REQUEST = struct.Struct(f"!IQHHI8xI12x{STRIDE - BASE_BYTES}x")
"""Sequence number, timestamp, error estimate, SSID; and the seconds of T2 and T1 if it is a reply."""
_TIMESPEC = struct.Struct("=qq").unpack_from
_REPLIED_AT = 4
"""Octets from a reply's begin to its T3."""
_REPLY = REPLY.pack_into
_UNUSABLE = socket.MSG_TRUNC | socket.MSG_CTRUNC


class Count(enum.IntEnum):
    """``OVERRUN``: dropped by the kernel as the receive buffer was full: our loss, not the line's.
    ``SESSIONS``, ``SOURCES``: in the tables now."""

    RECEIVED = 0
    REFLECTED = 1
    MALFORMED = 2
    CAPPED = 3
    LOOPED = 4
    UNSENT = 5
    OVERRUN = 6
    SESSIONS = 7
    SOURCES = 8


class Clocks(msgspec.Struct, frozen=True):
    """Where the reflector reads time: nanoseconds, monotonic and since 1970, and whether that is synced."""

    monotonic_ns: Callable[[], int] = time.monotonic_ns
    wall_ns: Callable[[], int] = time.time_ns
    synced: Callable[[], bool] = kernel_clock_synced


class Reflector:
    """``counts``: of :class:`Count`, 64-bit, written here, read by whoever likes (shared memory, for one)."""

    def __init__(
        self,
        counts: memoryview[int],
        *,
        stateful: bool = True,
        source_pps: int = SOURCE_PPS,
        clocks: Clocks | None = None,
        sources_max: int = SOURCES_MAX,
        sessions_max: int = SESSIONS_MAX,
    ) -> None:
        self.counts = counts
        self._stateful = stateful
        self._clocks = clocks or Clocks()
        self._interval_ns = 1_000_000_000 // source_pps
        now_ns = self._clocks.monotonic_ns()
        self._sources = Generations(sources_max, SOURCE_IDLE_S * 1_000_000_000, now_ns)
        self._sessions = Generations(sessions_max, SESSION_IDLE_S * 1_000_000_000, now_ns)
        self._layouts: dict[tuple[int, int], Layout] = {}
        self._estimate = 0
        self.refresh()

    def refresh(self) -> None:
        """What is not worth asking for every packet: whether the clock is synced, how full the tables are."""
        synced = self._clocks.synced()
        self._estimate = error_estimate(ERROR_SYNCED_S if synced else ERROR_UNSYNCED_S, synced=synced)
        self.counts[Count.SESSIONS] = len(self._sessions)
        self.counts[Count.SOURCES] = len(self._sources)

    def turn(self, fd: int, batch: Batch) -> int:
        """Answers one batch of what has come on a socket; returns how many that were."""
        count = batch.receive(fd)
        if not count:
            return 0
        dropped = self._answer(batch, count)
        sent = first = 0
        for slot in dropped:
            sent += batch.send(fd, first, slot)
            first = slot + 1
        sent += batch.send(fd, first, count)
        counts = self.counts
        counts[Count.RECEIVED] += count
        counts[Count.REFLECTED] += sent
        counts[Count.UNSENT] += count - len(dropped) - sent
        return count

    def _answer(self, batch: Batch, count: int) -> list[int]:
        """Writes the replies over the requests; returns the slots that get none, in order.

        One function with local names, as each call costs 1 % of a core at 75,000 packets a second.
        """
        now_ns = self._clocks.monotonic_ns()
        self._sources.make_room(count, now_ns)
        self._sessions.make_room(count, now_ns)
        sources, take_source = self._sources.young, self._sources.take
        sessions, take_session = self._sessions.young, self._sessions.take
        interval_ns = self._interval_ns
        full_ns = now_ns + 1_000_000_000 - interval_ns
        stateful, estimate = self._stateful, self._estimate
        ahead_s = (to_ntp(self._clocks.wall_ns()) >> 32) + 1
        payloads, controls, replies = batch.payloads, batch.controls, batch.replies
        send_tos_at, send_local_at = batch.TOS_AT, batch.local_at
        lengths = batch.lengths
        received_seconds = received_ntp = -1
        layout_bytes, time_at, ttl_at, tos_at, local_at, local_end = 0, 0, 0, 0, 0, 0
        malformed = capped = looped = 0
        dropped: list[int] = []
        for (
            (slot, at, control_at, reply_at),
            (control_bytes, flags, length),
            (port, source, interface),
            (seq, sent, sent_estimate, ssid, received_s, echoed_s),
        ) in zip(
            batch.slots,
            batch.received(count),
            batch.sources(count),
            batch.unpacked(_REQUEST, count),
            strict=False,
        ):
            if control_bytes != layout_bytes and (layout := self._layout(batch, slot, control_bytes)):
                layout_bytes = control_bytes
                time_at, ttl_at, tos_at, local_at = layout.time, layout.ttl, layout.tos, layout.local
                local_end = local_at + batch.family.local_bytes
            if length < BASE_BYTES or flags & _UNUSABLE or control_bytes != layout_bytes:
                malformed += 1
                dropped.append(slot)
                continue
            if port < PORT_MIN or (
                (received_s or echoed_s)
                and (
                    ahead_s - received_s & 0xFFFFFFFF <= LOOP_S + 1
                    or ahead_s - echoed_s & 0xFFFFFFFF <= LOOP_S + 1
                )
            ):
                looped += 1
                dropped.append(slot)
                continue
            # The generic cell rate algorithm (ITU-T I.371): a token bucket as one number, when it is full.
            full_again_ns = sources.get(source)
            if full_again_ns is None:
                full_again_ns = take_source(source, 0)
            if full_again_ns > full_ns:
                capped += 1
                dropped.append(slot)
                continue
            sources[source] = (now_ns if full_again_ns < now_ns else full_again_ns) + interval_ns
            if stateful:
                session = (source << 64 | interface if interface else source) << 32 | port << 16 | ssid
                reply_seq = sessions.get(session)
                if reply_seq is None:
                    reply_seq = take_session(session, 0)
                sessions[session] = reply_seq + 1 & 0xFFFFFFFF
            else:
                reply_seq = seq
            tos = controls[control_at + tos_at]
            if length > BASE_BYTES:
                tos = tlvs.answer(payloads, at + BASE_BYTES, at + length, tos)
            else:
                tos &= 0xFC
            if replies[reply_at + send_tos_at] != tos:
                replies[reply_at + send_tos_at] = tos
            if send_local_at:
                replies[reply_at + send_local_at : reply_at + send_local_at + local_end - local_at] = (
                    controls[control_at + local_at : control_at + local_end]
                )
            if lengths[slot] != length:
                batch.reply_bytes(slot, length)
            seconds, nanoseconds = _TIMESPEC(controls, control_at + time_at)
            if seconds != received_seconds:
                received_seconds, received_ntp = seconds, to_ntp(seconds * 1_000_000_000)
            received = received_ntp | (nanoseconds << 32) // 1_000_000_000
            ttl = controls[control_at + ttl_at]
            _REPLY(payloads, at, reply_seq, 0, estimate, ssid, received, seq, sent, sent_estimate, ttl)
        # T3 last, and for all at once: as near as can be to the one system call that sends them. Octet by
        # octet, with the batch's length as the step.
        for at, octet in enumerate(to_ntp(self._clocks.wall_ns()).to_bytes(8, "big"), _REPLIED_AT):
            payloads[at : count * STRIDE : STRIDE] = octet.to_bytes(1, "big") * count
        counts = self.counts
        counts[Count.MALFORMED] += malformed
        counts[Count.CAPPED] += capped
        counts[Count.LOOPED] += looped
        return dropped

    def _layout(self, batch: Batch, slot: int, control_bytes: int) -> Layout | None:
        """Of control data of that length; the kernel gives all of a socket's messages the same."""
        known = self._layouts.get((batch.family.family, control_bytes))
        if known is None and (known := batch.learn(slot, control_bytes)):
            self._layouts[batch.family.family, control_bytes] = known
        return known
