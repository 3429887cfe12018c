"""Tell mosquitto to read its rules again. It does so in the turn of its loop in which the signal comes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

COMMAND_S = 60.0
Reload = Callable[[], bool]
"""False where no broker runs: it will read everything when it starts. Raises ReloadFailed."""


class ReloadFailed(Exception):
    pass


def by_pid_file(path: Path) -> bool:
    """SIGHUP, which ends any other program: so only where the number is that of a mosquitto."""
    try:
        number = int(path.read_text("ascii"))
        name = Path(f"/proc/{number}/comm").read_text("ascii").strip()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise ReloadFailed(f"{path}: {error}") from None
    if name != "mosquitto":
        return False  # what an earlier life left behind
    try:
        os.kill(number, signal.SIGHUP)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise ReloadFailed(f"{path}: process {number}: {error}") from None
    return True


def by_command(command: str) -> bool:
    try:
        ended = subprocess.run(shlex.split(command), capture_output=True, timeout=COMMAND_S, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ReloadFailed(f"{command}: {error}") from None
    if ended.returncode != 0:
        said = ended.stderr.decode("utf-8", "replace").strip()[-300:]
        raise ReloadFailed(f"{command}: exit code {ended.returncode}: {said}")
    return True
