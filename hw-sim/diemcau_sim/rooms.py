"""Finding the rooms that run. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from diemcau_drivers.contract import DeviceError

from .client import WorldClient

SOCKET_NAME = "world.sock"


def rooms_directory() -> Path:
    """Where rooms live that were given no directory: below XDG_RUNTIME_DIR, else in /tmp, this user's own."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "diemcau-sim" if runtime else Path(f"/tmp/diemcau-sim-{os.getuid()}")


def running() -> list[Path]:
    """The directories of the rooms that answer."""
    sockets = sorted(rooms_directory().glob(f"*/{SOCKET_NAME}"))
    return [path.parent for path in sockets if answers(path.parent)]


def answers(directory: Path) -> bool:
    client = WorldClient(directory / SOCKET_NAME)
    try:
        client.ask("state")
    except DeviceError:
        return False
    finally:
        client.close()
    return True
