"""The line as the agent sees it: what is gathered, when it is measured, and what is told of it."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from diemcau_agent.broker import Broker
from diemcau_agent.config import Line as Settings
from diemcau_agent.line.line import LOAD_LIMITS, SECOND_EVERY, Line
from diemcau_agent.line.record import Train
from diemcau_agent.line.train import Limits
from fakeclock import FakeClock

LOST = float("nan")


class Bench:
    """Plays interface, path, reflector and broker."""

    def __init__(self, clock: FakeClock, *, reflector: str | None = "stamp.example") -> None:
        self.clock = clock
        self.interface: dict[str, Any] = {"interface": "eth0", "carrier": True, "has_address": True}
        self.near: dict[str, Any] = {"gateway_answers": True}
        self.far: dict[str, Any] = {"beyond_gateway": True, "hops": 6}
        self.surveys: list[tuple[bool, bool]] = []
        self.trains: list[tuple[float, str | None, int]] = []
        self.loads: list[tuple[int, float, int, int | None, Limits | None]] = []
        self.rtt_ms = {None: 10.0, "wwan0": 45.0}
        self.error: OSError | None = None
        self.busy = self.conference = False
        self.uplinks: list[str] = ["eth0"]
        self.samples: list[Mapping[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.hurried = 0
        self.connection: SimpleNamespace | None = SimpleNamespace(rtts_ms=self.rtts_ms)
        self.broker = SimpleNamespace(connection=self.connection, hurry=self.hurry)
        self.broker_rtts_ms: list[float] = []
        self.line = Line(
            Settings(reflector=reflector),
            clock,
            cast("Broker", self.broker),
            interface=self.read,
            survey=self.survey,
            measure=None if reflector is None else self.measure,
            uplinks=self.find_uplinks,
            busy=lambda: self.busy,
            conference=lambda: self.conference,
            sampled=lambda part, readings: self.samples.append(readings),
            tell=self.tell,
        )

    def hurry(self) -> None:
        self.hurried += 1

    def rtts_ms(self, window_s: float) -> list[float]:
        return self.broker_rtts_ms

    def tell(self, kind: str, **what: Any) -> None:
        self.events.append({"kind": kind, **what})

    async def read(self) -> dict[str, Any]:
        return self.interface

    async def survey(self, *, near_only: bool, connect: bool = True) -> Mapping[str, Any]:
        self.surveys.append((near_only, connect))
        return self.near if near_only else self.near | self.far

    async def find_uplinks(self) -> list[str]:
        return self.uplinks

    async def measure(
        self,
        *,
        count: int,
        interval_ms: float,
        size_bytes: int = 52,
        dscp: int | None = None,
        uplink: str | None = None,
        limits: Limits | None = None,
    ) -> Train:
        if self.error is not None:
            raise self.error
        self.trains.append((self.clock.mono_s, uplink, count))
        self.loads.append((count, interval_ms, size_bytes, dscp, limits))
        return Train(at_s=0.0, rtts_ms=array("d", [self.rtt_ms[uplink]] * count), interval_ms=interval_ms)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.line.run(), name="line")
        try:
            await self.clock.advance(0)
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def far_surveys(self) -> list[bool]:
        """Of each whether it knocked at the broker's door."""
        return [connect for near_only, connect in self.surveys if not near_only]


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock)


async def test_counters_are_told_as_rates(bench: Bench) -> None:
    rates: list[float] = []
    for total in (100, 107, 107, 3, 5):
        bench.interface["rx_errors"] = total
        readings = await bench.line.read()
        assert "rx_errors" not in readings
        rates.append(readings["rx_errors_per_s"])
        await bench.clock.advance(2)
    assert rates == [0, 3.5, 0, 0, 1]  # what went back is another interface: nothing to compare with


async def test_what_nobody_tells_is_not_made_up(clock: FakeClock) -> None:
    bench = Bench(clock, reflector=None)
    readings = await bench.line.read()
    for name in ("tx_errors_per_s", "rtt_ms_p50", "broker_rtt_ms_p50", "loss_percent", "cause"):
        assert name not in readings
    assert bench.line.now()["records"] == {}


async def test_a_link_that_comes_back_hurries_the_broker_once(bench: Bench) -> None:
    for carrier in (True, True, False, False):
        bench.interface["carrier"] = carrier
        await bench.line.read()
    assert bench.hurried == 0
    for _ in range(3):
        bench.interface["carrier"] = True
        await bench.line.read()
    assert bench.hurried == 1


async def test_the_brokers_round_trip_is_the_median_of_the_last_acknowledgements(bench: Bench) -> None:
    bench.broker_rtts_ms = [90.0, 10.04, 20.04]
    readings = await bench.line.read()
    assert (readings["broker_connected"], readings["broker_rtt_ms_p50"]) == (True, 20.0)
    bench.broker.connection = None
    readings = await bench.line.read()
    assert not readings["broker_connected"]
    assert "broker_rtt_ms_p50" not in readings


