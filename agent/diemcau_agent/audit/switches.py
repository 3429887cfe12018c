"""Who may be heard and seen: each change of a mute or of the camera's power is an entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diemcau_agent.model import Reading

from .chain import SWITCHED

_READING = {"microphone": "muted", "camera": "power"}


class Switches:
    def __init__(self, note: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._note = note
        self._last: dict[str, tuple[Reading, Reading]] = {}

    def looked(self, device: str, readings: Mapping[str, Reading]) -> None:
        """What a look found. The first of a session is an entry too: what it was meanwhile, nobody saw."""
        name = _READING.get(device)
        if name is None or not readings:
            return
        # A camera says no more of its power than that it is off: what pictures were taken of is on.
        value = readings.get(name, True if device == "camera" and "luma_mean" in readings else None)
        by = readings.get("muted_by")
        if value is None or self._last.get(device) == (value, by):
            return
        self._last[device] = (value, by)
        self._note(SWITCHED, {"device": device, name: value, **({} if by is None else {"by": by})})
