"""Trains for the daemon, sent in a thread of their own: neither a name server nor a dead line blocks it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from diemcau_agent.clock import Clock

from . import packet
from .record import Train
from .train import WAIT_S, Address, Limits, Plan, resolve, run
from .uplink import SIZE_BYTES

FRESH_S = 600.0
"""How long an address that was looked up serves: a dead name server is told as such, and measured past."""


def parse(reflector: str) -> tuple[str, int]:
    """Host and port of a ``line.reflector`` that the settings have let through."""
    host, _, port = reflector.rpartition(":")
    if not host or (reflector.endswith("]")):
        host, port = reflector, ""
    return host.strip("[]"), int(port or packet.PORT)


class Stamping:
    """Implements :class:`.uplink.Measure` for one reflector, one train at a time."""

    def __init__(self, reflector: str, dscp: int, clock: Clock, synced: Callable[[], bool]) -> None:
        self._host, self._port = parse(reflector)
        self._dscp = dscp
        self._clock = clock
        self._synced = synced
        self._executor = ThreadPoolExecutor(1, "stamp")
        self._stop = threading.Event()
        self._address: Address | None = None
        self._looked_up_s = 0.0
        self.sending = False
        self.wait_s = WAIT_S
        """As in :class:`.train.Plan`."""

    async def __call__(
        self,
        *,
        count: int,
        interval_ms: float,
        size_bytes: int = SIZE_BYTES,
        dscp: int | None = None,
        uplink: str | None = None,
        limits: Limits | None = None,
    ) -> Train:
        def send() -> Train:
            plan = Plan(
                address=self._resolved(),
                count=count,
                interval_ms=interval_ms,
                size_bytes=size_bytes,
                dscp=self._dscp if dscp is None else dscp,
                wait_s=self.wait_s,
                interface=uplink,
                limits=limits,
            )
            return run(plan, synced=self._synced, stop=self._stop)

        self.sending = True
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, send)
        finally:
            self.sending = False

    def close(self) -> None:
        """End the train under way, within 0.1 s, and take no more."""
        self._stop.set()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _resolved(self) -> Address:
        """Raises OSError where it never could be looked up."""
        now_s = self._clock.monotonic()
        if self._address is None or now_s - self._looked_up_s > FRESH_S:
            try:
                self._address = resolve(self._host, self._port)
            except OSError:
                if self._address is None:
                    raise
            self._looked_up_s = now_s
        return self._address
