"""The time that the centre could not see this room: when it began, how long it lasted, and whose fault it was
(docs/wire.md, Presence: an event ``outage`` once the point is back)."""

from __future__ import annotations

from .clock import Clock, rfc3339
from .commands.context import Tell

CENTRES = frozenset({"broker", "centre", "reflector_silent"})
"""Causes that lie at the centre; every other broken link is the line's."""
SILENT = ("keep alive", "timed out", "no answer", "unreachable", "not known", "name resolution")
"""What a connection's end says where nothing came from the other side. A close or a refusal did come."""


class Outages:
    """Told of each change between connected and not, and of each cause that the line finds meanwhile."""

    def __init__(self, clock: Clock, tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._began: tuple[float, float] | None = None
        self._reason = ""
        self._code: str | None = None

    def changed(self, trouble: str | None) -> None:
        """``trouble``: why there is no connection; None where there is one."""
        now_s = self._clock.monotonic()
        if trouble is not None:
            if self._began is None:
                self._began = (self._clock.wall(), now_s)
                self._reason, self._code = trouble, None
            return
        if self._began is None:
            return
        (wall_s, mono_s), self._began = self._began, None
        self._tell(
            "outage",
            device="line",
            code=self._code,
            data={
                "cause": self._cause(),
                "began": rfc3339(wall_s),
                "ended": rfc3339(self._clock.wall()),
                "duration_s": round(now_s - mono_s, 3),
                "reason": self._reason,
            },
        )

    def found(self, cause: str | None) -> None:
        """The line's first broken link as of now. One at the centre gives way to one of the line."""
        if self._began is not None and cause is not None and self._code in (None, *CENTRES):
            self._code = cause

    def _cause(self) -> str:
        if self._code is not None:
            return "broker" if self._code in CENTRES else "line"
        return "line" if any(word in self._reason.lower() for word in SILENT) else "broker"
