"""How much one core of the reflector answers: ``python tests/bench/reflector_bench.py [--seconds S]``.

A real ``diemcau-fleet reflector`` is held on one core and offered, from another, what the whole country
sends in a conference: 75,000 packets a second of 14,934 sessions (SSIDs, over 64 source addresses, so that no
source is over its cap). Loopback only. Every reply is counted; what this side's own buffers dropped is told
apart, as it is not the reflector's loss. Then short runs find the highest rate at which loss stays below
0.01 %. Exits 1 where 75,000 a second were not offered, or not answered with less loss than that.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import processes
from diemcau_agent.line import packet
from diemcau_fleet.reflector import mmsg
from diemcau_fleet.reflector.sockets import _MEMINFO, _SO_MEMINFO, _SO_RCVBUFFORCE

POINTS = 14_934
"""The rooms of the conference: a session each."""
RATE_PPS = 75_000
LOSS_MAX_PERCENT = 0.01
SOURCES = 64
BURST = 16
"""Packets a system call, all of one source: harder on the reflector than packets that come evenly spread."""
SECONDS = 10.0
SEARCH_S = 2.0
SEARCH_STEP = 1.1
RATE_MAX_PPS = 400_000
SETTLE_S = 1.0
"""Without a reply after the last packet, before the rest is lost."""
START_S = 10.0
DSCP = 34
"""AF41, as of conference video (RFC 4594)."""
_BUFFER_BYTES = 32 * 1024 * 1024
_REPLY_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Offer:
    """What one run offered and brought back. ``dropped``: replies that this side had no room for."""

    rate_pps: float
    seconds: float
    offered: int
    reflected: int
    dropped: int
    cpu_s: float
    pss_mb: float

    @property
    def offered_pps(self) -> float:
        return self.offered / self.seconds

    @property
    def reflected_pps(self) -> float:
        return self.reflected / self.seconds

    @property
    def loss_percent(self) -> float:
        return 100 * (self.offered - self.reflected - self.dropped) / self.offered

    @property
    def cpu_s_per_million(self) -> float:
        return self.cpu_s / self.reflected * 1e6 if self.reflected else float("inf")

    @property
    def good(self) -> bool:
        return self.loss_percent < LOSS_MAX_PERCENT and self.offered_pps > 0.99 * self.rate_pps

    def __str__(self) -> str:
        lost = self.offered - self.reflected - self.dropped
        return (
            f"offered {self.offered_pps:,.0f}/s, reflected {self.reflected_pps:,.0f}/s, "
            f"{self.seconds:.1f} s: lost {lost} of {self.offered:,} ({self.loss_percent:.4f} %), "
            f"{self.cpu_s_per_million:.2f} s of CPU a million, {self.pss_mb:.1f} MB"
            + (f"; {self.dropped} dropped by the bench's own buffers" if self.dropped else "")
        )


@dataclass(frozen=True, slots=True)
class Measured:
    at_rate: Offer
    highest: Offer | None
    """The fastest run with less than LOSS_MAX_PERCENT; None where not even RATE_PPS was."""


class Source:
    """One source address: its sessions' requests, ready to send, and room for replies."""

    def __init__(self, address: str, to: tuple[str, int], ssids: Sequence[int], size_bytes: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP << 2)
        self._socket.bind((address, 0))
        self._socket.connect(to)
        self._fd = self._socket.fileno()
        estimate = packet.error_estimate(0.001, synced=True)
        now_ns = time.time_ns()
        requests = [packet.request(0, now_ns, ssid, estimate, size_bytes, dscp=DSCP) for ssid in ssids]
        self._requests = bytearray(b"".join(requests))
        self._sends = _headers(self._requests, len(requests), size_bytes)
        self._replies = bytearray(_REPLY_BYTES * mmsg.SIZE)
        self._receives = _headers(self._replies, mmsg.SIZE, _REPLY_BYTES)
        self._sends_at, self._receives_at = (mmsg._address(one[0]) for one in (self._sends, self._receives))
        self._count = len(requests)
        self._next = 0

    def send(self, most: int) -> int:
        count = min(most, self._count - self._next)
        at = self._sends_at + self._next * mmsg._MMSGHDR.size
        sent = max(0, mmsg._sendmmsg(self._fd, at, count, socket.MSG_DONTWAIT))
        self._next = (self._next + sent) % self._count
        return sent

    def receive(self) -> int:
        return max(0, mmsg._recvmmsg(self._fd, self._receives_at, mmsg.SIZE, socket.MSG_DONTWAIT, None))

    def dropped(self) -> int:
        return _MEMINFO.unpack(self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1]

    def close(self) -> None:
        self._socket.close()


