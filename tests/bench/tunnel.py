"""A line between two network namespaces that runs through the impaired relay, whatever is sent over it.

::

    kit: line0 10.9.0.2 ── this process ── ImpairedRelay ── this process ── centre: line0 10.9.0.1

So UDP and ICMP meet the same impairments, and the relay counts the packets of each tool by their own numbers.
The tunnel's own two hops at the kit's end, some 0.1 ms, are in no truth: they are the same for everybody.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Generator

from diemcau_sim.datagram import Way, stamp_number
from diemcau_sim.impairment import ImpairedRelay
from namespaces import IP, Namespaces

KIT, CENTRE = "10.9.0.2", "10.9.0.1"
DEVICE = "line0"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_ICMP, _UDP = 1, 17
_ECHO_REPLY, _ECHO_REQUEST = 0, 8
_IRTT_MAGIC = b"\x14\xa7\x5b"
_IRTT_OPEN, _IRTT_CLOSE = 1, 4
_FRAME_BYTES = 2048


def number(data: bytes, way: Way) -> int | None:
    """Of a raw IPv4 packet: the sequence number of an echo, of irtt (its packet.go), or of STAMP."""
    header = (data[0] & 15) * 4 if data and data[0] >> 4 == 4 else len(data)
    if len(data) < header + 8:
        return None
    if data[9] == _ICMP:
        is_echo = data[header] == (_ECHO_REQUEST if way == "forward" else _ECHO_REPLY)
        return int.from_bytes(data[header + 6 : header + 8]) if is_echo else None
    if data[9] != _UDP:
        return None
    payload = data[header + 8 :]
    if payload[:3] == _IRTT_MAGIC:
        is_data = len(payload) >= 16 and not payload[3] & (_IRTT_OPEN | _IRTT_CLOSE)
        return int.from_bytes(payload[12:16], "little") if is_data else None
    return stamp_number(payload, way)


class Tunnel:
    """The namespaces "kit" and "centre", and the relay between them; ended by :func:`tunnel`."""

    def __init__(self, net: Namespaces) -> None:
        self.net = net
        self._far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._far.bind(("127.0.0.1", 0))
        self.relay = ImpairedRelay(
            "127.0.0.1", self._far.getsockname()[1], numbering=number, dwell_ns=lambda reply: 0
        )
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._near.connect(("127.0.0.1", self.relay.start()))
        self._ends = {"kit": self._open("kit", KIT), "centre": self._open("centre", CENTRE)}
        self._wake = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, name="tunnel")
        self._thread.start()

    def close(self) -> None:
        os.eventfd_write(self._wake, 1)
        self._thread.join(5)
        self.relay.stop()
        for fd in (*self._ends.values(), self._wake):
            os.close(fd)
        self._near.close()
        self._far.close()

    def kit_bytes(self) -> int:
        """What went out of the kit's end and came in there, at IP level."""
        told = json.loads(self.net.run("kit", [str(IP), "-json", "-stats", "link", "show", "dev", DEVICE]))
        return sum(told[0]["stats64"][way]["bytes"] for way in ("rx", "tx"))

    def _open(self, host: str, address: str) -> int:
        self.net.host(host)
        self.net.sysctl(host, "net.ipv6.conf.all.disable_ipv6", 1)  # no solicitations of its own accord
        self.net.sysctl(host, "net.ipv6.conf.default.disable_ipv6", 1)
        with self.net.enter(host):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        self.net.address(host, DEVICE, f"{address}/30")
        self.net.up(host, DEVICE, is_up=True)
        return fd

    def _run(self) -> None:
        kit, centre = self._ends["kit"], self._ends["centre"]
        peer: tuple[str, int] | None = None
        while True:
            ready = select.select([self._wake, kit, centre, self._near, self._far], (), ())[0]
            if self._wake in ready:
                return
            if kit in ready:
                self._near.send(os.read(kit, _FRAME_BYTES))
            if self._far in ready:
                data, peer = self._far.recvfrom(_FRAME_BYTES)
                os.write(centre, data)
            if centre in ready:
                data = os.read(centre, _FRAME_BYTES)
                if peer is not None:
                    self._far.sendto(data, peer)
            if self._near in ready:
                os.write(kit, self._near.recv(_FRAME_BYTES))


@contextlib.contextmanager
def tunnel() -> Generator[Tunnel]:
    """Raises NamespaceError where namespaces cannot be made, OSError where there is no /dev/net/tun."""
    with Namespaces() as net:
        made = Tunnel(net)
        try:
            yield made
        finally:
            made.close()
