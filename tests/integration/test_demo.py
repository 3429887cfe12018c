"""The demo promises: one command, a whole room; its verdict is the room's; nothing is left when it ends."""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diemcau_sim import demo
from diemcau_sim.service import marked

pytestmark = pytest.mark.mosquitto
PROGRAM = [sys.executable, "-m", "diemcau_sim.cli", "demo", "--sound", "world"]
WAIT_S = 15.0


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo's room is made; short, as a socket's path has an end."""
    directory = Path(tempfile.mkdtemp(prefix="d-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    yield directory / "diemcau-sim"
    shutil.rmtree(directory)


def nothing_is_left(rooms: Path, pid: int) -> bool:
    room = rooms / f"demo-{pid}"
    return not room.exists() and not marked(str(room))


def test_once_prints_the_report_and_the_readiness_on_the_wire(rooms: Path) -> None:
    child = subprocess.Popen([*PROGRAM, "--once"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = child.communicate(timeout=WAIT_S)
    assert child.returncode == 0, output + errors
    assert "✓ passed" in output
    assert "Sound loop" in output
    assert output.rstrip().endswith("On the wire: ✓ READY (ready)")
    assert "\x1b" not in output
    assert nothing_is_left(rooms, child.pid)


def test_once_is_not_content_with_a_room_that_is_not_ready(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with demo.opened("world", "vi") as shown:
        shown.room.world.set_fault("speaker_silent", True)
        assert shown.once() is False
    printed = capsys.readouterr().out
    assert "speaker_silent" in printed
    assert "✗" in printed
    assert "(not_ready speaker_silent)" in printed
    assert nothing_is_left(rooms, os.getpid())


def test_the_picture_is_drawn_from_a_real_run_and_asks_nothing_of_other_servers(
    rooms: Path, tmp_path: Path
) -> None:
    file = tmp_path / "demo.svg"
    child = subprocess.Popen([*PROGRAM, "--picture", file], stdout=subprocess.PIPE, text=True)
    child.communicate(timeout=WAIT_S)
    assert child.returncode == 0
    svg = file.read_text("utf-8")
    assert set(re.findall(r"https?://[^\"\s]+", svg)) == {"http://www.w3.org/2000/svg"}
    drawn = "".join(ET.fromstring(svg).itertext()).replace("\xa0", " ")
    assert "Something covers the lens" in drawn
    assert "Camera picture" in drawn
    assert "[l] Tiếng Việt" in drawn
    shown = re.search(r'-clip-terminal">\s*<rect[^>]* height="([\d.]+)"', svg)
    assert shown is not None
    baselines = [float(y) for y in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>[^<]*\w', svg)]
    assert max(baselines) < float(shown[1]) - 12  # underscores hang below it
    assert nothing_is_left(rooms, child.pid)


def test_without_a_terminal_it_says_what_does_without(rooms: Path) -> None:
    done = subprocess.run(PROGRAM, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False)
    assert done.returncode == 2
    assert "--once" in done.stderr
    assert not rooms.exists()


def test_a_missing_broker_is_one_line_and_not_a_traceback(
    rooms: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.PrivateMosquitto, "start", _missing)
    options = argparse.Namespace(once=True, picture=None, sound="world", language="en")
    before = signal.getsignal(signal.SIGTERM)
    assert demo.run(options) == 1
    assert signal.getsignal(signal.SIGTERM) == before
    assert "apt-get install mosquitto" in capsys.readouterr().err


def _missing(self: object) -> None:
    from diemcau_sim.mosquitto import BrokerMissing

    raise BrokerMissing("mosquitto is not installed: apt-get install mosquitto")


def test_a_demo_that_is_killed_leaves_no_process(rooms: Path) -> None:
    child = subprocess.Popen([*PROGRAM, "--once"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout as told:
        url = re.match(r"broker mqtt://(\S+):(\d+),", told.readline())
        assert url is not None
        mark = str(rooms / f"demo-{child.pid}")
        assert _soon(lambda: len(marked(mark)) > 1)  # the agent and its workers
        child.kill()
        child.wait(5)
    assert _soon(lambda: not marked(mark))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((url[1], int(url[2])), timeout=1.0)


def _soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_keys_reach_the_room_and_a_signal_ends_every_process(rooms: Path, number: signal.Signals) -> None:
    main, other = pty.openpty()
    termios.tcsetwinsize(other, (30, 100))
    before = termios.tcgetattr(other)
    environment = {**os.environ, "TERM": "xterm-256color"}
    child = subprocess.Popen(PROGRAM, stdin=other, stdout=other, stderr=other, env=environment)
    seen = ""

    def await_text(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + WAIT_S
        while text not in seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} not in {seen[-2000:]!r}"
            if select.select([main], [], [], left)[0]:
                seen += os.read(main, 65536).decode("utf-8", "replace")
        seen = seen.partition(text)[2]

    try:
        await_text("R E A D Y")
        os.write(main, b"t")
        await_text("Camera picture")
        os.write(main, b"9")
        await_text("The network cable is unplugged or broken.")
        assert marked(str(rooms / f"demo-{child.pid}"))
        child.send_signal(number)
        deadline = time.monotonic() + WAIT_S
        while child.poll() is None and time.monotonic() < deadline:
            if select.select([main], [], [], 0.05)[0]:
                os.read(main, 65536)
        assert child.wait(0.1) == 0
        assert termios.tcgetattr(other) == before
        assert nothing_is_left(rooms, child.pid)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait(5)
        os.close(main)
        os.close(other)
