"""The largest IP packet that passes to the reflector and back: STAMP requests, padded, never fragmented.

The kernel's path MTU is where to begin: a router that cannot pass a packet says so (RFC 1191, RFC 8201), the
kernel then believes the smaller size, and that is no fault. Where nobody says so and large packets vanish
(RFC 2923, 2.1), it is a black hole: connections open and then stall. What passes is then searched
for, as in RFC 8899.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import select
import socket
import time
from typing import Any

from diemcau_agent.line import packet
from diemcau_agent.sockets import (
    IP_MTU,
    IP_MTU_DISCOVER,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    PMTUDISC_DO,
    is_ipv6,
    opened,
)

DEADLINE_S = 4.5
PACKETS = 3
"""Of each size: three large ones lost by chance while two small ones came are rare, and asked again."""
INTERVAL_S = 0.1
WAIT_S = 1.0
"""After the last packet: a satellite's round trip is 0.6 s."""
SEARCH_STEPS = 11
"""From 72 octets to 1500: each halves what is not known."""
_HEADERS_BYTES = {False: 28, True: 48}
"""IP and UDP, by whether it is IPv6."""


def path_mtu(
    address: str, port: int = packet.PORT, *, deadline_s: float = DEADLINE_S, interface: str | None = None
) -> dict[str, Any]:
    """``mtu_bytes``: the largest IP packet that passed, 1500 at most. ``mtu_passes``: whether packets of the
    size that the kernel takes for the path's MTU pass. Empty where the reflector does not answer."""
    try:
        with contextlib.closing(_Prober(address, port, interface, time.monotonic() + deadline_s)) as prober:
            return prober.measure()
    except OSError:
        return {}


class _Prober:
    def __init__(self, address: str, port: int, interface: str | None, end_s: float) -> None:
        self._sock, sockaddr = opened(address, port, socket.SOCK_DGRAM, interface=interface)
        self._end_s = end_s
        self._headers_bytes = _HEADERS_BYTES[is_ipv6(self._sock)]
        self._small_bytes = packet.BASE_BYTES + self._headers_bytes
        self._ssid = secrets.randbelow(0xFFFF) + 1
        self._sizes: list[int] = []  # of each packet sent, by its sequence number
        self._answered: set[int] = set()
        self._sent_s: list[float] = []
        self._rtt_s = WAIT_S
        try:
            self._sock.connect(sockaddr)
            self._sock.setblocking(False)
            if is_ipv6(self._sock):
                self._sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
            else:
                self._sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
        except OSError:
            self._sock.close()
            raise

    def close(self) -> None:
        self._sock.close()

    def measure(self) -> dict[str, Any]:
        size, small = self._settled()
        if self._passed(size):
            return {"mtu_bytes": size, "mtu_passes": True}
        if small < PACKETS - 1:
            return {}
        self._search(size)
        self._round(size, self._window_s)  # once more: was it chance?
        largest = max(self._sizes[seq] for seq in self._answered)
        return {"mtu_bytes": largest, "mtu_passes": largest >= size}

    def _settled(self) -> tuple[int, int]:
        """The kernel's path MTU once no router lowers it any more, and how many small packets came back."""
        while True:
            size, before = self._kernel_mtu(), len(self._sizes)
            self._round(size, WAIT_S)
            if self._kernel_mtu() >= size or self._left_s <= 0:
                small = [seq for seq in self._answered if seq >= before and self._sizes[seq] < size]
                return size, len(small)

    def _round(self, size: int, wait_s: float) -> None:
        """Small and large packets in turn, until a large one is answered or a router names a smaller size."""
        for number in range(PACKETS):
            self._send(self._small_bytes)
            self._send(size)
            self._listen(size, INTERVAL_S if number < PACKETS - 1 else wait_s)
            if self._passed(size) or self._kernel_mtu() < size:
                return

    def _search(self, fails: int) -> None:
        """Halve the sizes between the largest that passed and the smallest that does not."""
        for _ in range(SEARCH_STEPS):
            passes = max(self._sizes[seq] for seq in self._answered)  # an answer may come late
            if fails - passes <= 1 or self._left_s <= 0:
                return
            middle = (passes + fails) // 2
            if not packet.valid_size(middle - self._headers_bytes):
                return
            for _ in range(2):
                self._send(middle)
            self._listen(middle, self._window_s)
            if not self._passed(middle):
                fails = middle

    @property
    def _left_s(self) -> float:
        return self._end_s - time.monotonic()

    @property
    def _window_s(self) -> float:
        """How long an answer may take in the search: by the round trip just seen."""
        return min(0.15 + 2 * self._rtt_s, WAIT_S)

    def _passed(self, size: int) -> bool:
        return any(self._sizes[seq] == size for seq in self._answered)

    def _kernel_mtu(self) -> int:
        if is_ipv6(self._sock):
            mtu = self._sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
        else:
            mtu = self._sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
        return max(
            min(mtu, packet.MAX_BYTES + self._headers_bytes), self._small_bytes + packet.TLV_HEADER_BYTES
        )

    def _send(self, size: int) -> None:
        now_ns = time.time_ns()
        estimate = packet.error_estimate(1.0, synced=False)
        data = packet.request(len(self._sizes), now_ns, self._ssid, estimate, size - self._headers_bytes)
        self._sizes.append(size)
        self._sent_s.append(time.monotonic())
        try:
            self._sock.send(data)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOBUFS):
                raise

    def _listen(self, size: int, wait_s: float) -> None:
        """Take answers until one of ``size`` came, or a router has named a smaller size."""
        end_s = min(time.monotonic() + wait_s, self._end_s)
        while (left_s := end_s - time.monotonic()) > 0 and select.select([self._sock], [], [], left_s)[0]:
            try:
                self._heard(self._sock.recv(2048))
            except OSError as error:
                if error.errno not in (errno.EMSGSIZE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EAGAIN):
                    raise
            if self._passed(size) or self._kernel_mtu() < size:
                return

    def _heard(self, data: bytes) -> None:
        try:
            reply = packet.read_reply(data)
        except packet.PacketError:
            return
        if reply.ssid == self._ssid and reply.sender_seq < len(self._sizes):
            if reply.sender_seq not in self._answered:
                self._rtt_s = time.monotonic() - self._sent_s[reply.sender_seq]
            self._answered.add(reply.sender_seq)
