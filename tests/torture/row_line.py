"""The line cut, for seconds to a week, half-open, and in one direction: nothing acknowledged is lost, a dead
connection is found within a minute, and what waited comes within ten, at 20 messages a second at most.

Cuts up to some seconds are real ones, of a kit whose keep-alive is 5 s. Of longer ones only the backlog
differs: :func:`backlog` gives a kit's spool as many documents as the time makes, and lets the agent deliver.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from door import Door, Mood
from judge import collecting, finish
from kits import Failed, Kit, Shelf

from diemcau_agent.spool import Spool
from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Witness

CUTS: tuple[Mood, ...] = ("silent", "deaf", "dumb", "refusing")
LANES = 10
ONLINE_S = 30.0
CUT_S = (1.0, 12.0)
BACK_S = 60.0
"""A dead connection is found, and all is published again, within this."""
MINUTES_OF_A_WEEK = 7 * 24 * 60
PER_S_MAX = 20
DRAINED_S = 600.0


def cut(mood: Mood, number: int, seed: int, port: int, witness: Witness, db: Path, place: Path) -> None:
    """One kit whose line is cut once, while it reports. Raises Failed."""
    random = Random(f"{seed}/{number}")
    point = f"xp-{number:04d}"
    with ExitStack() as stack:
        door = Door(port)
        stack.callback(door.close)
        kit = stack.enter_context(Kit(point, door.port, place))
        kit.start()
        if not witness.until(lambda: point in witness.nonces, ONLINE_S):
            raise Failed(f"{point}: not online: {kit.words()}")
        for _ in range(3):
            witness.order(point, "identify", {"seconds": 1}, str(uuid.uuid4()))
        time.sleep(random.uniform(0, 0.5))
        witness.statuses.pop(point)
        witness.nonces.pop(point)
        door.go(mood)
        kit.world.set_fault("too_hot", True)
        time.sleep(random.uniform(*CUT_S))
        door.go("open")
        back_s = time.monotonic()
        if not witness.until(lambda: witness.statuses.get(point, {}).get("status") == "online", BACK_S):
            raise Failed(f"{point}, {mood}: publishes nothing {BACK_S:g} s after: {kit.words()}")
        finish(kit, Shelf(kit), witness, db, heard_all=True)
        if (took_s := time.monotonic() - back_s) > DRAINED_S:
            raise Failed(f"{point}, {mood}: drained after {took_s:.0f} s only")


def backlog(count: int, place: Path) -> tuple[float, int]:
    """A kit that comes back with ``count`` documents in its spool: the seconds until the last of them came,
    and the most that came in one second. Raises Failed."""
    place.mkdir()
    with ExitStack() as stack:
        port = int(stack.enter_context(PrivateMosquitto()).url.rpartition(":")[2])
        witness = Witness(port)
        stack.callback(witness.close)
        stack.enter_context(collecting(port, place / "collected.sqlite3"))
        kit = stack.enter_context(Kit("xp-0001", port, place))
        names = asyncio.run(_fill(kit, count))
        kit.start()
        last = (kit.point, names, "telemetry", count)
        if not witness.until(lambda: kit.point in witness.nonces, ONLINE_S):
            raise Failed(f"not online: {kit.words()}")
        began_s = time.monotonic()
        came: list[float] = []
        seen = 0
        while last not in witness.documents:
            now_s = time.monotonic()
            if now_s - began_s > DRAINED_S:
                raise Failed(f"{len(witness.documents)} of {count} came in {DRAINED_S:g} s")
            time.sleep(0.02)
            heard = len(witness.documents)
            came += [now_s] * (heard - seen)
            seen = heard
        took_s = time.monotonic() - began_s
        finish(kit, Shelf(kit), witness, place / "collected.sqlite3", heard_all=True)
        return took_s, most_in_a_second(came)


def most_in_a_second(moments: Sequence[float]) -> int:
    window: deque[float] = deque()
    most = 0
    for moment in moments:
        window.append(moment)
        while moment - window[0] >= 1:
            window.popleft()
        most = max(most, len(window))
    return most


async def _fill(kit: Kit, count: int) -> str:
    """Minutes of telemetry as an offline kit writes them; the spool's id."""
    series = {"host.cpu_percent": {"n": 3, "min": 1.0, "mean": 2.0, "p95": 3.0, "max": 3.0}}
    spool = await Spool.open(kit.spool)

    def build(uuid_: str, seq: int) -> bytes:
        document: dict[str, Any] = {
            "schema": "diemcau.telemetry/1", "point": kit.point, "boot": "boot-1", "session": 1,
            "connection": "0000000000000000", "time": "2026-11-20T00:00:00.000Z",
            "clock": "synced", "mono_ms": seq * 60_000, "spool": uuid_, "seq": seq, "window_s": 60,
            "series": series,
        }  # fmt: skip
        return json.dumps(document).encode()

    for _ in range(count):
        await spool.append("telemetry", build)
    await spool.flush()
    uuid_ = spool.uuid
    await spool.close()
    return uuid_


def week(count: int, seed: int, place: Path) -> str:
    """``count`` weeks offline, each drained for real: some nine minutes."""
    told: list[str] = []
    for number in range(count):
        took_s, most = backlog(MINUTES_OF_A_WEEK, place / f"week-{number}")
        if most > PER_S_MAX + 2:  # two of live traffic may fall into it
            raise Failed(f"{most} messages in a second")
        told.append(f"{MINUTES_OF_A_WEEK} documents in {took_s:.0f} s, at most {most} a second")
    return "; ".join(told)


def run(count: int, seed: int, place: Path) -> str:
    """``count`` cuts. Raises Failed."""
    db = place / "collected.sqlite3"
    with ExitStack() as stack:
        port = int(stack.enter_context(PrivateMosquitto()).url.rpartition(":")[2])
        witness = Witness(port)
        stack.callback(witness.close)
        stack.enter_context(collecting(port, db))
        pool = stack.enter_context(ThreadPoolExecutor(LANES, "line"))
        futures = [
            pool.submit(cut, CUTS[number % len(CUTS)], number, seed, port, witness, db, place)
            for number in range(count)
        ]
        for future in futures:
            future.result()
    return f"{count} cuts of {len(CUTS)} kinds"
