"""Our STAMP packets against other people's: scapy's layers, byte for byte both ways, and Wireshark's.

scapy 2.8 names the TLV flags from the least bit, so it prints U (0x80, the first bit on the wire by RFC 8972,
section 4) as the last R: flags are compared as numbers. It cannot build PTP stamps in its constructor, whose
``ts`` is read before ``err_estimate``: they are set afterwards.

tshark 4.0 has no STAMP, but TWAMP-Test (RFC 5357), the same packet on the wire. It knows no session sender's
layout and no SSID: a request reads as a reply of zeros, the SSID as a first field "MBZ", and the last three
octets of MBZ and the TLVs as padding.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib import stamp as scapy_stamp
from scapy.layers.inet import IP, UDP
from scapy.utils import EDecimal, wrpcap

from diemcau_agent.line import packet
from diemcau_agent.line.packet import Reply
from test_line_packet import DSCPS, SIZES, TIMES_NS, U16, U32, cos, tlv

Sender: Any = scapy_stamp.STAMPSessionSenderTestUnauthenticated
Reflector: Any = scapy_stamp.STAMPSessionReflectorTestUnauthenticated
ErrorEstimate: Any = scapy_stamp.ErrorEstimate
Tlv: Any = scapy_stamp.STAMPTestTLV

NTP_EPOCH_S = 2_208_988_800
ERA_0_NS = TIMES_NS.filter(lambda ns: ns < (2**32 - NTP_EPOCH_S) * 10**9)
"""scapy counts seconds since 1900 and does not wrap: times before February 2036."""
STAMP_BITS = st.integers(0, 255)
AT_NS = 1_790_000_000_123_456_789
"""21 September 2026, 14:13:20.123456789 UTC."""


def ntp_s(epoch_ns: int) -> Any:
    """scapy's own unit, seconds since 1900, exact."""
    return EDecimal(epoch_ns) / 10**9 + NTP_EPOCH_S


def estimate_of(bits: int) -> Any:
    return ErrorEstimate(S=bits >> 15, Z=bits >> 14 & 1, scale=bits >> 8 & 0x3F, multiplier=bits & 0xFF)


def tlvs_of(size: int, dscp: int | None) -> list[Any]:
    """The TLVs that a request of that size should carry, in scapy's words."""
    left = size - 44
    tlvs: list[Any] = []
    if dscp is not None and (left == 8 or left >= 12):
        tlvs.append(Tlv(flags=0x80, type=4, len=4, value=bytes([dscp << 2, 0, 0, 0])))
        left -= 8
    if left:
        tlvs.append(Tlv(flags=0x80, type=1, len=left - 4, value=bytes(left - 4)))
    return tlvs


@given(U32, ERA_0_NS, U16, st.integers(0, 0x3FFF), st.booleans(), SIZES, st.none() | DSCPS)
def test_a_request_that_scapy_builds_equals_ours_byte_for_byte(
    seq: int, sent_ns: int, ssid: int, error: int, synced: bool, size: int, dscp: int | None
) -> None:
    estimate = error | 0x8000 * synced
    theirs = Sender(
        seq=seq,
        ts=ntp_s(sent_ns),
        err_estimate=estimate_of(estimate),
        ssid=ssid,
        tlv_objects=tlvs_of(size, dscp),
    )
    assert bytes(theirs) == packet.request(seq, sent_ns, ssid, estimate, size, dscp)


@given(U32, ERA_0_NS, U16, st.floats(0, 100), st.booleans(), SIZES, st.none() | DSCPS)
def test_scapy_reads_in_our_request_what_we_wrote(
    seq: int, sent_ns: int, ssid: int, error_s: float, synced: bool, size: int, dscp: int | None
) -> None:
    estimate = packet.error_estimate(error_s, synced=synced)
    data = packet.request(seq, sent_ns, ssid, estimate, size, dscp)
    read = Sender(data)
    assert (read.seq, read.ssid, read.mbz) == (seq, ssid, 0)
    assert round((read.ts - NTP_EPOCH_S) * 10**9) == sent_ns
    assert bool(read.err_estimate.S) is synced
    assert read.err_estimate.Z == 0
    assert read.err_estimate.multiplier * 2**read.err_estimate.scale >= int(error_s * 2**32)
    wanted = [(0x80, t.type, t.len, t.value) for t in tlvs_of(size, dscp)]
    assert [(int(t.flags), t.type, t.len, t.value) for t in read.tlv_objects] == wanted
    assert not read.payload
    assert bytes(read) == data


