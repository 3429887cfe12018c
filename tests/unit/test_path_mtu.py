"""What passes is found, black hole or not, by a reflector on loopback that swallows what it is told to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from diemcau_agent.line import packet
from diemcau_agent.path import mtu
from diemcau_agent.path.mtu import path_mtu

HEADERS = {"127.0.0.1": 28, "::1": 48}
Swallow = Callable[[int, int], bool]
"""(size of the UDP payload, how many of it came before) -> whether it is lost."""


@contextmanager
def reflector(
    swallow: Swallow, address: str = "127.0.0.1", ssid_shift: int = 0
) -> Generator[int, None, None]:
    """Its port. ``ssid_shift``: its answers are of another session."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    sock.settimeout(0.05)
    stopping = threading.Event()
    seen: dict[int, int] = {}

    def run() -> None:
        while not stopping.is_set():
            try:
                data, peer = sock.recvfrom(2048)
            except TimeoutError:
                continue
            size = len(data)
            seen[size] = seen.get(size, 0) + 1
            if not swallow(size, seen[size] - 1):
                seq, sent, estimate, ssid = packet.REQUEST.unpack_from(data)
                ssid = (ssid + ssid_shift) & 0xFFFF
                reply = packet.REPLY.pack(seq, sent, estimate, ssid, sent, seq, sent, estimate, 64)
                sock.sendto(reply + data[packet.BASE_BYTES :], peer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        stopping.set()
        thread.join()
        sock.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback answers at once: what is lost need not be waited for as over a satellite."""
    monkeypatch.setattr(mtu, "WAIT_S", 0.15)
    monkeypatch.setattr(mtu, "INTERVAL_S", 0.02)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_where_all_passes_the_largest_is_an_ethernet_frames(address: str) -> None:
    limit = packet.MAX_BYTES + HEADERS[address]
    with reflector(lambda size, before: False, address) as port:
        assert path_mtu(address, port) == {"mtu_bytes": limit, "mtu_passes": True}


@pytest.mark.parametrize("largest", [60, 548, 1372, packet.MAX_BYTES - 1])
def test_a_black_hole_is_told_with_the_largest_size_that_passes(largest: int) -> None:
    with reflector(lambda size, before: size > largest) as port:
        found = path_mtu("127.0.0.1", port)
    assert found["mtu_passes"] is False
    assert found["mtu_bytes"] == largest + 28


def test_large_packets_lost_by_chance_are_no_black_hole() -> None:
    with reflector(lambda size, before: size == packet.MAX_BYTES and before < 3) as port:
        assert path_mtu("127.0.0.1", port) == {"mtu_bytes": 1500, "mtu_passes": True}


def test_a_line_that_loses_small_packets_as_well_says_nothing_of_the_mtu() -> None:
    with reflector(lambda size, before: size > packet.BASE_BYTES or before < 2) as port:
        assert path_mtu("127.0.0.1", port) == {}


@pytest.mark.parametrize("ssid_shift", [0, 1])
def test_answers_of_another_session_are_not_believed(ssid_shift: int) -> None:
    with reflector(lambda size, before: False, ssid_shift=ssid_shift) as port:
        assert bool(path_mtu("127.0.0.1", port)) is (ssid_shift == 0)


def test_where_nobody_listens_nothing_is_said_at_once() -> None:
    began_s = time.monotonic()
    assert path_mtu("127.0.0.1", 9) == {}
    assert time.monotonic() - began_s < 1


def test_the_deadline_ends_a_search() -> None:
    began_s = time.monotonic()
    with reflector(lambda size, before: size > 700) as port:
        found = path_mtu("127.0.0.1", port, deadline_s=0.5)
    assert time.monotonic() - began_s < 1.5
    assert found["mtu_bytes"] <= 728


def test_an_interface_that_is_not_there_says_nothing() -> None:
    assert path_mtu("127.0.0.1", 9, interface="none7") == {}
