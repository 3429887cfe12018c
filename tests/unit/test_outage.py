"""An outage is told once it is over: when, how long, and whose."""

from __future__ import annotations

from typing import Any

import pytest

from diemcau_agent.outage import Outages
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
    assert told.events[0]["data"]["duration_s"] == 30


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
        ("Unspecified error", "broker"),
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
