"""The line as far as one connection shows it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from diemcau_agent.broker import Broker
from diemcau_agent.line import Line


class Bench:
    def __init__(self) -> None:
        self.interface: dict[str, Any] = {"interface": "eth0", "carrier": True, "rx_errors": 100}
        self.hurried = 0
        self.broker = SimpleNamespace(connection=None, hurry=self.hurry)
        self.line = Line(self.read, cast("Broker", self.broker))

    def hurry(self) -> None:
        self.hurried += 1

    async def read(self) -> dict[str, Any]:
        return self.interface


async def test_counters_are_told_as_what_they_grew_by_since_the_last_look() -> None:
    bench = Bench()
    growth: list[int] = []
    for total in (100, 107, 107, 3, 5):
        bench.interface["rx_errors"] = total
        growth.append((await bench.line.read())["rx_errors"])
    assert growth == [0, 7, 0, 0, 2]  # what went back is another interface: nothing to compare with
    assert bench.interface["rx_errors"] == 5


async def test_what_an_interface_does_not_tell_is_not_made_up() -> None:
    bench = Bench()
    readings = await bench.line.read()
    assert "tx_errors" not in readings
    assert "rtt_ms_p50" not in readings


async def test_a_link_that_comes_back_hurries_the_broker_once() -> None:
    bench = Bench()
    for carrier in (True, True, False, False):
        bench.interface["carrier"] = carrier
        await bench.line.read()
    assert bench.hurried == 0
    for _ in range(3):
        bench.interface["carrier"] = True
        await bench.line.read()
    assert bench.hurried == 1


async def test_the_round_trip_is_the_median_of_the_last_acknowledgements() -> None:
    bench = Bench()
    assert not (await bench.line.read())["broker_connected"]
    rtts_ms = [90.0, 10.04, 20.04]

    def measured(window_s: float) -> list[float]:
        return rtts_ms

    bench.broker.connection = SimpleNamespace(rtts_ms=measured)
    readings = await bench.line.read()
    assert (readings["broker_connected"], readings["rtt_ms_p50"]) == (True, 20.0)
    rtts_ms.clear()
    assert "rtt_ms_p50" not in await bench.line.read()
