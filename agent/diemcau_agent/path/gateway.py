"""Whether the gateway is there. A router may answer no ping and still do its work, so it is asked three
ways: ICMP echo, a UDP packet for it to refuse, and ARP (neighbour discovery), which it cannot do without."""

from __future__ import annotations

import time
from typing import Any

from .icmp import echo
from .neighbour import neighbour
from .routes import Default
from .trace import trace

REFUSED_S = 0.6


def ask(route: Default, interface: str | None = None, *, answered_before: bool = False) -> dict[str, Any]:
    """``gateway``, ``gateway_answers`` (absent where that could not be told), ``gateway_rtt_ms``; within 2 s.

    ``interface``: sockets are bound to it. ``answered_before``: it has answered pings; then silence means
    that it is gone, though the kernel goes on for most of a minute to believe in it. A route without
    a gateway (PPP) gives nothing.
    """
    if route.gateway is None:
        return {}
    facts: dict[str, Any] = {"gateway": route.gateway}
    began_s = time.monotonic()
    rtt_ms = _rtt_ms(route.gateway, interface)
    if rtt_ms is not None:
        return facts | {"gateway_answers": True, "gateway_rtt_ms": rtt_ms}
    try:
        known = neighbour(route.gateway, route.interface)
    except OSError:
        known = None
    is_there = None if known is None else known.is_there(time.monotonic() - began_s)
    if is_there is None and answered_before:
        is_there = False
    return facts if is_there is None else facts | {"gateway_answers": is_there}


def _rtt_ms(address: str, interface: str | None) -> float | None:
    try:
        rtt_ms = echo(address, interface=interface)
    except OSError:  # refused to us (PermissionError), or no way: the next question tells
        rtt_ms = None
    if rtt_ms is not None:
        return rtt_ms
    try:
        hops = trace(address, max_hops=1, deadline_s=REFUSED_S, interface=interface)
    except OSError:
        return None
    return hops[0].rtt_ms if hops else None
