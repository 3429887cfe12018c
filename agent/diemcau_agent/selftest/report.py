"""What a self-test tells: its progress while it runs, its report when it has ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from diemcau_agent.model import RunResult, Scope, Step, StepResult, Trigger

HARMLESS = ("unsupported", "no_answer")
"""Reasons for which a step was not tested that no one can mend: the run passes all the same."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One step has begun ("running") or ended. ``done`` of ``total`` steps have ended."""

    run: str
    name: str
    device: str
    state: StepResult | Literal["running"]
    code: str | None
    done: int
    total: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of :class:`.model.Selftest` but the common fields, and what health takes from it.

    ``findings``: device (or "host", "line") -> codes found, worst first, for each that was tested.
    ``covered``: of these, the codes that were looked for; the run says nothing of others.
    """

    run: str
    scope: Scope
    trigger: Trigger
    result: RunResult
    duration_ms: int
    steps: tuple[Step, ...]
    findings: dict[str, tuple[str, ...]]
    covered: dict[str, frozenset[str]]


def result_of(steps: Sequence[Step], *, whole: bool) -> RunResult:
    """``whole``: the run was not cut short."""
    untested = [step for step in steps if step.result == "not_tested" and step.reason not in HARMLESS]
    if not whole:
        return "partial"
    if any(step.result == "failed" for step in steps):
        return "failed"
    return "partial" if untested or not steps else "passed"
