"""STAMP packets as bytes (RFC 8762, RFC 8972): built as the standards say, and doubted as they come in."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.line import packet
from diemcau_agent.line.packet import PacketError, Reply

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
FIRST_S = 0x80000000 - 2_208_988_800
"""20 January 1968, where NTP's 64 bits of this era begin (RFC 4330, section 3); they end 2**32 s later."""
TIMES_NS = st.integers(FIRST_S * 10**9, (FIRST_S + 2**32) * 10**9 - 1)
DSCPS = st.integers(0, 63)
SIZES = (st.integers(44, 60) | st.integers(44, packet.MAX_BYTES)).filter(packet.valid_size)
"""Often those where a TLV just fits, or just does not."""


def tlv(kind: int, value: bytes, flags: int = 0) -> bytes:
    return struct.pack("!BBH", flags, kind, len(value)) + value


def cos(dscp1: int, dscp2: int, flags: int = 0) -> bytes:
    """RFC 8972, section 4.4: DSCP1 in 6 bits, DSCP2 in 6, ECN and RP in 2 each (here 3: none may leak)."""
    return tlv(packet.TLV_CLASS_OF_SERVICE, struct.pack("!HH", dscp1 << 10 | dscp2 << 4 | 0b1111, 0), flags)


def reply(
    tlvs: bytes = b"", estimate: int = 0x8001, sent: int = 0, received: int = 0, replied: int = 0
) -> bytes:
    return packet.REPLY.pack(7, replied, estimate, 99, received, 8, sent, 0x0001, 61) + tlvs


@given(TIMES_NS)
def test_a_time_survives_ntps_format_to_the_nanosecond(epoch_ns: int) -> None:
    stamp = packet.to_ntp(epoch_ns)
    assert 0 <= stamp < 2**64
    assert packet.from_ntp(stamp) == epoch_ns


@given(TIMES_NS, TIMES_NS)
def test_times_keep_their_order_as_stamps_read_back(a_ns: int, b_ns: int) -> None:
    a, b = packet.from_ntp(packet.to_ntp(a_ns)), packet.from_ntp(packet.to_ntp(b_ns))
    assert (a < b) == (a_ns < b_ns)


@pytest.mark.parametrize(
    ("epoch_s", "stamp"),
    [
        (0, 0x83AA7E80_00000000),  # RFC 5905, figure 4: 1 January 1970 is 2,208,988,800 s of era 0
        (1_000_000_000.5, 0xBF454880_80000000),
        (2_085_978_496, 0),  # 7 February 2036, 06:28:16 UTC: era 1 begins (RFC 5905, figure 4)
        (2_085_978_495, 0xFFFFFFFF_00000000),
    ],
)
def test_ntp_stamps_at_known_times(epoch_s: float, stamp: int) -> None:
    assert packet.to_ntp(int(epoch_s * 10**9)) == stamp
    assert packet.from_ntp(stamp) == int(epoch_s * 10**9)


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**9 - 1))
def test_ptps_format_is_seconds_and_nanoseconds_since_1970(seconds: int, nanoseconds: int) -> None:
    assert packet.from_ptp(seconds << 32 | nanoseconds) == seconds * 10**9 + nanoseconds


@given(st.floats(0, 1e9), st.booleans())
def test_the_error_estimate_never_promises_more_than_it_was_told(error_s: float, synced: bool) -> None:
    estimate = packet.error_estimate(error_s, synced=synced)
    assert 0 <= estimate < 2**16
    assert bool(estimate & packet.SYNCED) is synced
    assert not estimate & packet.PTP_FORMAT
    multiplier, scale = estimate & 0xFF, estimate >> 8 & 0x3F
    assert multiplier != 0, "RFC 4656, 4.1.2: a multiplier of 0 is an error"
    units = error_s * 2**32
    assert math.floor(units) <= multiplier * 2**scale <= max(1.0, math.ceil(units) * (1 + 1 / 64))


@pytest.mark.parametrize(
    ("error_s", "estimate"),
    [
        (0.0, 0x0001),
        (-1.0, 0x0001),
        (2**-32, 0x0001),
        (255 * 2**-32, 0x00FF),
        (256 * 2**-32, 0x0180),
        (511 * 2**-32, 0x0280),
        (1.0, 0x1980),
        (16.0, 0x1D80),
    ],
)
def test_error_estimates_at_known_values(error_s: float, estimate: int) -> None:
    assert packet.error_estimate(error_s, synced=False) == estimate


@given(U32, TIMES_NS, U16, U16, SIZES, st.none() | DSCPS)
def test_a_request_has_its_size_its_fields_and_well_formed_tlvs(
    seq: int, sent_ns: int, ssid: int, estimate: int, size: int, dscp: int | None
) -> None:
    data = packet.request(seq, sent_ns, ssid, estimate, size, dscp)
    assert len(data) == size
    assert struct.unpack("!IQHH", data[:16]) == (seq, packet.to_ntp(sent_ns), estimate, ssid)
    assert data[16:44] == bytes(28)
    asked: list[int] = []
    rest = data[44:]
    while rest:
        flags, kind, length = struct.unpack("!BBH", rest[:4])
        assert flags == packet.UNRECOGNIZED, "the sender sets U alone (RFC 8972, section 4)"
        value, rest = rest[4 : 4 + length], rest[4 + length :]
        assert len(value) == length
        if kind == packet.TLV_CLASS_OF_SERVICE:
            asked.append(value[0] >> 2)
            assert value == bytes([value[0] & 0xFC, 0, 0, 0])
        else:
            assert kind == packet.TLV_PADDING
            assert value == bytes(length)
    fits = size == 52 or size >= 56
    assert asked == ([dscp] if dscp is not None and fits else [])


