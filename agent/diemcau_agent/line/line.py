"""The line to the centre as the agent sees it: interface, path, measured uplinks, and the first broken link.

Two loops measure in the background: the uplinks by schedule, the far part of the path seldom and in trouble.
``read`` gathers what is known at the moment; only the near part of the path is asked anew by it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from diemcau_agent import judges
from diemcau_agent.broker import Broker
from diemcau_agent.clock import Clock, wait
from diemcau_agent.commands.context import Tell
from diemcau_agent.config import Line as Settings

from .readings import of_record, samples
from .record import Record, Train, record
from .train import Limits
from .uplink import Measure, Uplink

log = logging.getLogger(__name__)

RTT_WINDOW_S = 180.0
"""Three health documents at rest: their publish-to-PUBACK times."""
ERROR_COUNTERS = ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped")
TROUBLE_S = 15.0
"""While something is wrong the far path is looked at again after this long."""
SECOND_EVERY = 4
"""The uplink that is not in use, often paid for by the byte, is measured every fourth time."""
LOAD_LIMITS = Limits(loss_percent_max=20.0, rtt_ms_max=1000.0)
"""A rehearsal ends itself where ITU-T Y.1540 calls the line unavailable, or a talk becomes impossible."""

Read = Callable[[], Awaitable[Mapping[str, Any]]]
T = TypeVar("T")


class Survey(Protocol):
    """Facts of the path (:mod:`diemcau_agent.path`), the near part or all of it; ``connect``: with a
    handshake at the broker's door, which costs it some. Bounded; raises nothing."""

    async def __call__(self, *, near_only: bool, connect: bool = True) -> Mapping[str, Any]: ...


