"""A whole room for minutes to days, its broker lost 100 times an hour: memory, descriptors and threads stay
flat.

A slice of some minutes finds a leak that shows in minutes (a descriptor, a thread, half a MiB). That memory
grows by no more than 1 MiB a day only :data:`LONG_S` at once or more can tell: then the slope is judged.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from door import Door
from kits import Failed, Kit

from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Witness

DEVICES = ("camera", "microphone", "speaker", "display", "panel")
ONLINE_S = 60.0
CYCLE_S = 108.0
LOSSES = 3
"""A cycle: 100 an hour. The first after a minute of stable session, so that the backoff begins anew."""
STABLE_S = 62.0
APART_S = 8.0
CALM_S = 5.0
"""After a reconnect, what belonged to the connection before is gone."""
SAMPLE_S = 1.0
ORDER_S = 10.0
WARM_S = 100.0
LONG_S = 3600.0
GROWTH_KIB = 512.0
SLOPE_KIB_A_DAY = 1024.0
SIGMAS = 3.0
DAY_S = 86_400.0


class Sample(NamedTuple):
    at_s: float
    pss_kib: float
    descriptors: int
    threads: int


class Slope(NamedTuple):
    """KiB a day, and its standard error."""

    value: float
    error: float


def run(count: int, seed: int, place: Path) -> str:
    """``count`` minutes. Raises Failed."""
    with ExitStack() as stack:
        port = stack.enter_context(PrivateMosquitto()).port or 0
        witness = Witness(port)
        stack.callback(witness.close)
        door = Door(port)
        stack.callback(door.close)
        kit = stack.enter_context(Kit("xp-soak", door.port, place, devices=DEVICES))
        kit.start()
        if not witness.until(lambda: kit.point in witness.nonces, ONLINE_S):
            raise Failed(f"not online: {kit.words()}")
        samples, losses = _soak(kit, door, witness, 60.0 * count)
        if kit.ended is not None:
            raise Failed(f"it ended with {kit.ended}: {kit.words()}")
    return f"{losses} reconnects in {count} min, {judge(samples)}"


def _soak(kit: Kit, door: Door, witness: Witness, duration_s: float) -> tuple[list[Sample], int]:
    """The samples of calm moments, and how often the broker was lost and found again."""
    samples: list[Sample] = []
    began_s = time.monotonic()
    losses, ordered_s, online_s = 0, began_s, began_s
    while (now_s := time.monotonic()) < began_s + duration_s:
        due_s = began_s + losses // LOSSES * CYCLE_S + STABLE_S + losses % LOSSES * APART_S
        if kit.point not in witness.nonces:
            if now_s > online_s + ONLINE_S:
                raise Failed(f"not online {ONLINE_S:g} s after the broker was lost: {kit.words()}")
        elif now_s >= due_s and now_s - online_s > CALM_S:
            witness.nonces.pop(kit.point)
            door.go("refusing")
            door.go("open")
            losses, online_s = losses + 1, now_s
            if not witness.until(lambda: kit.point in witness.nonces, ONLINE_S):
                continue
            online_s = time.monotonic()
        elif now_s - online_s > CALM_S:
            samples.append(sample(kit.pid))
            if now_s - ordered_s > ORDER_S:
                witness.order(kit.point, "ping", {}, str(uuid.uuid4()))
                ordered_s = now_s
        time.sleep(SAMPLE_S)
    return samples, losses


def sample(pid: int) -> Sample:
    """Of one process, now."""
    proc = Path(f"/proc/{pid}")
    fields = dict(
        line.split(":", 1)
        for file in ("smaps_rollup", "status")
        for line in (proc / file).read_text().splitlines()
        if ":" in line
    )
    return Sample(
        time.monotonic(),
        float(fields["Pss"].split()[0]),
        len(list((proc / "fd").iterdir())),
        int(fields["Threads"]),
    )


def judge(samples: Sequence[Sample]) -> str:
    """What was measured, after warming up. Raises Failed."""
    warm = [one for one in samples if one.at_s >= samples[0].at_s + WARM_S]
    if len(warm) < 20:
        raise Failed(f"{len(warm)} samples after {WARM_S:g} s of warming up are too few to judge")
    half = len(warm) // 2
    first, last = warm[:half], warm[half:]
    for what, at in (("descriptors", 2), ("threads", 3)):
        before, after = (max(one[at] for one in part) for part in (first, last))
        if after > before:
            raise Failed(f"{what} grow: {before} in the first half, {after} in the second")
    grown_kib = statistics.median(one.pss_kib for one in last) - statistics.median(
        one.pss_kib for one in first
    )
    if grown_kib > GROWTH_KIB:
        raise Failed(f"memory grew by {grown_kib:.0f} KiB from the first half to the second")
    slope = regression([(one.at_s, one.pss_kib) for one in warm])
    lasted_s = warm[-1].at_s - warm[0].at_s
    if lasted_s >= LONG_S and slope.value - SIGMAS * slope.error > SLOPE_KIB_A_DAY:
        raise Failed(f"memory grows by {slope.value:.0f} +- {slope.error:.0f} KiB a day")
    return (
        f"{warm[-1].pss_kib / 1024:.1f} MiB, {grown_kib:+.0f} KiB from half to half, "
        f"{slope.value / 1024:+.1f} +- {slope.error / 1024:.1f} MiB a day over {lasted_s / 60:.0f} min, "
        f"{max(one.descriptors for one in warm)} descriptors, {max(one.threads for one in warm)} threads"
    )


def regression(points: Sequence[tuple[float, float]]) -> Slope:
    """Least squares of KiB over seconds."""
    mean_s = statistics.fmean(at_s for at_s, _ in points)
    mean = statistics.fmean(kib for _, kib in points)
    spread = sum((at_s - mean_s) ** 2 for at_s, _ in points)
    slope = sum((at_s - mean_s) * (kib - mean) for at_s, kib in points) / spread
    rest = sum((kib - mean - slope * (at_s - mean_s)) ** 2 for at_s, kib in points)
    error = (rest / (len(points) - 2) / spread) ** 0.5
    return Slope(slope * DAY_S, error * DAY_S)
