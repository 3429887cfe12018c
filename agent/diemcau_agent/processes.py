"""Which device processes a room needs, and what each is told at its start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from diemcau_drivers.contract import PROCESSES

from .child import Listener
from .clock import Clock
from .config import Settings
from .worker import Worker

LOCAL = "local"
"""The daemon reads this part itself: no process."""
KEEPS_OVER_A_BOOT = ("camera",)
"""A camera that was switched off is not switched on by a restart of the host: only where the room's policy
says so (docs/wire.md)."""
LEAVES_WHEN_IDLE = ("camera", "audio")
"""They carry numpy and a device library: 20 to 40 MB that nobody needs between two probes."""


def device_workers(settings: Settings, clock: Clock, listener: Listener) -> dict[str, Worker]:
    """A worker for each process; none is started before it is asked."""
    backends = settings.backend_table
    return {
        process: Worker(
            process,
            getattr(backends, process),
            options(settings, process),
            clock=clock,
            deadline_s=settings.probe.deadline_s,
            listener=listener,
        )
        for process in PROCESSES
        if getattr(backends, process) != LOCAL
    }


def options(settings: Settings, process: str) -> dict[str, Any]:
    """The device's own table of the settings, flat, with what every backend gets."""
    if process == "presence":  # is of every device, and has to know which one is meant
        table: Any = {name: getattr(settings, name) for name in ("camera", "audio", "display")}
    else:
        table = getattr(settings, process, {})
    kept = {"state_dir": str(Path(settings.state_dir) / process)} if process in KEEPS_OVER_A_BOOT else {}
    return {
        **msgspec.to_builtins(table),
        **settings.backend_options,
        # One of its own: it can write nowhere else, and not into another's.
        "runtime_dir": str(Path(settings.runtime_dir) / process),
        **kept,
        "idle_s": settings.probe.idle_s if process in LEAVES_WHEN_IDLE else 0.0,
    }
