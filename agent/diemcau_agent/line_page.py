"""The line as ``diemcau-agent line`` shows it: what stands, its path, the last 24 hours. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import marks, wording
from .plain import Line
from .wording import Say

COLUMNS = 72
"""Of 20 minutes each: a day."""
BARS = " ▁▂▃▄▅▆▇█"
NOTHING = "·"
"""Not measured then."""
FULL = {"rtt_ms": 50.0, "loss_percent": 1.0, "jitter_ms": 10.0}
"""The least that a full bar stands for: a good line's noise must not look like trouble."""

_PATH: tuple[tuple[str, Callable[[Mapping[str, Any], Say], str]], ...] = (
    ("interface", lambda r, say: _told(r, say, "interface", "speed_mbps", "duplex", "wifi_dbm")),
    ("router", lambda r, say: _told(r, say, "gateway", "gateway_answers", "gateway_rtt_ms")),
    ("dns", lambda r, say: _told(r, say, "dns_answers", "dns_ms", "dns_error")),
    ("clock", lambda r, say: _told(r, say, "clock_source", "clock_server", "clock_offset_ms")),
    ("route", lambda r, say: _told(r, say, "hops", "beyond_gateway", "mtu_bytes", "mtu_passes")),
    ("broker", lambda r, say: _told(r, say, "broker_connected", "broker_rtt_ms_p50", "broker_error")),
    ("reflector", lambda r, say: _told(r, say, "reflector_answers", "reflector_dscp")),
    ("second", lambda r, say: _told(r, say, "second_uplink", "second_rtt_ms_p50", "better_uplink")),
)


def line_lines(line: Mapping[str, Any], say: Say) -> list[Line]:
    """``line``: the answer of the control socket's request of that name."""
    judged: Mapping[str, Any] = line.get("line") or {}
    mark = marks.STATES.get(str(judged.get("state")), marks.STATES["unknown"])
    lines: list[Line] = [(f"{say('line').capitalize()}: {mark.symbol} {say(mark.word)}", mark.tone)]
    cause = line.get("cause")
    if cause:
        lines.append((f"  {wording.cause(str(cause), say)} ({cause})", mark.tone))
        lines.append((f"  → {wording.remedy(str(cause), say)}", ""))
    if not line.get("reflector"):
        lines.append(
            (f"  {say('No measuring point is set: loss, delay and jitter are not measured.')}", "dim")
        )
    records: Mapping[str, Mapping[str, Any]] = line.get("records") or {}
    facts: dict[str, Any] = {**(line.get("path") or {}), **(judged.get("readings") or {})}
    told = [(say(marks.PATH_NAMES[name]), tell(facts, say)) for name, tell in _PATH]
    titles = {
        "10s": say("last 10 s"),
        "60s": say("last minute"),
        "settled": say("judged"),
        "conference": say("conference"),
    }
    width = 2 + max(map(len, [*titles.values(), *(title for title, _ in told)]))
    lines += [
        (f"  {title:<{width}}{_record(records[name], say)}", "")
        for name, title in titles.items()
        if name in records
    ]
    lines += [(f"  {title:<{width}}{words}", "dim") for title, words in told if words]
    return [*lines, *_day(line.get("history") or [], width, say)]


def bars(values: Sequence[float | None], full: float) -> str:
    """One character a value, eight steps up to ``full``."""
    steps = len(BARS) - 1
    return "".join(
        NOTHING if value is None else BARS[min(steps, max(0, -int(-value * steps // full)))]
        for value in values
    )


def _record(record: Mapping[str, Any], say: Say) -> str:
    def spread(name: str, *parts: str) -> str:
        values: Mapping[str, float] = record.get(name) or {}
        return " / ".join(wording.number(values[part], 1, say) for part in parts) if values else "–"

    mos = record.get("mos")
    return (
        f"{record.get('received')}/{record.get('sent')}  "
        f"{say('loss')} {wording.number(float(record.get('loss_percent') or 0), 1, say)} %  "
        f"{say('round trip')} {spread('rtt_ms', 'p50', 'p95', 'p99')} ms  "
        f"{say('jitter')} {spread('jitter_ms', 'mean')} ms  "
        f"MOS {'–' if mos is None else wording.number(float(mos), 1, say)}"
    )


def _told(readings: Mapping[str, Any], say: Say, *names: str) -> str:
    return wording.measured({name: readings[name] for name in names if readings.get(name) is not None}, say)


def _day(history: Sequence[Mapping[str, Any]], width: int, say: Say) -> list[Line]:
    """Bars of 20 minutes: the worst of each, so that a bad minute is not averaged away."""
    if not history:
        return []
    minutes = list(history)[-COLUMNS * 20 :]
    groups = [minutes[at : at + 20] for at in range(0, len(minutes), 20)]
    first, last = wording.local_time(minutes[0].get("time")), wording.local_time(minutes[-1].get("time"))
    lines: list[Line] = [(f"{say('The last 24 hours')}: {first[:5]} – {last[:5]}", "")]
    rows = (("rtt_ms", "round trip", "ms"), ("loss_percent", "loss", "%"), ("jitter_ms", "jitter", "ms"))
    for name, title, unit in rows:
        values = [_worst(group, name) for group in groups]
        top = max((value for value in values if value is not None), default=None)
        if top is not None:
            full = max(top, FULL[name])
            peak = f"≤ {wording.number(top, 1, say)} {unit}"
            lines.append((f"  {say(title):<{width}}{bars(values, full)}  {peak}", ""))
    online = "".join("█" if all(minute.get("online") for minute in group) else "░" for group in groups)
    lines.append((f"  {say('connected'):<{width}}{online}", "good" if "░" not in online else "fair"))
    return lines


def _worst(group: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return max((float(minute[name]) for minute in group if minute.get(name) is not None), default=None)
