"""The kernel's display connectors (/sys/class/drm): hot-plug and EDID; nothing is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .edid import Edid, EdidError, parse
from .videonodes import SYS, text

CONNECTOR = re.compile(r"card\d+-(?P<name>.+)")
VIRTUAL = ("Writeback", "Virtual")
"""Connectors that lead to no screen."""


@dataclass(frozen=True, slots=True)
class Connector:
    """``connected``: None where the kernel cannot tell. ``edid``: None without a whole one."""

    name: str
    connected: bool | None
    edid: Edid | None

    @property
    def identity(self) -> dict[str, str]:
        identity = {"connector": self.name}
        if self.edid is not None:
            identity["manufacturer"] = self.edid.manufacturer
            identity |= {} if self.edid.name is None else {"edid_name": self.edid.name}
            identity |= {} if self.edid.serial_hash is None else {"serial_hash": self.edid.serial_hash}
        return identity


def connector(wanted: str | None, sys: Path = SYS) -> Connector | None:
    """The one called ``wanted`` ("HDMI-A-1"); without a name the first with a screen, else the first."""
    found = [_read(path, name) for path, name in _listed(sys) if wanted in (None, name)]
    return next((one for one in found if one.connected), found[0] if found else None)


def _listed(sys: Path) -> list[tuple[Path, str]]:
    try:
        entries = sorted((sys / "class/drm").iterdir())
    except OSError:
        return []
    matched = [(entry, CONNECTOR.fullmatch(entry.name)) for entry in entries]
    named = [(entry, match["name"]) for entry, match in matched if match]
    return [(entry, name) for entry, name in named if not name.startswith(VIRTUAL)]


def _read(path: Path, name: str) -> Connector:
    connected = {"connected": True, "disconnected": False}.get(text(path / "status") or "")
    try:
        edid = parse((path / "edid").read_bytes())
    except (OSError, EdidError):
        edid = None
    return Connector(name, connected, edid)
