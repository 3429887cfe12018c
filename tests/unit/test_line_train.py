"""A train of STAMP packets over real sockets: what the line did to it is counted exactly, and it
ends in time, whatever the line does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import pytest

from diemcau_agent.line import packet, train
from diemcau_agent.line.record import Train
from diemcau_agent.line.stamps import StampedSocket, boottime_ns
from scripted_reflector import Reflector, Request, answer, counts, good, lost, sent_to


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_on_a_good_line_every_packet_comes_back(host: str) -> None:
    before_s = boottime_ns() / 1e9
    with Reflector(host=host) as reflector:
        train = sent_to(reflector, count=20)
    assert lost(train) == []
    assert len(train.rtts_ms) == len(reflector.requests) == 20
    assert counts(train) == {}
    assert all(0 < rtt < 500 for rtt in train.rtts_ms)
    assert train.lost_forward == 0
    assert train.error is None
    assert train.interval_ms == pytest.approx(5.0, rel=0.3)
    assert before_s <= train.at_s <= boottime_ns() / 1e9


@pytest.mark.parametrize("way", ["there", "back"])
def test_losses_are_told_packet_by_packet_and_which_way(way: str) -> None:
    dropped = {0, 3, 4, 11}

    reached = 0

    def script(request: Request) -> Iterable[bytes]:
        nonlocal reached
        if way == "back" or request.n not in dropped:
            reached += 1
        if request.n not in dropped:
            yield answer(request, seq=reached - 1)

    with Reflector(script) as reflector:
        train = sent_to(reflector, count=15)
    assert lost(train) == sorted(dropped)
    assert train.lost_forward == (4 if way == "there" else 0)


def test_of_the_last_packets_nobody_knows_where_they_were_lost() -> None:
    with Reflector(lambda request: good(request) if request.n < 7 else []) as reflector:
        train = sent_to(reflector)
    assert lost(train) == [7, 8, 9]
    assert train.lost_forward == 0


COUNTS: dict[str, Callable[[Request], int]] = {
    "stateless": lambda request: request.seq,
    "restarted": lambda request: request.n % 5,
    "from 1": lambda request: request.n + 1,
    "goes on": lambda request: request.n + 500,
    "stands still": lambda request: 0,
}


@pytest.mark.parametrize("name", COUNTS)
def test_without_a_count_from_0_nobody_knows_which_way_packets_were_lost(name: str) -> None:
    with Reflector(lambda request: [answer(request, seq=COUNTS[name](request))]) as reflector:
        train = sent_to(reflector)
    assert lost(train) == []
    assert train.lost_forward is None


def test_duplicates_of_either_way_are_counted_and_hide_no_loss() -> None:
    """Packet 2 never reaches the reflector, packet 5 does so twice, and the reply to packet 7 comes twice."""
    replied = 0

    def script(request: Request) -> Iterable[bytes]:
        nonlocal replied
        for _ in range({2: 0, 5: 2}.get(request.n, 1)):
            reply = answer(request, seq=replied)
            replied += 1
            yield from [reply] * (2 if request.n == 7 else 1)

    with Reflector(script) as reflector:
        train = sent_to(reflector)
    assert counts(train) == {"duplicates": 2}
    assert lost(train) == [2]
    assert train.lost_forward == 1


def test_a_reply_after_one_of_a_later_packet_is_reordered() -> None:
    """RFC 4737, 3.3: packet 3 comes after 5, so it alone; 7 after 8."""
    held: dict[int, bytes] = {}
    release = {5: 3, 8: 7}

    def script(request: Request) -> Iterable[bytes]:
        if request.n in release.values():
            held[request.n] = answer(request)
            return
        yield answer(request)
        if request.n in release:
            yield held[release[request.n]]

    with Reflector(script) as reflector:
        train = sent_to(reflector)
    assert counts(train) == {"reordered": 2}
    assert lost(train) == []
    assert train.lost_forward == 0


def test_a_reply_after_wait_s_is_late_and_its_packet_lost() -> None:
    held: list[bytes] = []

    def script(request: Request) -> list[bytes]:
        held.append(answer(request))
        return {0: [], 12: [held[-1], held[0]]}.get(request.n, [held[-1]])

    with Reflector(script) as reflector:
        train = sent_to(reflector, count=16, interval_ms=20, wait_s=0.15)
    assert lost(train) == [0]
    assert counts(train) == {"strange": 1}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_dscp_is_sent_and_told_as_it_arrived_and_as_it_came_back(host: str) -> None:
    def script(request: Request) -> list[bytes]:
        """The Class of Service TLV answered as RFC 8972, 4.4 has it: U cleared, DSCP2 as it arrived."""
        reply = bytearray(answer(request))
        assert reply[44:48] == bytes((0x80, 4, 0, 4))
        reply[44] = 0
        reply[48] |= request.tos >> 2 >> 4
        reply[49] |= request.tos >> 2 << 4 & 0xF0
        return [bytes(reply)]

    with Reflector(script, host=host, tos=10 << 2) as reflector:
        told = sent_to(reflector, dscp=46)
    assert {request.tos for request in reflector.requests} == {46 << 2}
    assert (told.dscp, told.reflector_dscp, told.returned_dscp) == (46, 46, 10)


def test_a_reflector_that_knows_no_tlv_tells_no_dscp() -> None:
    with Reflector() as reflector:
        told = sent_to(reflector, dscp=46)
    assert (told.dscp, told.reflector_dscp, told.returned_dscp) == (46, None, 0)


@pytest.mark.parametrize("size_bytes", [44, 48, 52, 72, 1472])
def test_packets_are_as_long_as_planned(size_bytes: int) -> None:
    with Reflector() as reflector:
        told = sent_to(reflector, count=3, size_bytes=size_bytes)
    assert {len(request.data) for request in reflector.requests} == {size_bytes}
    assert lost(told) == []


def test_stop_ends_a_train_at_once_and_counts_nothing_that_might_still_come() -> None:
    stop = threading.Event()
    stopped_s = 0.0

    def script(request: Request) -> list[bytes]:
        nonlocal stopped_s
        if request.n == 10:
            stopped_s = time.monotonic()
            stop.set()
        return good(request) if request.n < 8 and request.n != 3 else []

    with Reflector(script) as reflector:
        told = sent_to(reflector, count=1000, interval_ms=20, wait_s=5, stop=stop)
        assert time.monotonic() - stopped_s < 0.15  # 0.1 s, and a busy machine
    assert lost(told) == [3]
    assert len(told.rtts_ms) == 8
    assert told.error == "stopped"


def test_stop_while_replies_are_awaited() -> None:
    stop = threading.Event()
    with Reflector(lambda request: []) as reflector:
        timer = threading.Timer(0.2, stop.set)
        timer.start()
        started_s = time.monotonic()
        told = sent_to(reflector, count=3, wait_s=9, stop=stop)
        assert time.monotonic() - started_s < 0.4
        timer.join(5)
    assert len(told.rtts_ms) == 0
    assert told.error == "stopped"


def test_a_train_that_is_stopped_before_it_begins_sends_nothing() -> None:
    stop = threading.Event()
    stop.set()
    with Reflector() as reflector:
        told = sent_to(reflector, stop=stop)
    assert (len(told.rtts_ms), told.error, reflector.requests) == (0, "stopped", [])


def test_silence_lasts_no_longer_than_planned() -> None:
    with Reflector(lambda request: []) as reflector:
        started_s = time.monotonic()
        told = sent_to(reflector, count=10, interval_ms=10, wait_s=0.3)
        assert 0.3 < time.monotonic() - started_s < 0.1 + 0.3 + 1
    assert lost(told) == list(range(10))


def test_who_has_every_reply_waits_no_longer() -> None:
    with Reflector() as reflector:
        started_s = time.monotonic()
        told = sent_to(reflector, count=10, interval_ms=10, wait_s=9)
        assert time.monotonic() - started_s < 1
    assert lost(told) == []


def test_a_flood_keeps_no_packet_from_being_sent_on_time() -> None:
    with Reflector(lambda request: [b"flood"] * 400 + good(request)) as reflector:
        started_s = time.monotonic()
        told = sent_to(reflector, count=20, interval_ms=20, wait_s=0.3)
        assert time.monotonic() - started_s < 0.4 + 0.3 + 1
    assert len(told.rtts_ms) == 20
    assert told.strange > 400
    assert told.interval_ms == pytest.approx(20, rel=0.2)


def early_ms(told: Train, reflector: Reflector, interval_ms: float) -> float:
    """By how much the earliest packet was sent before its time, by T1, the sender's own time in each."""
    offset_ns = time.time_ns() - boottime_ns()
    sent_ms = [(packet.from_ntp(request.stamp) - offset_ns) / 1e6 for request in reflector.requests]
    return max(told.at_s * 1000 + index * interval_ms - one for index, one in enumerate(sent_ms))


