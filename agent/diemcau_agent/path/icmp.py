"""ICMP echo without root: datagram sockets, where net.ipv4.ping_group_range lets our group.

systemd's own defaults let everybody; Debian 12 leaves them out, and then the kernel lets nobody. The kernel
fills in the identifier (the socket's port) and the checksum, and hands over only replies to it.
"""

from __future__ import annotations

import select
import socket
import struct
import time

from diemcau_agent.sockets import is_ipv6, opened

TRIES = 3
INTERVAL_S = 0.3
_PAYLOAD = bytes(8)
"""Every 15 s by day and night: 36 octets a packet, which Ethernet fills up to its least frame anyway."""
_HEADER = struct.Struct("!BBHHH")
"""Type, code, checksum, identifier, sequence number (RFC 792, RFC 4443)."""
_REQUEST = {False: 8, True: 128}
_REPLY = {False: 0, True: 129}
"""By whether it is IPv6."""


def echo(address: str, *, interface: str | None = None) -> float | None:
    """Round trip in ms of the first of up to 3 echoes, 0.3 s apart, that is answered; None after 0.9 s.

    Raises PermissionError where the kernel opens no such socket to us, OSError where there is no way at all.
    """
    family = socket.IPPROTO_ICMPV6 if ":" in address else socket.IPPROTO_ICMP
    sock, sockaddr = opened(address, 0, socket.SOCK_DGRAM, family, interface)
    sent_s: dict[int, float] = {}
    with sock:
        sock.setblocking(False)
        sock.connect(sockaddr)
        for seq in range(1, TRIES + 1):
            sent_s[seq] = time.monotonic()
            sock.send(_HEADER.pack(_REQUEST[is_ipv6(sock)], 0, 0, 0, seq) + _PAYLOAD)
            until_s = sent_s[seq] + INTERVAL_S
            while (left_s := until_s - time.monotonic()) > 0 and select.select([sock], [], [], left_s)[0]:
                answered = reply_seq(sock.recv(2048), ipv6=is_ipv6(sock))
                if answered in sent_s:
                    return round((time.monotonic() - sent_s[answered]) * 1000, 3)
    return None


def reply_seq(data: bytes, *, ipv6: bool) -> int | None:
    """The sequence number of an echo reply; None for anything else."""
    if len(data) < _HEADER.size:
        return None
    kind, code, _, _, seq = _HEADER.unpack_from(data)
    return seq if (kind, code) == (_REPLY[ipv6], 0) else None
