"""What tells the agent's device processes from whoever may ask on the control socket: a file.

They run as the agent's own user, and the kernel lets who is shut in with Landlock connect to any Unix socket
that has a path. But it lets them read no file that is not named to them. So a peer first sends the line that
is in ``control.key``, which lies beside the socket and is new at each start. Which process asks is not looked
at: its number may be another's by then, its parents and its session are its own to leave, and its control
group says nothing where the agent is no unit.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

KEY_NAME = "control.key"


def make(directory: Path) -> bytes:
    """A new one, for the agent's user and root alone, in place of the one before. Raises OSError."""
    path = directory / KEY_NAME
    key = secrets.token_hex(32).encode() + b"\n"
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        file.write(key)
    return key


def read(directory: Path) -> bytes:
    """To be read once connected: what the agent that listens has made is there by then. Raises OSError."""
    return (directory / KEY_NAME).read_bytes()
