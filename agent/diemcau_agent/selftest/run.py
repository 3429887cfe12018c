"""One run of the self-test: lanes of questions, one a process, and what they have found so far."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from diemcau_agent import coverage, judges
from diemcau_agent.clock import Clock
from diemcau_agent.codes import CODES, worst
from diemcau_agent.model import Reading, Step, StepResult
from diemcau_agent.text import expectation, remedy
from diemcau_agent.thresholds import Baseline, Thresholds
from diemcau_drivers.contract import DeviceError, Look

from .plan import BLOCKING, Check, Question, Seen, judge_device
from .report import Progress


class Run:
    """One run: its findings grow while its lanes ask."""

    def __init__(
        self,
        ask: Callable[[Question], Awaitable[Mapping[str, Any]]],
        clock: Clock,
        questions: Sequence[Question],
        baseline: Baseline | None,
        limits: Thresholds,
        progress: Callable[[Progress], None],
    ) -> None:
        self.id = str(uuid.uuid4())
        self.reason: str | None = None
        self.found: dict[str, tuple[str, ...]] = {}
        self.covered: dict[str, set[str]] = {}
        self._ask = ask
        self._clock = clock
        self._questions = questions
        self._checks = [check for question in questions for check in question.checks]
        self._baseline = baseline
        self._limits = limits
        self._progress = progress
        self._done: dict[str, Step] = {}
        self._stop = asyncio.Event()

    def cut(self, reason: str) -> None:
        """End now; what is not done yet was not tested for this reason. The first reason stays."""
        self.reason = self.reason or reason
        self._stop.set()

    def steps(self) -> tuple[Step, ...]:
        """In the plan's order."""
        return tuple(
            self._done.get(check.name) or self._untested(check, self.reason or "cancelled")
            for check in self._checks
        )

    async def within(self, budget_s: float) -> None:
        lanes: dict[str, list[Question]] = {}
        for question in self._questions:
            lanes.setdefault(question.process, []).append(question)
        work = asyncio.create_task(self._all(lanes), name="self-test")
        stop = asyncio.create_task(self._stop.wait(), name="self-test cancel")
        budget = asyncio.create_task(self._clock.sleep(budget_s), name="self-test budget")
        try:
            await asyncio.wait({work, stop, budget}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and self.reason is None:
                self.cut("out_of_time")
        finally:
            for task in (work, stop, budget):
                task.cancel()
            await asyncio.wait({work, stop, budget})
        if not work.cancelled():
            work.result()

    async def _all(self, lanes: Mapping[str, Sequence[Question]]) -> None:
        async with asyncio.TaskGroup() as group:
            for process, questions in lanes.items():
                group.create_task(self._lane(questions), name=f"self-test {process}")

    async def _lane(self, questions: Sequence[Question]) -> None:
        for question in questions:
            looks: Mapping[str, Look] = {}
            checks = [check for check in question.checks if not self._blocked(check)]
            if checks:
                await self._clock.sleep(question.pause_s)
                for check in checks:
                    self._tell(check, "running", None)
                looks = await self._looks(question)
                if question.confirm and any(self._judge(question, check, looks) for check in checks):
                    looks = await self._looks(question)
            for check in question.checks:
                self._finish(check, self._step(question, check, looks))

    async def _looks(self, question: Question) -> Mapping[str, Look]:
        """device -> what it showed; a failed call is every device's error."""
        devices = {check.device for check in question.checks}
        try:
            answer = await self._ask(question)
        except DeviceError as error:
            return {device: Look(error=error) for device in devices}
        if question.do == "loop":
            return {device: Look.from_dict({"readings": answer}) for device in devices}
        if question.do != "probe" or question.process in ("host", "line"):
            return {device: Look(readings=answer) for device in devices}
        if question.process == "audio":
            return {device: Look.from_dict(answer.get(device)) for device in devices}
        return {device: Look.from_dict(answer) for device in devices}

    def _step(self, question: Question, check: Check, looks: Mapping[str, Look]) -> Step:
        if blocked := self._blocked(check):
            return self._untested(check, blocked)
        look = looks[check.device]
        if look.error is not None:
            return self._failure(check, look.error)
        readings = {**look.readings, **judges.ratios(check.device, look.readings, self._baseline)}
        names = (*check.measures, "sharpness_ratio")
        measured = {name: _shown(readings[name]) for name in names if name in readings}
        if look.passive:
            if look.in_use_by is None:  # nobody has it: privacy keeps it closed
                return self._untested(check, "switched_off", measured)
            return self._untested(check, "in_use", {**measured, "in_use_by": look.in_use_by})
        codes = self._judge(question, check, looks)
        if not codes and not all(coverage.has(readings, name) for name in check.requires):
            return self._untested(check, "unsupported" if check.optional else "no_reading", measured)
        told = frozenset(check.codes)
        if check.judge is judge_device:
            told &= coverage.covers(check.device, readings)
        self._note(check, codes, told | coverage.gone(check.device))
        if codes and all(CODES[code].state == "unknown" for code in codes):
            return self._untested(check, "no_answer", measured, codes[0])
        return self._tested(check, codes[0] if codes else None, measured)

    def _judge(self, question: Question, check: Check, looks: Mapping[str, Look]) -> tuple[str, ...]:
        """Of the codes that hold, those that this check is about, worst first."""
        look = looks[check.device]
        if look.error is not None or look.passive:
            return ()
        heard = self.found.get("microphone", ())
        seen = Seen(check.device, look.readings, question.args, self._baseline, self._limits, heard)
        return worst(code for code in check.judge(seen) if code in check.codes)

    def _failure(self, check: Check, error: DeviceError) -> Step:
        code = judges.failure_code(check.device, error.kind)
        if code is not None:
            self._note(check, (code,), coverage.gone(check.device))
            return self._tested(check, code, {"detail": error.detail})
        if error.kind == "busy":
            return self._untested(check, "in_use", {"in_use_by": error.in_use_by})
        return self._untested(check, error.kind, {"detail": error.detail})

    def _note(self, check: Check, codes: Sequence[str], told: frozenset[str]) -> None:
        """A code of the microphone that the sound loop tells is the microphone's, not the speaker's."""
        for device in (check.device, *check.needs):
            of_device = {code for code in told if device in CODES[code].devices}
            self.covered.setdefault(device, set()).update(of_device)
            mine = {code for code in codes if device in CODES[code].devices}
            self.found[device] = worst({*self.found.get(device, ()), *mine})

    def _blocked(self, check: Check) -> str | None:
        """The code found earlier that stands in this check's way."""
        codes = (code for device in (check.device, *check.needs) for code in self.found.get(device, ()))
        return next((code for code in codes if code in BLOCKING), None)

    def _tested(self, check: Check, code: str | None, measured: dict[str, Reading]) -> Step:
        return self._make(check, "failed" if code else "passed", measured, code)

    def _untested(
        self, check: Check, reason: str, measured: dict[str, Reading] | None = None, code: str | None = None
    ) -> Step:
        return self._make(check, "not_tested", measured or {}, code, reason)

    def _make(
        self,
        check: Check,
        result: StepResult,
        measured: dict[str, Reading],
        code: str | None,
        reason: str | None = None,
    ) -> Step:
        return Step(
            name=check.name,
            device=check.device,
            result=result,
            code=code,
            measured=measured,
            expected=expectation(check.expected, "en", self._baseline, self._limits),
            remedy=remedy(code) if code else None,
            reason=reason,
        )

    def _finish(self, check: Check, step: Step) -> None:
        self._done[check.name] = step
        self._tell(check, step.result, step.code)

    def _tell(self, check: Check, state: StepResult | Literal["running"], code: str | None) -> None:
        self._progress(
            Progress(
                run=self.id,
                name=check.name,
                device=check.device,
                state=state,
                code=code,
                done=len(self._done),
                total=len(self._checks),
            )
        )


def _shown(value: Reading) -> Reading:
    """As a technician writes it down: a reading's noise begins before the third decimal."""
    return round(value, 3) if isinstance(value, float) else value