class Line:
    """``interface``: contract.INTERFACE_READINGS, or DeviceError. ``measure``: None without reflector.

    ``uplinks``: the interfaces with a way out, the one in use first. ``busy``: whether a conference is on or
    a self-test runs; ``conference``: the former. ``sampled(part, readings)``: for the telemetry.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        broker: Broker,
        *,
        interface: Read,
        survey: Survey,
        measure: Measure | None,
        uplinks: Callable[[], Awaitable[Sequence[str]]],
        busy: Callable[[], bool],
        conference: Callable[[], bool],
        sampled: Callable[[str, Mapping[str, Any]], None],
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._broker = broker
        self._interface = interface
        self._survey = survey
        self._measure = measure
        self._find_uplinks = uplinks
        self._busy = busy
        self._conference = conference
        self._sampled = sampled
        self._tell = tell
        self._counters: dict[str, tuple[float, int]] = {}
        self._carrier: bool | None = None
        self._gateway_answers: bool | None = None
        self._facts: Mapping[str, Any] = {}
        self._wake_survey = asyncio.Event()
        self._wake_burst = asyncio.Event()
        self._sending = asyncio.Lock()
        self._first: Uplink | None = None if measure is None else Uplink(None, measure, clock)
        self._second: Uplink | None = None
        self._bursts = 0
        self._in_conference: list[Train] = []
        self.cause: str | None = None
        """The first broken link as of the last :meth:`read`."""

    # --- What is known

    async def read(self) -> dict[str, Any]:
        """Flat readings of now; DeviceError where the interface cannot be read."""
        readings = dict(await self._interface())
        self._rates(readings)
        carrier = readings.get("carrier")
        if carrier and self._carrier is False:
            self._broker.hurry()
            self._wake_burst.set()
        self._carrier = carrier
        near = await self._survey(near_only=True)
        before, self._gateway_answers = self._gateway_answers, near.get("gateway_answers")
        if before is not None and before != self._gateway_answers:
            self._facts = {}  # what was found behind another state of the router is not known any more
            self.trouble()
        connection = self._broker.connection
        readings |= self._facts
        readings |= near
        readings["broker_connected"] = connection is not None
        self._sampled("line", {"online": float(connection is not None)})
        if connection is not None and (rtts_ms := connection.rtts_ms(RTT_WINDOW_S)):
            readings["broker_rtt_ms_p50"] = round(sorted(rtts_ms)[len(rtts_ms) // 2], 1)
        if self._first is not None and self._first.settled is not None:
            readings |= of_record(self._first.settled)
        readings |= self._beside()
        cause, self.cause = self.cause, judges.line_cause(readings)
        if self.cause is not None:
            readings["cause"] = self.cause
        if self.cause != cause:
            self.trouble()
        return readings

    async def test(self) -> dict[str, Any]:
        """The same, measured anew: a train of a hundred and the whole path. For the self-test, within 8 s."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_far(connect=True), name="self-test path")
            if self._first is not None:
                group.create_task(self._quietly(self._first.confirm), name="self-test train")
        return await self.read()

    def now(self) -> dict[str, Any]:
        """For people and pages on this machine: the records of the last 10 s and minute, of the conference
        where one is on, of the second uplink, and what the last survey of the path found."""
        records = {
            "10s": None if self._first is None else self._first.record_of(10),
            "60s": None if self._first is None else self._first.record_of(60),
            "settled": None if self._first is None else self._first.settled,
            "conference": record(self._in_conference) if self._in_conference else None,
        }
        return {
            "reflector": self._settings.reflector,
            "cause": self.cause,
            "records": {name: msgspec.to_builtins(one) for name, one in records.items() if one is not None},
            "path": dict(self._facts),
            **self._beside(),
        }

    # --- The two loops

    async def run(self) -> None:
        """Measure until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_path(), name="line path")
            if self._measure is not None:
                group.create_task(self._watch_uplinks(self._measure), name="line uplinks")

    def trouble(self) -> None:
        """Something has just gone wrong (or right again) on the line: look at once."""
        self._wake_survey.set()
        self._wake_burst.set()

    async def _watch_path(self) -> None:
        while True:
            self._wake_survey.clear()
            await self._look_far(connect=self._broker.connection is None)
            rest_s = self._settings.survey_s * random.uniform(0.9, 1.0)
            pause_s = min(rest_s, TROUBLE_S) if self.cause is not None else rest_s
            if await wait(self._clock, self._wake_survey, pause_s):
                await self._clock.sleep(1.0)  # what wakes it often comes in pairs

    async def _look_far(self, *, connect: bool) -> None:
        self._facts = await self._survey(near_only=False, connect=connect)

    async def _watch_uplinks(self, measure: Measure) -> None:
        while True:
            self._wake_burst.clear()
            await self._burst(measure)
            settings = self._settings
            rest_s = settings.brisk_s if self._busy() else settings.rest_s * random.uniform(0.9, 1.0)
            # A self-test that begins must not wait out the rest of a minute.
            while rest_s > 0 and not await wait(self._clock, self._wake_burst, min(rest_s, settings.brisk_s)):
                rest_s = 0 if self._busy() else rest_s - settings.brisk_s

    async def _burst(self, measure: Measure) -> None:
        assert self._first is not None
        train = await self._quietly(self._first.burst)
        if train is not None:
            self._sample(train)
        names = await self._find_uplinks()
        second = names[1] if len(names) > 1 else None
        if second != (None if self._second is None else self._second.name):
            self._second = None if second is None else Uplink(second, measure, self._clock)
        if self._second is not None and self._bursts % SECOND_EVERY == 0:
            await self._quietly(self._second.burst)
        self._bursts += 1

    async def _quietly(self, send: Callable[[], Awaitable[T]]) -> T | None:
        """One train at a time; one that cannot begin is told, and what stood stands no more."""
        async with self._sending:
            try:
                return await send()
            except OSError as error:
                log.info("line: not measured: %s", error)
                return None

    def _sample(self, train: Train) -> None:
        for rtt_ms in train.rtts_ms:
            self._sampled("line", {"rtt_ms": rtt_ms})
        self._sampled("line", samples(record([train])))
        if self._conference():
            self._in_conference.append(train)
        elif self._in_conference:
            whole, self._in_conference = record(self._in_conference), []
            self._tell("line_conference", device="line", data=msgspec.to_builtins(whole))

    # --- On command

    async def rehearse(self, load: Mapping[str, Any]) -> Mapping[str, Any]:
        """``seconds``, ``rate_pps``, ``size_bytes``, ``dscp``: a conference's load; the record under it.

        Ends itself where the line cannot carry it (``error`` in the record). Raises OSError.
        """
        assert self._measure is not None
        async with self._sending:
            train = await self._measure(
                count=max(1, round(load["seconds"] * load["rate_pps"])),
                interval_ms=1000 / load["rate_pps"],
                size_bytes=load["size_bytes"],
                dscp=load["dscp"],
                limits=LOAD_LIMITS,
            )
        return msgspec.to_builtins(record([train]))

    # --- Parts of a reading

    def _rates(self, readings: dict[str, Any]) -> None:
        """Counters as growth a second since the last look."""
        now_s = self._clock.monotonic()
        for name in ERROR_COUNTERS:
            if name not in readings:
                continue
            total = int(readings.pop(name))
            # A counter that went back is a new interface (USB, driver reload): nothing to compare with.
            before_s, before = self._counters.get(name, (now_s, total))
            grown, passed_s = max(0, total - before), now_s - before_s
            readings[f"{name}_per_s"] = round(grown / passed_s, 3) if passed_s > 0 else 0.0
            self._counters[name] = (now_s, total)

    def _beside(self) -> dict[str, Any]:
        """The second uplink, and which of the two is the better: by MOS, then by delay. Named, never switched
        to: that is the technician's to decide."""
        if self._first is None or self._second is None or self._second.settled is None:
            return {}
        first, second, name = self._first.settled, self._second.settled, str(self._second.name)
        beside = {"second_uplink": name, **of_record(second, "second_")}
        better = name if first is None or _quality(second) > _quality(first) else "in_use"
        return beside | {"better_uplink": better}


def _quality(one: Record) -> tuple[float, float]:
    return (round(one.mos or 0.0, 1), -(one.rtt_ms.p50 if one.rtt_ms is not None else float("inf")))
