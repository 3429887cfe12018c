"""The route, hop by hop, without root: UDP packets with a TTL of 1, 2, ... all at once, and the ICMP errors
that they bring about, read off the socket's error queue (IP_RECVERR, ip(7))."""

from __future__ import annotations

import select
import socket
import time

import msgspec

from diemcau_agent.sockets import (
    IP_RECVERR,
    IPV6_RECVERR,
    IcmpError,
    is_ipv6,
    opened,
    own_address,
    read_error,
)

FIRST_PORT = 33434
"""traceroute's. Each TTL has a port of its own, by which its answer is told apart."""
MAX_HOPS = 20
ROUNDS = 2
"""Routers answer few ICMP errors a second: who kept silent is asked once more."""
_TIME_EXCEEDED = {False: 11, True: 3}
_UNREACHABLE = {False: 3, True: 1}
"""ICMP and ICMPv6 types by whether it is IPv6 (RFC 792, RFC 4443)."""


class Hop(msgspec.Struct, frozen=True):
    """Who answered a packet at its distance, and how fast; both None where nobody did."""

    address: str | None = None
    rtt_ms: float | None = None


def trace(
    address: str, *, max_hops: int = MAX_HOPS, deadline_s: float = 2.0, interface: str | None = None
) -> list[Hop]:
    """The hops to ``address``, nearest first, without silent ones at the end.

    It ends with who ended it: ``address`` itself where it was reached and tells so, or a router that
    knows no way on. Empty where nobody answered, or this machine knows no way. Raises OSError.
    """
    own = own_address(address, interface)
    if own is None:
        return []
    probe = _Probe(address, own, max_hops, interface)
    with probe.sock:
        for _ in range(ROUNDS):
            probe.send()
            probe.listen(time.monotonic() + deadline_s / ROUNDS)
            if probe.complete:
                break
    return probe.hops()


class _Probe:
    def __init__(self, address: str, own: str, max_hops: int, interface: str | None) -> None:
        self.sock, self._target = opened(address, FIRST_PORT, socket.SOCK_DGRAM, interface=interface)
        self._own = own
        self._last = max_hops
        self._sent_s: dict[int, float] = {}
        self._answers: dict[int, Hop] = {}
        if is_ipv6(self.sock):
            self.sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            self.sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)

    @property
    def complete(self) -> bool:
        return all(ttl in self._answers for ttl in range(1, self._last + 1))

    def send(self) -> None:
        host, _, *scope = self._target
        level, option = (
            (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
            if is_ipv6(self.sock)
            else (socket.IPPROTO_IP, socket.IP_TTL)
        )
        for ttl in range(1, self._last + 1):
            if ttl in self._answers:
                continue
            self.sock.setsockopt(level, option, ttl)
            self._sent_s[ttl] = time.monotonic()
            for _ in range(2):
                try:
                    self.sock.sendto(bytes(32), (host, FIRST_PORT + ttl, *scope))
                    break
                except OSError:
                    self._take()  # mostly an earlier packet's error: told once, it is told no more

    def listen(self, until_s: float) -> None:
        poll = select.poll()
        poll.register(self.sock, 0)  # POLLERR alone: the error queue has something
        while not self.complete and (left_s := until_s - time.monotonic()) > 0:
            if poll.poll(left_s * 1000):
                self._take()

    def hops(self) -> list[Hop]:
        found = [self._answers.get(ttl, Hop()) for ttl in range(1, self._last + 1)]
        while found and found[-1].address is None:
            found.pop()
        return found

    def _take(self) -> None:
        now_s = time.monotonic()
        self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        while (error := read_error(self.sock)) is not None:
            self._heard(error, now_s)

    def _heard(self, error: IcmpError, now_s: float) -> None:
        ttl = error.port - FIRST_PORT
        # A neighbour that does not answer ARP is told by this machine itself, which is no hop.
        if ttl not in self._sent_s or ttl in self._answers or error.offender == self._own:
            return
        ipv6 = is_ipv6(self.sock)
        if error.type == _UNREACHABLE[ipv6]:
            self._last = min(self._last, ttl)
        elif error.type != _TIME_EXCEEDED[ipv6]:
            return
        self._answers[ttl] = Hop(error.offender, round((now_s - self._sent_s[ttl]) * 1000, 3))
