"""What the kernel knows of a neighbour on the wire: ARP and neighbour discovery, by rtnetlink(7).

One RTM_GETNEIGH request, which needs no privilege. The kernel learns of a neighbour by what is sent to it.
"""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address

import msgspec

_NLMSG_ERROR, _RTM_NEWNEIGH, _RTM_GETNEIGH = 2, 28, 30
_NLM_F_REQUEST = 1
_NDA_DST, _NDA_CACHEINFO = 1, 3
_HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port id."""
_NDMSG = struct.Struct("=BxxxiHBB")
"""struct ndmsg: family, interface index, state, flags, type."""
_ATTRIBUTE = struct.Struct("=HH")
_INCOMPLETE, _REACHABLE, _STALE, _DELAY, _PROBE, _FAILED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
"""NUD states of <linux/neighbour.h>."""
_TIMEOUT_S = 1.0


class Neighbour(msgspec.Struct, frozen=True):
    """``state``: NUD_* bits. ``confirmed_s``: how long ago it last proved that it is there."""

    state: int
    confirmed_s: float

    def is_there(self, since_s: float) -> bool | None:
        """Whether it answered ARP or neighbour discovery in the last ``since_s`` seconds.

        None: it was not asked in that time, since the kernel still believes an older proof (up to 45 s,
        base_reachable_time).
        """
        if self.state & (_FAILED | _INCOMPLETE):
            return False
        proved = self.state & (_REACHABLE | _STALE | _DELAY | _PROBE) and self.confirmed_s <= since_s
        return True if proved else None


def neighbour(address: str, interface: str) -> Neighbour | None:
    """None where the kernel has no entry. Raises OSError where it cannot be asked."""
    plain = ip_address(address.partition("%")[0])
    family = socket.AF_INET if plain.version == 4 else socket.AF_INET6
    destination = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(plain.packed), _NDA_DST) + plain.packed
    body = _NDMSG.pack(family, socket.if_nametoindex(interface), 0, 0, 0) + destination
    header = _HEADER.pack(_HEADER.size + len(body), _RTM_GETNEIGH, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_TIMEOUT_S)
        sock.sendto(header + body, (0, 0))
        return parse(sock.recv(8192))


def parse(data: bytes) -> Neighbour | None:
    """The kernel's answer: RTM_NEWNEIGH, or an error where there is no such entry."""
    if len(data) < _HEADER.size + _NDMSG.size:
        return None
    length, kind, *_ = _HEADER.unpack_from(data)
    if kind != _RTM_NEWNEIGH:
        return None
    _, _, state, _, _ = _NDMSG.unpack_from(data, _HEADER.size)
    at, end = _HEADER.size + _NDMSG.size, min(length, len(data))
    while at + _ATTRIBUTE.size <= end:
        size, attribute = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            break
        if attribute == _NDA_CACHEINFO and at + _ATTRIBUTE.size + 4 <= end:
            (ticks,) = struct.unpack_from("=I", data, at + _ATTRIBUTE.size)  # nda_cacheinfo.ndm_confirmed
            return Neighbour(state, ticks / os.sysconf("SC_CLK_TCK"))
        at += size + 3 & ~3
    return None
