"""The live screen: draws what the control socket's ``watch`` tells, and obeys single keys.

It draws when something has changed and at most four times a second. When the agent goes (it may be
restarting) it says so, shows nothing as good, and asks again until the agent is back.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from .control_client import ControlClient, ControlError, NoAgent, NoAnswer
from .screen import Hint, render
from .wording import Say, speaking

FRAME_S = 0.25
RETRY_S = 0.5
_ARROWS = re.compile(r"\x1b(\[[0-9;]*[A-Za-z~]|O.)?")
"""Arrows and function keys, which are no letters of ours."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a key does. ``action`` returns at once, with a line of news for the screen or ""."""

    hint: Hint
    action: Callable[[], str]


Keys = Callable[[Say], Sequence[Key | Hint]]
"""The keys as they are now, and lines without a key, in the language that is shown."""


class LiveScreen:
    """``run`` returns when someone presses q; Ctrl-C raises KeyboardInterrupt with the terminal restored.

    ``keys`` are added to l (the other language) and q (leave). ``tell`` may be called from any thread.
    """

    def __init__(self, socket: Path, language: str, keys: Keys, console: Console | None = None) -> None:
        self._socket = socket
        self._language = language
        self._keys = keys
        self._console = console or Console()
        self._client: ControlClient | None = None
        self._retry_at = 0.0
        self._status: dict[str, Any] = {}
        self._note = ""
        self._left = False

    def tell(self, note: str) -> None:
        """One line of news above the keys, until the next one."""
        self._note = note

    @property
    def status(self) -> dict[str, Any]:
        """The newest status; empty before the first."""
        return self._status

    def run(self) -> None:
        drawn: object = None
        with _single_keys(sys.stdin.fileno()) as keyboard, self._live() as live:
            while not self._left:
                self._wait(keyboard)
                width, height = self._console.size
                live_now = self._client is not None
                shown = (self._status, width, self._language, self.hints(), height, self._note, live_now)
                if shown != drawn:
                    drawn = shown
                    live.update(
                        render(*shown[:4], height=height, note=self._note, live=live_now), refresh=True
                    )
        if self._client is not None:
            self._client.close()

    def _live(self) -> Live:
        return Live(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def hints(self) -> list[Hint]:
        """What people can do now, the screen's own keys among it."""
        return [item.hint if isinstance(item, Key) else item for item in self._all_keys()]

    def _all_keys(self) -> list[Key | Hint]:
        say = speaking(self._language)
        own = [
            Key(Hint("l", "English" if self._language == "vi" else "Tiếng Việt"), self._switch_language),
            Key(Hint("q", say("quit")), self._leave),
        ]
        return [*self._keys(say), *own]

    def _switch_language(self) -> str:
        self._language = "en" if self._language == "vi" else "vi"
        return ""

    def _leave(self) -> str:
        self._left = True
        return ""

    def _wait(self, keyboard: int | None) -> None:
        """Take in what comes within one frame's time, all of it."""
        frame_ends = time.monotonic() + FRAME_S
        while (left := frame_ends - time.monotonic()) > 0 and not self._left:
            self._connect()
            sources = [source for source in (keyboard, self._client) if source is not None]
            ready = select.select(sources, [], [], left)[0]
            if self._client is not None and self._client in ready:
                self._hear(self._client)
            if keyboard is not None and keyboard in ready:
                self._obey(os.read(keyboard, 64).decode("utf-8", "ignore"))

    def _connect(self) -> None:
        if self._client is not None or time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + RETRY_S
        try:
            self._client = ControlClient(self._socket)
            self._client.send({"do": "watch"})
        except (NoAgent, NoAnswer):
            self._client = None

    def _hear(self, client: ControlClient) -> None:
        try:
            message = client.newest()
        except ControlError as error:
            client.close()
            self._client = None
            if not isinstance(error, NoAgent):
                self._note = str(error)
            return
        if message is not None and "status" in message:
            self._status = message["status"]

    def _obey(self, pressed: str) -> None:
        for character in _ARROWS.sub("", pressed):
            wanted = "enter" if character in "\r\n" else character.lower()
            for item in self._all_keys():
                if isinstance(item, Key) and wanted in item.hint.key.lower().split("/"):
                    self._note = self._do(item)
                    break

    def _do(self, key: Key) -> str:
        try:
            return key.action() or self._note
        except ControlError as error:
            return str(error)


@contextlib.contextmanager
def _single_keys(descriptor: int) -> Generator[int | None]:
    """The terminal gives single keys without echo; as it was afterwards, whatever happens.

    None where there is no terminal to read keys from.
    """
    if not os.isatty(descriptor):
        yield None
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
