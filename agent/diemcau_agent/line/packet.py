"""STAMP test packets, unauthenticated (RFC 8762, section 4.2.1 and 4.3.1, with the session id and TLVs of
RFC 8972), as bytes. Pure; shared by the agent's sender and the fleet's reflector.

A request and its reply are 44 octets and whatever TLVs follow; a reply is exactly as long as its request, so
that nothing is amplified and both ways carry the same load. Timestamps are NTP's 64 bits (RFC 5905): seconds
since 1900 in 32.32 fixed point; a reply in PTP's format (Z flag, RFC 8186) is understood as well.

Errors::

    ValueError
    └── PacketError    not a STAMP packet of ours; counted by whoever reads it, never believed
"""

from __future__ import annotations

import struct

import msgspec

PORT = 862
"""IANA's port of STAMP and TWAMP-Test (RFC 8762, section 4.1)."""
BASE_BYTES = 44
TLV_HEADER_BYTES = 4
MAX_BYTES = 1472
"""Of UDP payload: what fits an Ethernet frame with IPv4."""

TLV_PADDING = 1
TLV_CLASS_OF_SERVICE = 4
UNRECOGNIZED = 0x80
"""TLV flag U (RFC 8972, section 4): the sender sets it, a reflector that knows the TLV clears it."""
MALFORMED = 0x40
CLASS_OF_SERVICE_BYTES = TLV_HEADER_BYTES + 4

REQUEST = struct.Struct("!IQHH28x")
"""Sequence number, timestamp, error estimate, session id (SSID)."""
REPLY = struct.Struct("!IQHHQIQH2xB3x")
"""Sequence number, timestamp, error estimate, SSID, receive timestamp, then the sender's own sequence number,
timestamp, error estimate and TTL."""
TLV = struct.Struct("!BBH")

SYNCED = 0x8000
"""Error estimate, S flag: the clock is held to UTC (RFC 4656, section 4.1.2)."""
PTP_FORMAT = 0x4000
_NTP_EPOCH_S = 2_208_988_800
_SCALE_MAX = 63


class PacketError(ValueError):
    pass


class Reply(msgspec.Struct, frozen=True):
    """What a reflector answered. Times in nanoseconds since 1970, UTC by the clock of who took them:
    ``sent_ns`` (T1, the sender's own, echoed), ``received_ns`` (T2) and ``replied_ns`` (T3).

    ``seq`` is the reflector's own counter where it keeps state, else the sender's. ``reflector_dscp``: the
    DSCP with which the request arrived there, where it answered the TLV; ``ttl``: the request's.
    """

    seq: int
    ssid: int
    sender_seq: int
    sent_ns: int
    received_ns: int
    replied_ns: int
    synced: bool
    ttl: int
    reflector_dscp: int | None = None


def error_estimate(error_s: float, *, synced: bool) -> int:
    """Sixteen bits: S, Z = 0 (NTP), scale and a multiplier that is never 0 (RFC 4656, section 4.1.2)."""
    units = max(1, round(error_s * 2**32))
    scale = max(0, units.bit_length() - 8)
    multiplier = -(-units >> scale) if scale else units
    if multiplier > 0xFF:
        scale, multiplier = scale + 1, (multiplier + 1) // 2
    return (SYNCED if synced else 0) | min(scale, _SCALE_MAX) << 8 | multiplier


def to_ntp(epoch_ns: int) -> int:
    """Nanoseconds since 1970 as NTP's 64 bits; wraps in 2036 as the protocol has it."""
    seconds, rest_ns = divmod(epoch_ns, 1_000_000_000)
    return ((seconds + _NTP_EPOCH_S) & 0xFFFFFFFF) << 32 | (rest_ns << 32) // 1_000_000_000


def from_ntp(stamp: int) -> int:
    """The reverse; a stamp before 1968 is one of after 2036 (RFC 4330, section 3)."""
    seconds, fraction = stamp >> 32, stamp & 0xFFFFFFFF
    if seconds < 0x80000000:
        seconds += 1 << 32
    return (seconds - _NTP_EPOCH_S) * 1_000_000_000 + (fraction * 1_000_000_000 + 0x80000000 >> 32)


def from_ptp(stamp: int) -> int:
    """Seconds and nanoseconds since 1970, 32 bits each (RFC 8186)."""
    return (stamp >> 32) * 1_000_000_000 + (stamp & 0xFFFFFFFF)


def valid_size(size_bytes: int) -> bool:
    """Whether a packet can be that long: bare, or with a TLV for the rest."""
    return size_bytes == BASE_BYTES or BASE_BYTES + TLV_HEADER_BYTES <= size_bytes <= MAX_BYTES


def request(
    seq: int, sent_ns: int, ssid: int, estimate: int, size_bytes: int = BASE_BYTES, dscp: int | None = None
) -> bytes:
    """A sender's packet of ``size_bytes`` (:func:`valid_size`).

    With ``dscp`` it asks by the Class of Service TLV (RFC 8972, section 4.4) how it arrived, where it fits:
    at 52 octets and from 56 on. The rest is the Extra Padding TLV, zeros.
    """
    if not valid_size(size_bytes):
        raise ValueError(f"size_bytes: got {size_bytes}, expected {BASE_BYTES}, or 48 to {MAX_BYTES}")
    packet = REQUEST.pack(seq & 0xFFFFFFFF, to_ntp(sent_ns), estimate, ssid)
    left = size_bytes - BASE_BYTES
    if dscp is not None and (left == CLASS_OF_SERVICE_BYTES or left >= CLASS_OF_SERVICE_BYTES + 4):
        packet += TLV.pack(UNRECOGNIZED, TLV_CLASS_OF_SERVICE, 4) + struct.pack("!I", dscp << 26)
        left -= CLASS_OF_SERVICE_BYTES
    if left:
        packet += TLV.pack(UNRECOGNIZED, TLV_PADDING, left - TLV_HEADER_BYTES) + bytes(
            left - TLV_HEADER_BYTES
        )
    return packet


def read_reply(data: bytes) -> Reply:
    """Raises PacketError for what cannot be a reply."""
    if len(data) < BASE_BYTES:
        raise PacketError(f"{len(data)} octets, a reply has at least {BASE_BYTES}")
    seq, replied, estimate, ssid, received, sender_seq, sent, sender_estimate, ttl = REPLY.unpack_from(data)
    read = from_ptp if estimate & PTP_FORMAT else from_ntp
    read_ours = from_ptp if sender_estimate & PTP_FORMAT else from_ntp
    return Reply(
        seq=seq,
        ssid=ssid,
        sender_seq=sender_seq,
        sent_ns=read_ours(sent),
        received_ns=read(received),
        replied_ns=read(replied),
        synced=bool(estimate & SYNCED),
        ttl=ttl,
        reflector_dscp=_dscp_seen(data),
    )


def _dscp_seen(data: bytes) -> int | None:
    """DSCP2 of the Class of Service TLV, unless the reflector did not know it."""
    at = BASE_BYTES
    while at + TLV_HEADER_BYTES <= len(data):
        flags, kind, length = TLV.unpack_from(data, at)
        at += TLV_HEADER_BYTES
        if at + length > len(data):
            return None
        if kind == TLV_CLASS_OF_SERVICE and length == 4:
            return None if flags & (UNRECOGNIZED | MALFORMED) else (data[at] & 0x03) << 4 | data[at + 1] >> 4
        at += length
    return None
