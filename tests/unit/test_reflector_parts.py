"""The reflector's pure parts and its command line: TLVs by RFC 8972, section 4; tables that forget; control
messages in whatever order; addresses, and every wrong option named with what was got and what is expected."""

from __future__ import annotations

import itertools
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.exits import USAGE
from diemcau_agent.line import packet
from diemcau_agent.line.packet import MALFORMED, UNRECOGNIZED
from diemcau_fleet import cli
from diemcau_fleet.reflector import mmsg, tlvs
from diemcau_fleet.reflector.mmsg import FAMILIES, Layout
from diemcau_fleet.reflector.sockets import Listen, ListenError
from diemcau_fleet.reflector.tables import Generations

COS = packet.TLV_CLASS_OF_SERVICE
PADDING = packet.TLV_PADDING
U_AND_M = UNRECOGNIZED | MALFORMED


def tlv(flags: int, kind: int, value: bytes = b"", length: int | None = None) -> bytes:
    return packet.TLV.pack(flags, kind, len(value) if length is None else length) + value


def answered(extension: bytes, tos: int = 0) -> bytes:
    """Behind a base packet, and with something behind it that is not the packet's."""
    buffer = bytearray(bytes(44) + extension + b"\xa5" * 8)
    tlvs.answer(buffer, 44, 44 + len(extension), tos)
    assert bytes(buffer[:44]) == bytes(44)
    assert bytes(buffer[-8:]) == b"\xa5" * 8
    return bytes(buffer[44:-8])


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        pytest.param(tlv(0x80, 200, b"abc"), tlv(0x80, 200, b"abc"), id="unknown keeps U"),
        pytest.param(tlv(0, 200, b"abc"), tlv(0x80, 200, b"abc"), id="unknown gets U"),
        pytest.param(tlv(0x80, 8, b"h" * 16), tlv(0x80, 8, b"h" * 16), id="HMAC is unknown"),
        pytest.param(tlv(0xFF, PADDING, b"x"), tlv(0, PADDING, b"x"), id="I and reserved flags cleared"),
        pytest.param(tlv(0x80, 0, b""), tlv(0x80, 0, b""), id="type 0 is reserved, so unknown"),
        pytest.param(
            tlv(0x80, COS, b"\x00" * 3) + tlv(0x80, PADDING),
            tlv(MALFORMED, COS, b"\x00" * 3) + tlv(0x80, PADDING),
            id="wrong length: M, and what follows as it came",
        ),
        pytest.param(
            tlv(0x80, PADDING, b"xy", length=3), tlv(MALFORMED, PADDING, b"xy", length=3), id="truncated: M"
        ),
        pytest.param(
            tlv(0x80, 99, b"xy", length=65535), tlv(U_AND_M, 99, b"xy", length=65535), id="unknown: U and M"
        ),
        pytest.param(tlv(0x80, COS, b"\x00\x00", 4), tlv(MALFORMED, COS, b"\x00\x00", 4), id="half a CoS: M"),
        pytest.param(
            tlv(0x80, PADDING, b"x") + b"\x80\x01\x00",
            tlv(0, PADDING, b"x") + b"\x80\x01\x00",
            id="short rest",
        ),
        pytest.param(
            tlv(0x80, PADDING, b"x") + bytes(9), tlv(0, PADDING, b"x") + bytes(9), id="zeros behind a TLV"
        ),
    ],
)
def test_tlvs_come_back_with_the_flags_that_rfc_8972_says(request_: bytes, reply: bytes) -> None:
    assert answered(request_) == reply


def test_the_work_for_one_packet_is_bounded_and_what_is_beyond_stays_not_understood() -> None:
    request = tlv(0x80, PADDING) * 300
    known = tlv(0, PADDING) * tlvs.EXAMINED_MAX
    assert answered(request) == known + tlv(0x80, PADDING) * (300 - tlvs.EXAMINED_MAX)


def test_reserved_bits_of_class_of_service_are_zeroed() -> None:
    assert answered(tlv(0x80, COS, b"\xbb\xff\xff\xff"), tos=0b101110_01) == tlv(
        0, COS, struct.pack("!I", 46 << 26 | 46 << 20 | 1 << 18)
    )


@given(st.binary(max_size=120), st.integers(0, 255))
def test_no_extension_is_lengthened_or_read_beyond_its_end(extension: bytes, tos: int) -> None:
    reply = answered(extension, tos)
    assert len(reply) == len(extension)


@given(
    capacity=st.integers(2, 20),
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 120)), max_size=200),
)
def test_a_table_keeps_what_is_used_and_never_more_than_its_capacity(
    capacity: int, steps: list[tuple[int, int]]
) -> None:
    """Against a list of all uses, by time and by how many other keys came in between."""
    idle_ns, now_ns = 100, 0
    table = Generations(capacity, idle_ns, now_ns)
    uses: list[tuple[int, int]] = []
    for key, later_ns in steps:
        now_ns += later_ns
        table.make_room(1, now_ns)
        found = table.young.get(key)
        if found is None:
            found = table.take(key, 0)
        table.young[key] = found + 1
        assert len(table) <= capacity
        before = [number for number, (used, _) in enumerate(uses) if used == key]
        since = uses[before[-1] :] if before else []
        uses.append((key, now_ns))
        if not since:
            assert found == 0
            continue
        others = {used for used, _ in since} - {key}
        if now_ns - since[0][1] < idle_ns and len(others) < capacity // 2:
            assert found > 0
        elif now_ns - since[0][1] >= 2 * idle_ns:
            assert found == 0


