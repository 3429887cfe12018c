"""The line over the last 24 hours, a point a minute: made of the telemetry, so that what the spool still
holds brings it back after a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from diemcau_agent.model import Series, Telemetry

MINUTES = 24 * 60


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """``time``: RFC 3339, by the clock of then. What was not measured in that minute is None."""

    time: str
    rtt_ms: float | None
    rtt_ms_p95: float | None
    loss_percent: float | None
    jitter_ms: float | None
    mos: float | None
    online: bool


class History:
    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)

    def restore(self, payloads: Iterable[bytes]) -> None:
        """Telemetry documents, oldest first; one that cannot be read (another version's) is passed over."""
        for payload in payloads:
            try:
                self.add(msgspec.json.decode(payload, type=Telemetry))
            except msgspec.MsgspecError:
                continue

    def add(self, document: Telemetry) -> None:
        def mean(name: str) -> float | None:
            series: Series | None = document.series.get(f"line.{name}")
            return None if series is None else round(series.mean, 3)

        rtt = document.series.get("line.rtt_ms") or document.series.get("line.broker_rtt_ms_p50")
        online = mean("online")
        self._minutes.append(
            Minute(
                time=document.time,
                rtt_ms=None if rtt is None else round(rtt.mean, 3),
                rtt_ms_p95=None if rtt is None else round(rtt.p95, 3),
                loss_percent=mean("burst_loss_percent"),
                jitter_ms=mean("burst_jitter_ms"),
                mos=mean("mos"),
                online=online is not None and online >= 0.5,
            )
        )

    def minutes(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return [msgspec.to_builtins(minute) for minute in self._minutes]
