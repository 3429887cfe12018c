"""The Pi itself: CPU, memory, disk, temperature, under-voltage, clock.

What a machine does not have (a temperature sensor, the firmware's throttling word) is left out,
never made up.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil

from diemcau_drivers.contract import Broken

from .clock import Clock
from .path.routes import uplinks
from .worker import Hung

_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
_UNDER_VOLTAGE_NOW = 0x1
_ETHERNET = "1"
"""ARPHRD_ETHER, which Wi-Fi bears as well."""
_WEAKEST_DBM = -120.0
DEADLINE_S = 10.0


class Reader:
    """Reads in a named thread of its own: a dying card or a hung network driver blocks whoever asks it."""

    def __init__(self, name: str, read: Callable[[], Mapping[str, Any]]) -> None:
        self._name = name
        self._read = read
        self._executor = ThreadPoolExecutor(1, name)

    async def __call__(self) -> Mapping[str, Any]:
        """Raises Hung after 10 s, Broken where the machine cannot be read."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await asyncio.get_running_loop().run_in_executor(self._executor, self._read)
        except TimeoutError:
            raise Hung(f"{self._name}: no answer in {DEADLINE_S:g} s") from None
        except OSError as error:
            raise Broken(f"{self._name}: {error}") from error

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class LocalHost:
    """Readings of this machine, named in ``contract.HOST_READINGS`` and ``INTERFACE_READINGS``.

    ``sys``, ``proc``: where sysfs and procfs are. ``disk``: a folder on the card that holds the spool.
    """

    def __init__(
        self, clock: Clock, disk: Path, sys: Path = Path("/sys"), proc: Path = Path("/proc")
    ) -> None:
        self._clock = clock
        self._disk = disk
        self._sys = sys
        self._proc = proc
        psutil.cpu_percent(None)  # the first call has nothing to compare with and would tell 0

    def probe(self) -> dict[str, Any]:
        memory = psutil.virtual_memory()
        readings: dict[str, Any] = {
            "cpu_percent": psutil.cpu_percent(None),
            "load_per_core": round(os.getloadavg()[1] / (os.cpu_count() or 1), 2),
            "memory_available_percent": round(100 * memory.available / memory.total, 1),
            "temperature_c": self._temperature_c(),
            "throttled_bits": self._throttled_bits(),
            "clock_synced": self._clock.synced(),
            "uptime_s": round(self._clock.monotonic()),
            **self._disk_readings(),
        }
        return {name: value for name, value in readings.items() if value is not None}

    def interface(self, name: str | None = None) -> dict[str, Any]:
        """State and counters of ``name``, or of the interface that has the default route.

        Without a default route it is the one with a cable in it: that DHCP gave nothing is not the cable's
        fault. An address that the machine gave itself (link-local, RFC 3927) leads nowhere and is none.
        """
        name = name or next(iter(uplinks(self._proc)), None) or self._plugged()
        if name is None:
            return {"carrier": False, "has_address": False}
        stats = psutil.net_if_stats().get(name)
        if stats is None:
            return {"interface": name, "carrier": False, "has_address": False}
        counters = psutil.net_io_counters(pernic=True).get(name)
        addresses = psutil.net_if_addrs().get(name, [])
        readings: dict[str, Any] = {
            "interface": name,
            "carrier": self._carrier(name, stats.isup),
            "has_address": any(
                entry.family in (socket.AF_INET, socket.AF_INET6)
                and not ip_address(entry.address).is_link_local
                for entry in addresses
            ),
        }
        if stats.speed > 0:  # 0 where the driver does not tell, as Wi-Fi and veth do not
            readings["speed_mbps"] = stats.speed
        duplex = _read(self._sys / "class/net" / name / "duplex")
        if duplex in ("full", "half"):
            readings["duplex"] = duplex
        wifi_dbm = signal_dbm(_read(self._proc / "net/wireless") or "", name)
        if wifi_dbm is not None:
            readings["wifi_dbm"] = wifi_dbm
        if counters is not None:
            readings |= {
                "rx_errors": counters.errin,
                "tx_errors": counters.errout,
                "rx_dropped": counters.dropin,
                "tx_dropped": counters.dropout,
            }
        return readings

    def _carrier(self, name: str, is_up: bool) -> bool:
        text = _read(self._sys / "class/net" / name / "carrier")
        return text == "1" if text is not None else is_up

    def _plugged(self) -> str | None:
        """Real cards before bridges and the like; among these one with a carrier before one without."""
        found = [path.parent for path in (self._sys / "class/net").glob("*/type") if _read(path) == _ETHERNET]
        by_worth = sorted(
            (not (path / "device").exists(), not self._carrier(path.name, is_up=False), path.name)
            for path in found
        )
        return by_worth[0][2] if by_worth else None

    def _temperature_c(self) -> float | None:
        text = _read(self._sys / "class/thermal/thermal_zone0/temp")
        try:
            return None if text is None else round(int(text) / 1000, 1)
        except ValueError:
            return None

    def _throttled_bits(self) -> int | None:
        """The firmware's word (vcgencmd get_throttled); kernels without it tell under-voltage in hwmon."""
        text = _read(self._sys / _THROTTLED)
        if text is not None:
            try:
                return int(text, 16)
            except ValueError:
                return None
        for hwmon in sorted((self._sys / "class/hwmon").glob("hwmon*")):
            if _read(hwmon / "name") == "rpi_volt":
                return _UNDER_VOLTAGE_NOW if _read(hwmon / "in0_lcrit_alarm") == "1" else 0
        return None

    def _disk_readings(self) -> dict[str, Any]:
        try:
            stats = os.statvfs(self._disk)
        except OSError:
            return {}
        # ext4 turns read-only by itself when a card dies; asking costs the card no write.
        return {
            "disk_free_percent": round(100 * stats.f_bavail / max(stats.f_blocks, 1), 1),
            "disk_writable": not stats.f_flag & os.ST_RDONLY,
        }


def signal_dbm(wireless: str, name: str) -> float | None:
    """The signal of ``name`` in /proc/net/wireless, "level" in dBm.

    None: no Wi-Fi, not joined, a driver that tells no dBm, or a kernel without CONFIG_CFG80211_WEXT (the Pi's
    and Debian's have it). A Wi-Fi 7 card tells it to nl80211 alone, which is not asked: then there is none.
    """
    for line in wireless.splitlines():
        interface, _, rest = line.partition(":")
        columns = rest.split()
        if interface.strip() != name or len(columns) < 3:
            continue
        try:
            level_dbm = float(columns[2].rstrip("."))
        except ValueError:
            return None
        return level_dbm if _WEAKEST_DBM <= level_dbm < 0 else None  # -256: the driver's "unknown"
    return None


def model(root: Path = Path("/")) -> str:
    """What the machine calls itself: the device tree's model, else the architecture."""
    text = _read(root / "proc/device-tree/model")
    return text.rstrip("\0") if text else os.uname().machine


def serial(root: Path = Path("/")) -> str | None:
    """The Pi's serial number, or the machine id elsewhere; only ever published as a hash."""
    text = _read(root / "proc/device-tree/serial-number") or _read(root / "etc/machine-id")
    return text.rstrip("\0") if text else None


def os_name(root: Path = Path("/")) -> str:
    fields: Mapping[str, str] = dict(
        line.split("=", 1) for line in (_read(root / "etc/os-release") or "").splitlines() if "=" in line
    )
    return fields.get("PRETTY_NAME", "Linux").strip('"')


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
