"""The broker killed, restarted, refusing, kicking right after it let us in: nothing acknowledged is lost, and
we come back within the backoff's envelope, without hammering.

Each fault has an agent that has just started, whose backoff so begins at 1 s. A broker that was killed has
forgotten what it had acknowledged; the collector sees the gap and has it sent again.
"""

from __future__ import annotations

import itertools
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Literal

from door import Door
from judge import collecting, finish
from kits import Failed, Kit, Shelf

from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Witness

Fault = Literal["killed", "restarted", "refusing", "kicking"]
FAULTS: tuple[Fault, ...] = ("killed", "restarted", "refusing", "kicking")
LANES = 4
"""Faults at once, each with a broker of its own."""
ONLINE_S = 30.0
OUT_S = (0.3, 4.0)
SLACK_S = 2.0
"""On top of the backoff's ceiling: the connection itself, and a busy machine."""


def envelope(attempts: list[float], began_s: float, back_s: float) -> str | None:
    """What is wrong with the times at which a kit that had just started tried again; None where nothing is.

    By the rule (docs/wire.md, Reconnect): before the n-th try in a row up to min(300, 2^n) s. The wait is
    uniform from 0, so no try is too early, but so many in so short a time are none of that law: ten tries
    take 1 + 2 + ... + 512 s, halved on average; ten within 4 s have a chance of under one in a billion.
    """
    tries = [one for one in attempts if one > began_s]
    moments = [began_s, *tries]
    for number, (before, after) in enumerate(itertools.pairwise(moments)):
        if after - before > min(300.0, 2.0**number) + SLACK_S:
            return f"try {number + 1} came {after - before:.1f} s after the one before"
    if len(tries) >= 10 and tries[9] - began_s < 4:
        return f"{len(tries)} tries in {tries[-1] - began_s:.1f} s"
    if not tries and back_s - began_s > SLACK_S + 1:
        return "no try at all"
    return None


def suffer(fault: Fault, seconds: float, broker: PrivateMosquitto, door: Door) -> None:
    match fault:
        case "killed" | "restarted":
            broker.stop(kill=fault == "killed")
            time.sleep(seconds)
            broker.start()
        case "refusing" | "kicking":
            door.go(fault)
            time.sleep(seconds)
            door.go("open")


def one(fault: Fault, number: int, seed: int, place: Path) -> None:
    """One agent, one broker, one fault. Raises Failed."""
    random = Random(f"{seed}/{number}")
    point = f"xp-{number:04d}"
    folder = place / f"{number}"
    folder.mkdir()
    db = folder / "collected.sqlite3"
    with ExitStack() as stack:
        broker = stack.enter_context(PrivateMosquitto())
        port = int(broker.url.rpartition(":")[2])
        witness = Witness(port)
        stack.callback(witness.close)
        stack.enter_context(collecting(port, db))
        door = Door(port)
        stack.callback(door.close)
        kit = stack.enter_context(Kit(point, door.port, folder))
        shelf = Shelf(kit)
        kit.start()

        def online() -> bool:
            return witness.statuses.get(point, {}).get("status") == "online"

        if not witness.until(online, ONLINE_S):
            raise Failed(f"{point}: not online: {kit.words()}")
        for _ in range(5):
            witness.order(point, "identify", {"seconds": 1}, str(uuid.uuid4()))
            kit.world.set_fault("too_hot", random.random() < 0.5)
        time.sleep(random.uniform(0, 0.5))
        witness.statuses.pop(point)
        began_s = time.monotonic()
        suffer(fault, random.uniform(*OUT_S), broker, door)
        if not witness.until(online, 60):
            raise Failed(f"{point}, {fault}: not online a minute after: {kit.words()}")
        if wrong := envelope(door.attempts, began_s, time.monotonic()):
            raise Failed(f"{point}, {fault}: {wrong}")
        finish(kit, shelf, witness, db, heard_all=fault in ("refusing", "kicking"))


def run(count: int, seed: int, place: Path) -> str:
    """``count`` faults. Raises Failed."""
    with ThreadPoolExecutor(LANES, "broker") as pool:
        futures = [
            pool.submit(one, FAULTS[number % len(FAULTS)], number, seed, place) for number in range(count)
        ]
        for future in futures:
            future.result()
    return f"{count} faults of {len(FAULTS)} kinds"
