"""sd_notify(3) on a real datagram socket."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from diemcau_agent.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The service manager's end: (NOTIFY_SOCKET, its socket)."""
    name = f"@diemcau-{uuid.uuid4()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        sock.settimeout(5)
        yield name, sock


def test_the_manager_hears_each_word(
    manager: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, sock = manager
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier = Notifier()
    notifier.ready()
    notifier.status("degraded frame_blurred")
    notifier.alive()
    notifier.stopping()
    heard = [sock.recv(4096).decode() for _ in range(4)]
    assert heard == ["READY=1", "STATUS=degraded frame_blurred", "WATCHDOG=1", "STOPPING=1"]


def test_no_manager_a_gone_one_or_one_that_does_not_read_stops_nothing(tmp_path: Path) -> None:
    Notifier("").ready()
    Notifier(str(tmp_path / "gone")).ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(os.fspath(tmp_path / "full"))
        notifier = Notifier(os.fspath(tmp_path / "full"))
        for _ in range(10_000):  # far more than net.unix.max_dgram_qlen
            notifier.alive()


@pytest.mark.parametrize(("given", "seconds"), [("30000000", 30.0), ("", None), ("soon", None)])
def test_the_watchdogs_time_is_the_managers(
    given: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", given)
    assert Notifier("").watchdog_s == seconds
