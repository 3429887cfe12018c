"""The process that may restart the machine: socket-activated, root's, gone when nobody asks. What may be
asked: :mod:`.guard`."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from diemcau_agent.exits import OK, USAGE
from diemcau_agent.privileged.serve import allowed, listening, of_root, serve

from .guard import Guard
from .record import Record

RESTART_S = 20.0


def main(config: Path, state: Path, runtime: Path, user: str) -> int:
    """``user``: the agent's, who may ask besides root. The exit code."""
    listener = listening("diemcau-reboot.socket")
    if listener is None:
        return USAGE
    record = Record(state, runtime)
    with listener:
        serve(listener, Guard(lambda: of_root(config), record, allowed(user), restart))
    return OK


def restart() -> None:
    """Raises OSError where it cannot be ordered."""
    # What stops the units stops this one too; the answer is to leave before that.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        subprocess.run(("systemctl", "reboot"), check=True, capture_output=True, text=True, timeout=RESTART_S)
    except subprocess.CalledProcessError as error:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise OSError(f"systemctl reboot: exit code {error.returncode}: {error.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise OSError(f"systemctl reboot: no answer in {RESTART_S:g} s") from None
