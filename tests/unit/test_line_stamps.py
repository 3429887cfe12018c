"""The clocks under a train: the kernel's stamps, and what a clock that is set in the middle does to them."""

from __future__ import annotations

import threading
import time
from math import isnan

import pytest

from diemcau_agent.line import packet
from diemcau_agent.line.stamps import Arrival, Clocks, Departure, Refusal, StampedSocket, Wall
from scripted_reflector import Reflector, Request, answer, counts, good, lost, sent_to

HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize("step_ns", [HOUR_NS, -HOUR_NS, 10**9, -(10**9)])
def test_our_wall_clock_set_within_a_train_hurts_no_round_trip(step_ns: int) -> None:
    with Reflector() as reflector:
        clocks = Clocks(wall_ns=lambda: time.time_ns() + (step_ns if len(reflector.requests) > 5 else 0))
        train = sent_to(reflector, count=12, clocks=clocks)
    assert lost(train) == []
    assert counts(train) == {"clock_steps": 1}
    assert all(0 <= rtt < 500 for rtt in train.rtts_ms)
    assert train.forward_ms is train.backward_ms is None


@pytest.mark.parametrize("step_ns", [HOUR_NS, -HOUR_NS, 10**9])
def test_the_reflectors_clock_set_within_a_train_is_one_step_and_hurts_no_round_trip(step_ns: int) -> None:
    def script(request: Request) -> list[bytes]:
        shift_ns = step_ns if request.n > 5 else 0
        return [
            answer(request, received_ns=request.arrived_ns + shift_ns, replied_ns=time.time_ns() + shift_ns)
        ]

    with Reflector(script) as reflector:
        train = sent_to(reflector)
    assert counts(train) == {"clock_steps": 1}
    assert all(0 <= rtt < 500 for rtt in train.rtts_ms)
    assert train.forward_ms is train.backward_ms is None


@pytest.mark.parametrize("step_ns", [HOUR_NS, -HOUR_NS])
@pytest.mark.parametrize("which", [{4}, set(range(4, 10))])
def test_a_dwell_that_cannot_be_is_not_taken_off_and_is_one_step(step_ns: int, which: set[int]) -> None:
    def script(request: Request) -> list[bytes]:
        shift_ns = step_ns if request.n in which else 0
        return [answer(request, replied_ns=time.time_ns() + shift_ns)]

    with Reflector(script) as reflector:
        train = sent_to(reflector)
    assert counts(train) == {"clock_steps": 1}
    assert all(0 <= rtt < 500 for rtt in train.rtts_ms)


@pytest.mark.parametrize("ptp", [False, True])
def test_the_reflectors_dwell_is_taken_off(ptp: bool) -> None:
    def script(request: Request) -> list[bytes]:
        stop.wait(0.1)
        return [answer(request, ptp=ptp)]

    stop = threading.Event()
    with Reflector(script) as reflector:
        train = sent_to(reflector, count=4, interval_ms=120)
    assert lost(train) == []
    assert counts(train) == {}
    assert 0 <= min(train.rtts_ms) < 50  # less than half of the dwell alone


def test_one_way_delays_are_told_where_both_clocks_are_synced() -> None:
    def script(request: Request) -> list[bytes]:
        return [] if request.n == 2 else good(request)

    with Reflector(script) as reflector:
        train = sent_to(reflector, count=5)
    assert train.forward_ms is not None
    assert train.backward_ms is not None
    for index, (there, back) in enumerate(zip(train.forward_ms, train.backward_ms, strict=True)):
        if index == 2:
            assert isnan(there)
            assert isnan(back)
        else:
            assert there + back == pytest.approx(train.rtts_ms[index], abs=0.001)
            assert -1 < there < 500
            assert -1 < back < 500


def test_one_way_delays_are_as_the_clocks_have_them_even_below_zero() -> None:
    def script(request: Request) -> list[bytes]:
        return [answer(request, received_ns=request.arrived_ns - 10**9, replied_ns=time.time_ns() - 10**9)]

    with Reflector(script) as reflector:
        train = sent_to(reflector)
    assert train.forward_ms is not None
    assert train.backward_ms is not None
    assert all(-1001 < there < -500 for there in train.forward_ms)
    assert all(999 < back < 1500 for back in train.backward_ms)
    assert counts(train) == {}


