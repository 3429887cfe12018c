"""One calm live screen of a room: a pure function from a status to what rich draws.

Every state is told by a symbol and a word as well as by its colour. The screen is a list of
lines, cut to the width, so that it fits 80 by 24 and never scrolls: what is healthy takes one line, what
is not takes a second one while there is room, and the last events fill what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from rich.console import Group, RenderableType
from rich.style import Style
from rich.text import Text

from . import marks, wording
from .wording import Say

MIN_WIDTH, MIN_HEIGHT = 80, 24
_NO_END = 1000
_TONES = {
    "good": Style(color="rgb(80,200,120)"),
    "fair": Style(color="rgb(255,176,0)"),
    "bad": Style(color="rgb(255,95,95)", bold=True),
    "dim": Style(color="grey62"),
}
_BANNERS = {
    "good": Style(color="rgb(255,255,255)", bgcolor="rgb(0,105,62)", bold=True),
    "fair": Style(color="rgb(20,20,20)", bgcolor="rgb(255,176,0)", bold=True),
    "bad": Style(color="rgb(255,255,255)", bgcolor="rgb(170,20,40)", bold=True),
    "dim": Style(color="rgb(255,255,255)", bgcolor="grey35", bold=True),
}
_DIM = _TONES["dim"]
_BOLD = Style(bold=True)
_NAME_CELLS, _STATE_CELLS = 13, 14
_LEAD_CELLS = 1 + _NAME_CELLS + _STATE_CELLS
_TEST_LINES, _EVENT_LINES = 3, 3
"""What self-test and events keep while others want more: a heading and two lines each."""


@dataclass(frozen=True, slots=True)
class Hint:
    """One thing that people can do: a key and what it does; ``on`` marks a switch that is on.

    Without a key it is a line of its own, for instance a command for another terminal.
    """

    key: str
    words: str
    on: bool = False


def render(
    status: Mapping[str, Any],
    width: int,
    language: str,
    hints: Sequence[Hint] = (),
    *,
    height: int | None = MIN_HEIGHT,
    note: str = "",
    live: bool = True,
    zone: tzinfo | None = None,
) -> RenderableType:
    """A room's status (control.py) as lines of at most ``width`` cells, ``height`` of them where it fits
    (None: as many as it has to tell).

    ``note``: one line of news for whoever is looking. ``live``: False where the agent does not answer;
    then nothing is shown as good. ``zone``: of the times shown, None for this machine's.
    """
    view = _View(max(width, MIN_WIDTH), wording.speaking(language), live, zone)
    tight = height is not None and height <= MIN_HEIGHT
    head = [_title(status, view), *_banner(status, view), *([] if tight else [Text()])]
    foot = [*([_line(view.width, (note, _BOLD))] if note or hints else []), *_footer(hints, view.width)]
    room = (_NO_END if height is None else max(height, MIN_HEIGHT)) - len(head) - len(foot)
    rows = _rows(status, view, room - _TEST_LINES - _EVENT_LINES)
    test = _selftest(status, view, max(2, room - len(rows) - _EVENT_LINES))
    events = _events(status, view, max(2, room - len(rows) - len(test)))
    body = [*rows, *test, *events]
    blank = 0 if height is None else room - len(body)
    return Group(*head, *body, *(Text() for _ in range(blank)), *foot)


@dataclass(frozen=True, slots=True)
class _View:
    """How the screen is looked at."""

    width: int
    say: Say
    live: bool
    zone: tzinfo | None


def _line(width: int, *parts: tuple[str, Style | str]) -> Text:
    """One line, cut with an ellipsis where it is too long."""
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    for words, style in parts:
        text.append(wording.printable(words), style)
    text.truncate(width, overflow="ellipsis")
    text.end = "\n"
    return text


def _cell(words: str, cells: int) -> str:
    """``words`` in exactly ``cells`` terminal cells, the last a space."""
    text = Text(words)
    text.truncate(cells - 1, overflow="ellipsis", pad=True)
    return text.plain + " "


def _title(status: Mapping[str, Any], view: _View) -> Text:
    mark = wording.connection(status) if view.live else marks.AWAY
    right = f"{mark.symbol} {view.say(mark.word)} "
    left = _cell(f" diemcau  {wording.title(status)}", view.width - Text(right).cell_len)
    return _line(view.width, (left, _BOLD), (right, _TONES[mark.tone]))


def _banner(status: Mapping[str, Any], view: _View) -> list[Text]:
    state = wording.readiness(status) if view.live else "unknown"
    mark = marks.READINESS.get(state, marks.READINESS["unknown"])
    word, why = view.say(mark.word), _why(status, view)
    words = f"   {mark.symbol}  {' '.join(word)}   {why}"
    if Text(words).cell_len >= view.width:  # the reason counts more than the big letters
        words = f"   {mark.symbol}  {word}   {why}"
    below = f"      {wording.conference(status, view.say, view.zone) if view.live else ''}"
    return [_line(view.width, (_cell(text, view.width), _BANNERS[mark.tone])) for text in ("", words, below)]


def _why(status: Mapping[str, Any], view: _View) -> str:
    return wording.why(status, view.say) if view.live else view.say("What is shown below is old.")


def _rows(status: Mapping[str, Any], view: _View, room: int) -> list[Text]:
    """One line a part; a second one for the readings of what is not well, while ``room`` lasts."""
    known = bool(wording.health(status))
    names = [name for name in marks.PARTS if wording.part(status, name) or not known]
    extra = room - len(names)
    lines: list[Text] = []
    for name in names:
        judged = wording.part(status, name)
        state = str(judged.get("state")) if view.live else "unknown"
        mark = marks.STATES.get(state, marks.STATES["unknown"])
        tone = _TONES[mark.tone]
        lead = (
            (" " + _cell(view.say(marks.PART_NAMES[name]), _NAME_CELLS), _BOLD),
            (_cell(f"{mark.symbol} {view.say(mark.word)}", _STATE_CELLS), tone),
        )
        causes = wording.causes(judged, view.say)
        readings = " · ".join(wording.readings(name, judged, view.say))
        if not causes:
            lines.append(_line(view.width, *lead, (readings, _DIM)))
        elif _LEAD_CELLS + Text(causes + readings).cell_len + 2 <= view.width:
            lines.append(_line(view.width, *lead, (causes, tone), ("  " + readings, _DIM)))
        else:
            lines.append(_line(view.width, *lead, (causes, tone)))
            if readings and extra > 0:
                extra -= 1
                lines.append(_line(view.width, (" " * _LEAD_CELLS + readings, _DIM)))
    return lines


def _heading(words: str, about: str, width: int) -> Text:
    lead, more = f"── {words} ", f"{about} " if about else ""
    tail = "─" * max(0, width - Text(lead + more).cell_len - 1)
    return _line(width, (lead, _BOLD), (more, ""), (tail, _DIM))


def _selftest(status: Mapping[str, Any], view: _View, room: int) -> list[Text]:
    """The running self-test, or the last report: a heading and at most ``room - 1`` lines."""
    say = view.say
    both: Mapping[str, Any] = status.get("selftest") or {}
    running: Mapping[str, Any] | None = both.get("running")
    last: Mapping[str, Any] | None = both.get("last")
    if running:
        steps: list[Mapping[str, Any]] = list(running.get("steps") or [])
        done = sum(step.get("state") != "running" for step in steps)
        about = f"{say(str(running.get('scope', '')))} · {say('running')} {done}/{running.get('total', '?')}"
        return [_heading(say("Self-test"), about, view.width), *_steps(steps, "state", view, room - 1)]
    if not last:
        return [_heading(say("Self-test"), "", view.width), _nothing(view)]
    mark = marks.RESULTS.get(str(last.get("result")), marks.RESULTS["partial"])
    seconds = wording.number(float(last.get("duration_ms", 0)) / 1000, 1, say)
    time = wording.local_time(last.get("time"), view.zone)
    result = f"{mark.symbol} {say(mark.word)}"
    about = " · ".join((say(str(last.get("scope", ""))), result, f"{seconds} s", time))
    steps = list(last.get("steps") or [])
    remedies = _remedies(steps, view)
    lines = _steps(steps, "result", view, room - 1 - min(1, len(remedies)))
    return [_heading(say("Self-test"), about, view.width), *[*lines, *remedies][: room - 1]]


def _steps(steps: Sequence[Mapping[str, Any]], key: str, view: _View, room: int) -> list[Text]:
    """Symbol and title of each step on at most ``room`` lines; what went wrong first."""
    order = list(marks.RESULTS)
    words: list[tuple[str, Style]] = []
    for step in sorted(steps, key=lambda step: _rank(order, str(step.get(key)))):
        mark = marks.RESULTS.get(str(step.get(key)), marks.RESULTS["running"])
        title = wording.step_title(str(step.get("name")), view.say)
        why = wording.untested(step, view.say)
        words.append(
            (f"{mark.symbol} {title}: {why}" if why else f"{mark.symbol} {title}", _TONES[mark.tone])
        )
    shown = len(words)
    while len(lines := _flow([*words[:shown], *_more(len(words) - shown)], view.width)) > max(1, room):
        shown -= 1
    return lines[: max(0, room)]


def _rank(order: Sequence[str], result: str) -> int:
    return order.index(result) if result in order else len(order)


def _more(count: int) -> list[tuple[str, Style]]:
    return [(f"+{count}", _DIM)] if count else []


def _remedies(steps: Sequence[Mapping[str, Any]], view: _View) -> list[Text]:
    """What to do about each step that failed, each cause once."""
    lines: dict[str, Text] = {}
    for step in steps:
        code = str(step.get("code"))
        if step.get("result") == "failed" and code not in lines and wording.remedy(code, view.say):
            lines[code] = _line(view.width, (" → ", _TONES["bad"]), (wording.remedy(code, view.say), ""))
    return list(lines.values())


def _events(status: Mapping[str, Any], view: _View, room: int) -> list[Text]:
    """A heading and the newest events, newest first, in at most ``room`` lines."""
    lines: list[Text] = []
    for item in reversed(list[Mapping[str, Any]](status.get("events") or [])):
        time = f" {wording.local_time(item.get('time'), view.zone)}  "
        lines.append(_line(view.width, (time, _DIM), (wording.event(item, view.say), "")))
    return [_heading(view.say("Last events"), "", view.width), *(lines or [_nothing(view)])[: room - 1]]


def _nothing(view: _View) -> Text:
    return _line(view.width, (" " + view.say("none yet"), _DIM))


def _footer(hints: Sequence[Hint], width: int) -> list[Text]:
    lines: list[Text] = []
    keys = [hint for hint in hints if hint.key]
    words: list[tuple[str, Style]] = []
    for hint in keys:
        words.append(
            (f"[{hint.key}]{'●' if hint.on else ' '}{hint.words}", _TONES["fair" if hint.on else "dim"])
        )
    lines += _flow(words, width)
    lines += [_line(width, (" " + hint.words, _DIM)) for hint in hints if not hint.key]
    return lines


def _flow(words: Sequence[tuple[str, Style]], width: int) -> list[Text]:
    """``words`` side by side, two cells apart, on as many lines as they need."""
    lines: list[list[tuple[str, Style | str]]] = []
    used = width
    for word, style in words:
        cells = Text(word).cell_len + 2
        if used + cells > width + 1:
            lines.append([(" ", "")])
            used = 1
        lines[-1].append((word + "  ", style))
        used += cells
    return [_line(width, *line) for line in lines]
