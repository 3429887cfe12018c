"""The path from near to far, as plain facts: gateway, name server, clock, route, MTU, the broker's door.

Whoever judges reads them from near to far; what could not be told is left out, never made up. The interface
itself is read elsewhere (``host.LocalHost.interface``). Nothing here needs a privilege; every part has a
deadline of its own, and the parts that do not need each other run side by side.
"""

from __future__ import annotations

import pathlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from ipaddress import ip_address
from typing import Any

from diemcau_agent.address import Address, Tls
from diemcau_agent.sockets import own_address

from . import gateway
from .mtu import path_mtu
from .names import Names
from .routes import PROC, defaults
from .routes import uplinks as uplinks
from .servers import connect
from .timesource import time_source
from .trace import trace

DEADLINE_S = 8.0
NEAR_S = 3.0
"""Of that for what is near: gateway, name server, clock. The rest needs the addresses found by then."""

Facts = dict[str, Any]


class Path:
    """The path to ``broker`` and ``reflector`` (host and UDP port of STAMP, or None).

    ``interface``: that uplink alone, by sockets bound to it, whatever the routing table prefers; then
    nothing is said of name server and clock, which are the machine's and not the uplink's. Surveys
    may run beside each other.
    """

    def __init__(
        self,
        broker: Address,
        tls: Tls,
        reflector: tuple[str, int] | None = None,
        *,
        interface: str | None = None,
        proc: pathlib.Path = PROC,
    ) -> None:
        self._broker = broker
        self._tls = tls
        self._reflector = reflector
        self._interface = interface
        self._proc = proc
        self._answering: str | None = None
        """The gateway that answered last, by itself."""
        self._names = Names([broker.host] + ([reflector[0]] if reflector else []))

    def survey(self, near_only: bool = False, connect: bool = True) -> Facts:
        """The facts, flat, within 8 s; ``near_only``: of the gateway alone, within 2 s; ``connect``: with a
        handshake at the broker, which costs it some 1.5 ms of CPU.

        ``gateway``, ``gateway_answers``, ``gateway_rtt_ms`` (:func:`.gateway.ask`; also False where there
        is no default route nor any other way to the centre); ``dns_*`` (:class:`.names.Names`); ``clock_*``
        (:func:`.timesource.time_source`); ``hops`` to the centre where it answers, ``beyond_gateway``:
        whether anybody behind the gateway did; ``mtu_*`` (:func:`.mtu.path_mtu`); ``broker_*``
        (:func:`.servers.connect`).
        """
        end_s = time.monotonic() + DEADLINE_S
        if near_only:
            return self._gateway()
        own = self._interface is None
        near = [self._gateway, self._names.look_up, *([time_source] if own else [])]
        facts = side_by_side(near, NEAR_S + 0.5)
        if not own:
            facts = {name: value for name, value in facts.items() if not name.startswith("dns_")}

        def hops() -> Facts:
            return self._route(facts.get("gateway"))

        far = side_by_side([hops, self._mtu, *([self._connect] if connect else [])], end_s - time.monotonic())
        if "gateway" in facts and far.get("beyond_gateway"):
            far["gateway_answers"] = True  # whatever it says of itself: it lets through
        return facts | far

    def _gateway(self) -> Facts:
        routes = [route for route in defaults(self._proc) if self._interface in (None, route.interface)]
        if routes:
            before = routes[0].gateway == self._answering
            facts = gateway.ask(routes[0], self._interface, answered_before=before)
            if "gateway_rtt_ms" in facts:
                self._answering = facts["gateway"]
            return facts
        target = self._target()
        known = target is not None and own_address(target, self._interface) is not None
        return {} if known else {"gateway_answers": False}

    def _route(self, gateway_address: str | None) -> Facts:
        target = self._target()
        if target is None or own_address(target, self._interface) in (None, target):
            return {}
        try:
            hops = trace(target, interface=self._interface)
        except OSError:
            return {}
        last = hops[-1].address if hops else None
        reached = last is not None and ip_address(last) == ip_address(target)
        near = {None, gateway_address, hops[0].address if hops else None}
        facts: Facts = {"beyond_gateway": reached or any(hop.address not in near for hop in hops)}
        return facts | ({"hops": len(hops)} if reached else {})

    def _mtu(self) -> Facts:
        if self._reflector is None:
            return {}
        host, port = self._reflector
        addresses = self._names.addresses.get(host, ())
        return path_mtu(addresses[0], port, interface=self._interface) if addresses else {}

    def _connect(self) -> Facts:
        addresses = self._names.addresses.get(self._broker.host, ())
        return connect(self._broker, self._tls, addresses, interface=self._interface)

    def _target(self) -> str | None:
        """Where the centre is: the reflector's address, else the broker's, as last known."""
        hosts = ([self._reflector[0]] if self._reflector else []) + [self._broker.host]
        return next((found[0] for host in hosts if (found := self._names.addresses.get(host))), None)


def side_by_side(parts: list[Callable[[], Facts]], deadline_s: float) -> Facts:
    """What the parts tell that end in time, each in a thread of its own. An exception of one is raised."""
    futures: list[Future[Facts]] = []
    for part in parts:
        future: Future[Facts] = Future()
        futures.append(future)
        name = getattr(part, "__name__", "part").strip("_")
        threading.Thread(target=_tell, args=(future, part), name=f"path {name}", daemon=True).start()
    facts: Facts = {}
    for future in wait(futures, max(deadline_s, 0)).done:
        facts |= future.result()
    return facts


def _tell(future: Future[Facts], part: Callable[[], Facts]) -> None:
    try:
        future.set_result(part())
    except BaseException as error:  # raised by whoever waits
        future.set_exception(error)
