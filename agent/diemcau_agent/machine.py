"""This machine as the agent asks it: host, network interface and path, read in threads of their own; in
simulation the process "host" plays them."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

from diemcau_drivers.contract import DeviceError

from .address import Address, Tls
from .clock import Clock
from .config import Settings
from .host import LocalHost, Reader
from .line.stamping import parse
from .path import routes
from .path.survey import Path
from .worker import Workers

log = logging.getLogger(__name__)


class Machine:
    def __init__(self, settings: Settings, clock: Clock, workers: Workers) -> None:
        self._workers = workers
        self._simulated = "host" in workers
        broker, reflector = settings.broker, settings.line.reflector
        local = LocalHost(clock, pathlib.Path(settings.state_dir))
        path = Path(
            Address.parse(broker.urls[0]),
            Tls(broker.ca_file, broker.cert_file, broker.key_file),
            None if reflector is None else parse(reflector),
        )
        self._readers = {
            "probe": Reader("host", local.probe),
            "interface": Reader("interface", local.interface),
            "near": Reader("near path", lambda: path.survey(near_only=True)),
            "far": Reader("path", lambda: path.survey(connect=False)),
            "far, connect": Reader("path", path.survey),
        }

    async def probe(self) -> Mapping[str, Any]:
        """contract.HOST_READINGS. Raises DeviceError."""
        return await (self._workers.ask("host", "probe") if self._simulated else self._readers["probe"]())

    async def interface(self) -> Mapping[str, Any]:
        """contract.INTERFACE_READINGS of the interface in use. Raises DeviceError."""
        if self._simulated:
            return await self._workers.ask("host", "interface", {"name": None})
        return await self._readers["interface"]()

    async def survey(self, *, near_only: bool, connect: bool = True) -> Mapping[str, Any]:
        """Implements :class:`.line.line.Survey`: contract.PATH_READINGS, those that were found out."""
        try:
            if self._simulated:
                return await self._workers.ask("host", "path", {"near_only": near_only})
            return await self._readers["near" if near_only else "far, connect" if connect else "far"]()
        except DeviceError as error:
            log.warning("path: %s", error)
            return {}

    async def uplinks(self) -> list[str]:
        """The interfaces with a way out, the one in use first; none in simulation."""
        return [] if self._simulated else routes.uplinks()

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
