"""What comes back to a train: replies are believed by what only who saw the request can know,
whatever else comes is counted and never a crash."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from math import isnan
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from diemcau_agent.line import packet
from diemcau_agent.line.replies import Replies
from diemcau_agent.line.stamps import Arrival, Clocks, Wall
from scripted_reflector import Reflector, Request, answer, counts, lost, sent_to

HOUR_NS = 3600 * 10**9

Forgery = Callable[[Request], bytes]
FORGERIES: dict[str, Forgery] = {
    "empty": lambda request: b"",
    "truncated": lambda request: answer(request)[:43],
    "foreign session id": lambda request: answer(request, ssid=request.ssid ^ 0x0100),
    "number before the first": lambda request: answer(request, sender_seq=request.seq - 1 - request.n),
    "number of no packet yet": lambda request: answer(request, sender_seq=request.seq + 1),
    "number far off": lambda request: answer(request, sender_seq=request.seq ^ 0x80000000),
    "forged T1": lambda request: answer(request, stamp=request.stamp ^ 0x100),
    "T1 of 0": lambda request: answer(request, stamp=0),
    "our own request": lambda request: request.data,
    "text": lambda request: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "as long as it gets": lambda request: os.urandom(1472),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_no_reply_of_this_train_is_counted_and_not_believed(name: str) -> None:
    with Reflector(lambda request: [FORGERIES[name](request)]) as reflector:
        train = sent_to(reflector, count=5, wait_s=0.15)
    assert lost(train) == [0, 1, 2, 3, 4]
    assert counts(train) == {"strange": 5}
    assert train.lost_forward is None


@pytest.mark.parametrize("name", FORGERIES)
def test_it_does_no_harm_to_those_that_are(name: str) -> None:
    script = FORGERIES[name]
    with Reflector(lambda request: [script(request), answer(request), script(request)]) as reflector:
        train = sent_to(reflector, count=5)
    assert lost(train) == []
    assert counts(train) == {"strange": 10}
    assert train.lost_forward == 0


def test_replies_of_an_earlier_train_are_not_believed_again() -> None:
    earlier: list[bytes] = []

    def script(request: Request) -> list[bytes]:
        earlier.append(answer(request))
        return [earlier[-1]]

    def replay(request: Request) -> list[bytes]:
        return [earlier[request.n - 5]]

    with Reflector(script) as reflector:
        assert lost(sent_to(reflector, count=5)) == []
        reflector.script = replay
        train = sent_to(reflector, count=5, wait_s=0.15)
    assert lost(train) == [0, 1, 2, 3, 4]
    assert counts(train) == {"strange": 5}
    first, second = reflector.requests[0], reflector.requests[5]
    assert first.seq != second.seq


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_a_reply_from_another_port_or_address_is_none(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((host, 0))

        def script(request: Request) -> list[bytes]:
            other.sendto(answer(request), reflector.sender)
            return []

        with Reflector(script) as reflector:
            train = sent_to(reflector, count=5, wait_s=0.15)
    assert lost(train) == [0, 1, 2, 3, 4]
    assert counts(train) == {}


def test_a_reflector_that_knows_no_session_ids_is_believed_by_number_and_time() -> None:
    """TWAMP Light, RFC 8762 without RFC 8972: zeros where the SSID stands."""
    with Reflector(lambda request: [answer(request, ssid=0)]) as reflector:
        train = sent_to(reflector)
    assert lost(train) == []
    assert counts(train) == {}
    assert 0 not in {request.ssid for request in reflector.requests}


@given(st.lists(st.binary(max_size=120), max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_bytes_are_never_believed_and_never_a_crash(junk: list[bytes]) -> None:
    with Reflector(lambda request: junk) as reflector:
        told = sent_to(reflector, count=2, wait_s=0.05)
    assert lost(told) == [0, 1]
    assert counts(told) == ({"strange": 2 * len(junk)} if junk else {})


CLOCKS = Clocks(wall_ns=lambda: 10**18, monotonic_ns=lambda: 10**12)
"""They stand still."""
WAIT_NS = 10**9
SSID = 0x1234
FIRST = 0xFFFFFFFD
"""Numbers go round within the train."""
COUNT = 6


def a_reply(index: int, *, count: int = 0, ssid: int = SSID) -> bytes:
    """To packet ``index``, which was sent at ``10**12 + index`` and bears ``10**18 + index``."""
    seq = (FIRST + index) & 0xFFFFFFFF
    stamp = packet.to_ntp(10**18 + index)
    return packet.REPLY.pack(count, stamp, 0x8001, ssid, stamp, seq, stamp, 1, 64)


def six_sent() -> Replies:
    replies = Replies(Wall(CLOCKS), SSID, FIRST, WAIT_NS)
    for index in range(COUNT):
        replies.sent(10**12 + index, 10**18 + index)
    return replies


@given(
    index=st.integers(0, COUNT - 1),
    at=st.sampled_from([14, 15, *range(24, 36)]),
    mask=st.integers(1, 255),
)
def test_a_reply_with_a_single_wrong_octet_of_ours_is_not_believed(index: int, at: int, mask: int) -> None:
    """SSID at 14, the sender's number at 24, T1 at 28 (RFC 8762, figure 6)."""
    forged = bytearray(a_reply(index))
    forged[at] ^= mask
    read = packet.read_reply(bytes(forged))
    assume(read.sent_ns != 10**18 + index or at != 35)  # a bit of T1 below a nanosecond says nothing
    replies = six_sent()
    replies.came(Arrival(bytes(forged), None, None), 10**12 + 100)
    assert (replies.answered, replies.strange) == (0, 1)


