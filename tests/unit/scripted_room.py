"""A room whose processes answer as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from diemcau_agent.model import Scope, Step
from diemcau_agent.selftest.report import Progress, Report
from diemcau_agent.selftest.runner import Runner
from diemcau_agent.thresholds import Baseline
from diemcau_agent.worker import Hung
from diemcau_drivers.contract import DEVICES, DeviceError, Look
from fakeclock import FakeClock
from healthy import GOOD, LOOP

Answer = dict[str, Any] | DeviceError | None
"""None: never answers."""


class ScriptedRoom:
    """A scripted room: answers by (process, do); each call takes ``took_s`` on the fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.took_s = 0.5
        self.looks = {device: Look(readings=GOOD[device]) for device in DEVICES}
        self.answers: dict[tuple[str, str], Answer] = {
            ("audio", "loop"): LOOP,
            ("audio", "announce"): {"name": "chime", "seconds": 1.0},
            ("camera", "state"): {"power": True, "zoom": 1.0, "preset": None},
            ("panel", "lights"): {"pattern": "testing"},
            ("host", "probe"): GOOD["host"],
            ("line", "probe"): GOOD["line"],
        }
        self.expected: dict[str, bool] = dict.fromkeys(DEVICES, True)
        self.baseline: Baseline | None = None
        self.progress: list[Progress] = []
        self.runner = Runner(self.ask, self.host, self.line, clock, lambda: self.baseline, self.expected)

    def readings(self, device: str, **changes: Any) -> None:
        self.looks[device] = Look(readings={**GOOD[device], **changes})

    async def ask(
        self, process: str, do: str, args: Mapping[str, Any] | None = None, *, deadline_s: float | None = None
    ) -> dict[str, Any]:
        self.calls.append((process, do, dict(args or {})))
        if (process, do) in self.answers:
            answer = self.answers[process, do]
        elif process == "audio":
            answer = {device: self.looks[device].to_dict() for device in ("microphone", "speaker")}
        else:
            answer = self.looks[process].to_dict()
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        if isinstance(answer, Hung):
            assert deadline_s is not None
            await self.clock.sleep(deadline_s)
            raise answer
        await self.clock.sleep(self.took_s)
        if isinstance(answer, DeviceError):
            raise answer
        return answer

    async def host(self) -> Mapping[str, Any]:
        return await self.ask("host", "probe")

    async def line(self) -> Mapping[str, Any]:
        return await self.ask("line", "probe")

    async def test(self, scope: Scope = "quick", wait_s: float = 70.0) -> Report:
        task = asyncio.create_task(self.runner.run(scope, "button", self.progress.append))
        await self.clock.advance(wait_s)
        assert task.done(), "a run ends within its budget"
        return await task


def step(report: Report, name: str) -> Step:
    return next(step for step in report.steps if step.name == name)


def outcome(report: Report, name: str) -> tuple[str, str | None, str | None]:
    found = step(report, name)
    return found.result, found.code, found.reason
