"""What the spool writes to a card at rest: by the process's own accounting, and at the block device below the
file system, its journal included. ``python tests/bench/spool_writes.py`` measures it alone.

The device is a loop device with ext4, for root; where none can be made, it is said, and the process's own
accounting stands alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from budgets import Row, table
from diemcau_sim.mosquitto import PrivateMosquitto
from ears import Ears
from kit import Kit

HOURS = 24
"""As many as show the checkpoints too."""
BOUND_KIB = 1024.0
_TESTS = Path(__file__).parents[1]
_HOUR = Path(__file__).with_name("spool_hour.py")


def room_telemetry(kit: Kit) -> bytes:
    """A minute of a real room: an event takes along what waits."""
    topic = f"diemcau/v1/point/{kit.point}/telemetry"
    for _ in range(10):
        kit.command("ping")
        time.sleep(10)
        try:
            return kit.ears.await_("a minute's telemetry", lambda heard: heard.topic == topic, 1).payload
        except TimeoutError:
            continue
    raise RuntimeError("no telemetry in 100 s")


def measure(telemetry: bytes) -> list[Row]:
    rows: list[Row] = []
    for state in ("online", "offline"):
        with ExitStack() as stack:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="diemcau-card-"))
            folder, device = stack.enter_context(card(Path(place)))
            process, block = written(folder, device, state, telemetry)
        how = f"{HOURS} h in simulated time, telemetry of {len(telemetry)} bytes, an event every 15 min"
        rows.append(Row(f"spool, {state}", process / HOURS / 1024, BOUND_KIB, "KiB/h", f"write_bytes; {how}"))
        if block is not None:
            rows.append(Row(f"card, {state}", block / HOURS / 1024, BOUND_KIB, "KiB/h", f"ext4 on {device}"))
    return rows


@contextmanager
def card(place: Path) -> Generator[tuple[Path, str | None]]:
    """(a folder; the block device that it is on, None where none could be made)."""
    image, at = place / "image", place / "card"
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(256 * 1024 * 1024)
    with ExitStack() as stack:
        try:
            run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
            device = run("losetup", "--find", "--show", str(image))
            stack.callback(run, "losetup", "--detach", device)
            run("mount", "-o", "noatime", device, str(at))
            stack.callback(run, "umount", str(at))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no block device of our own, so writes are not measured there: {error}", flush=True)
            yield at, None
            return
        yield at, Path(device).name


def run(*command: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": path}
    )
    return done.stdout.strip()


def written(folder: Path, device: str | None, state: str, telemetry: bytes) -> tuple[int, int | None]:
    """Bytes by the process's accounting, and at the device."""
    path = os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(_HOUR), str(folder), state, str(HOURS), telemetry.decode()]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None

        def said(word: str) -> str:
            line = popen.stdout.readline() if popen.stdout else ""
            if not line.startswith(word):
                raise RuntimeError(f"spool_hour.py said {line!r}, expected {word}")
            return line

        said("begins")
        before = sectors(device)
        popen.stdin.write("\n")
        popen.stdin.flush()
        process = int(said("written").split()[1])
        block = None if device is None else (sectors(device) - before) * 512
    return process, block


def sectors(device: str | None) -> int:
    """Written since it was made (Documentation/block/stat.rst)."""
    return 0 if device is None else int(Path(f"/sys/block/{device}/stat").read_text().split()[6])


def main() -> int:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diemcau-bench-")))
        port = urlsplit(stack.enter_context(PrivateMosquitto()).url).port or 0
        ears = Ears(port)
        stack.callback(ears.close)
        telemetry = room_telemetry(stack.enter_context(Kit("bench-card", port, place, ears)))
    rows = measure(telemetry)
    print(table(rows))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