EVENTS = st.one_of(
    st.tuples(st.just("reply"), st.integers(0, COUNT - 1)),
    st.tuples(st.just("late"), st.integers(0, COUNT - 1)),
    st.tuples(st.just("foreign"), st.integers(0, COUNT - 1)),
    st.tuples(st.just("junk"), st.binary(max_size=60)),
)


@given(st.lists(EVENTS, max_size=30))
def test_every_datagram_is_counted_once_for_what_it_is(events: list[tuple[str, Any]]) -> None:
    """Against the definitions, written down once more: a first reply in time, a further one, any other."""
    replies = six_sent()
    answered: list[int] = []
    duplicates = strange = 0
    for count, (kind, what) in enumerate(events):
        now_ns = 10**12 + 1000 + (2 * WAIT_NS if kind == "late" else 0)
        data = what if kind == "junk" else a_reply(what, count=count, ssid=1 if kind == "foreign" else SSID)
        replies.came(Arrival(data, None, None), now_ns)
        if kind in ("reply", "late") and what in answered:
            duplicates += 1
        elif kind == "reply":
            answered.append(what)
        else:
            strange += 1
    assert [not isnan(rtt) for rtt in replies.rtts_ms(COUNT)] == [index in answered for index in range(COUNT)]
    assert (replies.answered, replies.duplicates, replies.strange) == (len(answered), duplicates, strange)
    assert replies.reordered == sum(
        any(other > index for other in answered[:at]) for at, index in enumerate(answered)
    )
    forward = replies.lost_forward(COUNT)
    assert forward is None or 0 <= forward <= COUNT - len(answered)


@given(st.integers(-(2**62), 2**62), st.integers(-(2**40), 2**40))
def test_a_kernel_stamp_is_never_taken_from_outside_of_what_was_seen(off_ns: int, earliest_ns: int) -> None:
    wall = Wall(CLOCKS)
    moment_ns = wall.monotonic(10**18 + off_ns, 10**12 + earliest_ns)
    assert moment_ns is None or earliest_ns >= 0
    assert moment_ns is None or 10**12 + earliest_ns - 100_000 <= moment_ns <= 10**12 + 100_000


def test_scapys_reflector_answers_and_is_understood() -> None:
    from scapy.contrib.stamp import (
        ErrorEstimate,
        STAMPSessionReflectorTestUnauthenticated,
        STAMPSessionSenderTestUnauthenticated,
    )

    dissected: list[Any] = []

    def script(request: Request) -> list[bytes]:
        asked: Any = STAMPSessionSenderTestUnauthenticated(request.data)
        dissected.append(asked)
        reply: Any = STAMPSessionReflectorTestUnauthenticated(
            seq=request.n,
            err_estimate=ErrorEstimate(S=1, Z=0, scale=0, multiplier=1),
            ssid=asked.ssid,
            seq_sender=asked.seq,
            err_estimate_sender=asked.err_estimate,
            ttl_sender=63,
            tlv_objects=asked.tlv_objects,
        )
        reply.ts = reply.ts_rx = 0
        reply.ts_sender = 0
        octets = bytearray(bytes(reply))
        octets[4:12] = octets[16:24] = packet.to_ntp(request.arrived_ns).to_bytes(8, "big")
        octets[28:36] = request.data[4:12]
        return [bytes(octets)]

    with Reflector(script) as reflector:
        told = sent_to(reflector, count=5, interval_ms=20, dscp=46)
    assert lost(told) == []
    assert counts(told) == {}
    assert told.lost_forward == 0
    assert [asked.seq for asked in dissected] == [request.seq for request in reflector.requests]
    assert [one.type for one in dissected[0].tlv_objects] == [packet.TLV_CLASS_OF_SERVICE, packet.TLV_PADDING]
