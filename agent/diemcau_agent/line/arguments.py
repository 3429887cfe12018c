"""The command line of ``diemcau-agent probe``; what it does is in :mod:`.probe`, imported when it runs."""

from __future__ import annotations

import argparse
from typing import Any

from diemcau_agent.arguments import add_output, number


def add_parser(commands: Any) -> None:
    probe = commands.add_parser("probe", help="measure the line to a STAMP reflector (RFC 8762)")
    probe.add_argument("target", type=_target, metavar="HOST[:PORT]", help="default port: 862; [IPV6]:PORT")
    probe.add_argument("--count", type=number(int, 1, 240_000, "packets"), default=100, metavar="N")
    probe.add_argument(
        "--interval-ms",
        type=number(float, 0.5, 60_000, "milliseconds"),
        default=20.0,
        metavar="M",
        help="default: 20",
    )
    probe.add_argument(
        "--size", type=_packet_size, default=72, metavar="B", help="of UDP payload; default: 72"
    )
    probe.add_argument(
        "--dscp", type=number(int, 0, 63, "a DSCP"), default=46, metavar="D", help="default: 46 (EF)"
    )
    add_output(probe, "LANG's")


def _packet_size(text: str) -> float:
    if text == "44":  # bare; anything longer takes a TLV's header of 4
        return 44
    try:
        return number(int, 48, 1472, "bytes")(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or 44") from None


def _target(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT, an IPv6 address, or [IPV6]:PORT."""
    host, port = text, "862"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else port if bracket and not rest else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    good = host and not any(character.isspace() for character in host)
    if ":" in host or text.startswith("["):
        good = _is_ipv6(host)
    if not good or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected HOST, HOST:PORT or [IPV6]:PORT, a port from 1 to 65535"
        )
    return host, int(port)


def _is_ipv6(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
