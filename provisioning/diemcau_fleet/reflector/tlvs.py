"""The TLVs of an extended STAMP packet, answered where they stand (RFC 8972, section 4). Pure."""

from __future__ import annotations

from diemcau_agent.line.packet import (
    CLASS_OF_SERVICE_BYTES,
    MALFORMED,
    TLV,
    TLV_CLASS_OF_SERVICE,
    TLV_HEADER_BYTES,
    TLV_PADDING,
    UNRECOGNIZED,
)

EXAMINED_MAX = 8
"""TLVs looked at in a packet: as many as RFC 8972 defines. What follows goes back as it came, its U flag set
by the sender: not understood. Else one packet could be 500 empty TLVs of work."""
DSCP_FORBIDDEN_FROM = 48
"""The local policy on DSCP1 that section 4.4 asks for: not CS6 and CS7, a network's own control (RFC 4594,
section 3.1), which nobody outside should be able to have us send."""


def answer(packet: bytearray, begin: int, end: int, tos: int) -> int:
    """Answers the TLVs in ``packet[begin:end]``, in place; the length stays. Returns the reply's TOS octet.

    ``tos``: the request's TOS octet (traffic class). Extra Padding goes back as it is; Class of Service gets
    DSCP2, ECN and RP, and the reply is sent with DSCP1, else with the DSCP as received; both lose the U flag.
    A TLV that we do not know goes back with U, one of wrong length with M, and what follows that as it came.
    A header of zeros is none: it begins the padding of TWAMP Light (RFC 8762, section 4.6), which goes back.
    """
    reply_tos = tos & 0xFC
    for _ in range(EXAMINED_MAX):
        if begin + TLV_HEADER_BYTES > end:
            break
        flags, kind, length = TLV.unpack_from(packet, begin)
        if not (flags or kind or length):
            break
        after = begin + TLV_HEADER_BYTES + length
        if kind == TLV_CLASS_OF_SERVICE:
            known, well_formed = True, length == CLASS_OF_SERVICE_BYTES - TLV_HEADER_BYTES and after <= end
        else:
            known, well_formed = kind == TLV_PADDING, after <= end
        packet[begin] = (0 if known else UNRECOGNIZED) | (0 if well_formed else MALFORMED)
        if not well_formed:
            break
        if kind == TLV_CLASS_OF_SERVICE:
            reply_tos = _class_of_service(packet, begin + TLV_HEADER_BYTES, tos)
        begin = after
    return reply_tos


def _class_of_service(packet: bytearray, at: int, tos: int) -> int:
    """DSCP1 (6 bits, as asked for), DSCP2 (6, as received), ECN (2, as received), RP (2: 1 where DSCP1 is not
    permitted), 16 reserved (section 4.4, with erratum 8199)."""
    dscp1 = packet[at] >> 2
    refused = dscp1 >= DSCP_FORBIDDEN_FROM
    value = dscp1 << 26 | tos >> 2 << 20 | (tos & 3) << 18 | refused << 16
    packet[at : at + 4] = value.to_bytes(4, "big")
    return tos & 0xFC if refused else dscp1 << 2