@pytest.mark.parametrize("size", [44, *range(48, 60)])
def test_the_dscp_is_asked_for_wherever_its_tlv_fits_beside_whole_padding(size: int) -> None:
    data = packet.request(1, 0, 0, 1, size, 46)
    assert len(data) == size
    asks = data[44:52] == tlv(packet.TLV_CLASS_OF_SERVICE, b"\xb8\0\0\0", packet.UNRECOGNIZED)
    assert asks is (size == 52 or size >= 56)


@pytest.mark.parametrize("size", [-1, 0, 43, 45, 46, 47, 1473, 65536])
def test_a_size_that_no_packet_can_have_is_refused_by_name(size: int) -> None:
    assert not packet.valid_size(size)
    with pytest.raises(ValueError, match=rf"size_bytes: got {size}, expected 44, or 48 to 1472"):
        packet.request(0, 0, 0, 1, size)


def test_the_sequence_number_wraps_at_32_bits() -> None:
    assert packet.request(2**32, 0, 0, 1)[:4] == bytes(4)
    assert packet.request(2**32 - 1, 0, 0, 1)[:4] == b"\xff" * 4


@given(U32, TIMES_NS, U16, U16, U16, TIMES_NS, TIMES_NS, U32, st.integers(0, 255), st.binary(max_size=64))
def test_a_reply_reads_back_what_was_packed(
    seq: int,
    sent_ns: int,
    ssid: int,
    estimate: int,
    sender_estimate: int,
    received_ns: int,
    replied_ns: int,
    sender_seq: int,
    ttl: int,
    padding: bytes,
) -> None:
    estimate &= ~packet.PTP_FORMAT
    sender_estimate &= ~packet.PTP_FORMAT
    sent, received, replied = (packet.to_ntp(ns) for ns in (sent_ns, received_ns, replied_ns))
    data = packet.REPLY.pack(seq, replied, estimate, ssid, received, sender_seq, sent, sender_estimate, ttl)
    assert len(data) == packet.BASE_BYTES
    assert packet.read_reply(data + tlv(packet.TLV_PADDING, padding)) == Reply(
        seq=seq,
        ssid=ssid,
        sender_seq=sender_seq,
        sent_ns=sent_ns,
        received_ns=received_ns,
        replied_ns=replied_ns,
        synced=bool(estimate & 0x8000),
        ttl=ttl,
    )


@given(st.booleans(), st.booleans())
def test_each_side_says_for_itself_whether_its_stamps_are_ptps(reflector_ptp: bool, sender_ptp: bool) -> None:
    at_ns = 1_790_000_000_123_456_789
    ptp, ntp = 1_790_000_000 << 32 | 123_456_789, packet.to_ntp(at_ns)
    theirs, ours = (ptp if reflector_ptp else ntp), (ptp if sender_ptp else ntp)
    estimates = (0x8001 | 0x4000 * reflector_ptp, 0x0001 | 0x4000 * sender_ptp)
    got = packet.read_reply(packet.REPLY.pack(0, theirs, estimates[0], 0, theirs, 0, ours, estimates[1], 64))
    assert (got.sent_ns, got.received_ns, got.replied_ns) == (at_ns, at_ns, at_ns)


@given(st.binary(max_size=1500))
def test_arbitrary_bytes_are_a_reply_or_a_packet_error_and_nothing_else(data: bytes) -> None:
    if len(data) < 44:
        with pytest.raises(PacketError, match=rf"^{len(data)} octets, a reply has at least 44$"):
            packet.read_reply(data)
    else:
        got = packet.read_reply(data)
        assert got.reflector_dscp is None or 0 <= got.reflector_dscp <= 63


@given(st.binary(max_size=200))
def test_arbitrary_tlvs_behind_a_good_reply_never_spoil_it(tlvs: bytes) -> None:
    got = packet.read_reply(reply(tlvs))
    assert (got.seq, got.ssid, got.sender_seq, got.ttl, got.synced) == (7, 99, 8, 61, True)


@given(st.lists(st.binary(max_size=20), max_size=4), DSCPS, DSCPS)
def test_the_dscp_that_the_reflector_saw_is_found_behind_any_other_tlvs(
    others: list[bytes], dscp1: int, dscp2: int
) -> None:
    before = b"".join(tlv(200 + number, value, 0x80) for number, value in enumerate(others))
    assert packet.read_reply(reply(before + cos(dscp1, dscp2))).reflector_dscp == dscp2


@pytest.mark.parametrize(
    "tlvs",
    [
        b"",
        cos(46, 46, flags=packet.UNRECOGNIZED),
        cos(46, 46, flags=packet.MALFORMED),
        cos(46, 46)[:-1],
        cos(46, 46)[:3],
        tlv(packet.TLV_CLASS_OF_SERVICE, b"\xb8\x00"),
        tlv(packet.TLV_PADDING, cos(46, 46)),
        struct.pack("!BBH", 0, packet.TLV_PADDING, 65535) + cos(46, 46),
    ],
    ids=["none", "not known there", "malformed", "cut", "header cut", "short", "inside padding", "overlong"],
)
def test_a_dscp_that_was_not_told_is_none(tlvs: bytes) -> None:
    assert packet.read_reply(reply(tlvs)).reflector_dscp is None


def test_a_packet_error_is_a_value_error() -> None:
    assert issubclass(PacketError, ValueError)
