"""The ways out of this machine, from the kernel's own tables (proc(5): net/route, net/ipv6_route)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec

PROC = Path("/proc")
_RTF_UP = 0x1
_RTF_REJECT = 0x200


class Default(msgspec.Struct, frozen=True):
    """A default route. ``gateway`` is None where the line itself is the way (PPP, LTE modems); a link-local
    one names its interface: ``fe80::1%eth0``."""

    interface: str
    gateway: str | None
    metric: int


def defaults(proc: Path = PROC) -> list[Default]:
    """The default routes in force: IPv4 before IPv6, each with the lowest metric first, as the kernel
    chooses. Metrics of the two families do not compare: the kernel's own IPv6 default is 1024."""
    return [
        *sorted(parse_ipv4(_text(proc / "net/route")), key=_metric),
        *sorted(parse_ipv6(_text(proc / "net/ipv6_route")), key=_metric),
    ]


def uplinks(proc: Path = PROC) -> list[str]:
    """The interfaces that have a default route, the one in use first."""
    return list(dict.fromkeys(route.interface for route in defaults(proc)))


def parse_ipv4(text: str) -> list[Default]:
    """Default routes of /proc/net/route, in its order; a line that cannot be read is left out."""
    routes: list[Default] = []
    for line in text.splitlines()[1:]:
        columns = line.split()
        try:
            interface, destination, gateway, flags, metric, mask = *columns[:4], columns[6], columns[7]
            bits = int(flags, 16)
            # The kernel prints the address as a number of its own byte order.
            address = IPv4Address(struct.pack("=I", int(gateway, 16)))
            route = Default(interface, None if address == IPv4Address(0) else str(address), int(metric))
        except (ValueError, IndexError, struct.error):
            continue
        if destination == mask == "00000000" and bits & _RTF_UP and not bits & _RTF_REJECT:
            routes.append(route)
    return routes


def parse_ipv6(text: str) -> list[Default]:
    """Default routes of /proc/net/ipv6_route; the kernel's own "unreachable" is none."""
    routes: list[Default] = []
    for line in text.splitlines():
        columns = line.split()
        try:
            destination, length, gateway, metric, flags = *columns[:2], *columns[4:6], columns[8]
            interface = columns[9]
            bits = int(flags, 16)
            everywhere = int(destination, 16) == int(length, 16) == 0
            address = IPv6Address(bytes.fromhex(gateway))
            scope = f"%{interface}" if address.is_link_local else ""
            known = None if address == IPv6Address(0) else f"{address}{scope}"
            route = Default(interface, known, int(metric, 16))
        except (ValueError, IndexError):
            continue
        if everywhere and bits & _RTF_UP and not bits & _RTF_REJECT:
            routes.append(route)
    return routes


def _metric(route: Default) -> int:
    return route.metric


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