@given(
    seqs=st.tuples(U32, U32),
    times_ns=st.tuples(ERA_0_NS, ERA_0_NS, ERA_0_NS),
    ssid=U16,
    errors=st.tuples(st.integers(0, 0x3FFF), st.integers(0, 0x3FFF)),
    synced=st.booleans(),
    ttl=STAMP_BITS,
    dscps=st.none() | st.tuples(DSCPS, DSCPS),
    padding=st.none() | st.integers(0, 200),
)
def test_we_read_in_scapys_reply_what_scapy_wrote(
    seqs: tuple[int, int],
    times_ns: tuple[int, int, int],
    ssid: int,
    errors: tuple[int, int],
    synced: bool,
    ttl: int,
    dscps: tuple[int, int] | None,
    padding: int | None,
) -> None:
    sent_ns, received_ns, replied_ns = times_ns
    tlvs: list[Any] = []
    if padding is not None:
        tlvs.append(Tlv(flags=0, type=1, len=padding, value=bytes(padding)))
    if dscps is not None:
        tlvs.append(Tlv(flags=0, type=4, len=4, value=cos(*dscps)[4:]))
    theirs = Reflector(
        seq=seqs[0],
        ts=ntp_s(replied_ns),
        err_estimate=estimate_of(errors[0] | 0x8000 * synced),
        ssid=ssid,
        ts_rx=ntp_s(received_ns),
        seq_sender=seqs[1],
        ts_sender=ntp_s(sent_ns),
        err_estimate_sender=estimate_of(errors[1]),
        ttl_sender=ttl,
        tlv_objects=tlvs,
    )
    assert packet.read_reply(bytes(theirs)) == Reply(
        seq=seqs[0],
        ssid=ssid,
        sender_seq=seqs[1],
        sent_ns=sent_ns,
        received_ns=received_ns,
        replied_ns=replied_ns,
        synced=synced,
        ttl=ttl,
        reflector_dscp=None if dscps is None else dscps[1],
    )


@given(U32, st.integers(0, 10**9 - 1), ERA_0_NS)
def test_a_reply_of_scapys_in_ptps_format_is_read_as_well(
    seconds: int, nanoseconds: int, sent_ns: int
) -> None:
    """RFC 8186: the reflector stamps in PTP's format, our own stamp comes back in NTP's."""
    theirs = Reflector(
        err_estimate=estimate_of(0xC102), ts_sender=ntp_s(sent_ns), err_estimate_sender=estimate_of(0x0001)
    )
    theirs.ts = theirs.ts_rx = seconds << 32 | nanoseconds
    got = packet.read_reply(bytes(theirs))
    assert (got.sent_ns, got.received_ns, got.replied_ns) == (sent_ns, *[seconds * 10**9 + nanoseconds] * 2)
    assert got.synced


@given(U32, U32, ERA_0_NS, ERA_0_NS, ERA_0_NS, U16, STAMP_BITS, DSCPS, DSCPS)
def test_scapy_reads_our_reply_as_we_mean_it(
    seq: int,
    sender_seq: int,
    sent_ns: int,
    received_ns: int,
    replied_ns: int,
    ssid: int,
    ttl: int,
    dscp1: int,
    dscp2: int,
) -> None:
    sent, received, replied = (packet.to_ntp(ns) for ns in (sent_ns, received_ns, replied_ns))
    data = packet.REPLY.pack(seq, replied, 0x9DA4, ssid, received, sender_seq, sent, 0x0001, ttl)
    data += cos(dscp1, dscp2) + tlv(packet.TLV_PADDING, bytes(8))
    read = Reflector(data)
    assert (read.seq, read.ssid, read.seq_sender, read.ttl_sender) == (seq, ssid, sender_seq, ttl)
    assert (read.mbz1, read.mbz2) == (0, 0)
    times_ns = [round((ts - NTP_EPOCH_S) * 10**9) for ts in (read.ts_sender, read.ts_rx, read.ts)]
    assert times_ns == [sent_ns, received_ns, replied_ns]
    of, theirs = read.err_estimate_sender, read.err_estimate
    assert (theirs.S, theirs.Z, theirs.scale, theirs.multiplier) == (1, 0, 0x1D, 0xA4)
    assert (of.S, of.Z, of.scale, of.multiplier) == (0, 0, 0, 1)
    assert [(int(t.flags), t.type, t.len) for t in read.tlv_objects] == [(0, 4, 4), (0, 1, 8)]
    assert read.tlv_objects[0].value == cos(dscp1, dscp2)[4:]
    assert bytes(read) == data


