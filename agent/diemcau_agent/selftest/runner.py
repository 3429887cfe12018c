"""The one runner of self-tests: whoever asks for it (button, page, command), the same steps are run.

Processes are asked side by side. An error of one device is that device's failed step and stops
nothing else; what holds a device back is told (*not tested* is never *passed*). A run ends within its
scope's budget: what has not been tested by then, or when it is cancelled, says so.

Errors::

    RuntimeError
    └── AlreadyRunningError     one self-test at a time
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from diemcau_agent.clock import Clock
from diemcau_agent.codes import worst
from diemcau_agent.model import Scope, Trigger
from diemcau_agent.thresholds import DEFAULTS, Baseline, Thresholds
from diemcau_agent.worker import Ask

from .plan import BUDGET_S, Question, planned
from .report import Progress, Report, result_of
from .run import Run

Read = Callable[[], Awaitable[Mapping[str, Any]]]


class AlreadyRunningError(RuntimeError):
    """One self-test at a time."""


class Runner:
    def __init__(
        self,
        ask: Ask,
        host: Read,
        line: Read,
        clock: Clock,
        baseline: Callable[[], Baseline | None],
        expected: Mapping[str, bool],
        limits: Callable[[], Thresholds] = lambda: DEFAULTS,
    ) -> None:
        """``host``, ``line``: flat readings or DeviceError. ``baseline``: the room's own, as of now; so are
        the ``limits``."""
        self._ask = ask
        self._reads = {"host": host, "line": line}
        self._clock = clock
        self._baseline = baseline
        self._expected = expected
        self._limits = limits
        self._current: Run | None = None

    @property
    def running(self) -> str | None:
        """The id of the run that is going on."""
        return None if self._current is None else self._current.id

    def cancel(self) -> bool:
        """Cut the run short: it reports partial. False where none was running."""
        if self._current is None:
            return False
        self._current.cut("cancelled")
        return True

    async def run(
        self, scope: Scope, trigger: Trigger, progress: Callable[[Progress], None] = lambda _: None
    ) -> Report:
        """Raises AlreadyRunningError."""
        if self._current is not None:
            raise AlreadyRunningError(f"self-test {self._current.id} is running")
        questions = planned(scope, self._expected)
        self._current = run = Run(
            self._question, self._clock, questions, self._baseline(), self._limits(), progress
        )
        began_s = self._clock.monotonic()
        try:
            await run.within(BUDGET_S[scope])
        finally:
            self._current = None
        steps = run.steps()
        return Report(
            run=run.id,
            scope=scope,
            trigger=trigger,
            result=result_of(steps, whole=run.reason is None),
            duration_ms=round((self._clock.monotonic() - began_s) * 1000),
            steps=steps,
            findings={device: worst(run.found.get(device, ())) for device in run.covered},
            covered={device: frozenset(codes) for device, codes in run.covered.items()},
        )

    async def _question(self, question: Question) -> Mapping[str, Any]:
        if question.process in self._reads:
            return await self._reads[question.process]()
        return await self._ask(
            question.process, question.do, dict(question.args), deadline_s=question.deadline_s
        )
