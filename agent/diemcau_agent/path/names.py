"""Names of the centre, looked up as everything else on this machine looks them up, but never waited for.

getaddrinfo(3) cannot be bounded nor broken off: it runs in a thread of its own, one at a time, which is
left behind where it takes too long and asked again for its result the next time.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any

import msgspec

DEADLINE_S = 3.0
"""glibc gives up after 10 s or more (resolv.conf(5): 5 s, two attempts, each server)."""


class Answer(msgspec.Struct, frozen=True):
    """Of one look-up of all names: addresses by name, the slowest name's time, what went wrong."""

    addresses: dict[str, tuple[str, ...]]
    slowest_ms: float
    error: str | None


class Names:
    """``addresses``: the last known ones of each name: a route can be looked at without a name server."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """``hosts``: names and numeric addresses; the latter are never looked up."""
        self.addresses = {host: (host,) for host in hosts if is_literal(host)}
        self._names = tuple(dict.fromkeys(host for host in hosts if not is_literal(host)))
        self._lock = threading.Lock()
        self._running: Future[Answer] | None = None
        self._began_s = 0.0

    def look_up(self, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """``dns_answers``, ``dns_ms`` (of the slowest) or ``dns_error``; nothing where no host is a name."""
        if not self._names:
            return {}
        with self._lock:
            if self._running is None:
                self._running, self._began_s = Future(), time.monotonic()
                work = (self._running, self._names)
                threading.Thread(target=_run, args=work, name="names", daemon=True).start()
            running, began_s = self._running, self._began_s
        try:
            answer = running.result(deadline_s)
        except TimeoutError:
            waited_s = time.monotonic() - began_s
            return {"dns_answers": False, "dns_error": f"no answer in {waited_s:.0f} s"}
        with self._lock:
            if self._running is running:
                self._running = None
        self.addresses |= answer.addresses
        if answer.error is not None:
            return {"dns_answers": False, "dns_error": answer.error}
        return {"dns_answers": True, "dns_ms": answer.slowest_ms}


def is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def reason(error: OSError, host: str) -> str:
    """What a failed look-up means, in words."""
    match error.errno:
        case socket.EAI_NONAME | socket.EAI_NODATA:
            return f"no such name: {host}"
        case socket.EAI_AGAIN:
            return "no name server answers"
        case _:
            return f"{host}: {error.strerror or error}"


def _run(future: Future[Answer], names: Sequence[str]) -> None:
    try:
        future.set_result(_look_up(names))
    except BaseException as error:  # whoever waits raises it
        future.set_exception(error)


def _look_up(names: Sequence[str]) -> Answer:
    addresses: dict[str, tuple[str, ...]] = {}
    slowest_ms, failed = 0.0, None
    for name in names:
        began_s = time.monotonic()
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM, flags=socket.AI_ADDRCONFIG)
            addresses[name] = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        except UnicodeError:
            failed = failed or f"no such name: {name}"
        except OSError as error:
            failed = failed or reason(error, name)
        slowest_ms = max(slowest_ms, round((time.monotonic() - began_s) * 1000, 3))
    return Answer(addresses, slowest_ms, failed)
