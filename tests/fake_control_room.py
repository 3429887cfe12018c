"""A room behind the control socket that tests can steer: what the agent would be, without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from diemcau_agent.control import Progress, Refused
from diemcau_agent.model import Scope, Trigger

TIME = "2026-11-22T07:30:00.000Z"


def judged(state: str = "ok", code: str | None = None, **more: Any) -> dict[str, Any]:
    return {"state": state, "code": code, "since": TIME, "checked": TIME, "readings": {}, **more}


def report(result: str = "passed") -> dict[str, Any]:
    ok = result == "passed"
    return {
        "schema": "diemcau.selftest/1",
        "run": "r-1",
        "scope": "quick",
        "trigger": "command",
        "result": result,
        "duration_ms": 4200,
        "time": TIME,
        "steps": [
            {
                "name": "camera_live",
                "device": "camera",
                "result": "passed",
                "code": None,
                "measured": {"fps": 29.9},
                "expected": "a moving picture",
                "remedy": None,
            },
            {
                "name": "sound_loop",
                "device": "microphone",
                "result": "passed" if ok else "failed",
                "code": None if ok else "microphone_muted",
                "measured": {"muted": not ok},
                "expected": "the chirp is heard",
                "remedy": None if ok else {"vi": "Bật lại micrô.", "en": "Unmute the microphone."},
            },
        ],
    }


def status(readiness: str = "ready", **devices: dict[str, Any]) -> dict[str, Any]:
    """A status as on the control socket; ``devices`` replaces some of them."""
    shown = {
        "camera": judged(readings={"fps": 29.9, "luma_mean": 0.43, "sharpness": 812.0}),
        "microphone": judged(readings={"level_dbfs": -42.1, "noise_floor_dbfs": -56.0, "muted": False}),
        "speaker": judged(readings={"volume_percent": 70.0, "muted": False}),
        "display": judged(readings={"connected": True, "power": "on"}),
        "panel": judged(),
    }
    host = judged(readings={"cpu_percent": 3.1, "temperature_c": 51.2, "disk_free_percent": 71.0})
    line = judged(readings={"rtt_ms": 0.8, "interface": "eth0", "carrier": True})
    shown.update({name: item for name, item in devices.items() if name in shown})
    return {
        "birth": {"point": "xp-0417", "name": "Hội trường Tân Phú", "place": ["Đồng Nai", "Xã Tân Phú"]},
        "health": {
            "readiness": readiness,
            "reasons": [item["code"] for item in shown.values() if item["code"]],
            "devices": shown,
            "host": devices.get("host", host),
            "line": devices.get("line", line),
            "point": "xp-0417",
            "time": TIME,
            "valid_s": 180,
        },
        "connection": {"state": "online", "broker": "mqtt://127.0.0.1:1883", "since": TIME, "detail": None},
        "selftest": {"running": None, "last": None},
        "events": [],
        "language": "en",
    }


class FakeControlRoom:
    """Implements ControlRoom. ``change(status)`` tells every watcher."""

    def __init__(self, now: dict[str, Any] | None = None, outcome: str = "passed") -> None:
        self.now = status() if now is None else now
        self.outcome = outcome
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: Refused | None = None
        self.test_may_end = asyncio.Event()
        self.test_may_end.set()
        self.watchers = 0
        self.left = asyncio.Event()
        self._changed = asyncio.Condition()
        self._version = 0

    def status(self) -> Mapping[str, Any]:
        return self.now

    async def selftest(self, scope: Scope, trigger: Trigger, progress: Progress) -> Mapping[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(("selftest", scope, trigger))
        made = report(self.outcome)
        total = len(made["steps"])
        for done, step in enumerate(made["steps"], 1):
            shown = {"name": step["name"], "device": step["device"], "code": step["code"]}
            progress({**shown, "state": step["result"], "done": done, "total": total})
        await self.test_may_end.wait()
        return made

    def cancel(self) -> bool:
        self.asked.append(("cancel",))
        return not self.test_may_end.is_set()

    def press(self, hold_s: float) -> None:
        self.asked.append(("press", hold_s))

    async def subscribe(self) -> AsyncIterator[Mapping[str, Any]]:
        self.watchers += 1
        try:
            seen = -1
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._version != seen)  # noqa: B023
                    seen = self._version
                yield self.now
        finally:
            self.watchers -= 1
            self.left.set()

    async def change(self, now: dict[str, Any]) -> None:
        async with self._changed:
            self.now = now
            self._version += 1
            self._changed.notify_all()

    def line(self) -> Mapping[str, Any]:
        return {
            "line": judged(readings={"rtt_ms_p50": 12.0, "broker_connected": True}),
            "reflector": "stamp.example",
            "cause": None,
            "records": {},
            "path": {},
            "history": [],
        }

    async def baseline(self) -> Mapping[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        return {"date": TIME, "readings": {"camera": {"sharpness": 812.0}}}
