"""The chain: one JSON line an entry, each with the SHA-256 of the line before. Pure.

A line that was changed, taken out, put in or moved breaks the chain after it. One that was cut off at the end
does not; it shows against a head (``n`` and hash of an entry) that an event has carried to the centre.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from diemcau_agent.model import ClockState

AUDITED = frozenset(
    {
        "agent_started", "agent_stopping", "command", "command_refused", "keys", "conference",
        "baseline_recorded",
    }
)  # fmt: skip
"""Kinds of events that are entries too."""
ACCEPTED, SNAPSHOT, SWITCHED, IDENTITY = "command_accepted", "snapshot", "switched", "identity"
"""Kinds of entries that are no events."""
CONTINUED, TORN, LOST, DAMAGED = "continued", "torn", "lost", "damaged"
"""What the record tells of itself: a new file after a full one; a last line that a power cut has torn;
entries that the card would not take; a file that could not be read and was set aside."""
OF_ITSELF = (CONTINUED, TORN, LOST, DAMAGED)
GENESIS = "0" * 64
DATA_BYTES = 8 * 1024
"""More than the arguments of any command that is good; what is larger is told by size and hash."""
BREAKS_LIMIT = 100


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, and when, before it has its place in the chain."""

    time: str
    clock: ClockState
    boot: str
    session: int
    mono_ms: int
    kind: str
    data: Mapping[str, Any]


class Entry(Noted, frozen=True, kw_only=True):
    n: int
    prev: str


class Head(msgspec.Struct, frozen=True):
    """One entry: its number, and the SHA-256 of its line."""

    n: int
    hash: str


START = Head(0, GENESIS)
_DECODER = msgspec.json.Decoder(Entry)


def bounded(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """``data``, or its size and hash where it is too large for a line."""
    text = msgspec.json.encode(data)
    if len(text) <= DATA_BYTES:
        return data
    return {"too_large_bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}


def link(noted: Noted, before: Head) -> tuple[bytes, Head]:
    """The line of an entry, without its end, and the new head."""
    fields = {name: getattr(noted, name) for name in Noted.__struct_fields__}
    line = msgspec.json.encode(Entry(**fields, n=before.n + 1, prev=before.hash))
    return line, Head(before.n + 1, digest(line))


def digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def read(line: bytes) -> Entry | None:
    """None: not an entry."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Break(msgspec.Struct, frozen=True):
    """``line``: counted from 1 in ``file``. ``n``: of the entry there, where it is one."""

    file: str
    line: int
    n: int | None
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """``told``: what the record tells of itself, counted. ``head``: of the newest entry. ``head_found``: None
    where none was asked for. ``breaks``: the first :data:`BREAKS_LIMIT` of ``broken``."""

    entries: int = 0
    first: Entry | None = None
    last: Entry | None = None
    head: Head | None = None
    told: Mapping[str, int] = {}
    broken: int = 0
    breaks: tuple[Break, ...] = ()
    head_found: bool | None = None

    @property
    def whole(self) -> bool:
        """Nothing at all is no record."""
        return self.entries > 0 and self.broken == 0 and self.head_found is not False


def verify(files: Iterable[tuple[str, Iterable[bytes]]], head: Head | None = None) -> Verdict:
    """``files``: name and lines (with their ends) of each file, oldest first; read once, nothing is kept.

    ``head``: an entry that the record must hold.
    """
    first: Entry | None = None
    last: Entry | None = None
    before: Head | None = None
    told: Counter[str] = Counter()
    breaks: list[Break] = []
    broken = entries = 0
    oldest, oldest_at = 1, ("", 1)
    found = None if head is None else False

    def broke(file: str, number: int, n: int | None, reason: str) -> None:
        nonlocal broken
        broken += 1
        if len(breaks) < BREAKS_LIMIT:
            breaks.append(Break(file, number, n, reason))

    for file, lines in files:
        for number, whole_line in enumerate(lines, 1):
            line = whole_line.removesuffix(b"\n")
            entry = read(line)
            if entry is None:
                broke(file, number, None, "not_an_entry" if line != whole_line else "cut_off")
                continue
            if before is None:
                first = entry
                oldest_at = (file, number)
                if entry.n == 1 and entry.prev != GENESIS:
                    broke(file, number, entry.n, "changed_before")
            elif entry.prev != before.hash or entry.n != before.n + 1:
                broke(file, number, entry.n, _reason(entry, before))
            if entry.kind == DAMAGED:
                broke(file, number, entry.n, "damaged")
            if entry.kind == CONTINUED:
                oldest = _number(entry.data.get("oldest"))
            if entry.kind in OF_ITSELF:
                told[entry.kind] += 1
            entries, last, before = entries + 1, entry, Head(entry.n, digest(line))
            found = found or (None if head is None else head == before)
    if first is not None and first.n != oldest:
        broke(*oldest_at, first.n, "beginning_missing" if first.n > oldest else "beginning_returned")
    return Verdict(entries, first, last, before, dict(told), broken, tuple(breaks), found)


def _reason(entry: Entry, before: Head) -> str:
    if entry.n == before.n + 1:
        return "changed_before"
    return "missing_before" if entry.n > before.n else "out_of_order"


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 1
