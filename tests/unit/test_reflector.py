"""The reflector promises: replies byte for byte as RFC 8762 and RFC 8972 have them, as long as their
requests, from the address that was asked; and that nothing that anybody on the network sends makes it
answer more than it should, remember more than it may, or answer those who answer.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib.stamp import (
    ErrorEstimate,
    STAMPSessionReflectorTestUnauthenticated,
    STAMPSessionSenderTestUnauthenticated,
    STAMPTestTLV,
)

from diemcau_agent.line import packet
from diemcau_fleet.reflector import mmsg, reflect
from diemcau_fleet.reflector.reflect import Clocks, Count, Reflector
from diemcau_fleet.reflector.sockets import TTL, Listen, Listener

NOW_NS = 1_795_000_000_123_456_789
SENT_NS = NOW_NS - 5_000_000
ESTIMATE = packet.error_estimate(0.002, synced=True)
AF41, EF, CS6 = 34, 46, 48


class Rig:
    """A reflector on a real socket, with clocks that stand still; replies are its real ones."""

    def __init__(self, host: str = "127.0.0.1", *, wall_ns: int | None = NOW_NS, **options: Any) -> None:
        self.monotonic_ns = 10**18
        self.wall_ns = wall_ns
        self.synced = True
        self.listener = Listener(Listen(host, 0))
        clocks = Clocks(
            monotonic_ns=lambda: self.monotonic_ns,
            wall_ns=lambda: time.time_ns() if self.wall_ns is None else self.wall_ns,
            synced=lambda: self.synced,
        )
        self.counts = memoryview(bytearray(8 * len(Count))).cast("q")
        self.reflector = Reflector(self.counts, clocks=clocks, **options)
        self._stack = ExitStack()
        self._stack.callback(self.listener.socket.close)

    @property
    def port(self) -> int:
        return self.listener.listen.port

    def close(self) -> None:
        self._stack.close()

    def client(self, host: str = "127.0.0.1", to: str | None = None) -> socket.socket:
        """Connected, so that the kernel lets through only what comes from where it was sent to."""
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        client = self._stack.enter_context(socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
        client.bind((host, 0))
        client.connect((to or host, self.port))
        return client

    def turn(self) -> int:
        return self.reflector.turn(self.listener.socket.fileno(), self.listener.batch)

    def ask(self, client: socket.socket, request: bytes) -> bytes | None:
        """Its reply, or None. On loopback what was sent has come."""
        client.send(request)
        assert self.turn() == 1
        return heard(client)

    def answered(self, client: socket.socket, request: bytes) -> bytes:
        reply = self.ask(client, request)
        assert reply is not None
        return reply

    def forge(self, client: socket.socket, request: bytes, name: bytes) -> list[int]:
        """As if it came from another (struct sockaddr): the slots that get no reply; nothing is sent."""
        client.send(request)
        batch = self.listener.batch
        assert batch.receive(self.listener.socket.fileno()) == 1
        batch._names[: len(name)] = name
        return self.reflector._answer(batch, 1)


def heard(client: socket.socket) -> bytes | None:
    try:
        return client.recv(65535)
    except BlockingIOError:
        return None


@pytest.fixture
def rig() -> Generator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def a_request(seq: int = 0, ssid: int = 7, size_bytes: int = 44, dscp: int | None = None) -> bytes:
    return packet.request(seq, SENT_NS, ssid, ESTIMATE, size_bytes, dscp)


def tlv(kind: int, value: bytes, flags: int = packet.UNRECOGNIZED) -> bytes:
    return packet.TLV.pack(flags, kind, len(value)) + value


def test_a_reply_is_byte_for_byte_what_rfc_8762_says(rig: Rig) -> None:
    client = rig.client()
    client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 61)
    before_ns = time.time_ns()
    reply = rig.answered(client, a_request(seq=4711, ssid=7))
    after_ns = time.time_ns()
    received = struct.unpack_from("!Q", reply, 16)[0]
    assert before_ns - 1 <= packet.from_ntp(received) <= after_ns  # T2, of the kernel's own clock
    assert reply == (
        struct.pack("!IQHH", 0, packet.to_ntp(NOW_NS), packet.error_estimate(0.001, synced=True), 7)
        + struct.pack("!Q", received)
        + struct.pack("!IQH", 4711, packet.to_ntp(SENT_NS), ESTIMATE)
        + bytes(2)
        + bytes([61])
        + bytes(3)
    )


def test_the_agents_own_codec_reads_the_reply(rig: Rig) -> None:
    reply = packet.read_reply(
        rig.answered(rig.client(), a_request(seq=3, ssid=65535, size_bytes=200, dscp=0))
    )
    assert (reply.seq, reply.sender_seq, reply.ssid, reply.sent_ns) == (0, 3, 65535, SENT_NS)
    assert (reply.replied_ns, reply.synced, reply.reflector_dscp) == (NOW_NS, True, 0)


def test_stateful_counts_each_session_from_zero_by_source_port_and_ssid(rig: Rig) -> None:
    one, other = rig.client(), rig.client()
    asked = [(one, 1), (one, 1), (other, 1), (one, 2), (one, 1), (other, 1), (one, 2)]
    seqs = [
        packet.read_reply(rig.answered(client, a_request(seq=500 + number, ssid=ssid))).seq
        for number, (client, ssid) in enumerate(asked)
    ]
    assert seqs == [0, 1, 0, 0, 2, 1, 1]


def test_stateless_echoes_the_senders_number_and_keeps_no_session() -> None:
    rig = Rig(stateful=False)
    try:
        client = rig.client()
        for seq in (9, 4, 2**32 - 1):
            assert packet.read_reply(rig.answered(client, a_request(seq))).seq == seq
        rig.reflector.refresh()
        assert rig.counts[Count.SESSIONS] == 0
    finally:
        rig.close()


def test_whether_the_clock_is_synced_is_told_once_it_is_looked_at(rig: Rig) -> None:
    client = rig.client()
    assert packet.read_reply(rig.answered(client, a_request())).synced
    rig.synced = False
    assert packet.read_reply(rig.answered(client, a_request())).synced
    rig.reflector.refresh()
    assert not packet.read_reply(rig.answered(client, a_request())).synced


@pytest.mark.parametrize("octets", [1, 3, 4, 16, 1000, 2004])
def test_plain_zero_padding_goes_back_as_it_came(rig: Rig, octets: int) -> None:
    reply = rig.answered(rig.client(), a_request() + bytes(octets))
    assert reply[44:] == bytes(octets)


def test_extra_padding_goes_back_with_its_content_and_without_the_u_flag(rig: Rig) -> None:
    padding = bytes(range(100))
    reply = rig.answered(rig.client(), a_request() + tlv(packet.TLV_PADDING, padding))
    assert reply[44:] == tlv(packet.TLV_PADDING, padding, 0)


@pytest.mark.parametrize(
    ("sent_tos", "dscp1", "returned_dscp", "refused"),
    [(AF41 << 2 | 1, EF, EF, 0), (0, AF41, AF41, 0), (EF << 2, 0, 0, 0), (AF41 << 2, CS6, AF41, 1)],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_class_of_service_tells_how_it_came_and_is_sent_as_asked_unless_that_is_not_permitted(
    host: str, sent_tos: int, dscp1: int, returned_dscp: int, refused: int
) -> None:
    rig = Rig(host)
    try:
        client = rig.client(host)
        level, option, ask = (
            (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_RECVTCLASS)
            if ":" in host
            else (socket.IPPROTO_IP, socket.IP_TOS, socket.IP_RECVTOS)
        )
        client.setsockopt(level, option, sent_tos)
        client.setsockopt(level, ask, 1)
        client.send(a_request() + tlv(packet.TLV_CLASS_OF_SERVICE, struct.pack("!I", dscp1 << 26)))
        assert rig.turn() == 1
        reply, controls, _, _ = client.recvmsg(2048, 256)
        value = dscp1 << 26 | sent_tos >> 2 << 20 | (sent_tos & 3) << 18 | refused << 16
        assert reply[44:] == tlv(packet.TLV_CLASS_OF_SERVICE, struct.pack("!I", value), 0)
        assert packet.read_reply(reply).reflector_dscp == sent_tos >> 2
        assert [data[0] for _, kind, data in controls if kind == option] == [returned_dscp << 2]
        # The slot is used again: what it said last time must not go with the next reply.
        client.setsockopt(level, option, 0)
        client.send(a_request())
        assert rig.turn() == 1
        _, controls, _, _ = client.recvmsg(2048, 256)
        assert [data[0] for _, kind, data in controls if kind == option] == [0]
    finally:
        rig.close()


def test_a_reply_without_class_of_service_has_the_dscp_of_its_request_and_no_ecn(rig: Rig) -> None:
    client = rig.client()
    client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, AF41 << 2 | 3)
    client.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    client.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    client.send(a_request())
    assert rig.turn() == 1
    _, controls, _, _ = client.recvmsg(2048, 256)
    told = {kind: data for _, kind, data in controls}
    assert told[socket.IP_TOS] == bytes([AF41 << 2])
    assert struct.unpack("=i", told[socket.IP_TTL]) == (TTL,)


def test_scapy_builds_the_request_and_dissects_the_reply(rig: Rig) -> None:
    sender = STAMPSessionSenderTestUnauthenticated(
        seq=77,
        ts=1_000_000_000.25,
        err_estimate=ErrorEstimate(S=1, scale=20, multiplier=5),
        ssid=0xBEEF,
        tlv_objects=[
            STAMPTestTLV(
                flags=0x80, type=packet.TLV_CLASS_OF_SERVICE, len=4, value=struct.pack("!I", EF << 26)
            ),
            STAMPTestTLV(flags=0x80, type=200, len=3, value=b"abc"),
            STAMPTestTLV(flags=0x80, type=packet.TLV_PADDING, len=12, value=b"p" * 12),
        ],
    )
    request = bytes(sender)
    reply = STAMPSessionReflectorTestUnauthenticated(rig.answered(rig.client(), request))
    assert (reply.seq, reply.ssid, reply.seq_sender) == (0, 0xBEEF, 77)
    assert reply.ts_sender == sender.ts
    assert bytes(reply.err_estimate_sender) == bytes(sender.err_estimate)
    assert (reply.err_estimate.S, reply.err_estimate.Z, reply.mbz1, reply.mbz2) == (1, 0, 0, 0)
    cos, unknown, padding = reply.tlv_objects  # scapy names flags from the wrong end: numbers, then
    assert (cos.flags, cos.type, cos.value[:2]) == (0, 4, struct.pack("!H", EF << 10))
    assert (unknown.flags, unknown.type, unknown.value) == (0x80, 200, b"abc")
    assert (padding.flags, padding.type, padding.value) == (0, 1, b"p" * 12)
    assert len(bytes(reply)) == len(request)


@pytest.mark.parametrize("octets", [0, 1, 14, 41, 43, mmsg.STRIDE + 1, 9000])
def test_what_is_too_short_or_too_long_gets_no_reply_and_is_counted(rig: Rig, octets: int) -> None:
    client = rig.client()
    assert rig.ask(client, bytes(octets)) is None
    assert (rig.counts[Count.MALFORMED], rig.counts[Count.REFLECTED]) == (1, 0)
    assert rig.ask(client, a_request()) is not None


@given(
    data=st.binary(max_size=300) | st.binary(max_size=200).map(lambda rest: a_request() + rest),
    stateful=st.booleans(),
)
@settings(deadline=None)
def test_no_datagram_breaks_it_and_a_reply_is_as_long_as_its_request(data: bytes, stateful: bool) -> None:
    rig = Rig(stateful=stateful)
    try:
        reply = rig.ask(rig.client(), data)
        assert reply is None or len(reply) == len(data)
        assert reply is not None or len(data) < 44 or rig.counts[Count.LOOPED]
        told = sum(rig.counts[one] for one in (Count.REFLECTED, Count.MALFORMED, Count.LOOPED))
        assert (rig.counts[Count.RECEIVED], told) == (1, 1)
        if reply is not None:
            assert reply[24:38] == data[:14]
            assert reply[14:16] == data[14:16]
    finally:
        rig.close()


def test_more_than_a_batch_is_answered_to_each_its_own(rig: Rig) -> None:
    clients = [rig.client() for _ in range(5)]
    for seq in range(80):
        for number, client in enumerate(clients):
            client.send(a_request(seq, ssid=number, size_bytes=44 if seq % 3 else 60 + number))
    turns = 0
    while rig.turn():
        turns += 1
    assert turns == -(-400 // mmsg.SIZE)
    for number, client in enumerate(clients):
        replies = [packet.read_reply(data) for data in iter(lambda client=client: heard(client), None)]
        assert [(one.sender_seq, one.seq, one.ssid) for one in replies] == [
            (seq, seq, number) for seq in range(80)
        ]


def test_ipv6_is_answered_with_its_hop_limit(rig: Rig) -> None:
    six = Rig("::1")
    try:
        client = six.client("::1")
        client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 42)
        replies = [packet.read_reply(six.answered(client, a_request(seq))) for seq in (5, 6)]
        assert [(reply.seq, reply.sender_seq, reply.ttl) for reply in replies] == [(0, 5, 42), (1, 6, 42)]
    finally:
        six.close()


@pytest.mark.parametrize(
    ("host", "client", "to"), [("0.0.0.0", "127.0.0.1", "127.0.0.9"), ("::", "::1", "::1")]
)
def test_on_any_address_it_answers_from_the_one_that_was_asked(host: str, client: str, to: str) -> None:
    rig = Rig(host)
    try:
        assert rig.ask(rig.client(client, to), a_request()) is not None
    finally:
        rig.close()


def test_a_source_over_its_rate_gets_no_more_until_time_passes_and_the_others_do_not_feel_it() -> None:
    rig = Rig(source_pps=100)
    try:
        one, same, other = rig.client(), rig.client(), rig.client("127.0.0.2", "127.0.0.1")
        answered = [rig.ask(client, a_request()) is not None for client in (one, same) * 60]
        assert answered == [True] * 100 + [False] * 20  # one second's burst, whatever the port
        assert rig.counts[Count.CAPPED] == 20
        assert rig.ask(other, a_request()) is not None
        rig.monotonic_ns += 50_000_000
        assert [rig.ask(one, a_request()) is not None for _ in range(7)] == [True] * 5 + [False] * 2
        rig.monotonic_ns += 3600 * 10**9
        assert sum(rig.ask(one, a_request()) is not None for _ in range(110)) == 100
    finally:
        rig.close()


def test_a_session_idle_for_15_minutes_is_kept_and_after_30_it_starts_at_zero(rig: Rig) -> None:
    client = rig.client()

    def seq() -> int:
        return packet.read_reply(rig.answered(client, a_request())).seq

    assert [seq(), seq()] == [0, 1]
    rig.monotonic_ns += (reflect.SESSION_IDLE_S - 1) * 10**9
    assert seq() == 2
    rig.monotonic_ns += (reflect.SESSION_IDLE_S - 1) * 10**9
    assert seq() == 3
    rig.monotonic_ns += 2 * reflect.SESSION_IDLE_S * 10**9
    assert [seq(), seq()] == [0, 1]
    for _ in range(2):
        rig.monotonic_ns += reflect.SESSION_IDLE_S * 10**9
        assert rig.ask(rig.client(), a_request()) is not None
    assert seq() == 0


def test_forged_sources_fill_no_more_than_the_tables_and_push_out_nobody_who_is_active() -> None:
    rig = Rig(sources_max=64, sessions_max=64)
    try:
        client = rig.client()
        for number in range(1000):
            name = struct.pack("!HHI8x", 0, 1024 + number, 0x0A000000 + number)
            name = struct.pack("=H", socket.AF_INET) + name[2:]
            assert rig.forge(client, a_request(), name) == []
            if number % 10 == 0:
                reply = packet.read_reply(rig.answered(client, a_request()))
                assert reply.seq == number // 10
            rig.reflector.refresh()
            assert rig.counts[Count.SOURCES] <= 64
            assert rig.counts[Count.SESSIONS] <= 64
    finally:
        rig.close()


@pytest.mark.parametrize("port", [0, 7, 53, 862, 1023])
def test_what_comes_from_a_well_known_port_is_not_answered(rig: Rig, port: int) -> None:
    name = struct.pack("=H", socket.AF_INET) + struct.pack("!HI8x", port, 0x7F000001)
    assert rig.forge(rig.client(), a_request(), name) == [0]
    assert rig.counts[Count.LOOPED] == 1
    name = struct.pack("=H", socket.AF_INET) + struct.pack("!HI8x", 1024, 0x7F000001)
    assert rig.forge(rig.client(), a_request(), name) == []


@pytest.mark.parametrize("other_ns", [None, 0, NOW_NS], ids=["same clock", "1970", "years off"])
@pytest.mark.parametrize("stateful", [True, False])
def test_two_reflectors_that_a_forged_packet_sets_on_each_other_fall_silent_at_once(
    other_ns: int | None, stateful: bool
) -> None:
    one, other = Rig(wall_ns=None, stateful=stateful), Rig(wall_ns=other_ns, stateful=stateful)
    try:
        # From the other's very socket: what a forged source address and port would look like.
        other.listener.socket.sendto(a_request(), ("127.0.0.1", one.port))
        turns = [rig.turn() for _ in range(10) for rig in (one, other)]
        assert sum(turns) <= 3
        assert one.counts[Count.LOOPED] + other.counts[Count.LOOPED] == 1
    finally:
        one.close()
        other.close()


def test_a_reflector_and_an_echo_fall_silent_at_once() -> None:
    rig = Rig(wall_ns=None)
    try:
        client = rig.client()
        reply = rig.answered(client, a_request())
        assert rig.ask(client, reply) is None
        assert rig.counts[Count.LOOPED] == 1
    finally:
        rig.close()


def test_what_the_kernel_will_not_send_is_counted_and_holds_up_nobody(rig: Rig) -> None:
    clients = [rig.client() for _ in range(3)]
    for client in clients:
        client.send(a_request())
    batch, fd = rig.listener.batch, rig.listener.socket.fileno()
    assert batch.receive(fd) == 3
    size = batch.family.name.size
    batch._names[size + 4 : size + 8] = socket.inet_aton("255.255.255.255")  # not without SO_BROADCAST
    assert rig.reflector._answer(batch, 3) == []
    assert batch.send(fd, 0, 3) == 2
    assert [heard(client) is not None for client in clients] == [True, False, True]
