"""The kernel's tables and messages, read as they are; what cannot be read is left out."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent import sockets
from diemcau_agent.path import icmp, neighbour, routes
from diemcau_agent.path.neighbour import Neighbour
from diemcau_agent.path.routes import Default

IPV4 = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
    "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
    "wwan0\t00000000\t00000000\t0001\t0\t0\t700\t00000000\t0\t0\t0\n"
    "tun0\t00000000\t010200C0\t0003\t0\t0\t50\t00000080\t0\t0\t0\n"  # 0.0.0.0/1: not the default
    "eth9\t00000000\t010200C0\t0200\t0\t0\t1\t00000000\t0\t0\t0\n"  # rejects
    "cut\t00000000\n"
)
ZERO = "0" * 32
IPV6 = (
    f"fd000000000000000000000000000000 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth0\n"
    f"{ZERO} 00 {ZERO} 00 fe800000000000000000000000000001 00000400 00000002 00000000 00450003     eth0\n"
    f"{ZERO} 00 {ZERO} 00 fd000000000000000000000000000001 00000064 00000002 00000000 00000003    wlan0\n"
    f"{ZERO} 00 {ZERO} 00 {ZERO} 000002bc 00000002 00000000 00000001     ppp0\n"
    f"{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo\n"
)


def tables(folder: Path, ipv4: str | None, ipv6: str | None) -> Path:
    (folder / "net").mkdir()
    for name, text in (("route", ipv4), ("ipv6_route", ipv6)):
        if text is not None:
            (folder / "net" / name).write_text(text)
    return folder


def test_defaults_come_ipv4_first_each_by_its_metric(tmp_path: Path) -> None:
    assert routes.defaults(tables(tmp_path, IPV4, IPV6)) == [
        Default("eth0", "192.168.1.1", 100),
        Default("wlan0", "192.168.2.1", 600),
        Default("wwan0", None, 700),
        Default("wlan0", "fd00::1", 100),
        Default("ppp0", None, 700),
        Default("eth0", "fe80::1%eth0", 1024),  # a link-local gateway is nothing without its interface
    ]


def test_uplinks_are_named_once_the_one_in_use_first(tmp_path: Path) -> None:
    assert routes.uplinks(tables(tmp_path, IPV4, IPV6)) == ["eth0", "wlan0", "wwan0", "ppp0"]


def test_a_machine_of_ipv6_alone_has_an_uplink(tmp_path: Path) -> None:
    assert routes.uplinks(tables(tmp_path, IPV4.splitlines()[0], IPV6)) == ["wlan0", "ppp0", "eth0"]


def test_without_tables_there_is_no_uplink(tmp_path: Path) -> None:
    assert routes.uplinks(tables(tmp_path, None, None)) == []


def test_this_machines_own_tables_can_be_read() -> None:
    for route in routes.defaults():
        assert route.interface in [name for _, name in socket.if_nameindex()]


@given(st.text(alphabet="0123456789abcdefABCDEF \t\nx%:eth", max_size=300))
def test_no_table_breaks_the_reading(text: str) -> None:
    routes.parse_ipv4("\n" + text)
    routes.parse_ipv6(text)


# --- Neighbours


def answer(state: int, confirmed_ticks: int | None, kind: int = 28) -> bytes:
    """RTM_NEWNEIGH as the kernel sends it: destination, link address, cache info."""
    body = struct.pack("=BxxxiHBB", 2, 3, state, 0, 1) + struct.pack("=HH4s", 8, 1, b"\x0a\0\0\x01")
    body += struct.pack("=HH6s2x", 10, 2, b"\x02\0\0\0\0\x01")
    if confirmed_ticks is not None:
        body += struct.pack("=HHIIII", 20, 3, confirmed_ticks, 5, 7, 1)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 99) + body


def test_a_neighbours_proof_has_an_age() -> None:
    assert neighbour.parse(answer(0x02, 250)) == Neighbour(0x02, 2.5)


@pytest.mark.parametrize(
    ("state", "confirmed_s", "is_there"),
    [
        (0x02, 0.5, True),  # REACHABLE, by an answer to what was just sent
        (0x02, 20.0, None),  # by one of long ago: the kernel believes for up to 45 s
        (0x08, 20.0, None),  # DELAY
        (0x10, 0.5, True),  # PROBE
        (0x20, 0.5, False),  # FAILED
        (0x01, 99.0, False),  # INCOMPLETE
        (0x80, 0.5, None),  # PERMANENT: written by hand, nobody answered
    ],
)
def test_only_a_fresh_answer_proves_a_neighbour(
    state: int, confirmed_s: float, is_there: bool | None
) -> None:
    assert Neighbour(state, confirmed_s).is_there(1.5) is is_there


def test_what_is_no_neighbour_is_none() -> None:
    assert neighbour.parse(answer(0x02, 250, kind=2)) is None  # NLMSG_ERROR: no such entry
    assert neighbour.parse(answer(0x02, None)) is None
    assert neighbour.parse(b"") is None


@given(st.binary(max_size=60))
def test_no_message_of_the_kernel_breaks_the_reading(tail: bytes) -> None:
    neighbour.parse(tail)
    neighbour.parse(answer(0x02, None)[:28] + tail)
    icmp.reply_seq(tail, ipv6=False)
    sockets.parse_error(tail, 33435)


def test_the_kernel_answers_for_a_neighbour_that_it_does_not_know() -> None:
    assert neighbour.neighbour("127.0.0.77", "lo") is None
    with pytest.raises(OSError, match="interface"):
        neighbour.neighbour("127.0.0.77", "none7")


# --- ICMP


@pytest.mark.parametrize(
    ("data", "ipv6", "seq"),
    [
        (b"\x00\x00\xaa\xbb\x00\x07\x00\x02", False, 2),
        (b"\x81\x00\xaa\xbb\x00\x07\x01\x00" + bytes(48), True, 256),
        (b"\x08\x00\xaa\xbb\x00\x07\x00\x02", False, None),  # a request
        (b"\x81\x00\xaa\xbb\x00\x07\x00\x02", False, None),  # of the other family
        (b"\x00\x00\xaa\xbb\x00\x07\x00", False, None),
    ],
)
def test_an_echo_reply_is_told_from_anything_else(data: bytes, ipv6: bool, seq: int | None) -> None:
    assert icmp.reply_seq(data, ipv6=ipv6) == seq


def test_an_icmp_error_names_who_sent_it() -> None:
    told = struct.pack("=IBBBBII", 113, 2, 11, 0, 0, 0, 0) + struct.pack("=HH4s8x", 2, 0, b"\x0a\0\0\x01")
    assert sockets.parse_error(told, 33435) == sockets.IcmpError("10.0.0.1", 11, 0, 33435)
    told6 = struct.pack("=IBBBBII", 113, 3, 3, 0, 0, 0, 0) + struct.pack(
        "=HHI16sI", 10, 0, 0, b"\xfd" + bytes(15), 0
    )
    assert sockets.parse_error(told6, 33435) == sockets.IcmpError("fd00::", 3, 0, 33435)
    local = struct.pack("=IBBBBII", 90, 1, 0, 0, 0, 1400, 0) + bytes(28)  # EMSGSIZE, this machine's own
    assert sockets.parse_error(local, 33435) is None
