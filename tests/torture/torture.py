"""``make torture``: each fault of the table, again and again, in slices that add up.

    python tests/torture/torture.py [--minutes M] [--rows kill,line] [--state FILE]
    python tests/torture/torture.py --report

No single run has the hours that 15,000 kills take. A file (build/torture.json) keeps of each row how far it
has got and its seed; every run goes on from there, a slice of each row in turn, until its minutes are over,
and prints the table. A slice that fails counts nothing: its seed and a copy of all that it left stay beside
the file, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Protocol

import msgspec
from kits import Failed

STATE = Path("build/torture.json")


class Run(Protocol):
    """Does ``count`` faults by ``seed`` in ``place``, and tells of them in a line. Raises Failed."""

    def __call__(self, count: int, seed: int, place: Path) -> str: ...


class Row(msgspec.Struct, frozen=True):
    """``full``: how many make the full form; ``slice``: how many at once. ``run``: module:function."""

    fault: str
    full: int
    slice: int
    run: str
    holds: str


ROWS = {
    "kill": Row("SIGKILL of the agent under load", 15_000, 240, "row_kill:run", "0 lost, 0 corrupt spools"),
    "broker": Row(
        "broker killed, restarted, refusing, kicking", 1000, 16, "row_broker:run", "same, within the envelope"
    ),
    "line": Row("line cut, half-open, one-way", 200, 20, "row_line:run", "same, back in 60 s"),
    "week": Row("a week offline", 1, 1, "row_line:week", "drained in 10 min at 20 a second"),
    "bridge": Row("a bridge that loses", 50, 6, "row_bridge:run", "every gap found and repaired"),
    "disk": Row("disk full, read-only, I/O errors", 5, 5, "row_disk:run", "up, commands work, drops told"),
    "database": Row(
        "spool flipped, truncated, zeroed", 500, 25, "row_database:run", "up in 10 s, file kept, told"
    ),
    "clock": Row("clock jumps", 5, 5, "row_clock:run", "no crash, nothing stale, order kept"),
    "stop": Row("SIGSTOP of daemon and workers", 7, 7, "row_stop:run", "found in time, told"),
    "soak": Row(
        "soak, minutes at 100 reconnects an hour", 1440, 5, "row_soak:run", "memory and descriptors flat"
    ),
}


class Progress(msgspec.Struct):
    seed: int
    done: int = 0
    told: str = ""
    failures: list[str] = msgspec.field(default_factory=list[str])


def load(state: Path) -> dict[str, Progress]:
    try:
        kept = msgspec.json.decode(state.read_bytes(), type=dict[str, Progress])
    except FileNotFoundError:
        kept = {}
    return {name: kept.get(name) or Progress(secrets.randbelow(1_000_000)) for name in ROWS}


def save(state: Path, progress: dict[str, Progress]) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    new = state.with_suffix(".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(progress)))
    new.rename(state)


def go_on(name: str, row: Row, progress: Progress, state: Path) -> bool:
    """One slice; whether it held."""
    module, _, function = row.run.partition(":")
    run: Run = getattr(importlib.import_module(module), function)
    count = min(row.slice, row.full - progress.done)
    seed = progress.seed + progress.done + len(progress.failures)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        try:
            progress.told = run(count, seed, Path(folder))
        except Failed as error:
            evidence = state.parent / f"torture-{name}-{seed}"
            shutil.copytree(folder, evidence, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
            progress.failures.append(f"seed {seed}, {count}: {error}")
            print(f"{name}: FAILED, seed {seed}: {error}\n  evidence: {evidence}", flush=True)
            return False
    progress.done += count
    took_s = time.monotonic() - began_s
    print(f"{name}: {count} in {took_s:.0f} s, {progress.done} of {row.full}: {progress.told}", flush=True)
    return True


def table(progress: dict[str, Progress]) -> str:
    lines = [("fault", "done", "of", "failed", "what must hold", "last slice")]
    lines += [
        (row.fault, str(one.done), str(row.full), str(len(one.failures)), row.holds, one.told)
        for row, one in ((ROWS[name], progress[name]) for name in ROWS)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="default: %(default)s")
    parser.add_argument("--rows", default=",".join(ROWS), help="default: all, %(default)s")
    parser.add_argument("--state", type=Path, default=STATE, help="default: %(default)s")
    parser.add_argument("--report", action="store_true", help="print the table, do nothing")
    arguments = parser.parse_args()
    names = arguments.rows.split(",")
    if unknown := set(names) - set(ROWS):
        parser.error(f"--rows: got {', '.join(sorted(unknown))}, expected of {', '.join(ROWS)}")
    progress = load(arguments.state)
    held = True
    if not arguments.report:
        end_s = time.monotonic() + 60 * arguments.minutes
        left = [name for name in names if progress[name].done < ROWS[name].full]
        while left and time.monotonic() < end_s:
            name = left.pop(0)
            good = go_on(name, ROWS[name], progress[name], arguments.state)
            save(arguments.state, progress)
            held = held and good
            if good and progress[name].done < ROWS[name].full:
                left.append(name)
    print(table(progress))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