def _headers(buffer: bytearray, count: int, stride: int) -> tuple[bytearray, bytearray]:
    """struct mmsghdr for each part of ``buffer``, and the iovecs that they point to."""
    at = mmsg._address(buffer)
    iovecs = bytearray(b"".join(mmsg._IOVEC.pack(at + part * stride, stride) for part in range(count)))
    iovecs_at = mmsg._address(iovecs)
    return (
        bytearray(
            b"".join(
                mmsg._MMSGHDR.pack(0, 0, iovecs_at + part * mmsg._IOVEC.size, 1, 0, 0, 0, 0)
                for part in range(count)
            )
        ),
        iovecs,
    )


@contextmanager
def reflector(core: int, *options: str) -> Generator[tuple[int, tuple[str, int]]]:
    """A real one, alone on ``core``: its pid, and where it listens."""
    program = Path(sys.executable).with_name("diemcau-fleet")
    popen = subprocess.Popen(
        ["taskset", "--cpu-list", str(core), program, "reflector", "--listen", "127.0.0.1:0", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert popen.stderr is not None
        first = popen.stderr.readline()
        found = re.match(r"listening on ([0-9.]+):([0-9]+)", first)
        if found is None:
            raise RuntimeError(f"the reflector did not start: {first.strip()}")
        yield popen.pid, (found[1], int(found[2]))
    finally:
        popen.terminate()
        _, last = popen.communicate(timeout=START_S)
        if popen.returncode:
            raise RuntimeError(f"the reflector ended with {popen.returncode}: {last.strip()}")


def offer(pid: int, to: tuple[str, int], rate_pps: float, seconds: float, size_bytes: int) -> Offer:
    """Raises RuntimeError where nothing at all is answered."""
    with ExitStack() as stack:
        sources: list[Source] = []
        for number in range(SOURCES):
            ssids = range(1 + number, 1 + POINTS, SOURCES)
            sources.append(Source(f"127.1.0.{1 + number}", to, ssids, size_bytes))
            stack.callback(sources[-1].close)
        cpu_s = processes.cpu_s(pid)
        offered = reflected = turn = 0
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            source = sources[turn % SOURCES]
            if elapsed * rate_pps - offered >= BURST:
                offered += source.send(BURST)
                turn += 1
            reflected += source.receive()
        elapsed = time.monotonic() - began
        heard = time.monotonic()
        while reflected < offered and time.monotonic() - heard < SETTLE_S:
            came = sum(source.receive() for source in sources)
            if came:
                reflected, heard = reflected + came, time.monotonic()
        cpu_s = processes.cpu_s(pid) - cpu_s
        dropped = sum(source.dropped() for source in sources)
        if not reflected:
            raise RuntimeError(f"the reflector answered none of {offered} packets")
        return Offer(rate_pps, elapsed, offered, reflected, dropped, cpu_s, processes.pss_mb(pid))


@contextmanager
def pinned(core: int) -> Generator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(
    seconds: float = SECONDS, size_bytes: int = packet.BASE_BYTES, *, search: bool = True
) -> Measured:
    """Needs two cores. Takes ``seconds``, and some 20 more for the search."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError(f"cores: got {len(cores)}, expected 2: one for the reflector, one for its senders")
    with pinned(cores[0]), reflector(cores[-1]) as (pid, to):
        offer(pid, to, RATE_PPS, 0.5, size_bytes)  # fills caches, tables and page tables
        at_rate = offer(pid, to, RATE_PPS, seconds, size_bytes)
        highest = at_rate if at_rate.good else None
        rate_pps = RATE_PPS * SEARCH_STEP
        while search and highest is not None and rate_pps < RATE_MAX_PPS:
            faster = offer(pid, to, rate_pps, SEARCH_S, size_bytes)
            if not faster.good:
                break
            highest, rate_pps = faster, rate_pps * SEARCH_STEP
    return Measured(at_rate, highest)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="at 75,000 a second; default: %(default)s"
    )
    parser.add_argument(
        "--size", type=int, default=packet.BASE_BYTES, help="octets a packet; default: %(default)s"
    )
    arguments = parser.parse_args()
    if not (0 < arguments.seconds <= 600 and packet.valid_size(arguments.size)):
        parser.error("expected --seconds up to 600, and --size 44 or 48 to 1472")
    measured = measure(arguments.seconds, arguments.size)
    print(f"{arguments.size} octets: {measured.at_rate}")
    if measured.highest is not None:
        print(f"highest rate with loss < {LOSS_MAX_PERCENT} %: {measured.highest}")
    return 0 if measured.at_rate.good else 1


if __name__ == "__main__":
    sys.exit(main())