def test_packets_leave_on_time_and_none_before_it() -> None:
    """The reflector shares this process and its processor."""
    with Reflector() as reflector:
        told = sent_to(reflector, count=1000, interval_ms=1)
    assert len(reflector.requests) == 1000
    assert early_ms(told, reflector, 1) < 0.2
    assert told.interval_ms == pytest.approx(1.0, rel=0.05)


def test_after_a_stall_what_was_due_is_sent_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stalling(StampedSocket):
        def send(self, index: int, packet: bytes) -> None:
            if index == 10:
                threading.Event().wait(0.3)
            super().send(index, packet)

    monkeypatch.setattr(train, "StampedSocket", Stalling)
    with Reflector() as reflector:
        told = sent_to(reflector, count=100, interval_ms=5)
    assert len(reflector.requests) == 100
    assert lost(told) == []
    assert told.interval_ms == pytest.approx(5, rel=0.05)
    assert early_ms(told, reflector, 5) < 0.2


def test_a_machine_that_cannot_keep_up_ends_the_train_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(StampedSocket):
        def send(self, index: int, packet: bytes) -> None:
            threading.Event().wait(0.05)
            super().send(index, packet)

    monkeypatch.setattr(train, "StampedSocket", Slow)
    with Reflector() as reflector:
        started_s = time.monotonic()
        told = sent_to(reflector, count=100, interval_ms=5, wait_s=0.2)
        assert time.monotonic() - started_s < 0.5 + 0.2 + 1
    assert 10 < len(told.rtts_ms) < 30
    assert told.error == "stopped: this machine is too busy to keep up"