async def test_at_rest_ten_packets_go_out_in_every_minute(bench: Bench) -> None:
    async with bench.running():
        await bench.clock.advance(3600)
    times = [at_s for at_s, _, _ in bench.trains]
    assert {count for _, _, count in bench.trains} == {10}
    assert 72 <= len(times) <= 82
    readings = await bench.line.read()
    assert (readings["loss_percent"], readings["rtt_ms_p50"]) == (0, 10.0)
    assert len(bench.samples) >= 10 * len(times)


async def test_in_a_conference_and_during_a_self_test_every_two_seconds(bench: Bench) -> None:
    async with bench.running():
        await bench.clock.advance(5)
        bench.busy = True
        began = len(bench.trains)
        await bench.clock.advance(62)
        assert 29 <= len(bench.trains) - began <= 31  # the rest of a minute is not waited out


async def test_the_whole_conference_is_one_record_told_at_its_end(bench: Bench) -> None:
    async with bench.running():
        bench.busy = bench.conference = True
        await bench.clock.advance(600)
        assert bench.line.now()["records"]["conference"]["sent"] >= 2900
        assert bench.events == []
        bench.busy = bench.conference = False
        await bench.clock.advance(60)
    (event,) = bench.events
    assert (event["kind"], event["device"]) == ("line_conference", "line")
    assert event["data"]["sent"] >= 2900
    assert event["data"]["availability_percent"] == 100
    assert "conference" not in bench.line.now()["records"]


async def test_the_far_path_is_looked_at_seldom_and_in_trouble_often(bench: Bench) -> None:
    async with bench.running():
        await bench.line.read()
        await bench.clock.advance(3600)
        assert 4 <= len(bench.far_surveys) <= 7
        assert not any(bench.far_surveys)  # the broker's door is left alone while it is open
        bench.broker.connection = None
        await bench.line.read()
        before = len(bench.far_surveys)
        await bench.clock.advance(60)
        assert 4 <= len(bench.far_surveys) - before <= 6
        assert all(bench.far_surveys[before:])


async def test_what_was_found_behind_a_router_that_has_gone_is_not_told_any_more(bench: Bench) -> None:
    async with bench.running():
        assert (await bench.line.read())["hops"] == 6
        bench.near, bench.rtt_ms[None] = {"gateway_answers": False}, LOST
        bench.far = {"beyond_gateway": False}
        assert "hops" not in await bench.line.read()
        bench.broker.connection = None
        await bench.clock.advance(2)
        assert (await bench.line.read())["cause"] == "gateway"
        assert bench.line.cause == "gateway"


async def test_a_self_test_measures_anew_all_of_it(bench: Bench) -> None:
    readings = await bench.line.test()
    assert bench.far_surveys == [True]
    assert [count for _, _, count in bench.trains] == [100]
    assert readings["loss_percent"] == 0


async def test_a_train_that_cannot_begin_ends_nothing(bench: Bench) -> None:
    bench.error = OSError("stamp.example: no such name")
    async with bench.running():
        await bench.clock.advance(120)
        assert "loss_percent" not in await bench.line.read()
        bench.error = None
        await bench.clock.advance(60)
    assert (await bench.line.read())["loss_percent"] == 0


async def test_a_second_way_out_is_measured_too_and_the_better_one_named(bench: Bench) -> None:
    bench.uplinks = ["eth0", "wwan0"]
    async with bench.running():
        await bench.clock.advance(3600)
        ours = [name for _, name, _ in bench.trains]
        assert ours.count("wwan0") == pytest.approx(ours.count(None) / SECOND_EVERY, abs=1)
        readings = await bench.line.read()
        assert readings["second_uplink"] == "wwan0"
        assert readings["second_rtt_ms_p50"] == 45.0
        assert readings["better_uplink"] == "in_use"
        bench.rtt_ms[None] = 180.0
        await bench.clock.advance(60)
        assert (await bench.line.read())["better_uplink"] == "wwan0"
        bench.uplinks = ["wwan0"]
        await bench.clock.advance(60)
        assert "second_uplink" not in await bench.line.read()


async def test_a_rehearsal_is_the_load_that_was_asked_for_and_limits_itself(bench: Bench) -> None:
    record = await bench.line.rehearse({"seconds": 15.0, "rate_pps": 400, "size_bytes": 1200, "dscp": 34})
    assert bench.loads == [(6000, 2.5, 1200, 34, LOAD_LIMITS)]
    assert (record["sent"], record["lost"]) == (6000, 0)
