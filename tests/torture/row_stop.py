"""SIGSTOP of the daemon and of each device's process: found in time, told, and running again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from random import Random
from types import MappingProxyType

import psutil
from kits import Failed, Kit, until
from supervisor import Supervisor

from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Witness

WORKERS: Mapping[str, tuple[tuple[str, ...], str | None]] = MappingProxyType(
    {
        "camera": (("camera",), "camera_hung"),
        "audio": (("microphone", "speaker"), "audio_hung"),
        "display": (("display",), "display_hung"),
        "panel": (("panel",), "panel_hung"),
        "presence": ((), None),
        "host": ((), None),
    }
)
"""Process -> its devices, and the code of its hang. Presence is of no device, and a process for the host is
in a simulated room only: what has to hold of these is that another takes their place."""
CASES = ("daemon", *WORKERS)
LOOK_S = 2.0
"""Between two looks at a device, as :data:`PROBE` sets it."""
PROBE = {"period_s": 2 * LOOK_S, "presence_s": LOOK_S, "host_s": LOOK_S, "line_s": LOOK_S, "idle_s": 0}
GONE_S = 15.0
"""A device hung, from when it is asked (docs/wire.md, Codes)."""
BUSY_S = 15.0
"""Rooms side by side on two cores: what a kit of its own does at once takes seconds there."""
RESTARTED_S = 45.0
ONLINE_S = 15.0
WELL_S = 30.0
"""For a device's process to start and be seen well twice."""


def run(count: int, seed: int, place: Path, watchdog_s: float | None = None) -> str:
    """The first ``count`` of :data:`CASES`, side by side, by default with the unit's own watchdog. Raises
    Failed."""
    with ThreadPoolExecutor(count, "stop") as pool:
        futures = [
            pool.submit(case, name, Random(f"{seed}/{name}"), place / name, watchdog_s)
            for name in CASES[:count]
        ]
        return "; ".join(future.result() for future in futures)


def case(name: str, random: Random, place: Path, watchdog_s: float | None = None) -> str:
    """One process stopped at a moment of the seed's; what was measured."""
    place.mkdir()
    devices = WORKERS[name][0] if name in WORKERS else ()
    point = f"xp-stop-{name}"
    with PrivateMosquitto() as broker:
        port = broker.port or 0
        witness = Witness(port)
        try:
            with (
                Kit(point, port, place, devices=devices, probe=PROBE) as kit,
                Supervisor(kit, watchdog_s=watchdog_s) as supervisor,
            ):
                supervisor.until_ready(ONLINE_S)
                if not witness.until(lambda: point in witness.nonces, ONLINE_S):
                    raise Failed(f"{point}: not online: {kit.words()}")
                if name == "daemon":
                    return _daemon(supervisor, witness, random)
                return _worker(name, supervisor, witness, random)
        finally:
            witness.close()


def _daemon(supervisor: Supervisor, witness: Witness, random: Random) -> str:
    kit, point = supervisor.kit, supervisor.kit.point
    time.sleep(random.uniform(0, supervisor.watchdog_s / 3))
    witness.nonces.pop(point, None)
    stopped_s, stopped_wall_s = time.monotonic(), time.time()
    os.kill(kit.pid, signal.SIGSTOP)
    if not witness.until(lambda: point in witness.nonces, RESTARTED_S):
        raise Failed(f"{point}: not back {RESTARTED_S:g} s after SIGSTOP: {kit.words()}")
    took_s = time.monotonic() - stopped_s
    found_s = supervisor.found[0] - stopped_s
    told = witness.until(lambda: bool(witness.kinds(point, "outage")), ONLINE_S)
    if not told:
        raise Failed(f"{point}: no outage is told")
    data = witness.kinds(point, "outage")[0]["data"]
    off_s = stopped_wall_s - datetime.fromisoformat(data["began"]).timestamp()
    if data["cause"] != "agent" or not -1.0 <= off_s <= data["began_within_s"] + 1.0:
        raise Failed(f"{point}: stopped at {stopped_wall_s}, told as {data}")
    return f"daemon: found after {found_s:.1f} s, online after {took_s:.1f} s, told as {data['cause']}"


def _worker(name: str, supervisor: Supervisor, witness: Witness, random: Random) -> str:
    kit, point = supervisor.kit, supervisor.kit.point
    devices, code = WORKERS[name]

    def seen(state: str, since: int = 0) -> bool:
        """Whether each device was told to be in ``state`` after so many events."""
        told = [
            (event["device"], event["to"], event["code"]) for event in witness.kinds(point, "state")[since:]
        ]
        return all((device, state, code if state == "failed" else None) in told for device in devices)

    if not until(lambda: seen("ok") and process_of(kit, name) is not None, WELL_S):
        raise Failed(f"{point}: not well before anything was done: {kit.words()}")
    time.sleep(random.uniform(0, LOOK_S))
    stopped = process_of(kit, name)
    if stopped is None:
        raise Failed(f"{point}: {name} has no process, though it never leaves")
    before = len(witness.kinds(point, "state"))
    stopped_s = time.monotonic()
    os.kill(stopped, signal.SIGSTOP)
    if not until(
        lambda: seen("failed", before) and process_of(kit, name) != stopped, LOOK_S + GONE_S + BUSY_S
    ):
        raise Failed(f"{point}: not found in {LOOK_S + GONE_S:g} s: {kit.words()}")
    took_s = time.monotonic() - stopped_s

    def well() -> bool:
        recovered = [
            e for e in witness.kinds(point, "state")[before:] if e["from"] == "failed" and e["to"] == "ok"
        ]
        return {event["device"] for event in recovered} >= {*devices} and process_of(kit, name) not in (
            None,
            stopped,
        )

    if not until(well, WELL_S):
        raise Failed(f"{point}: not well again {WELL_S:g} s later: {kit.words()}")
    well_s = time.monotonic() - stopped_s
    if supervisor.found or supervisor.ended:
        raise Failed(f"{point}: a device's process stopped, and the agent was restarted: {supervisor.ended}")
    return f"{name}: found after {took_s:.1f} s, well after {well_s:.1f} s"


def process_of(kit: Kit, name: str) -> int | None:
    """The pid of a device's process; None while there is none."""
    try:
        for child in psutil.Process(kit.pid).children():
            if child.cmdline()[-2:] == ["diemcau_drivers", name]:
                return child.pid
    except psutil.Error:
        pass  # it has just ended
    return None
