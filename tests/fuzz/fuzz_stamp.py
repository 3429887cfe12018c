"""Any datagram, as a reply to our sender and as a request to the reflector."""

from __future__ import annotations

from diemcau_agent.line import packet
from diemcau_fleet.reflector import tlvs


def seeds() -> list[bytes]:
    request = packet.request(7, 10**18, 9, packet.error_estimate(0.001, synced=True), 72, dscp=34)
    reply = packet.REPLY.pack(7, 2**40, 0x8101, 9, 2**41, 7, 2**40, 0x4101, 64)
    return [request, reply, reply + packet.TLV.pack(0, 4, 4) + b"\x8a\x20\0\0", request[:44]]


def fuzz(data: bytes) -> None:
    try:
        reply = packet.read_reply(data)
    except packet.PacketError:
        assert len(data) < packet.BASE_BYTES
        return
    assert reply.reflector_dscp is None or 0 <= reply.reflector_dscp < 64
    answer = bytearray(data)
    tos = tlvs.answer(answer, packet.BASE_BYTES, len(answer), data[0])
    assert 0 <= tos < 256
    assert len(answer) == len(data)
    assert answer[: packet.BASE_BYTES] == data[: packet.BASE_BYTES]
