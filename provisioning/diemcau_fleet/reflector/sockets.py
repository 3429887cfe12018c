"""The reflector's sockets: where they listen, and what the kernel tells of each packet.

Errors::

    ValueError
    └── ListenError    not an address to listen on: what was got, what is expected
    OSError            it cannot be had (in use, not this machine's, not permitted)
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import struct

import msgspec

from diemcau_agent.line.packet import PORT

from .mmsg import FAMILIES, SO_TIMESTAMPNS, Batch

BUFFER_BYTES = 8 * 1024 * 1024
"""Of packets with the kernel's bookkeeping (some 800 octets each), and it doubles that: 0.2 s of 75,000 a
second."""
TTL = 255
"""Of replies, so that whoever receives one can count the hops back (RFC 5357, section 4.2.1)."""
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_MEMINFO = 32, 33, 55
_MEMINFO = struct.Struct("=9I")
"""linux/sock_diag.h; the last number counts what was dropped."""
_IPV4_OR_BRACKETS = re.compile(r"(?:\[([^]]*)\]|([^:]*))(?::([0-9]+))?")
EXPECTED = f"an IPv4 address or an IPv6 one in brackets, and :PORT from 0 to 65535 unless it is {PORT}"


class ListenError(ValueError):
    pass


class Listen(msgspec.Struct, frozen=True):
    """``port`` 0: one that is free."""

    host: str
    port: int = PORT

    @classmethod
    def parse(cls, text: str) -> Listen:
        """``192.0.2.1``, ``192.0.2.1:862``, ``[2001:db8::1]:862``, ``[fe80::1%eth0]``, ``0.0.0.0``, ``[::]``.

        Addresses, no names: what a reflector answers from must not hang on a name server.
        """
        found = _IPV4_OR_BRACKETS.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            six, four, port = found.groups()
            address = ipaddress.IPv4Address(four) if six is None else ipaddress.IPv6Address(six)
            listen = cls(str(address), PORT if port is None else int(port))
            if listen.port > 65535:
                raise ValueError
        except ValueError:
            raise ListenError(f"got {text!r}, expected {EXPECTED}") from None
        return listen

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listener:
    """A bound socket with its buffers. Raises OSError, with the address in its message."""

    def __init__(self, listen: Listen, *, shared: bool = False) -> None:
        """``shared``: one of several on this address (SO_REUSEPORT), for a process each."""
        kind = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        family = FAMILIES[kind]
        self.socket = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if kind == socket.AF_INET6:
                self.socket.setsockopt(family.level, socket.IPV6_V6ONLY, 1)
                self.socket.setsockopt(family.level, socket.IPV6_UNICAST_HOPS, TTL)
            else:
                self.socket.setsockopt(family.level, socket.IP_TTL, TTL)
            if shared:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            for option in (family.ttl_option, family.tos_option, family.local_option):
                self.socket.setsockopt(family.level, option, 1)
            self._enlarge(_SO_RCVBUFFORCE, socket.SO_RCVBUF)
            self._enlarge(_SO_SNDBUFFORCE, socket.SO_SNDBUF)
            self.socket.bind(_sockaddr(listen))
        except OSError as error:
            self.socket.close()
            reason = error.strerror or str(error)
            raise OSError(error.errno or errno.EINVAL, f"{listen}: cannot listen: {reason}") from error
        self.listen = Listen(listen.host, self.socket.getsockname()[1])
        from_any = ipaddress.ip_address(listen.host).is_unspecified
        self.batch = Batch(family, from_any=from_any)

    def _enlarge(self, force: int, ask: int) -> None:
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, force, BUFFER_BYTES)
        except PermissionError:  # then as far as net.core.rmem_max and wmem_max let us
            self.socket.setsockopt(socket.SOL_SOCKET, ask, BUFFER_BYTES)

    @property
    def buffer_bytes(self) -> int:
        """The receive buffer as it is; the kernel doubles what it was asked for (socket(7))."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    def overrun(self) -> int:
        """Packets that came while the receive buffer was full."""
        meminfo = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return _MEMINFO.unpack(meminfo)[-1] if len(meminfo) == _MEMINFO.size else 0


def open_listeners(listens: list[Listen], processes: int) -> list[list[Listener]]:
    """For each process a socket on each of ``listens``. Raises OSError where one cannot be had."""
    shared = processes > 1
    opened: list[list[Listener]] = [[] for _ in range(processes)]
    for listen in listens:
        if shared and listen.port:
            # Sockets that share would join those of another reflector in silence: the address must be free.
            Listener(listen).socket.close()
        for listeners in opened:
            listeners.append(Listener(listen, shared=shared))
            listen = listeners[-1].listen  # where any port would do, all take the first one's
    return opened


def _sockaddr(listen: Listen) -> tuple[str, int] | tuple[str, int, int, int]:
    host, _, scope = listen.host.partition("%")
    if ":" not in host:
        return host, listen.port
    return host, listen.port, 0, socket.if_nametoindex(scope) if scope else 0
