"""The agent's keeper: it starts again what died, and ends all that it started."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diemcau_sim import service as service_module
from diemcau_sim.service import Service, marked

SOON_S = 10.0
READY = """
import os, socket, sys, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
print("started", flush=True)
notify.send(b"READY=1\\nSTATUS=well")
"""
Keep = Callable[..., Service]


class Boots:
    def __init__(self) -> None:
        self.seen: list[bool] = []

    def __call__(self, machine_started: bool) -> None:
        self.seen.append(machine_started)


@pytest.fixture
def boots() -> Boots:
    return Boots()


@pytest.fixture
def keep(tmp_path: Path, boots: Boots, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keep]:
    kept: list[Service] = []
    monkeypatch.setattr(service_module, "RESTART_S", 0.05)
    monkeypatch.setattr(service_module, "STOP_S", 0.5)

    def make(program: str, **env: str) -> Service:
        service = Service(
            (sys.executable, "-c", program),
            env,
            mark=str(tmp_path),
            log_path=tmp_path / "log",
            notify_path=tmp_path / "notify.sock",
            before_start=boots,
        )
        kept.append(service)
        service.start()
        return service

    yield make
    for service in kept:
        service.stop()
    assert marked(str(tmp_path)) == []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def test_it_runs_until_it_is_stopped(keep: Keep, tmp_path: Path) -> None:
    service = keep(READY + "print(os.environ['ROOM']); time.sleep(60)", ROOM="hall")
    assert service.ready.wait(SOON_S)
    assert service.pid in marked(str(tmp_path))
    service.stop()
    assert (service.pid, service.starts, service.refused) == (None, 1, False)
    assert service.wait(0)
    assert "started" in (tmp_path / "log").read_text()
    assert "stopped" in (tmp_path / "log").read_text()
    service.stop()  # a second time does nothing


@pytest.mark.parametrize("end", ["sys.exit(75)", "sys.exit(0)", "os.kill(os.getpid(), 9)"])
def test_whatever_ends_it_starts_it_again(keep: Keep, boots: Boots, end: str) -> None:
    service = keep(READY + end)
    until(lambda: service.starts >= 3)
    assert boots.seen[:3] == [True, False, False]


def test_settings_that_it_refuses_are_not_tried_again(keep: Keep) -> None:
    service = keep("import sys; print('point: missing', file=sys.stderr); sys.exit(2)")
    assert service.wait(SOON_S)
    assert (service.refused, service.starts) == (True, 1)


def test_a_watchdog_that_is_not_fed_kills(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "WATCHDOG_S", 0.3)
    fed = READY + "\nfor _ in range(10): time.sleep(0.1); notify.send(b'WATCHDOG=1')\ntime.sleep(60)"
    began = time.monotonic()
    service = keep(fed)
    until(lambda: service.starts >= 2)
    assert time.monotonic() - began > 1.0
    assert "the watchdog was not fed" in (tmp_path / "log").read_text()


def test_one_that_never_becomes_ready_is_killed(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "START_S", 0.2)
    service = keep("import time; time.sleep(60)")
    until(lambda: service.starts >= 2)
    assert "did not become ready" in (tmp_path / "log").read_text()


def test_what_it_started_dies_with_it(keep: Keep, tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    program = (
        "import subprocess\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "time.sleep(60)"
    )
    service = keep(READY + program)
    until(lambda: len(marked(str(tmp_path))) == 2)
    service.stop()
    assert marked(str(tmp_path)) == []


def test_one_that_does_not_listen_is_killed_all_the_same(keep: Keep, tmp_path: Path) -> None:
    service = keep(READY + "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    assert service.ready.wait(SOON_S)
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 5.0
    assert marked(str(tmp_path)) == []


def test_a_reboot_ends_it_politely_and_begins_a_new_boot(keep: Keep, boots: Boots, tmp_path: Path) -> None:
    bye = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('goodbye', flush=True)))"
    service = keep(f"import signal, sys\n{bye}\n" + READY + "time.sleep(60)")
    assert service.ready.wait(SOON_S)
    service.reboot()
    until(lambda: service.starts == 2)
    assert service.ready.wait(SOON_S)
    assert boots.seen == [True, True]
    assert "goodbye" in (tmp_path / "log").read_text()


def test_leftovers_of_a_killed_room_are_cleared_first(keep: Keep, tmp_path: Path) -> None:
    first = keep(READY + "time.sleep(60)")
    assert first.ready.wait(SOON_S)
    left = first.pid
    (tmp_path / "notify.sock").unlink()
    second = keep(READY + "time.sleep(60)")
    until(lambda: left not in marked(str(tmp_path)))
    first.stop()
    second.stop()
