"""Tell mosquitto to read its rules again. It does so at the end of the turn of its loop (100 ms at most) in
which the signal comes: whoever connects after that is judged by the new rules, since a handshake takes turns.
"""

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
    """SIGHUP. It ends any other program, and a mosquitto that listens already but does not catch it yet."""
    try:
        number = int(path.read_text("ascii"))
        status = Path(f"/proc/{number}/status").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except (OSError, ValueError) as error:
        raise ReloadFailed(f"{path}: {error}") from None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    caught = int(fields["SigCgt"].strip(), 16) >> (signal.SIGHUP - 1) & 1
    if fields["Name"].strip() != "mosquitto" or not caught:
        return False  # what an earlier life left behind, or the very start of this one
    try:
        os.kill(number, signal.SIGHUP)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise ReloadFailed(f"{path}: process {number}: {error}") from None
    return True


def by_command(command: str) -> bool:
    try:
        # The administrator's own command line, no shell.
        ended = subprocess.run(shlex.split(command), capture_output=True, timeout=COMMAND_S, check=False)  # noqa: S603
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ReloadFailed(f"{command}: {error}") from None
    if ended.returncode != 0:
        said = ended.stderr.decode("utf-8", "replace").strip()[-300:]
        raise ReloadFailed(f"{command}: exit code {ended.returncode}: {said}")
    return True
