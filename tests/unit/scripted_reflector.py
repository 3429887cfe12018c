"""The far end of the line as a test wants it: real datagrams on loopback, answered by a script."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from math import isnan
from types import TracebackType
from typing import Any

import msgspec

from diemcau_agent.line import packet
from diemcau_agent.line.record import Train
from diemcau_agent.line.train import Address, Limits, Plan, run

TLVS = packet.BASE_BYTES


class Request(msgspec.Struct, frozen=True):
    """``n``: how many came before it; ``tos``: the byte of its IP header; ``stamp``: T1 as NTP's 64 bits."""

    n: int
    seq: int
    stamp: int
    estimate: int
    ssid: int
    tos: int
    data: bytes
    arrived_ns: int


Script = Callable[[Request], Iterable[bytes]]


def answer(
    request: Request,
    *,
    seq: int | None = None,
    ssid: int | None = None,
    sender_seq: int | None = None,
    stamp: int | None = None,
    received_ns: int | None = None,
    replied_ns: int | None = None,
    synced: bool = True,
    ptp: bool = False,
) -> bytes:
    """A good stateful reply, as long as its request, but for what is given."""

    def time_of(given_ns: int | None, actual_ns: int) -> int:
        moment_ns = actual_ns if given_ns is None else given_ns
        if ptp:
            return moment_ns // 10**9 << 32 | moment_ns % 10**9
        return packet.to_ntp(moment_ns)

    estimate = packet.error_estimate(0.001, synced=synced) | (packet.PTP_FORMAT if ptp else 0)
    received = time_of(received_ns, request.arrived_ns)
    return (
        packet.REPLY.pack(
            request.n if seq is None else seq,
            time_of(replied_ns, time.time_ns()),
            estimate,
            request.ssid if ssid is None else ssid,
            received,
            request.seq if sender_seq is None else sender_seq,
            request.stamp if stamp is None else stamp,
            request.estimate,
            64,
        )
        + request.data[TLVS:]
    )


def good(request: Request) -> list[bytes]:
    return [answer(request)]


class Reflector:
    """Answers in a thread of its own; what goes wrong there is raised when it is closed."""

    def __init__(self, script: Script = good, *, host: str = "127.0.0.1", tos: int = 0) -> None:
        self.script = script
        self.requests: list[Request] = []
        self._host, self._tos = host, tos
        self._port = 0
        self._closing = threading.Event()
        self._error: BaseException | None = None
        self.open()
        self.sender: Any = None
        self._thread = threading.Thread(target=self._serve, name="reflector")

    @property
    def address(self) -> Address:
        return Address(self._host, self._port)

    def open(self) -> None:
        """Again on the same port, after :meth:`shut`."""
        ipv6 = ":" in self._host
        self.socket = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        level = socket.IPPROTO_IPV6 if ipv6 else socket.IPPROTO_IP
        self.socket.setsockopt(level, socket.IPV6_RECVTCLASS if ipv6 else socket.IP_RECVTOS, 1)
        self.socket.setsockopt(level, socket.IPV6_TCLASS if ipv6 else socket.IP_TOS, self._tos)
        self.socket.settimeout(0.05)
        self.socket.bind((self._host, self._port))
        self._port = self.socket.getsockname()[1]

    def shut(self, seconds: float) -> None:
        """From within a script: nobody listens for so long."""
        self.socket.close()
        self._closing.wait(seconds)
        self.open()

    def __enter__(self) -> Reflector:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join(5)
        self.socket.close()
        if self._error is not None and error is None:
            raise self._error

    def _serve(self) -> None:
        try:
            while not self._closing.is_set():
                self._answer_one()
        except BaseException as error:
            self._error = error

    def _answer_one(self) -> None:
        try:
            data, ancillary, _, self.sender = self.socket.recvmsg(2048, 128)
        except TimeoutError:
            return
        arrived_ns = time.time_ns()
        tos = next(
            (value for _, kind, value in ancillary if kind in (socket.IP_TOS, socket.IPV6_TCLASS)), b"\0"
        )
        seq, stamp, estimate, ssid = packet.REQUEST.unpack_from(data)
        tos_byte = tos[0] if len(tos) == 1 else struct.unpack("=i", tos)[0]
        request = Request(len(self.requests), seq, stamp, estimate, ssid, tos_byte, data, arrived_ns)
        self.requests.append(request)
        for reply in self.script(request):
            self.socket.sendto(reply, self.sender)


def sent_to(
    reflector: Reflector,
    *,
    count: int = 10,
    interval_ms: float = 5.0,
    size_bytes: int = 72,
    dscp: int = 0,
    wait_s: float = 0.4,
    limits: Limits | None = None,
    synced: bool = True,
    **how: Any,
) -> Train:
    plan = Plan(
        address=reflector.address,
        count=count,
        interval_ms=interval_ms,
        size_bytes=size_bytes,
        dscp=dscp,
        wait_s=wait_s,
        limits=limits,
    )
    return run(plan, synced=lambda: synced, **how)


def lost(train: Train) -> list[int]:
    return [index for index, rtt in enumerate(train.rtts_ms) if isnan(rtt)]


def counts(train: Train) -> dict[str, int]:
    names = ("duplicates", "reordered", "strange", "clock_steps")
    return {name: getattr(train, name) for name in names if getattr(train, name)}
