"""The ladder by which a failing device is restarted: what is tried, in which order, and when again. Pure.

One ladder a device's process, since microphone and speaker share one. The first step is taken at once, each
later one after a pause that only grows, and the last is repeated once an hour at most. What was well for ten
minutes begins anew; so a device that keeps failing is restarted at most :data:`STEPS_AN_HOUR` times an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from .health import DeviceHealth
from .model import State

Step = Literal["reopen", "respawn", "rebind"]
"""Close and open the device in its process; kill the process and spawn another; take the device's USB driver
away and give it back."""

PAUSES_S = (10.0, 30.0, 120.0, 600.0, 3600.0)
"""After the first step, the second and so on; the last for ever."""
WELL_S = 600.0
STEPS_AN_HOUR = 20

_KILLED: tuple[Step, ...] = ("respawn", "rebind")  # its process has been killed or is dead: nothing is open
_UNSEEN: tuple[Step, ...] = ("reopen", "respawn", "rebind")
STEPS: Mapping[str, tuple[Step, ...]] = {
    **dict.fromkeys(("camera_hung", "audio_hung", "display_hung", "panel_hung"), _KILLED),
    **dict.fromkeys(("camera_crashed", "audio_crashed", "display_crashed", "panel_crashed"), _KILLED),
    # Plugged in, but its library does not find it: some look for devices only when they begin.
    **dict.fromkeys(("camera_absent", "microphone_absent", "speaker_absent", "panel_absent"), _UNSEEN),
    "frame_frozen": _UNSEEN,  # a stream that stands still often goes on when it is opened anew
    "frame_black": ("reopen",),  # nearly always the lens cap or a dark hall: not worth a process
}
"""By code. What is not here no restart can mend: a cable (``display_absent``), a button that somebody leans
on, a microphone's own switch (``microphone_silent``), a speaker without power, light, focus, the line."""
STUCK: tuple[Step, ...] = ("rebind",)
"""A process that SIGKILL does not end waits in the kernel for a driver: without its device that may wake."""

_USELESS: frozenset[State] = frozenset({"failed", "stuck", "absent"})


class Trouble(msgspec.Struct, frozen=True):
    device: str
    code: str
    steps: tuple[Step, ...]
    useless: bool
    """Nothing of this process works, so that no conference can lose by what is tried."""
    held: bool
    """Another program has one of its devices open."""


class Ladder(msgspec.Struct, frozen=True):
    """Times are monotonic seconds."""

    taken: int = 0
    """Steps since it was last well."""
    due_s: float = float("-inf")
    """No step before."""
    well_since_s: float | None = None
    impossible: frozenset[Step] = frozenset()
    """Steps that were found not to be possible here."""

    def seen(self, trouble: Trouble | None, now_s: float, *, known: bool = True) -> Ladder:
        """After a look. ``known``: all of the process's devices are; else the look says nothing of how long
        they have been well."""
        if trouble is not None:
            return msgspec.structs.replace(self, well_since_s=None)
        if not known:
            return self
        since_s = now_s if self.well_since_s is None else self.well_since_s
        if now_s - since_s >= WELL_S:
            return Ladder(well_since_s=since_s)
        return msgspec.structs.replace(self, well_since_s=since_s)

    def next(self, trouble: Trouble) -> Step | None:
        """The step whose turn it is; None where none that might help is possible."""
        steps: list[Step] = [step for step in trouble.steps if step not in self.impossible]
        return steps[min(self.taken, len(steps) - 1)] if steps else None

    def due(self, trouble: Trouble, now_s: float, *, conference: bool) -> Step | None:
        """The step to take now. Nothing is taken from another program, nor, while a conference is on, from a
        room that can still use a part of it."""
        if trouble.held or (conference and not trouble.useless) or now_s < self.due_s:
            return None
        return self.next(trouble)

    def after(self, step: Step, now_s: float, *, possible: bool) -> Ladder:
        """One step higher. What was not possible took no pause of its own and is not tried again before all
        is well."""
        if not possible:
            return msgspec.structs.replace(self, impossible=self.impossible | {step})
        pause_s = PAUSES_S[min(self.taken, len(PAUSES_S) - 1)]
        return msgspec.structs.replace(self, taken=self.taken + 1, due_s=now_s + pause_s)


def trouble(devices: Mapping[str, DeviceHealth]) -> Trouble | None:
    """What of a process's devices a restart may mend; the first device's that has such a code."""
    useless = all(health.state in _USELESS for health in devices.values())
    held = any(health.in_use_by is not None for health in devices.values())
    for device, health in devices.items():
        for code in health.codes:
            steps = STUCK if health.state == "stuck" else STEPS.get(code)
            if steps:
                return Trouble(device, code, steps, useless, held)
    return None
