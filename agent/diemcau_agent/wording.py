"""The words in which a room is told to people: states, readings, causes, times. Pure.

Used by the screen and by plain text alike, so that both say the same. Every word is English and goes
through ``say`` (:func:`speaking`), a translator for one language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from functools import partial
from string import Formatter
from typing import Any

from .codes import CODES
from .marks import (
    CONNECTIONS,
    EVENTS,
    PART_NAMES,
    PARTS,
    READINESS,
    READINGS,
    REASONS,
    RESULTS,
    STATES,
    VALUES,
    Mark,
    Shown,
)
from .selftest.plan import CHECKS
from .text import translate

Say = Callable[[str], str]


def speaking(language: str) -> Say:
    """The translator into ``language`` ("vi" or "en")."""
    return partial(translate, language=language)


def part(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The judged state of a device, the host or the line in a status; empty where it is not there."""
    devices: Mapping[str, Any] = health(status).get("devices") or {}
    return devices.get(name) or health(status).get(name) or {}


def health(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The health document; empty where there is none yet."""
    return status.get("health") or {}


def connection(status: Mapping[str, Any]) -> Mark:
    """How the agent stands with the broker."""
    known: Mapping[str, Any] = status.get("connection") or {}
    return CONNECTIONS.get(str(known.get("state")), CONNECTIONS["offline"])


def readiness(status: Mapping[str, Any]) -> str:
    return str(health(status).get("readiness", "unknown"))


def reasons(status: Mapping[str, Any]) -> tuple[str, ...]:
    """The codes in the way of ready, worst first."""
    return tuple(health(status).get("reasons") or ())


def why(status: Mapping[str, Any], say: Say) -> str:
    """The worst that is in the way of ready, and how many more there are; else what is not known."""
    if readiness(status) == "ready":
        return say("Everything this room should have works.")
    if codes := reasons(status):
        worst, *others = codes
        return cause(worst, say) + (f" (+{len(others)})" if others else "")
    names = [say(PART_NAMES[name]) for name in PARTS if _without_cause(part(status, name))]
    return say("Not known: {parts}.").format(parts=", ".join(names)) if names else ""


def _without_cause(judged: Mapping[str, Any]) -> bool:
    """Unknown, and no code says why: held by another program, or not looked at yet."""
    return judged.get("state") == "unknown" and not judged.get("code")


def causes(judged: Mapping[str, Any], say: Say) -> str:
    """What is wrong with a device in plain words, worst first, and who holds it; "" where nothing is."""
    codes: list[str] = list(judged.get("codes") or [])
    if not codes and judged.get("code"):
        codes = [str(judged["code"])]
    told = [cause(code, say) for code in codes]
    if judged.get("in_use_by"):
        told.insert(0, in_use(str(judged["in_use_by"]), say))
    return " ".join(told)


def cause(code: str, say: Say) -> str:
    """A code in plain words; the code itself where a newer agent knows more codes than this program."""
    return say(CODES[code].cause) if code in CODES else code


def remedy(code: str, say: Say) -> str:
    """What to do about it; "" where it is not known here."""
    return say(CODES[code].remedy) if code in CODES else ""


def untested(step: Mapping[str, Any], say: Say) -> str:
    """Why a step was not tested, with who holds the device; "" for one that was."""
    reason = step.get("reason")
    if step.get("result") != "not_tested" or not reason:
        return ""
    words = say(REASONS[reason]) if reason in REASONS else cause(str(reason), say)
    measurement: Mapping[str, Any] = step.get("measured") or {}
    holder = measurement.get("in_use_by")
    return f"{words} ({holder})" if holder else words


def step_title(name: str, say: Say) -> str:
    """A self-test step's title; its name where a newer agent knows more steps than this program."""
    return say(CHECKS[name].title) if name in CHECKS else name


def expected(step: Mapping[str, Any], say: Say) -> str:
    """What a step expected. A report has it in English with the room's own numbers filled in: they are
    found by the step's template and put into its translation."""
    told, check = str(step.get("expected", "")), CHECKS.get(str(step.get("name")))
    if check is None:
        return told
    template = list(Formatter().parse(check.expected))
    pattern = "".join(re.escape(text) + (f"(?P<{name}>.+?)" if name else "") for text, name, *_ in template)
    found = re.fullmatch(pattern, told)
    if found is None:
        return told
    parts = Formatter().parse(say(check.expected))
    return "".join(text + (found[name] if name else "") for text, name, *_ in parts)


def in_use(by: str, say: Say) -> str:
    return (
        say("In use by another program.") if by == "other" else say("In use by {program}.").format(program=by)
    )


def readings(name: str, judged: Mapping[str, Any], say: Say, count: int = 3) -> list[str]:
    """The ``count`` readings that matter most, each with label and unit."""
    values: Mapping[str, Any] = judged.get("readings") or {}
    told = [reading(shown, values[shown.reading], say) for shown in READINGS[name] if shown.reading in values]
    return [text for text in told if text][:count]


def reading(shown: Shown, value: Any, say: Say) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | str):
        key = str(value).lower()
        text = say(VALUES[key]) if key in VALUES else str(value)
    else:
        text = number(float(value) * shown.scale, shown.digits, say)
    label = say(shown.label) if shown.label else ""
    return " ".join(word for word in (label, text, shown.unit) if word)


