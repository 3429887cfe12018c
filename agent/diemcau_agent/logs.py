"""The agent's own log: to stderr for the journal, and its newest lines in memory for the ``logs`` command."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Sequence

AGENT_UNIT = "diemcau-agent.service"
UNITS = (
    AGENT_UNIT,
    "diemcau-clock.service",
    "diemcau-enrol.service",
    "diemcau-reboot.service",
    "systemd-timesyncd.service",
    "kernel",
)
"""What may be read from afar: nothing that could hold a person's name or a meeting's content. Not the
network's manager, which names every wireless network in reach ("Nam's phone"), nor a browser."""
_SERIAL = re.compile(r"(SerialNumber: ).*")
"""Of whatever is plugged in, a visitor's stick or phone among it."""
KEPT_LINES = 2000
JOURNAL_S = 10.0


class Ring(logging.Handler):
    """The newest lines, so that a machine without a journal can still tell them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.lines.append(self.format(record))
        except Exception:
            self.handleError(record)  # as logging's own handlers: a bad log call ends nothing


def begin(level: int = logging.INFO) -> Ring:
    """Set the process's logging up. Under systemd the journal has the time already."""
    ring = Ring()
    ring.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    stderr = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(
        logging.Formatter(
            "%(levelname)s %(name)s: %(message)s"
            if "JOURNAL_STREAM" in os.environ
            else "%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
    )
    logging.basicConfig(level=level, handlers=[stderr, ring], force=True)
    return ring


async def journal_lines(ring: Ring, unit: str | None, count: int) -> Sequence[str]:
    """The newest ``count`` lines of ``unit`` (None: the agent's own), oldest of them first.

    Raises OSError where the unit is not one of :data:`UNITS` or its journal cannot be read.
    """
    if unit is None or unit == AGENT_UNIT:
        return list(ring.lines)[-count:]
    if unit not in UNITS:
        raise OSError(f"unit: got {unit!r}, expected one of {', '.join(UNITS)}")
    program = shutil.which("journalctl")
    if program is None:
        raise OSError("this machine has no systemd journal")
    where = ["--dmesg"] if unit == "kernel" else [f"--unit={unit}"]
    child = await asyncio.create_subprocess_exec(
        program, "--no-pager", "--quiet", "--output=short-iso", f"--lines={count}", *where,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(JOURNAL_S):
            output, _ = await child.communicate()
    except TimeoutError:
        raise OSError(f"the journal did not answer in {JOURNAL_S:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    lines = output.decode(errors="replace").splitlines()[-count:]
    return [_SERIAL.sub(r"\1…", line) for line in lines]
