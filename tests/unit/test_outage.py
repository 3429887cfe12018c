"""An outage is told once it is over: when, how long, and whose."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diemcau_agent.clock import rfc3339
from diemcau_agent.mqtt import CLOSED, NOT_LET_IN
from diemcau_agent.outage import Outages, absence
from diemcau_agent.signs import Sign
from fakeclock import FakeClock


class Told:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, kind: str, **what: Any) -> None:
        self.events.append({"kind": kind, **what})


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def outages(clock: FakeClock, told: Told) -> Outages:
    outages = Outages(clock, told)
    outages.changed(None)
    return outages


async def test_nothing_is_told_before_it_is_over(outages: Outages, told: Told, clock: FakeClock) -> None:
    outages.changed("Keep alive timeout")
    await clock.advance(90)
    assert told.events == []
    outages.changed(None)
    (event,) = told.events
    assert (event["kind"], event["device"]) == ("outage", "line")
    data = event["data"]
    assert data["duration_s"] == 90
    assert data["ended"] > data["began"]


async def test_its_length_is_of_the_monotonic_clock(outages: Outages, told: Told, clock: FakeClock) -> None:
    outages.changed("closed")
    await clock.advance(30)
    clock.wall_s -= 86_400
    outages.changed(None)
    data = told.events[0]["data"]
    assert data["duration_s"] == 30
    assert data["began"] == rfc3339(clock.wall_s - 30)  # counted back from where the clock is right


@pytest.mark.parametrize(
    ("found", "cause", "code"),
    [
        (["broker", "cable", "broker"], "line", "cable"),
        (["gateway", "cable"], "line", "gateway"),
        (["broker"], "broker", "broker"),
        (["centre"], "broker", "centre"),
        ([None, "uplink_loss"], "line", "uplink_loss"),
    ],
)
def test_what_the_line_found_meanwhile_says_whose_it_was(
    outages: Outages, told: Told, found: list[str | None], cause: str, code: str
) -> None:
    outages.changed("closed")
    for one in found:
        outages.found(one)
    outages.changed(None)
    assert (told.events[0]["data"]["cause"], told.events[0]["code"]) == (cause, code)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("Keep alive timeout", "line"),
        ("[Errno 113] No route to host: unreachable", "line"),
        ("10.0.0.1:8883: no answer in time", "line"),
        ("[Errno 111] Connection refused", "broker"),
        (CLOSED, "broker"),
        (NOT_LET_IN, "broker"),
        ("Server shutting down", "broker"),
    ],
)
def test_an_outage_shorter_than_a_look_is_told_by_how_it_began(
    outages: Outages, told: Told, reason: str, cause: str
) -> None:
    outages.changed(reason)
    outages.changed(None)
    assert told.events[0]["data"]["cause"] == cause


def test_several_failed_attempts_are_one_outage(outages: Outages, told: Told) -> None:
    outages.changed("Keep alive timeout")
    outages.changed("[Errno 111] Connection refused")
    outages.changed(None)
    outages.changed(None)
    assert len(told.events) == 1
    assert told.events[0]["data"]["reason"] == "Keep alive timeout"


def test_what_was_found_before_it_began_is_not_its_cause(outages: Outages, told: Told) -> None:
    outages.found("wifi_weak")
    outages.changed("[Errno 111] Connection refused")
    outages.changed(None)
    assert told.events[0]["code"] is None


LAST = Sign("one", 3, 100_000, "2026-11-22T07:30:00.000Z", "synced", within_s=10.0)
NEXT = Sign("one", 4, 142_000, "2026-11-22T07:30:42.000Z", "synced")
REBOOTED = msgspec.structs.replace(NEXT, boot="two", mono_ms=8_000, time="2026-11-22T08:30:00.000Z")


@pytest.mark.parametrize(
    ("last", "now", "ordered", "cause", "duration_s"),
    [
        (LAST, NEXT, frozenset[str](), "agent", 42.0),
        (LAST, NEXT, frozenset({"agent"}), "command", 42.0),
        (LAST, REBOOTED, frozenset[str](), "power", 3600.0),
        (LAST, REBOOTED, frozenset({"host"}), "command", 3600.0),
        (LAST, REBOOTED, frozenset({"agent"}), "power", 3600.0),  # the plug was quicker than the order
        (LAST, NEXT, frozenset({"host"}), "agent", 42.0),
        (None, NEXT, frozenset[str](), "power", None),
    ],
)
def test_why_the_agent_was_away(
    last: Sign | None, now: Sign, ordered: frozenset[str], cause: str, duration_s: float | None
) -> None:
    data = absence(last, now, ordered)
    assert (data["cause"], data["duration_s"]) == (cause, duration_s)
    assert data["ended"] == now.time
    assert (data["began"] is None) == (last is None)


def test_within_one_boot_a_clock_that_jumped_does_not_stretch_the_absence() -> None:
    jumped = msgspec.structs.replace(NEXT, time="1970-01-01T00:05:00.000Z", clock="unsynced")
    data = absence(LAST, jumped)
    assert (data["duration_s"], data["began"]) == (42.0, "1970-01-01T00:04:18.000Z")


@pytest.mark.parametrize("unsynced", ["before", "after"])
def test_over_a_power_cut_without_a_true_time_the_length_is_left_to_the_reader(unsynced: str) -> None:
    last, now = LAST, REBOOTED
    if unsynced == "before":
        last = msgspec.structs.replace(last, clock="unsynced")
    else:
        now = msgspec.structs.replace(now, time="1970-01-01T00:00:08.000Z", clock="unsynced")
    data = absence(last, now)
    assert data["duration_s"] is None
    assert (data["began"], data["began_boot"], data["began_mono_ms"]) == (last.time, "one", 100_000)
    assert data["began_clock"] == last.clock


def test_a_goodbye_says_exactly_when_it_began() -> None:
    data = absence(msgspec.structs.replace(LAST, stopping=True, within_s=0.0), NEXT)
    assert (data["reason"], data["began_within_s"]) == ("stopped in good order", 0.0)
    assert absence(LAST, NEXT)["began_within_s"] == 10.0
