"""What a train may be, and the limits at which it stops itself."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from diemcau_agent.line.train import Address, Limits, Plan, resolve
from scripted_reflector import Reflector, Request, answer, good, lost, sent_to

LIMITS = Limits(loss_percent_max=20, rtt_ms_max=60, window_s=0.2)


def test_too_much_loss_stops_a_rehearsal() -> None:
    """Good for 60 packets (0.6 s), then every second one is lost."""
    with Reflector(lambda request: [] if request.n > 60 and request.n % 2 else good(request)) as reflector:
        told = sent_to(reflector, count=1000, interval_ms=10, limits=LIMITS)
    assert told.error is not None
    assert told.error.startswith("stopped: loss ")
    assert told.error.endswith(" % over 0.2 s")
    assert 60 < len(told.rtts_ms) < 110
    assert len(reflector.requests) == len(told.rtts_ms)


def test_too_long_a_round_trip_stops_a_rehearsal() -> None:
    held: list[bytes] = []

    def script(request: Request) -> list[bytes]:
        """Ten packets behind, 100 ms, from the 50th on."""
        held.append(answer(request))
        return [held[request.n]] if request.n < 50 else [held[request.n - 10]] if request.n >= 60 else []

    with Reflector(script) as reflector:
        told = sent_to(reflector, count=1000, interval_ms=10, limits=Limits(50, 60, window_s=0.2))
    assert told.error is not None
    assert told.error.startswith("stopped: round trip ")
    assert 50 < len(told.rtts_ms) < 110


def test_within_its_limits_a_rehearsal_runs_to_its_end() -> None:
    with Reflector(lambda request: [] if request.n % 10 == 5 else good(request)) as reflector:
        told = sent_to(reflector, count=100, interval_ms=10, limits=LIMITS)
    assert len(told.rtts_ms) == 100
    assert len(lost(told)) == 10
    assert told.error is None


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("count", 0, "count: got 0, expected at least 1"),
        ("interval_ms", 0.4, "interval_ms: got 0.4, expected at least 0.5"),
        ("interval_ms", float("nan"), "interval_ms: got nan"),
        ("count", 6001, "count, interval_ms: got 120.02 s, expected at most 120 s"),
        ("size_bytes", 46, "size_bytes: got 46, expected 44, or 48 to 1472"),
        ("size_bytes", 1473, "size_bytes: got 1473"),
        ("dscp", 64, "dscp: got 64, expected 0 to 63"),
        ("wait_s", 0.0, "wait_s: got 0.0"),
        ("wait_s", 11.0, "wait_s: got 11.0"),
    ],
)
def test_a_plan_out_of_bounds_is_none(field: str, value: float, told: str) -> None:
    fields: dict[str, Any] = {"count": 10, "interval_ms": 20.0, "size_bytes": 72, field: value}
    with pytest.raises(ValueError, match=told.replace("(", "\\(")):
        Plan(address=Address("127.0.0.1", 862), **fields)


@pytest.mark.parametrize("host", ["", "a" * 70, "two..dots", "nul\0l", "name.invalid"])
def test_a_host_without_an_address_is_told_by_name(host: str) -> None:
    with pytest.raises(socket.gaierror) as raised:
        resolve(host, 862)
    assert raised.value.strerror is not None
    assert host in raised.value.strerror


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_its_own(host: str) -> None:
    assert resolve(host, 862) == Address(host, 862)
