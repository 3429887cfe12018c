"""The wall clock of the agent jumps, by a day, by ten years, to 1970, during everything that it does: no
crash, no command that is stale runs, order is kept.

libfaketime moves the wall clock of the agent and of all its processes, and leaves the monotonic one as it is.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections import defaultdict
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from door import Door
from kits import Failed, Kit
from supervisor import Supervisor

from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Witness

JUMPS = {
    "a-day-on": "+1d",
    "a-day-back": "-1d",
    "ten-years-on": "+10y",
    "ten-years-back": "-10y",
    "1970": "@1970-01-01 00:00:05",
}
"""Name -> what libfaketime is told. A year has 365 days there."""
TRUE = "+0"
RESTART = 75
"""Exit code of an ordered restart."""
LIBRARIES = ("libfaketimeMT.so.1", "faketime/libfaketimeMT.so.1")
SHARED = Path("/dev/shm")
UP_S, ONLINE_S, WORKS_S = 15.0, 45.0, 20.0
OUT_S = 4.0
"""The line is away."""
OFF_S = 5.0
"""Tolerance of a duration that is told: reconnecting and starting belong to it."""
STALE_S = 1.0
CACHED_S = 1
JUMPED_S = 80_000.0
"""Nearly a day."""
PROBE = {"host_s": 1, "line_s": 1, "presence_s": 1}


def library() -> Path:
    """Raises Failed, naming the package."""
    for folder in (*Path("/usr/lib").glob("*-linux-gnu"), Path("/usr/lib")):
        for name in LIBRARIES:
            if (folder / name).exists():
                return folder / name
    raise Failed("libfaketime is not installed: apt-get install libfaketime")


class Wall:
    """The wall clock of the processes started with ``environment``."""

    def __init__(self, place: Path) -> None:
        self._file = place / "wall"
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": f"{CACHED_S:g}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.set(TRUE)

    def set(self, what: str) -> None:
        """Within :data:`CACHED_S`: asking the file each time would cost more than all that the agent does."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{what}\n")
        new.rename(self._file)


@contextmanager
def tidy() -> Generator[None]:
    """libfaketime leaves what its processes share behind where they are killed."""
    before = {*SHARED.glob("*faketime*")}
    yield
    for left in {*SHARED.glob("*faketime*")} - before:
        left.unlink(missing_ok=True)


class Room:
    """A kit whose wall clock is ours, its line, and somebody who hears and commands it."""

    def __init__(self, jump: str, place: Path, stack: ExitStack) -> None:
        self.point = f"xp-{jump}"
        self.wall = Wall(place)
        port = stack.enter_context(PrivateMosquitto()).port or 0
        self.witness = Witness(port)
        stack.callback(self.witness.close)
        self.door = Door(port)
        stack.callback(self.door.close)
        self.kit = stack.enter_context(
            Kit(self.point, self.door.port, place, probe=PROBE, environment=self.wall.environment)
        )
        self.kit.world.set_fault("clock_unsynced", True)  # as on a Pi whose clock nobody has set yet
        self.orders: set[str] = set()

    def online(self, what: str) -> None:
        if not self.witness.until(lambda: self.point in self.witness.nonces, ONLINE_S):
            raise self.failed(f"not online {what}")

    def order(self, verb: str, args: Mapping[str, Any]) -> str:
        ident = str(uuid.uuid4())
        self.orders.add(ident)
        self.witness.order(self.point, verb, dict(args), ident)
        return ident

    def done(self, *orders: str) -> None:
        """Each is done, and told. Raises Failed."""
        if not self.witness.until(lambda: {*orders} <= self.witness.told & self.witness.done.keys(), WORKS_S):
            raise self.failed(f"commands: {[self.witness.answers.get(ident) for ident in orders]}")

    def failed(self, what: str) -> Failed:
        return Failed(f"{self.point}: {what}: {self.kit.words()}")


def jump(name: str, place: Path) -> str:
    """One jump, in both directions, during each thing that an agent does."""
    to = JUMPS[name]
    with ExitStack() as stack:
        stack.enter_context(tidy())
        room = Room(name, place, stack)
        with Supervisor(room.kit) as supervisor:
            supervisor.until_ready(UP_S)
            room.online("at first")
            stale = _while_it_works(room, to)
            _while_the_line_is_away(room, to)
            _over_restarts(room, supervisor, to)
            _nothing_stale(room, to, stale)
            if supervisor.ended != [RESTART, -signal.SIGKILL] or supervisor.found:
                raise room.failed(f"ended with {supervisor.ended}, unfed {len(supervisor.found)} times")
        _in_order(room)
        if "Traceback" in (log := (room.kit.place / "agent.log").read_text("utf-8", "replace")):
            raise room.failed(log[log.index("Traceback") :][:2000])
        return f"{name}: {len(room.orders)} commands, {len(room.witness.of(room.point))} documents in order"


