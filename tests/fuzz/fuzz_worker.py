"""Any lines from a device's process that was taken over: the daemon believes nothing of it, and lives on."""

from __future__ import annotations

import asyncio
import atexit
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from diemcau_agent import judges, monitor
from diemcau_agent.child import Child
from diemcau_agent.thresholds import DEFAULTS
from diemcau_drivers import pipe
from diemcau_drivers.contract import DeviceError, Look

DEVICES = ("camera", "microphone", "speaker", "display", "panel")


@cache
def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    atexit.register(made.close)
    return made


def seeds() -> list[bytes]:
    look = {
        "readings": {"luma_mean": 0.4, "muted": False, "fps": 30, "power": "on"},
        "identity": {"usb": "1"},
        "passive": False,
    }
    lines: list[Any] = [
        {"id": 1, "ok": look},
        {"id": 1, "ok": {"microphone": look, "speaker": look}},
        {"id": 1, "error": {"kind": "busy", "detail": "x", "in_use_by": "zoom"}},
        {"event": "press", "data": {"held_s": 1}},
        {"ready": {"pid": 1}},
        {
            "id": 1,
            "ok": {"readings": {"level_dbfs": "x", "peak_dbfs": [], "connected": {}}, "capabilities": None},
        },
        {"id": 1, "ok": {"error": "x"}},
    ]
    return [json.dumps(line).encode() + b"\n" for line in lines]


def fuzz(data: bytes) -> None:
    child = Child.__new__(Child)
    answer: asyncio.Future[dict[str, Any]] = loop().create_future()
    child._ready = loop().create_future()
    child._waiting = {1: answer}

    def listen(event: str, data: Mapping[str, Any]) -> None:
        json.dumps([event, dict(data)])

    child._listener = listen
    try:
        for line in data.splitlines(keepends=True):
            child._take(pipe.decode(line))
    except pipe.FramingError:
        return
    if not answer.done():
        return
    try:
        told = answer.result()
        for device in DEVICES:
            look = Look.from_dict(told.get(device, told))
            if look.error is None:
                monitor.seen(device, look, None, DEFAULTS)
                judges.ratios(device, look.readings, None)
    except DeviceError:
        return