@pytest.mark.parametrize(("ours", "unsynced"), [(False, -1), (True, 4)])
def test_no_one_way_delay_where_a_clock_is_not_synced(ours: bool, unsynced: int) -> None:
    with Reflector(lambda request: [answer(request, synced=request.n != unsynced)]) as reflector:
        train = sent_to(reflector, synced=ours)
    assert train.forward_ms is train.backward_ms is None
    assert lost(train) == []
    assert {bool(request.estimate & packet.SYNCED) for request in reflector.requests} == {ours}


@pytest.mark.parametrize(
    ("moved_ns", "steps"), [(0, 0), (50_000, 0), (-50_000, 0), (300_000, 1), (-300_000, 1)]
)
def test_a_step_is_what_moves_the_wall_clock_by_more_than_a_tenth_of_a_millisecond(
    moved_ns: int, steps: int
) -> None:
    shift_ns, now_ns = 0, 10**12

    def monotonic_ns() -> int:
        nonlocal now_ns
        now_ns += 100
        return now_ns

    wall = Wall(Clocks(wall_ns=lambda: 10**18 + now_ns + shift_ns, monotonic_ns=monotonic_ns))
    for _ in range(10):
        wall.look()
    assert wall.steps == 0
    before_ns, shift_ns = wall.look(), moved_ns
    for _ in range(10):
        wall.look()
    assert wall.steps == steps
    assert (wall.monotonic(10**18 + before_ns, before_ns) is None) is (steps == 1)
    after_ns = wall.look()
    since_the_step_ns = wall.monotonic(10**18 + after_ns + moved_ns, after_ns)
    assert since_the_step_ns == pytest.approx(after_ns, abs=50_100)


def test_a_thread_that_loses_the_processor_between_two_readings_has_seen_no_step() -> None:
    """As long as 40 ms between the monotonic clock and the wall's."""
    now_ns, pauses = 10**12, iter([0, 0, 0, 40_000_000, 0, 0, 0, 0, 40_000_000, 40_000_000] * 20)

    def monotonic_ns() -> int:
        nonlocal now_ns
        now_ns += 100 + next(pauses)
        return now_ns

    wall = Wall(Clocks(wall_ns=lambda: 10**18 + now_ns, monotonic_ns=monotonic_ns))
    for _ in range(20):
        wall.look()
    assert wall.steps == 0


def test_the_kernel_says_when_packets_left_and_came() -> None:
    with Reflector() as reflector:
        sock = StampedSocket(reflector.address.host, reflector.address.port)
        try:
            sock.connect()
            before_ns = time.time_ns()
            for index in range(3):
                sock.send(index, packet.request(index, time.time_ns(), 1, 1))
            told: list[Departure | Refusal] = []
            arrivals: list[Arrival] = []
            until_s = time.monotonic() + 5
            while (len(told) < 3 or len(arrivals) < 3) and time.monotonic() < until_s:
                told += sock.notices()
                arrivals += [one for one in [sock.receive()] if one is not None]
                sock.wait(0.001)
            after_ns = time.time_ns()
        finally:
            sock.close()
    left_ns = [one.wall_ns for one in told if isinstance(one, Departure)]
    came_ns = [one.wall_ns or 0 for one in arrivals]
    assert [one.index for one in told if isinstance(one, Departure)] == [0, 1, 2]
    assert before_ns < left_ns[0] < left_ns[1] < left_ns[2] < after_ns
    assert all(left < came < after_ns for left, came in zip(left_ns, came_ns, strict=True))


def test_departures_keep_their_packet_after_one_that_the_kernel_refused() -> None:
    """A refused packet may or may not have been numbered by the kernel: after it the count begins anew."""
    with Reflector() as reflector:
        sock = StampedSocket(reflector.address.host, reflector.address.port)
        try:
            sock.connect()
            sock.send(0, packet.request(0, 0, 1, 1))
            with pytest.raises(OSError, match="Message too long"):
                sock.send(1, bytes(65_600))
            sock.notices()
            sock.send(2, packet.request(2, 0, 1, 1))
            told: list[Departure | Refusal] = []
            until_s = time.monotonic() + 5
            while not told and time.monotonic() < until_s:
                told = sock.notices()
            assert [one.index for one in told if isinstance(one, Departure)] == [2]
        finally:
            sock.close()
