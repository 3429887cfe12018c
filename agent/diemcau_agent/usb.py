"""Taking a USB device's driver away and giving it back: as if its plug were pulled, but for the power.

Only where the kit may: the unit of the agent gives it no writable /sys, so it takes a udev rule or a unit of
the room's own. Only the device itself is touched, and only where its vendor and product are still those that
were looked at: never a hub, on which others hang.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

DEADLINE_S = 20.0
"""A driver that does not let go holds the write for as long as it likes."""
TRIES = 3
PAUSE_S = 0.5
_HUB = "09"
"""bDeviceClass, USB class codes of the USB-IF."""
_PLACE = re.compile(r"(?:usb:)?([0-9a-f]{4}):([0-9a-f]{4}):(\d+-\d+(?:\.\d+)*)")


class NotPossible(Exception):
    """The device cannot be bound anew here, and why."""


class Usb:
    """``sys``: where sysfs is."""

    def __init__(self, sys: Path = Path("/sys")) -> None:
        self._devices = sys / "bus/usb/devices"
        self._driver = sys / "bus/usb/drivers/usb"
        self._executor = ThreadPoolExecutor(1, "usb")

    async def rebind(self, identity: Mapping[str, str]) -> str:
        """``identity`` as a device told it (contract.Look); the port, "1-1.3", that was bound anew.

        Raises NotPossible, also after 20 s: then the kernel still holds the write.
        """
        port = self._port(identity)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.get_running_loop().run_in_executor(self._executor, self._rebind, port)
        except TimeoutError:
            raise NotPossible(f"{port}: its driver did not let go in {DEADLINE_S:g} s") from None
        except OSError as error:
            raise NotPossible(f"{port}: {error.strerror or error}") from None
        return port

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _port(self, identity: Mapping[str, str]) -> str:
        found = next(
            (match for value in identity.values() if (match := _PLACE.fullmatch(value.lower()))), None
        )
        if found is None:
            raise NotPossible("it is not known to be a USB device")
        vendor, product, port = found.groups()
        device = self._devices / port
        try:
            now = tuple((device / name).read_text().strip() for name in ("idVendor", "idProduct"))
            kind = (device / "bDeviceClass").read_text().strip()
        except OSError:
            raise NotPossible(f"nothing is plugged into port {port}") from None
        if now != (vendor, product) or kind == _HUB:
            raise NotPossible(f"port {port} holds {':'.join(now)}, expected {vendor}:{product} and no hub")
        if not os.access(self._driver / "unbind", os.W_OK):
            raise NotPossible("this kit may not bind USB devices: /sys/bus/usb/drivers/usb is not writable")
        return port

    def _rebind(self, port: str) -> None:
        """In the thread. Given back even where the taking away failed, or was done by somebody already."""
        try:
            (self._driver / "unbind").write_text(port)
        finally:
            self._bind(port)

    def _bind(self, port: str) -> None:
        for left in range(TRIES - 1, -1, -1):
            try:
                (self._driver / "bind").write_text(port)
            except OSError:
                if (self._devices / port / "driver").exists():
                    return  # it is bound: nothing was taken away
                if left == 0:
                    raise
                time.sleep(PAUSE_S)
            else:
                return
