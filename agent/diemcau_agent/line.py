"""The line to the centre, as far as one connection shows it: interface, broker, round trip.

The full measurement (STAMP, loss, jitter, MOS) takes this module's room when it comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .broker import Broker

RTT_WINDOW_S = 180.0
"""Three health documents at rest: their publish-to-PUBACK times."""
ERROR_COUNTERS = ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped")

Interface = Callable[[], Awaitable[Mapping[str, Any]]]


class Line:
    """Readings of the line: ``contract.INTERFACE_READINGS`` with counters as growth since the last
    look, ``broker_connected`` and ``rtt_ms_p50`` (application level: publish to PUBACK)."""

    def __init__(self, interface: Interface, broker: Broker) -> None:
        self._interface = interface
        self._broker = broker
        self._counters: dict[str, int] = {}
        self._carrier: bool | None = None

    async def read(self) -> dict[str, Any]:
        readings = dict(await self._interface())
        for name in ERROR_COUNTERS:
            if name in readings:
                total = int(readings[name])
                # A counter that went back is a new interface (USB, driver reload): nothing to compare with.
                readings[name] = max(0, total - self._counters.get(name, total))
                self._counters[name] = total
        carrier = readings.get("carrier")
        if carrier and self._carrier is False:
            self._broker.hurry()
        self._carrier = carrier
        connection = self._broker.connection
        readings["broker_connected"] = connection is not None
        if connection is not None and (rtts_ms := connection.rtts_ms(RTT_WINDOW_S)):
            readings["rtt_ms_p50"] = round(sorted(rtts_ms)[len(rtts_ms) // 2], 1)
        return readings