FIELDS = (
    "ip.dsfield.dscp",
    "udp.checksum.status",
    "twamp.test.seq_number",
    "twamp.test.timestamp",
    "twamp.test.error_estimate",
    "twamp.test.mbz1",
    "twamp.test.receive_timestamp",
    "twamp.test.sender_seq_number",
    "twamp.test.sender_timestamp",
    "twamp.test.sender_error_estimate",
    "twamp.test.mbz2",
    "twamp.test.sender_ttl",
    "twamp.test.padding",
)


def dissected(path: Path) -> list[list[str]]:
    tshark = shutil.which("tshark")
    assert tshark is not None
    options = ["-d", f"udp.port=={packet.PORT},twamp.test", "-o", "udp.check_checksum:TRUE", "-T", "fields"]
    fields = [word for name in FIELDS for word in ("-e", name)]
    command = [tshark, "-n", "-r", str(path), *options, *fields]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
        env={"TZ": "UTC", "HOME": str(path.parent)},
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.tshark
def test_wiresharks_dissector_reads_our_request_and_reply(tmp_path: Path) -> None:
    estimate = packet.error_estimate(0.01, synced=True)
    request = packet.request(5, AT_NS, 77, estimate, 60, 46)
    sent, received, replied = (packet.to_ntp(AT_NS + later_ns) for later_ns in (0, 20_000_000, 20_100_000))
    reply = packet.REPLY.pack(9, replied, 0x1D80, 77, received, 5, sent, estimate, 61) + cos(46, 34)
    ours: Any = IP(src="192.0.2.1", dst="192.0.2.2", tos=46 << 2) / UDP(sport=40000, dport=862) / request
    theirs: Any = IP(src="192.0.2.2", dst="192.0.2.1", tos=34 << 2) / UDP(sport=862, dport=40000) / reply
    path = tmp_path / "stamp.pcap"
    wrpcap(str(path), [ours, theirs])
    asked, answered = (dict(zip(FIELDS, line, strict=True)) for line in dissected(path))

    # NTP's fraction cut to the nanosecond where from_ntp rounds: ...788 for our ...789.
    assert (
        asked
        == {
            "ip.dsfield.dscp": "46",
            "udp.checksum.status": "1",  # good
            "twamp.test.seq_number": "5",
            "twamp.test.timestamp": "Sep 21, 2026 14:13:20.123456788 UTC",
            "twamp.test.error_estimate": str(estimate),
            "twamp.test.mbz1": "77",
            "twamp.test.receive_timestamp": "Jan  1, 1970 00:00:00.000000000 UTC",
            "twamp.test.sender_seq_number": "0",
            "twamp.test.sender_timestamp": "Jan  1, 1970 00:00:00.000000000 UTC",
            "twamp.test.sender_error_estimate": "0",
            "twamp.test.mbz2": "0",
            "twamp.test.sender_ttl": "0",
            "twamp.test.padding": "000000" + request[44:].hex(),
        }
    )
    assert answered == {
        "ip.dsfield.dscp": "34",
        "udp.checksum.status": "1",
        "twamp.test.seq_number": "9",
        "twamp.test.timestamp": "Sep 21, 2026 14:13:20.143556788 UTC",
        "twamp.test.error_estimate": str(0x1D80),
        "twamp.test.mbz1": "77",
        "twamp.test.receive_timestamp": "Sep 21, 2026 14:13:20.143456788 UTC",
        "twamp.test.sender_seq_number": "5",
        "twamp.test.sender_timestamp": "Sep 21, 2026 14:13:20.123456788 UTC",
        "twamp.test.sender_error_estimate": str(estimate),
        "twamp.test.mbz2": "0",
        "twamp.test.sender_ttl": "61",
        "twamp.test.padding": "000000" + cos(46, 34).hex(),
    }
