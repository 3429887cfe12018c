"""What the room is like now: the judged state of every part, and who wants to know of a change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from diemcau_drivers.contract import PROCESS_OF

from .clock import Clock, rfc3339
from .health import DeviceHealth, Observation, readiness, update
from .model import Judged, Readiness, Reading

CORRECTED_S = 2.0
"""A clock that is set moves wall time by more; one that drifts, by less between two looks."""

Listener = Callable[[str, DeviceHealth, DeviceHealth], None]


class HealthBook:
    """One page a part: every expected device, "host" and "line"."""

    def __init__(self, devices: tuple[str, ...], clock: Clock) -> None:
        self._clock = clock
        self.devices = devices
        self.parts: dict[str, DeviceHealth] = {
            part: DeviceHealth(since_s=clock.wall()) for part in (*devices, "host", "line")
        }
        self.confined: dict[str, bool] = {}
        """process -> whether it has shut itself in (diemcau_drivers.confinement), the newest of each."""
        self._listeners: list[Listener] = []
        self._offset_s = clock.wall() - clock.monotonic()

    def listen(self, listener: Listener) -> None:
        """``listener(part, before, after)`` is called on every look; compare to know what changed."""
        self._listeners.append(listener)

    def apply(self, part: str, observation: Observation) -> None:
        if part not in self.parts:
            return  # not expected in this room
        self._correct()
        before = self.parts[part]
        after = self.parts[part] = update(before, observation, self._clock.wall())
        for listener in self._listeners:
            listener(part, before, after)

    def _correct(self) -> None:
        """Where the clock was set meanwhile, say what was before as it would have said it then: a Pi starts
        in the past, and nothing has been wrong since 1970."""
        offset_s = self._clock.wall() - self._clock.monotonic()
        moved_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(moved_s) < CORRECTED_S:
            return
        for part, health in self.parts.items():
            checked_s = None if health.checked_s is None else health.checked_s + moved_s
            self.parts[part] = msgspec.structs.replace(
                health, since_s=health.since_s + moved_s, checked_s=checked_s
            )

    def readiness(self) -> tuple[Readiness, tuple[str, ...]]:
        return readiness(self.parts)

    def judged(self) -> Mapping[str, Judged]:
        return {part: judged(health, self._confinement(part)) for part, health in self.parts.items()}

    def _confinement(self, part: str) -> dict[str, Reading]:
        """Readings that no look brings: whether a device's process is confined; of the host, how many are."""
        if part == "host":
            return {"processes": len(self.confined), "processes_confined": sum(self.confined.values())}
        confined = self.confined.get(PROCESS_OF.get(part, ""))
        return {} if confined is None else {"confined": confined}


def differs(before: DeviceHealth, after: DeviceHealth) -> bool:
    """Whether the change is news to others (readings alone are not)."""
    return (before.state, before.codes, before.in_use_by, before.checked_s is None) != (
        after.state,
        after.codes,
        after.in_use_by,
        after.checked_s is None,
    )


def _rounded(value: Reading) -> Reading:
    """Three decimals: no probe of ours is better, and 14,934 rooms send this every minute."""
    return round(value, 3) if isinstance(value, float) else value


def judged(health: DeviceHealth, more: Mapping[str, Reading] | None = None) -> Judged:
    """``more``: readings beside those of the looks."""
    readings = {**health.readings, **(more or {})}
    return Judged(
        state=health.state,
        code=health.code,
        codes=health.codes,
        since=rfc3339(health.since_s),
        checked=None if health.checked_s is None else rfc3339(health.checked_s),
        readings={name: _rounded(value) for name, value in readings.items()},
        in_use_by=health.in_use_by,
    )
