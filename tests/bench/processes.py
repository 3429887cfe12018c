"""What processes cost, as the kernel counts it (proc(5)). A process that is gone counts nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """Of /proc/PID/stat: ``cpu_s`` is its own user and system time and that of every child it has reaped."""

    pid: int
    parent: int
    zombie: bool
    cpu_s: float
    started_s: float
    """Seconds since boot (CLOCK_BOOTTIME)."""


def stat(pid: int) -> Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # After the last ")": a program's name may hold anything, brackets too. Field 3 (state) comes first.
    fields = text[text.rindex(")") + 2 :].split()
    ticks = sum(int(fields[number - 3]) for number in (14, 15, 16, 17))
    return Stat(
        pid=pid,
        parent=int(fields[4 - 3]),
        zombie=fields[0] == "Z",
        cpu_s=ticks / TICKS_PER_S,
        started_s=int(fields[22 - 3]) / TICKS_PER_S,
    )


def tree(pid: int) -> list[Stat]:
    """``pid`` and all its living descendants."""
    every = [
        found
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (found := stat(int(entry.name)))
    ]
    children: dict[int, list[Stat]] = {}
    for one in every:
        children.setdefault(one.parent, []).append(one)

    def walk(one: Stat) -> Iterator[Stat]:
        yield one
        for child in children.get(one.pid, []):
            yield from walk(child)

    return [found for root in every if root.pid == pid for found in walk(root)]


def cpu_s(pid: int) -> float:
    """CPU time of ``pid`` and of all that it ever started, living or reaped."""
    return sum(one.cpu_s for one in tree(pid))


def pss_mb(pid: int) -> float:
    """Proportional set size, MB (10^6 bytes): its pages, each that is shared divided by its sharers."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024 / 1e6


def worker(pid: int, name: str) -> Stat | None:
    """The device's process ``name`` ("camera") below the daemon ``pid``; None while there is none."""
    for one in tree(pid):
        if one.pid == pid or one.zombie:
            continue
        try:
            words = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"diemcau_drivers" in words and name.encode() in words:
            return one
    return None


def boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def until(what: str, look: Callable[[], T | None], timeout_s: float, every_s: float = 0.02) -> T:
    """The first answer that is not None (nor False). Raises TimeoutError, saying what was waited for."""
    end = time.monotonic() + timeout_s
    while True:
        answer = look()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(every_s)
