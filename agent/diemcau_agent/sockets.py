"""Sockets as the probes of line and path need them: numeric addresses, one interface, ICMP errors (ip(7)).

All of it works without privileges; SO_BINDTODEVICE from Linux 5.7 on.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgspec

# <linux/in.h>, <linux/in6.h>: Python's socket module names them from 3.14 on.
IP_MTU_DISCOVER = 10
IP_RECVERR = 11
IP_MTU = 14
IPV6_MTU_DISCOVER = 23
IPV6_MTU = 24
IPV6_RECVERR = 25
PMTUDISC_DO = 2

SO_EE_ORIGIN_ICMP = 2
SO_EE_ORIGIN_ICMP6 = 3
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err of <linux/errqueue.h>: errno, origin, type, code, pad, info, data; then the
sockaddr of who sent it."""
_IN4_BYTES = 16
_IN6_BYTES = 28
_ANSWER_BYTES = 2048


class IcmpError(msgspec.Struct, frozen=True):
    """An ICMP error that a packet of ours brought about: ``offender`` sent it, of ``type`` and ``code``;
    ``port`` is the one that the packet was sent to."""

    offender: str
    type: int
    code: int
    port: int


def opened(
    address: str, port: int, kind: int, protocol: int = 0, interface: str | None = None
) -> tuple[socket.socket, Any]:
    """A socket for ``address`` (numeric, IPv6 with its scope) and the sockaddr of ``address`` and ``port``.

    ``interface``: what the socket sends and receives goes through that one alone. Raises OSError.
    """
    family, *_, sockaddr = socket.getaddrinfo(
        address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if interface is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    except OSError:
        sock.close()
        raise
    return sock, sockaddr


def is_ipv6(sock: socket.socket) -> bool:
    return sock.family == socket.AF_INET6


def own_address(address: str, interface: str | None = None) -> str | None:
    """The address from which this machine would send to ``address``; None: it knows no way there.

    Nothing is sent: connecting a datagram socket only asks the routing table.
    """
    try:
        sock, sockaddr = opened(address, 9, socket.SOCK_DGRAM, interface=interface)
        with sock:
            sock.connect(sockaddr)
            return sock.getsockname()[0]
    except OSError:
        return None


def read_error(sock: socket.socket) -> IcmpError | None:
    """Take one ICMP error off the socket's queue; None where it is empty, or the error is not ICMP's."""
    try:
        _, ancillary, _, target = sock.recvmsg(_ANSWER_BYTES, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except OSError:
        return None
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
            return parse_error(data, target[1])
    return None


def parse_error(data: bytes, port: int) -> IcmpError | None:
    """A sock_extended_err with its offender; None for an error that no other machine told."""
    if len(data) < _EXTENDED_ERROR.size:
        return None
    _, origin, kind, code, _, _, _ = _EXTENDED_ERROR.unpack_from(data)
    offender = data[_EXTENDED_ERROR.size :]
    if origin == SO_EE_ORIGIN_ICMP and len(offender) >= _IN4_BYTES:
        return IcmpError(socket.inet_ntop(socket.AF_INET, offender[4:8]), kind, code, port)
    if origin == SO_EE_ORIGIN_ICMP6 and len(offender) >= _IN6_BYTES:
        return IcmpError(socket.inet_ntop(socket.AF_INET6, offender[8:24]), kind, code, port)
    return None
