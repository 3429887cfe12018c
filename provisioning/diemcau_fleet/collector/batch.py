"""What one transaction of the collector writes. Pure."""

from __future__ import annotations

import msgspec

from .gaps import Key, Range
from .presence import Held, Slot


class Boot(msgspec.Struct):
    """``offset_ms``: from the boot's monotonic clock to wall time, once known. ``spool``: the newest that was
    seen in it, once one was."""

    offset_ms: int | None = None
    spool: str | None = None


class Row(msgspec.Struct, frozen=True):
    """One document as it is stored."""

    key: Key
    seq: int
    session: int
    boot: str
    mono_ms: int
    clock: str
    time_ms: int
    time_corrected_ms: int | None
    arrived_ms: int
    kind: str | None
    payload: bytes


class Loss(msgspec.Struct, frozen=True):
    key: Key
    range: Range
    reason: str


class Refusal(msgspec.Struct, frozen=True):
    """A message that is no document."""

    arrived_ms: int
    topic: str
    reason: str
    payload: bytes


class Batch(msgspec.Struct):
    """What one transaction writes. A held document of None is taken away."""

    rows: list[Row] = []
    spools: set[tuple[str, str]] = set()
    trackers: set[Key] = set()
    losses: list[Loss] = []
    boots: dict[tuple[str, str], Boot] = {}
    corrected: dict[tuple[str, str], int] = {}
    """Boots whose offset became known: what waits for it is corrected."""
    held: dict[tuple[str, Slot], tuple[Held, bytes] | None] = {}
    refusals: list[Refusal] = []

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__struct_fields__)


class Counts(msgspec.Struct):
    """Since the start of the process."""

    documents: int = 0
    duplicates: int = 0
    rejected: int = 0
    lost: int = 0
    """Documents that are known not to come, with a reason."""
    asked: int = 0
    late: int = 0
    """Documents that came after one with a greater number: out of order, or sent again."""
