"""Signs of life: what is known, after a restart, of the last moment of the session before.

Two are kept. A mark in the runtime directory, in memory, at each feeding of the watchdog: exact, and gone
with the power. And what the spool committed last: it costs the card nothing, and is as old as telemetry may
grow. The newer counts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from .model import Event
from .stamp import Stamp

log = logging.getLogger(__name__)

COMMITTED_WITHIN_S = 600.0
"""What lived committed something again within so long (docs/wire.md, *acknowledged*)."""
MEMORY_PACE_S = 5.0
CARD_PACE_S = 60.0
FED_S = 10.0
"""Between two feedings of the watchdog, which renew the mark."""
STOPPING = "agent_stopping"
"""The kind of event with which a session says goodbye."""


class Sign(msgspec.Struct, frozen=True):
    """One moment of a session, by its own clocks. ``within_s``: it may have lived on for so long after it."""

    boot: str
    session: int
    mono_ms: int
    time: str
    clock: Literal["synced", "unsynced"]
    within_s: float = 0.0
    stopping: bool = False
    """Its last: the agent was stopping in good order."""


class _Kept(msgspec.Struct, frozen=True):
    """What of a spooled document is a sign of life."""

    boot: str
    session: int
    mono_ms: int
    time: str
    clock: Literal["synced", "unsynced"]
    kind: str = ""


def now(stamp: Stamp, *, within_s: float = 0.0, stopping: bool = False) -> Sign:
    fields = stamp.fields(Event)
    return Sign(
        fields["boot"], fields["session"], fields["mono_ms"], fields["time"], fields["clock"],
        within_s, stopping,
    )  # fmt: skip


class AliveMark:
    """``directory``: in memory, and kept over a restart of the agent (``RuntimeDirectoryPreserve=``). On one
    that is on a card it is written seldom."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "alive.json"
        self._failing = False
        self._marked_s = float("-inf")
        self.pace_s = MEMORY_PACE_S if in_memory(directory) else CARD_PACE_S

    def read(self) -> Sign | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Sign)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s: %s", self._path, error)
            return None

    def renew(self, stamp: Stamp) -> None:
        """We are alive. Written where the last mark is old enough."""
        now_s = stamp.clock.monotonic()
        if now_s - self._marked_s >= self.pace_s:
            self._marked_s = now_s
            self.write(now(stamp, within_s=self.pace_s + FED_S))

    def write(self, sign: Sign) -> None:
        """Whole or not at all. Where it cannot be written, the spool's word is all there will be."""
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            new.write_bytes(msgspec.json.encode(sign))
            new.rename(self._path)
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("%s: %s", self._path, error)
            self._failing = True


class Spool(Protocol):
    """:class:`.spool.Spool`: the newest committed documents of a stream, JSON. Raises DatabaseError."""

    async def newest(self, stream: str, limit: int) -> list[bytes]: ...


async def committed(spool: Spool) -> list[Sign]:
    """What the spool tells of earlier sessions; nothing where it is new, or cannot be read."""
    found: list[Sign] = []
    for stream in ("event", "telemetry"):
        for payload in await spool.newest(stream, 1):
            try:
                kept = msgspec.json.decode(payload, type=_Kept)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("spool: the newest %s tells nothing: %s", stream, error)
                continue
            stopping = kept.kind == STOPPING
            within_s = 0.0 if stopping else COMMITTED_WITHIN_S
            found.append(
                Sign(kept.boot, kept.session, kept.mono_ms, kept.time, kept.clock, within_s, stopping)
            )
    return found


def newest(signs: Iterable[Sign | None], session: int) -> Sign | None:
    """The last of those before ``session``."""
    earlier = [sign for sign in signs if sign is not None and sign.session < session]
    return max(earlier, key=lambda sign: (sign.session, sign.mono_ms), default=None)


def in_memory(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether ``path`` is on a tmpfs; False where that cannot be known."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return False
    place = path.absolute()
    above = [(len(at), kind) for _, at, kind, *_ in lines if place.is_relative_to(at)]
    return bool(above) and max(above)[1] == "tmpfs"