def _while_it_works(room: Room, to: str) -> list[tuple[str, dict[str, Any]]]:
    """Jumps there and back while commands and a self-test run. What is stale later: claims of a command that
    ran, and of one that nobody sent yet, with this connection's nonce."""
    for wall in (to, TRUE, to):
        long, test = room.order("identify", {"seconds": 1}), room.order("selftest", {"scope": "quick"})
        room.wall.set(wall)
        room.done(long, test, room.order("ping", {}), room.order("config", {"get": True}))
    now_s = int(time.time())
    claims: dict[str, Any] = {
        "aud": f"point/{room.point}", "args": {}, "iss": "torture", "verb": "ping",
        "iat": now_s, "exp": now_s + 100, "nonce": room.witness.nonces[room.point],
    }  # fmt: skip
    ran = room.order("ping", {})
    room.done(ran)
    return [("done", claims | {"id": ran}), ("refused", claims | {"id": str(uuid.uuid4())})]


def _while_the_line_is_away(room: Room, to: str) -> None:
    """It jumps back while nobody hears the agent; the outage's length is told all the same."""
    before = len(room.witness.kinds(room.point, "outage"))
    room.witness.nonces.pop(room.point)
    gone_s = time.monotonic()
    room.door.go("refusing")
    time.sleep(OUT_S / 2)
    room.wall.set(TRUE)
    time.sleep(OUT_S / 2)
    room.door.go("open")
    room.online("after the line was away")
    away_s = time.monotonic() - gone_s
    room.wall.set(to)
    _outage(room, before, ("line", "broker"), away_s)
    room.done(room.order("ping", {}))


def _over_restarts(room: Room, supervisor: Supervisor, to: str) -> None:
    """It jumps between two sessions: one that was ordered, one that was killed."""
    restart = room.order("restart", {"target": "agent"})
    room.witness.nonces.pop(room.point)
    room.wall.set(TRUE)
    room.online("after a restart")
    room.done(restart)
    before = len(room.witness.kinds(room.point, "outage"))
    room.witness.nonces.pop(room.point)
    lives, gone_s = len(supervisor.ready_after_s), time.monotonic()
    os.kill(room.kit.pid, signal.SIGKILL)
    room.wall.set(to)
    supervisor.until_ready(UP_S, lives + 1)
    room.online("after a kill")
    _outage(room, before, ("agent",), time.monotonic() - gone_s)
    room.done(room.order("ping", {}))


def _outage(room: Room, before: int, causes: tuple[str, ...], lasted_s: float) -> None:
    """The next one that is told has one of ``causes`` and, by a clock that did not jump, this length."""
    if not room.witness.until(lambda: len(room.witness.kinds(room.point, "outage")) > before, WORKS_S):
        raise room.failed("no outage is told")
    data = room.witness.kinds(room.point, "outage")[before]["data"]
    slack_s = OFF_S + data.get("began_within_s", 0)
    if data["cause"] not in causes or abs(data["duration_s"] - lasted_s) > slack_s:
        raise room.failed(f"away for {lasted_s:.1f} s, told {data}")


def _nothing_stale(room: Room, to: str, stale: list[tuple[str, dict[str, Any]]]) -> None:
    """What comes again is answered as before and does not run; what comes too late is refused, whatever time
    the kit takes it to be, and whether or not it believes its clock."""
    witness = room.witness
    for unsynced in (True, False):
        room.kit.world.set_fault("clock_unsynced", unsynced)
        for wall in (TRUE, to):
            room.wall.set(wall)
            time.sleep(CACHED_S + 0.2)
            for state, claims in stale:
                witness.answers.pop(claims["id"], None)
                witness.send(room.point, claims)
                if not witness.until(lambda claims=claims: claims["id"] in witness.answers, WORKS_S):
                    raise room.failed(f"no answer to a stale command at {wall}")
                if (said := witness.answers[claims["id"]]) != state:
                    raise room.failed(f"a stale command at {wall}: {said}, expected {state}")
    time.sleep(STALE_S)
    ran = [event["data"]["id"] for event in witness.kinds(room.point, "command")]
    if len(ran) != len({*ran}) or {*ran} - room.orders:
        raise room.failed(
            f"{len(ran) - len({*ran})} ran twice, {len({*ran} - room.orders)} were never ordered"
        )


def _in_order(room: Room) -> None:
    """Numbers without a gap, and no time of the boot's clock goes back, whatever the wall clock did."""
    walls = [datetime.fromisoformat(event["time"]).timestamp() for event in room.witness.events]
    if max(abs(wall_s - time.time()) for wall_s in walls) < JUMPED_S:
        raise room.failed("its wall clock did not jump: libfaketime does not work here")
    times: dict[tuple[str, str], dict[int, tuple[int, int]]] = defaultdict(dict)
    for (_, spool, stream, seq), payload in room.witness.of(room.point).items():
        document = json.loads(payload)
        times[spool, stream][seq] = (document["session"], document["mono_ms"])
    for (_, stream), at in times.items():
        in_order = [at[seq] for seq in sorted(at)]
        if sorted(at) != list(range(1, len(at) + 1)) or in_order != sorted(in_order):
            raise room.failed(f"{stream} is not in order: {in_order}")


def run(count: int, seed: int, place: Path) -> str:
    """The first ``count`` of :data:`JUMPS`, side by side. Raises Failed."""
    names = list(JUMPS)[:count]
    for name in names:
        (place / name).mkdir()
    with ThreadPoolExecutor(len(names), "clock") as pool:
        return "; ".join(pool.map(jump, names, [place / name for name in names]))
