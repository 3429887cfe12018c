"""The panel's device logic: one button (press, hold, release) and one light of three colours.

A press is told when the button comes up again before ``hold_s``; a hold once it has been down for
``hold_s``, and then a release when it comes up. The button's backend reports from a thread of its own and may
bounce: a change counts once it has lasted DEBOUNCE_S. One thread with a single timed wait does both the
button's deadlines and the light's steps, so a panel at rest under a solid light costs no wake-up at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

from .arguments import Answer, Arguments, Asked
from .contract import LIGHT_PATTERNS, DeviceError, Look
from .interfaces import PanelBackend
from .lights import Light, colour_at, next_change_s

Tell = Callable[[str, Mapping[str, Any]], None]

DEBOUNCE_S = 0.03
"""Longer than a tactile switch bounces (1 to 10 ms, Ganssle, "A Guide to Debouncing")."""
HOLD_S = 2.0


def open_device(backend: PanelBackend, options: Mapping[str, Any], tell: Tell) -> Panel:
    panel = Panel(backend, float(options.get("hold_s", HOLD_S)), tell)
    panel.start()
    return panel


@dataclass(slots=True)
class Button:
    """A debounced button: ``feed`` what its contact does, ``advance`` the time; both return events to tell.

    Pure but for its own state; times in seconds of one monotonic clock.
    """

    hold_s: float
    down: bool = False
    since_s: float = 0.0
    """When it came to be as it is."""
    held: bool = False
    contact: bool = False
    """As it is now, bounces and all."""
    _contact_since_s: float = 0.0

    def feed(self, pressed: bool, now_s: float) -> list[str]:
        """The contact is now closed (``pressed``) or open."""
        events = self.advance(now_s)
        if pressed != self.contact:
            self.contact, self._contact_since_s = pressed, now_s
        return events

    def advance(self, now_s: float) -> list[str]:
        """Time has come to ``now_s``."""
        events: list[str] = []
        settles = self._contact_since_s + DEBOUNCE_S
        if self.contact == self.down or now_s < settles:
            self._hold_if_due(now_s, events)
            return events
        # The change counts from when the contact began to be so; a hold may have fallen due before that.
        self._hold_if_due(self._contact_since_s, events)
        if not self.contact:
            events.append("release" if self.held else "press")
        self.down, self.since_s, self.held = self.contact, self._contact_since_s, False
        self._hold_if_due(now_s, events)
        return events

    def due_s(self) -> float | None:
        """When ``advance`` has something to do though nothing is fed; None while it has not."""
        if self.contact != self.down:
            return self._contact_since_s + DEBOUNCE_S
        return self.since_s + self.hold_s if self.down and not self.held else None

    def held_s(self, now_s: float) -> float:
        """How long the button has been down; 0 while it is up."""
        return max(0.0, now_s - self.since_s) if self.down else 0.0

    def _hold_if_due(self, now_s: float, events: list[str]) -> None:
        if self.down and not self.held and now_s >= self.since_s + self.hold_s:
            self.held = True
            events.append("hold")


class Panel(Asked):
    def __init__(
        self,
        backend: PanelBackend,
        hold_s: float,
        tell: Tell,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._tell = tell
        self._monotonic = monotonic
        self._button = Button(hold_s)
        self._pattern: str = "off"
        self._pattern_since_s = monotonic()
        self._shown: Light | None = None
        self._broken: DeviceError | None = None
        self._events: list[tuple[str, Mapping[str, Any]]] = []
        self._wake = Condition()
        self._open = True
        self._news = False
        self._thread = Thread(target=self._run, name="panel", daemon=True)
        self._verbs: Mapping[str, Answer] = {
            "probe": self._probe,
            "lights": self._lights,
        }

    def start(self) -> None:
        """Listen to the button and keep the light going. Raises what the backend raises."""
        try:
            self._backend.start(self._contact)
            self._contact(self._backend.pressed())  # held down since before we listened: perhaps stuck
        except DeviceError:
            self._backend.close()
            raise
        self._thread.start()

    def close(self) -> None:
        with self._wake:
            self._open = False
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        self._backend.close()

    def step(self) -> float | None:
        """Tell what is due, set the light; returns the seconds until there is more to do, None = never.

        The thread does nothing but call this and wait.
        """
        with self._wake:
            self._news = False
            now_s = self._monotonic()
            self._queue(self._button.advance(now_s), now_s)
            events, self._events = self._events, []
            due_s = self._button.due_s()
            elapsed_s = now_s - self._pattern_since_s
            light, wait_s = colour_at(self._pattern, elapsed_s), next_change_s(self._pattern, elapsed_s)
        for name, data in events:  # outside the lock: the pipe may be slow
            self._tell(name, data)
        self._show(light)
        button_s = None if due_s is None else max(0.0, due_s - now_s)
        return min((left_s for left_s in (wait_s, button_s) if left_s is not None), default=None)

    def _run(self) -> None:
        while True:
            try:
                wait_s = self.step()
            except BrokenPipeError:
                return  # the daemon is gone, and this process with it
            with self._wake:
                if not self._news:  # nothing since the step looked
                    self._wake.wait(wait_s)
                if not self._open:
                    return

    def _contact(self, pressed: bool) -> None:
        """The backend's news, in any thread."""
        with self._wake:
            now_s = self._monotonic()
            self._queue(self._button.feed(pressed, now_s), now_s)
            self._tell_thread()

    def _queue(self, names: list[str], now_s: float) -> None:
        held_s = round(self._button.held_s(now_s), 3)
        self._events += [(name, {"button_held_s": held_s}) for name in names]

    def _tell_thread(self) -> None:
        self._news = True
        self._wake.notify()

    def _show(self, light: Light) -> None:
        if light == self._shown:
            return
        try:
            self._backend.light(*light)
        except DeviceError as error:
            self._broken = error  # the next probe tells; the button goes on
        else:
            self._shown, self._broken = light, None

    def _probe(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        Arguments(args)
        try:
            self._retry_light()
            pressed = self._backend.pressed()
            identity = self._backend.identity()
        except DeviceError as error:
            return Look(error=error).to_dict()
        with self._wake:
            now_s = self._monotonic()
            if pressed != self._button.contact:  # an edge that was lost
                self._queue(self._button.feed(pressed, now_s), now_s)
                self._tell_thread()
            held_s = self._button.held_s(now_s)
        readings = {"button_held_s": round(held_s, 3), "pattern": self._pattern}
        return Look(readings=readings, identity=identity, capabilities=("lights",)).to_dict()

    def _retry_light(self) -> None:
        """Raises what the light raised since the last probe, once; the thread then tries it again."""
        with self._wake:
            error, self._broken = self._broken, None
            if error is not None:
                self._tell_thread()
                raise error

    def _lights(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        pattern = Arguments(args, "pattern").choice("pattern", LIGHT_PATTERNS)
        with self._wake:
            now_s = self._monotonic()
            if pattern != self._pattern:
                self._pattern, self._pattern_since_s = pattern, now_s
                self._tell_thread()
            light = colour_at(pattern, now_s - self._pattern_since_s)
        self._show(light)  # here too, so that the answer is what the light did
        if self._broken is not None:
            raise self._broken
        return {"pattern": pattern}
