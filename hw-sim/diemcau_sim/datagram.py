"""UDP on loopback as a relay wants it: when the kernel got a packet and when it let one go, whatever this
process did meanwhile, and the octet of DSCP and ECN."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

Address = tuple[str, int]
Way = Literal["forward", "backward"]
"""From the sender to the upstream, and back."""
WAYS: tuple[Way, Way] = ("forward", "backward")
Numbering = Callable[[bytes, Way], int | None]
"""The number by which a reply is known as its request's; None for what is none of the packets that count."""
Dwell = Callable[[bytes], int]
"""How long the upstream says, in its reply, that it kept the request, ns; 0 where it does not say."""

IP_UDP_BYTES = 28
RECEIVE_BUFFER_BYTES = 1 << 20
STEP_NS = 1_000_000_000
"""No packet waited so long to be looked at: the wall clock was set."""
SO_TIMESTAMPNS, SO_TIMESTAMPING, MSG_ERRQUEUE = 35, 37, 0x2000
"""<asm-generic/socket.h>, not in Python's socket module. Each tells a struct timespec by the wall clock."""
TX_SOFTWARE = 1 << 1 | 1 << 4 | 1 << 11
"""<linux/net_tstamp.h>: SOF_TIMESTAMPING_TX_SOFTWARE, SOFTWARE, OPT_TSONLY."""
TIMESPEC = struct.Struct("@ll")
ANCILLARY_BYTES = 256


class Datagram(NamedTuple):
    """``arrived_ns``: monotonic, when the kernel had it, not when its reader came to look."""

    data: bytes
    tos: int
    arrived_ns: int
    source: Address


def udp_socket() -> socket.socket:
    """Not blocking, bound to nothing yet."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return made


def receive(ready: socket.socket) -> Datagram:
    """Raises BlockingIOError where there is none, ConnectionError where the other side's port is closed."""
    data, ancillary, _, source = ready.recvmsg(65_535, ANCILLARY_BYTES)
    tos = next((value[0] for _, kind, value in ancillary if kind == socket.IP_TOS), 0)
    return Datagram(data, tos, _stamped_ns(ancillary, SO_TIMESTAMPNS), source)


def send(by: socket.socket, data: bytes, tos: int, to: Address | None) -> int:
    """``to``: None where ``by`` is connected. When the kernel let it go, monotonic: before the call this
    thread may lose its processor, after it wait for the interpreter's lock. Raises OSError."""
    ancillary = [(socket.IPPROTO_IP, socket.IP_TOS, bytes([tos]))]
    if to is None:
        by.sendmsg([data], ancillary)
    else:
        by.sendmsg([data], ancillary, 0, to)
    try:  # on loopback the packet has gone, and its stamp is there, when the call comes back
        return _stamped_ns(by.recvmsg(0, ANCILLARY_BYTES, MSG_ERRQUEUE)[1], SO_TIMESTAMPING)
    except BlockingIOError:
        return time.monotonic_ns()


def _stamped_ns(ancillary: list[tuple[int, int, bytes]], wanted: int) -> int:
    """The stamp by the monotonic clock; now, where the wall clock was set meanwhile."""
    now_ns = time.monotonic_ns()
    for _, kind, value in ancillary:
        if kind == wanted:
            seconds, rest_ns = TIMESPEC.unpack_from(value)
            ago_ns = time.time_ns() - seconds * 1_000_000_000 - rest_ns
            return now_ns - ago_ns if 0 < ago_ns < STEP_NS else now_ns
    return now_ns


def stamp_dwell_ns(reply: bytes) -> int:
    """T3 - T2 of a STAMP reply, both in NTP's 32.32 fixed point (RFC 8762, 4.3.1)."""
    if len(reply) < 44:
        return 0
    replied, received = (int.from_bytes(reply[at : at + 8]) for at in (4, 16))
    return (replied - received) * 1_000_000_000 >> 32


def stamp_number(data: bytes, way: Way) -> int | None:
    """The sender's sequence number in a STAMP request and in its reply (RFC 8762, 4.2.1 and 4.3.1)."""
    at = 0 if way == "forward" else 24
    return int.from_bytes(data[at : at + 4]) if len(data) >= at + 4 else None