def number(value: float, digits: int, say: Say) -> str:
    """With the language's own decimal sign."""
    point = say("decimal point")
    text = f"{value:.{digits}f}"
    return text.replace(".", "," if point == "," else ".")


def measured(values: Mapping[str, Any], say: Say) -> str:
    """All readings of a self-test's step, names as on the wire."""
    told: list[str] = []
    for name, value in values.items():
        if value is None:
            text = "–"
        elif isinstance(value, float):
            text = number(value, 0 if abs(value) >= 100 or value.is_integer() else 2, say)
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
        told.append(f"{name} {text}")
    return ", ".join(told)


def local_time(time: Any, zone: tzinfo | None = None) -> str:
    """A wire time as the room's own clock shows it, ``14:30:05``; "" where there is none."""
    try:
        return datetime.fromisoformat(str(time)).astimezone(zone).strftime("%H:%M:%S")
    except ValueError:
        return ""


def conference(status: Mapping[str, Any], say: Say, zone: tzinfo | None = None) -> str:
    """The conference that is on, or the next; "" where none is planned."""
    known: Mapping[str, Any] = status.get("conference") or {}
    try:
        start, end = (datetime.fromisoformat(str(known[name])).astimezone(zone) for name in ("start", "end"))
    except (KeyError, ValueError):
        return ""
    told = [say("is on")] if known.get("on") else []
    told += [say("this room only listens")] if known.get("listen_only") else []
    when = f"{start:%d/%m %H:%M} – {end:%H:%M}"
    return f"{say('Conference')} {known.get('id', '')}: {', '.join([when, *told])}"


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or colour it: a name may come from anywhere."""
    return "".join(character if character.isprintable() else " " for character in text)


def title(status: Mapping[str, Any]) -> str:
    """The point's id, its name and where it stands, innermost place first."""
    birth: Mapping[str, Any] = status.get("birth") or {}
    place = [str(level) for level in reversed(birth.get("place") or ())]
    words = [str(birth.get("point", "")), str(birth.get("name") or ""), ", ".join(place)]
    return " · ".join(word for word in words if word)


def event(document: Mapping[str, Any], say: Say) -> str:
    """What happened, in one line without its time."""
    name, kind = str(document.get("device") or ""), str(document.get("kind", ""))
    told = [say(PART_NAMES[name]) if name in PART_NAMES else name]
    if kind != "state":
        told.append(say(EVENTS.get(kind, kind)))
    before, after = document.get("from"), document.get("to")
    if before or after:
        told.append(" → ".join(value(word, say) for word in (before, after) if word))
    data: Mapping[str, Any] = document.get("data") or {}
    keys = ("verb", "event", "step", "outcome", "state", "result", "cause")
    told += [value(data[key], say) for key in keys if data.get(key)]
    if document.get("code") and after != "ok":
        told.append(cause(str(document["code"]), say))
    return "  ".join(word for word in told if word)


def value(word: Any, say: Say) -> str:
    """A state, a result, or a value of an event, in plain words; as it is where it has none."""
    key = str(word)
    mark = STATES.get(key) or RESULTS.get(key) or READINESS.get(key)
    if mark:
        return say(mark.word).lower()
    return say(VALUES[key]) if key in VALUES else key