V4, V6 = FAMILIES[socket.AF_INET], FAMILIES[socket.AF_INET6]


def cmsg(level: int, kind: int, data: bytes) -> bytes:
    return struct.pack("=Qii", 16 + len(data), level, kind) + data + bytes(-len(data) % 8)


TIME = cmsg(socket.SOL_SOCKET, mmsg.SO_TIMESTAMPNS, struct.pack("=qq", 1, 2))
FOUR = {
    "time": TIME,
    "ttl": cmsg(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("=i", 61)),
    "tos": cmsg(socket.IPPROTO_IP, socket.IP_TOS, b"\xb8"),
    "local": cmsg(socket.IPPROTO_IP, 8, struct.pack("=i", 3) + bytes([127, 0, 0, 9, 10, 0, 0, 1])),
}


@pytest.mark.parametrize("order", list(itertools.permutations(FOUR)), ids=",".join)
def test_control_data_is_found_in_whatever_order_the_kernel_writes_it(order: tuple[str, ...]) -> None:
    control = cmsg(socket.SOL_SOCKET, 999, b"new in this kernel") + b"".join(FOUR[name] for name in order)
    layout = mmsg.learn(V4, control)
    assert layout is not None
    assert struct.unpack_from("=qq", control, layout.time) == (1, 2)
    assert (control[layout.ttl], control[layout.tos]) == (61, 0xB8)
    assert control[layout.local : layout.local + 4] == bytes([127, 0, 0, 9])


def test_control_data_of_ipv6_is_found() -> None:
    control = (
        TIME
        + cmsg(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, bytes(range(16)) + struct.pack("=i", 3))
        + cmsg(socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", 61))
        + cmsg(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", 0xB8))
    )
    layout = mmsg.learn(V6, control)
    assert layout is not None
    assert (control[layout.ttl], control[layout.tos]) == (61, 0xB8)
    assert control[layout.local : layout.local + 16] == bytes(range(16))


@pytest.mark.parametrize("missing", FOUR)
def test_a_message_without_one_of_them_has_no_layout(missing: str) -> None:
    assert mmsg.learn(V4, b"".join(data for name, data in FOUR.items() if name != missing)) is None


@given(st.binary(max_size=256), st.sampled_from([V4, V6]))
def test_no_control_data_breaks_it_and_every_layout_lies_within(control: bytes, family: mmsg.Family) -> None:
    messages = list(mmsg.control_messages(control))
    assert all(begin <= end <= len(control) for _, _, begin, end in messages)
    layout: Layout | None = mmsg.learn(family, control)
    assert layout is None or layout.local + family.local_bytes <= len(control)


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("192.0.2.1:863", Listen("192.0.2.1", 863)),
        ("192.0.2.1", Listen("192.0.2.1", 862)),
        ("0.0.0.0:0", Listen("0.0.0.0", 0)),
        ("[::]", Listen("::", 862)),
        ("[2001:DB8::1]:65535", Listen("2001:db8::1", 65535)),
        ("[fe80::1%lo]:862", Listen("fe80::1%lo", 862)),
    ],
)
def test_an_address_is_read_with_port_862_unless_it_has_one(text: str, listen: Listen) -> None:
    assert Listen.parse(text) == listen
    assert Listen.parse(str(listen)) == listen


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":862",
        "centre.example:862",
        "::1",
        "2001:db8::1:862",
        "[::1",
        "[127.0.0.1]:1",
        "127.0.0.1:",
        "1.2.3:4",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:x",
        "127.0.0.1:862 ",
        "127.0.0.1:٨٦٢",
        "[]:862",
    ],
)
def test_what_is_no_address_is_told_with_what_is_expected(text: str) -> None:
    with pytest.raises(ListenError, match=r"^got .*, expected an IPv4 address or an IPv6 one in brackets"):
        Listen.parse(text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--listen", "somewhere"], "argument --listen: got 'somewhere', expected an IPv4 address"),
        (["--processes", "0"], "argument --processes: got '0', expected a whole number from 1 to 64"),
        (["--processes", "two"], "argument --processes: got 'two', expected a whole number from 1 to 64"),
        (
            ["--source-pps", "-5"],
            "argument --source-pps: got '-5', expected a whole number from 1 to 1000000",
        ),
        (["--source-pps", "²"], "argument --source-pps: got '²', expected a whole number"),
        (["--stats-s", "0"], "argument --stats-s: got '0', expected seconds from 0.1 to 86400"),
        (["--stats-s", "nan"], "argument --stats-s: got 'nan', expected seconds from 0.1 to 86400"),
    ],
)
def test_a_wrong_option_ends_with_2_and_names_itself(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["reflector", "--listen", "127.0.0.1:0", *arguments])
    assert ended.value.code == USAGE
    assert told in capsys.readouterr().err


def test_without_an_address_to_listen_on_it_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["reflector"])
    assert ended.value.code == USAGE
    assert "--listen" in capsys.readouterr().err
