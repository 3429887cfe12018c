"""The simulated room's state: what stands in it, how it is set, and what is broken in it.

Only what a probe can observe is here. Every method may be called from any thread. Standard library
only: light and sound themselves are made by :mod:`.scene` and :mod:`.acoustics` from this state.

Some faults are nothing but a setting that somebody else may put right (a muted microphone, a screen
in standby): those are on exactly while the setting is so, whoever changed it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from . import pi
from .faults import FAULTS
from .parts import CameraState, Light, Lit, MicrophoneState, Played, ScreenState, SpeakerState

HOLDABLE = ("camera", "microphone", "speaker")
HISTORY = 1000
"""Light changes and sounds that are remembered."""


_SETTINGS: dict[str, tuple[str, str, Any, Any]] = {
    "microphone_muted": ("microphone", "muted", False, True),
    "speaker_muted": ("speaker", "muted", False, True),
    "display_standby": ("screen", "power", "on", "standby"),
    "display_wrong_input": ("screen", "input", "kit", "2.0.0.0"),
}
"""Fault -> part of the world, its field, the value in a healthy room, the value that the fault gives it."""


class World:
    """One room. ``clock``: monotonic seconds, for the times in the history and the uptime."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._faults: set[str] = set()
        self._camera = CameraState()
        self._microphone = MicrophoneState()
        self._speaker = SpeakerState()
        self._screen = ScreenState()
        self._holders: dict[str, str] = {}
        self._light: Light = (0.0, 0.0, 0.0)
        self._finger = False
        self._button = False
        self._presses = 0
        self._boots = 1
        self._booted_at_s = clock()
        self._throttled_since_boot = 0
        self._watchers: list[Callable[[], None]] = []
        self._button_listeners: list[Callable[[bool], None]] = []
        self._lit: deque[Lit] = deque(maxlen=HISTORY)
        self._played: deque[Played] = deque(maxlen=HISTORY)

    # --- What is broken

    @property
    def faults(self) -> frozenset[str]:
        """The codes of every fault that is on."""
        with self._lock:
            settings = {
                code
                for code, (part, name, healthy, _) in _SETTINGS.items()
                if getattr(getattr(self, part), name) != healthy
            }
            return frozenset(self._faults | settings)

    def set_fault(self, code: str, on: bool) -> None:
        """Raises KeyError where there is no such fault."""
        if code not in FAULTS:
            raise KeyError(code)
        with self._lock:
            if code in _SETTINGS:
                part, name, healthy, broken = _SETTINGS[code]
                self._change(part, **{name: broken if on else healthy})
            elif on:
                self._faults.add(code)
            else:
                self._faults.discard(code)
            if on:
                self._throttled_since_boot |= pi.throttled_now({code})
            self._move_button()
        self._tell()

    def clear_faults(self) -> None:
        for code in self.faults:
            self.set_fault(code, False)

    # --- How things are set

    @property
    def camera(self) -> CameraState:
        return self._camera

    @property
    def microphone(self) -> MicrophoneState:
        return self._microphone

    @property
    def speaker(self) -> SpeakerState:
        return self._speaker

    @property
    def screen(self) -> ScreenState:
        return self._screen

    def set_camera(self, **values: Any) -> None:
        self._set("camera", values)

    def set_microphone(self, **values: Any) -> None:
        self._set("microphone", values)

    def set_speaker(self, **values: Any) -> None:
        self._set("speaker", values)

    def set_screen(self, **values: Any) -> None:
        self._set("screen", values)

    def _set(self, part: str, values: Mapping[str, Any]) -> None:
        with self._lock:
            self._change(part, **values)
        self._tell()

    def _change(self, part: str, **values: Any) -> None:
        setattr(self, f"_{part}", replace(getattr(self, part), **values))

    # --- Who else uses a device

    def hold(self, device: str, by: str | None) -> None:
        """Another program takes ``device`` (None gives it back). Raises KeyError where none can."""
        if device not in HOLDABLE:
            raise KeyError(device)
        with self._lock:
            if by is None:
                self._holders.pop(device, None)
            else:
                self._holders[device] = by
        self._tell()

    def holder(self, device: str) -> str | None:
        with self._lock:
            return self._holders.get(device)

    # --- The panel

    @property
    def pressed(self) -> bool:
        return self._button

    @property
    def light(self) -> Light:
        return self._light

    @property
    def lit(self) -> tuple[Lit, ...]:
        """Every change of the light, oldest first."""
        with self._lock:
            return tuple(self._lit)

    def set_light(self, light: Light) -> None:
        with self._lock:
            if light == self._light:
                return
            self._light = light
            self._lit.append(Lit(self.clock(), light))
        self._tell()

    def press(self, hold_s: float = 0.2) -> None:
        """A finger presses the button and leaves it ``hold_s`` later; returns at once."""
        with self._lock:
            self._presses += 1
            self._finger = True
            self._move_button()
            release = threading.Timer(hold_s, self._release, args=(self._presses,))
            release.name = "button-release"
            release.daemon = True
            release.start()
        self._tell()

    def _release(self, press: int) -> None:
        with self._lock:
            if press != self._presses:
                return  # pressed again in the meantime
            self._finger = False
            self._move_button()
        self._tell()

    def _move_button(self) -> None:
        button = self._finger or "button_stuck" in self._faults
        if button != self._button:
            self._button = button
            for listener in tuple(self._button_listeners):
                listener(button)

    def listen(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        """``listener(pressed)`` at each move of the button, in order; it must not block.

        Returns what ends it.
        """
        with self._lock:
            self._button_listeners.append(listener)
        return lambda: self._forget(self._button_listeners, listener)

    # --- Sound that was played

    @property
    def played(self) -> tuple[Played, ...]:
        """Every sound that the speaker was given, oldest first."""
        with self._lock:
            return tuple(self._played)

    def note_played(self, seconds: float, level_dbfs: float) -> None:
        with self._lock:
            self._played.append(Played(self.clock(), seconds, level_dbfs))

    # --- The Pi and its network interface

    @property
    def boots(self) -> int:
        """How often the Pi was started, the first time included."""
        return self._boots

    def reboot(self) -> None:
        """The Pi starts again: uptime and the firmware's memory begin anew, the room stays as it is."""
        with self._lock:
            self._boots += 1
            self._booted_at_s = self.clock()
            self._throttled_since_boot = pi.throttled_now(self._faults)
        self._tell()

    def host(self) -> dict[str, Any]:
        """The host's readings (contract.HOST_READINGS)."""
        with self._lock:
            uptime_s = round(self.clock() - self._booted_at_s, 1)
            return pi.host(self._faults, self._throttled_since_boot, uptime_s)

    def interface(self) -> dict[str, Any]:
        """The network interface's readings (contract.INTERFACE_READINGS)."""
        return pi.interface(self.faults)

    def path(self, *, near_only: bool) -> dict[str, Any]:
        """What a survey of the path to the centre finds (contract.PATH_READINGS)."""
        return pi.path(self.faults, near_only=near_only)

    @property
    def line_cut(self) -> bool:
        """Nothing passes between the room and the broker."""
        return bool(self.faults & pi.CUTS)

    # --- Those who look on

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """``watcher()`` after each change, in the thread that made it. Returns what ends it."""
        with self._lock:
            self._watchers.append(watcher)
        return lambda: self._forget(self._watchers, watcher)

    def snapshot(self) -> dict[str, Any]:
        """All of the state as plain JSON."""
        with self._lock:
            return {
                "faults": sorted(self.faults),
                "holders": dict(self._holders),
                "pressed": self._button,
                "light": list(self._light),
                "camera": asdict(self._camera),
                "microphone": asdict(self._microphone),
                "speaker": asdict(self._speaker),
                "screen": asdict(self._screen),
                "boots": self._boots,
            }

    def _tell(self) -> None:
        with self._lock:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher()

    def _forget(self, listeners: list[Any], one: Any) -> None:
        with self._lock:
            if one in listeners:
                listeners.remove(one)
