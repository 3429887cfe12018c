"""The live screen in a real terminal: it draws, follows changes, obeys keys, survives the agent's restart
and leaves the terminal as it found it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fake_control_room import FakeControlRoom, status
from test_cli import running

WAIT_S = 8.0


class Terminal:
    """80 by 24, with a program on it."""

    def __init__(self, *arguments: str) -> None:
        self.main, self.other = pty.openpty()
        termios.tcsetwinsize(self.other, (24, 80))
        self.before = termios.tcgetattr(self.other)
        self.seen = ""
        self.child = subprocess.Popen(
            [sys.executable, "-m", "diemcau_agent", *arguments],
            stdin=self.other,
            stdout=self.other,
            stderr=self.other,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
        )

    def press(self, keys: str) -> None:
        os.write(self.main, keys.encode())

    def await_text(self, text: str) -> None:
        """Until ``text`` was drawn after the last text that was awaited."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} not in {self.seen[-3000:]!r}"
            if select.select([self.main], [], [], left)[0]:
                self.seen += os.read(self.main, 65536).decode("utf-8", "replace")
        self.seen = self.seen.partition(text)[2]

    def ends(self) -> int:
        deadline = time.monotonic() + WAIT_S
        while self.child.poll() is None and time.monotonic() < deadline:
            if select.select([self.main], [], [], 0.05)[0]:
                self.seen += os.read(self.main, 65536).decode("utf-8", "replace")
        return self.child.wait(0.1)


@contextmanager
def terminal(*arguments: str) -> Generator[Terminal]:
    shown = Terminal(*arguments)
    try:
        yield shown
    finally:
        if shown.child.poll() is None:
            shown.child.kill()
            shown.child.wait(5)
        os.close(shown.main)
        os.close(shown.other)


def attributes(shown: Terminal) -> list[Any]:
    return termios.tcgetattr(shown.other)


def test_keys_press_the_button_change_the_language_and_leave(tmp_path: Path) -> None:
    room = FakeControlRoom()
    with running(tmp_path, room), terminal("watch", "--runtime-dir", str(tmp_path)) as shown:
        shown.await_text("R E A D Y")
        shown.await_text("[q]")
        shown.press("\x1b[A")  # an arrow does nothing
        shown.press("t")
        shown.press("h")
        shown.press("\r")
        shown.press("l")
        shown.await_text("S Ẵ N")
        assert not attributes(shown)[3] & termios.ECHO
        shown.press("q")
        assert shown.ends() == 0
        assert attributes(shown) == shown.before
        assert "\x1b[?1049l" in shown.seen  # the alternate screen was left
        assert "\x1b[?25h" in shown.seen  # the cursor is shown
    assert room.asked == [("press", 0.0), ("press", 3.0), ("press", 0.0)]


def test_ctrl_c_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    with running(tmp_path, FakeControlRoom()), terminal("watch", "--runtime-dir", str(tmp_path)) as shown:
        shown.await_text("R E A D Y")
        shown.child.send_signal(signal.SIGINT)
        assert shown.ends() == 0
        assert attributes(shown) == shown.before
        assert "Traceback" not in shown.seen


def test_while_the_agent_restarts_nothing_is_shown_as_good_and_then_it_is_back(tmp_path: Path) -> None:
    with agent_gone(tmp_path) as shown:
        shown.await_text("the agent does not answer")
        shown.await_text("N O T   K N O W N")
        with running(tmp_path, FakeControlRoom(status("degraded"))):
            shown.await_text("D E G R A D E D")
            shown.press("q")
            assert shown.ends() == 0


@contextmanager
def agent_gone(directory: Path) -> Generator[Terminal]:
    """A screen whose agent has just gone."""
    agent = running(directory, FakeControlRoom())
    agent.__enter__()
    with terminal("watch", "--runtime-dir", str(directory)) as shown:
        shown.await_text("R E A D Y")
        agent.__exit__(None, None, None)
        yield shown


def test_status_has_colour_for_people(tmp_path: Path) -> None:
    with running(tmp_path, FakeControlRoom()), terminal("status", "--runtime-dir", str(tmp_path)) as shown:
        shown.await_text("\x1b[32m")
        shown.await_text("READY")
        assert shown.ends() == 0


def test_a_selftest_shows_people_each_step_as_it_ends(tmp_path: Path) -> None:
    room = FakeControlRoom()
    room.test_may_end.clear()
    with running(tmp_path, room), terminal("selftest", "--runtime-dir", str(tmp_path)) as shown:
        shown.await_text("1/2")
        shown.await_text("2/2")
        shown.child.send_signal(signal.SIGINT)
        shown.await_text("The self-test was cancelled.")
        assert shown.ends() == 1
    assert room.asked[-1] == ("cancel",)
