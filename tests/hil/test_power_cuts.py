"""The plug is pulled, again and again, while commands and a busy card keep the kit writing. Nothing that it
acknowledged is lost, and it comes back by itself in time."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

from centre import POINT
from room import AGENT, Room

CUTS = int(os.environ.get("CUTS", "20"))
READY_S = 30.0
"""Of the kit's own time, from its kernel's start."""
SEED = int(os.environ.get("SEED", str(random.randrange(2**32))))
LOAD = "while :; do dd if=/dev/zero of=/var/tmp/load bs=64k count=64 conv=fsync 2>/dev/null; done"

pytestmark = [pytest.mark.hil, pytest.mark.timeout(300 + 150 * CUTS)]


class Orders(threading.Thread):
    """Commands of the operator, one after another, until told to end."""

    def __init__(self, room: Room) -> None:
        super().__init__(name="orders", daemon=True)
        self._room = room
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.is_set():
            try:
                self._room.centre.command("config", "get=true", wait_s=8)
            except AssertionError:  # nobody answers: its plug is out
                self._end.wait(1)

    def end(self) -> None:
        self._end.set()
        self.join(60)


def test_power_cuts_under_load_lose_nothing_acknowledged_and_the_kit_is_ready_in_time(room: Room) -> None:
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    room.online()
    orders = Orders(room)
    orders.start()
    ready_s: list[float] = []
    try:
        for cut in range(CUTS):
            answered = len(room.witness.done)
            room.kit.run("systemd-run", "--quiet", "--collect", "sh", "-c", LOAD)
            assert room.witness.until(lambda n=answered: len(room.witness.done) > n, 120), (
                f"cut {cut}: no command done"
            )
            time.sleep(chance.uniform(0, 5))
            session = room.witness.statuses[POINT]["session"]
            room.kit.power_cut()
            room.kit.start()
            room.kit.until(
                lambda: room.kit.unit_property(AGENT, "ActiveState") == "active", 120, "the agent's READY"
            )
            ready_s.append(int(room.kit.unit_property(AGENT, "ActiveEnterTimestampMonotonic")) / 1e6)
            assert room.witness.until(lambda s=session: room.witness.statuses[POINT]["session"] > s, 120)
    finally:
        orders.end()
    print(f"ready after {', '.join(f'{one:.1f}' for one in ready_s)} s")
    assert max(ready_s) <= READY_S, ready_s
    judge(room)


def judge(room: Room) -> None:
    witness = room.witness

    def untold() -> set[str]:
        return {ident for ident, (_, verb) in witness.done.items() if verb != "ping"} - witness.told

    def gaps() -> list[tuple[str, str, int]]:
        heard: dict[tuple[str, str], set[int]] = {}
        for _, spool, stream, seq in witness.of(POINT):
            heard.setdefault((spool, stream), set()).add(seq)
        return [
            (spool, stream, seq)
            for (spool, stream), seqs in heard.items()
            for seq in range(1, max(seqs) + 1)
            if seq not in seqs
        ]

    assert witness.until(lambda: not untold() and not gaps(), 180), (sorted(untold())[:5], gaps()[:5])
    assert witness.conflicts == []
    assert witness.kinds(POINT, "spool_replaced") == []
    assert len({name[1] for name in witness.of(POINT)}) == 1
    assert len([one for one in witness.done.values() if one[1] != "ping"]) >= CUTS
