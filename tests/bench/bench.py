"""``make bench``: the budgets of the room, measured on this machine in one run, as ratios.

A bare Python process (floor.py) on the same private broker is what the daemon is measured against, in
turns, so that a slow or busy machine slows both. Exits 1 when one budget is over.
``BENCH=full`` measures the CPU at rest over a whole probe period of a real kit (5 minutes).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import processes
import spool_writes
from budgets import Row, percentile, table
from diemcau_agent.config import Probe
from diemcau_sim.mosquitto import PrivateMosquitto
from ears import Ears
from kit import Kit

FLOOR = Path(__file__).with_name("floor.py")
REAL = Probe()
"""The periods of a real kit."""
WORKERS = ("camera", "audio", "display", "panel", "presence", "host")
STARTS = 7
PINGS = 1000
WARM_UP = 50
SETTLE_S = 3.0
REST_S = 120.0
ROUND_S = 30.0


@contextmanager
def floor(port: int, ears: Ears) -> Generator[tuple[int, float]]:
    """A bare process that is connected: its pid, and the seconds from its start to its ``online``."""
    ears.forget()
    started = time.monotonic()
    popen = subprocess.Popen([sys.executable, str(FLOOR), str(port), "floor"])
    try:
        online = ears.await_("the bare process online", lambda heard: heard.topic == "floor/status", 30)
        yield popen.pid, online.at_s - started
    finally:
        popen.terminate()
        popen.wait(10)


def start(kit: Kit, port: int, ears: Ears) -> list[Row]:
    """In turns; the first of each is thrown away, as it fills the page cache and writes .pyc files."""
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(STARTS + 1):
        kit.stop()  # all of it: what it still starts after its "online" would slow the other down
        with floor(port, ears) as (_, seconds):
            bare.append(seconds)
        ours.append(kit.start())
    measured, base = statistics.median(ours[1:]) * 1e3, statistics.median(bare[1:]) * 1e3
    return [Row("start to online", measured, 3 * base, "ms", f"3 x bare {base:.0f} ms, medians of {STARTS}")]


def bare_memory(port: int, ears: Ears) -> float:
    """MB PSS of the bare process before anything of ours runs: shared pages count for those who share."""
    with floor(port, ears) as (pid, _):
        time.sleep(SETTLE_S)
        return processes.pss_mb(pid)


def memory(kit: Kit, bare_mb: float) -> list[Row]:
    """The daemon at rest; then all of a self-test at its peak; then the leaving."""
    leave(kit)
    time.sleep(SETTLE_S)
    how = f"1.25 x bare {bare_mb:.1f} MB, each without the other"
    rows = [Row("daemon memory", processes.pss_mb(kit.pid), 1.25 * bare_mb, "MB PSS", how)]

    peak_mb = 0.0
    with ThreadPoolExecutor(1, "selftest") as executor:
        test = executor.submit(kit.command, "selftest", {"scope": "full"}, timeout_s=90)
        while not test.done():
            running = processes.tree(kit.pid)
            peak_mb = max(peak_mb, sum(processes.pss_mb(one.pid) for one in running))
            time.sleep(0.1)
        test.result()
    ended = time.monotonic()
    there = [name for name in WORKERS if processes.worker(kit.pid, name) is not None]
    if there != list(WORKERS):
        raise RuntimeError(f"after a self-test only these workers run: {', '.join(there)}")
    rows.append(
        Row("memory in all", peak_mb, 200, "MB PSS", f"daemon and {len(there)} workers, peak of a self-test")
    )
    leave(kit)
    rows.append(
        Row(
            "idle workers leave",
            time.monotonic() - ended,
            REAL.idle_s + 5,
            "s",
            f"idle_s {REAL.idle_s:g} s + 5 s",
        )
    )
    return rows


def leave(kit: Kit) -> None:
    """Wait until nobody needs camera and sound any more, and their processes have gone."""
    for name in ("camera", "audio"):
        processes.until(
            f"the idle {name} worker leaves",
            lambda name=name: processes.worker(kit.pid, name) is None,
            120,
            0.1,
        )


def rest(kit: Kit, rounds: Kit | None) -> list[Row]:
    """CPU of the daemon and all it starts, at a real kit's periods.

    With ``rounds``, a kit that looks at picture and sound every ROUND_S while ``kit`` does not at all: the
    difference is what one round costs, and one round in ``REAL.period_s`` is added to the rest.
    """
    leave(kit)
    if rounds is None:
        (busy_s,) = cpu_over(REAL.period_s, [kit.pid])
        percent = 100 * busy_s / REAL.period_s
        return [
            Row(
                "CPU at rest",
                percent,
                0.5,
                "% core",
                f"measured over one probe period of {REAL.period_s:g} s",
            )
        ]
    still_s, busy_s = cpu_over(REST_S, [kit.pid, rounds.pid])
    round_s = (busy_s - still_s) / (REST_S / ROUND_S)
    percent = 100 * (still_s / REST_S + round_s / REAL.period_s)
    how = f"{still_s / REST_S:.2%} still + {round_s:.2f} s a round in {REAL.period_s:g} s; over {REST_S:g} s"
    return [Row("CPU at rest", percent, 0.5, "% core", how)]


def cpu_over(seconds: float, pids: Sequence[int]) -> list[float]:
    before = [processes.cpu_s(pid) for pid in pids]
    time.sleep(seconds)
    return [processes.cpu_s(pid) - spent for pid, spent in zip(pids, before, strict=True)]


def ping(kit: Kit, ears: Ears) -> list[Row]:
    """Round trips by the same client through the same broker, one of ours and one of theirs in turns."""
    ours: list[float] = []
    bare: list[float] = []
    for number in range(WARM_UP + PINGS):
        ears.forget()
        payload = f"{number:400d}".encode()
        sent = time.monotonic()
        ears.say("floor/ask", payload)
        echo = ears.await_(
            "an echo",
            lambda heard, payload=payload: heard.topic == "floor/answer" and heard.payload == payload,
            10,
        )
        bare.append(echo.at_s - sent)
        answer, seconds = kit.command("ping")
        if answer.document["state"] != "done":
            raise RuntimeError(f"ping {number}: {answer.payload.decode()}")
        ours.append(seconds)
    (bare50, ours50), (bare99, ours99) = (
        [percentile(values[WARM_UP:], share) * 1e3 for values in (bare, ours)] for share in (0.5, 0.99)
    )
    how = f"2 x bare echo {bare99:.2f} ms, {PINGS} in turns; p50 {ours50:.2f} ms, echo {bare50:.2f} ms"
    return [Row("ping p99", ours99, 2 * bare99, "ms", how)]


def hang(kit: Kit, ears: Ears, deadline_s: float) -> list[Row]:
    """The camera hangs once, in the monitor's own look: from that process's start to its end, and from
    there to a camera that is ``ok`` again."""
    leave(kit)
    kit.world.set_fault("camera_hung", True)
    hung = processes.until("a look at the camera", lambda: processes.worker(kit.pid, "camera"), 60)
    time.sleep(deadline_s / 2)
    if (still := processes.worker(kit.pid, "camera")) is None or still.pid != hung.pid:
        raise RuntimeError("the camera was to hang, but its process ended by itself")
    kit.world.set_fault("camera_hung", False)  # who hangs already hangs on; the next one will find it good
    ears.forget()
    processes.until("the hung process ends", lambda: gone(hung.pid), deadline_s + 30, 0.005)
    ended, killed_s = time.monotonic(), processes.boot_s() - hung.started_s
    kit.health("failed", "camera", 30)
    good = kit.health("ok", "camera", 60)
    return [
        Row(
            "hung is killed", killed_s, deadline_s + 1, "s", f"deadline {deadline_s:g} s + 1 s for its start"
        ),
        Row("good again", good.at_s - ended, 5, "s", "from the kill to health: camera ok"),
    ]


def gone(pid: int) -> bool:
    found = processes.stat(pid)
    return found is None or found.zombie


def main() -> int:
    full = os.environ.get("BENCH") == "full"
    rows: list[Row] = []
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diemcau-bench-")))
        port = urlsplit(stack.enter_context(PrivateMosquitto()).url).port or 0
        ears = Ears(port)
        stack.callback(ears.close)

        def kit(point: str, **probe: float) -> Kit:
            return Kit(point, port, place, ears, probe)

        def note(more: Sequence[Row]) -> None:
            rows.extend(more)
            print(*(f"{row.budget}: {row.measured:.2f} {row.unit}" for row in more), sep="\n", flush=True)

        bare_mb = bare_memory(port, ears)
        with kit("bench-real") as one:
            note(memory(one, bare_mb))
            note(start(one, port, ears))
            time.sleep(SETTLE_S)
            with floor(port, ears):
                note(ping(one, ears))
            minute = spool_writes.room_telemetry(one)
        note(spool_writes.measure(minute))
        with kit("bench-hang", period_s=20, idle_s=1) as one:
            note(hang(one, ears, REAL.deadline_s))
        with ExitStack() as resting:
            if full:
                note(rest(resting.enter_context(kit("bench-rest")), None))
            else:
                still = resting.enter_context(kit("bench-still", period_s=3600))
                note(rest(still, resting.enter_context(kit("bench-rounds", period_s=ROUND_S, idle_s=10))))
    over = [row.budget for row in rows if not row.kept]
    print(f"\n{table(rows)}\n\nover budget: {', '.join(over) or 'none'}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
