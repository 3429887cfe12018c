"""A status and a self-test's report as lines of text, each with its tone. Pure.

For pipes they are printed as they stand, for people at a terminal in the tone's colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from . import marks, wording
from .marks import Mark
from .selftest.plan import CHECKS
from .wording import Say

Line = tuple[str, str]
"""Text, and a tone: good, fair, bad, dim or "" (see :class:`.marks.Mark`)."""


def status_lines(status: Mapping[str, Any], say: Say) -> list[Line]:
    """Who, how ready, and one line a part."""
    online = wording.connection(status)
    ready = marks.READINESS.get(wording.readiness(status), marks.READINESS["unknown"])
    rows: list[tuple[str, Sequence[str]]] = []
    for name in marks.PARTS:
        judged = wording.part(status, name)
        if judged:
            mark = marks.STATES.get(str(judged.get("state")), marks.STATES["unknown"])
            told = [wording.causes(judged, say), *wording.readings(name, judged, say)]
            cells = (say(marks.PART_NAMES[name]), f"{mark.symbol} {say(mark.word)}")
            rows.append((mark.tone, (*cells, " · ".join(word for word in told if word))))
    return [
        (f"{wording.title(status)}  {online.symbol} {say(online.word)}", online.tone),
        (f"{ready.symbol} {say(ready.word)}  {wording.why(status, say)}".rstrip(), ready.tone),
        *([(conference, "")] if (conference := wording.conference(status, say)) else []),
        *_table(rows),
    ]


def report_lines(report: Mapping[str, Any], language: str, zone: tzinfo | None = None) -> list[Line]:
    """The result, the steps, and of each that failed what was expected and what to do."""
    say = wording.speaking(language)
    mark = marks.RESULTS.get(str(report.get("result")), marks.RESULTS["partial"])
    seconds = wording.number(float(report.get("duration_ms", 0)) / 1000, 1, say)
    about = ", ".join(
        (say(str(report.get("scope"))), f"{seconds} s", wording.local_time(report.get("time"), zone))
    )
    steps: list[Mapping[str, Any]] = list(report.get("steps") or [])
    lines: list[Line] = [(f"{say('Self-test')} ({about}): {mark.symbol} {say(mark.word)}", mark.tone)]
    rows = _table((_mark(step).tone, _step_cells(step, say)) for step in steps)
    for step, row in zip(steps, rows, strict=True):
        lines.append(row)
        if step.get("result") != "passed":
            lines += [(f"      {words}", "") for words in _more(step, say, language) if words]
    return lines


def baseline_lines(recorded: Mapping[str, Any], say: Say) -> list[Line]:
    """What was recorded, a line a part; the sound loop under its step's title."""
    readings: Mapping[str, Mapping[str, Any]] = recorded.get("readings") or {}
    titles = {**marks.PART_NAMES, "loop": CHECKS["sound_loop"].title}
    return _table(
        ("", (say(titles.get(name, name)), wording.measured(values, say)))
        for name, values in readings.items()
    )


def step_line(progress: Mapping[str, Any], say: Say) -> Line:
    """One step of a running self-test as it ends."""
    mark = marks.RESULTS.get(str(progress.get("state")), marks.RESULTS["running"])
    title = wording.step_title(str(progress.get("name")), say)
    count = f"{progress.get('done')}/{progress.get('total')}"
    return f"  {count:>5}  {mark.symbol} {title}: {say(mark.word)}", mark.tone


def _mark(step: Mapping[str, Any]) -> Mark:
    return marks.RESULTS.get(str(step.get("result")), marks.RESULTS["not_tested"])


def _step_cells(step: Mapping[str, Any], say: Say) -> tuple[str, str, str]:
    mark = _mark(step)
    title = wording.step_title(str(step.get("name")), say)
    return f"{mark.symbol} {say(mark.word)}", title, wording.measured(step.get("measured") or {}, say)


def _more(step: Mapping[str, Any], say: Say, language: str) -> Iterable[str]:
    if why := wording.untested(step, say):
        yield f"{say('not tested')}: {why}"
    code = step.get("code")
    if code:
        yield f"{wording.cause(str(code), say)} ({code})"
    yield f"{say('expected')}: {wording.expected(step, say)}"
    remedy: Mapping[str, str] = step.get("remedy") or {}
    if remedy.get(language):
        yield f"→ {remedy[language]}"


def _table(rows: Iterable[tuple[str, Sequence[str]]]) -> list[Line]:
    """Rows of a tone and cells, in columns as wide as their widest cell, the last one open."""
    table = list(rows)
    widths = [
        max(len(cell) for cell in column) for column in zip(*(cells for _, cells in table), strict=True)
    ]
    lines: list[Line] = []
    for tone, cells in table:
        text = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append(("  " + text.rstrip(), tone))
    return lines
