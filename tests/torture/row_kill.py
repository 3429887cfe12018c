"""SIGKILL of the agent at random moments under load: nothing acknowledged is lost, no spool is damaged.

Each life is short: it starts, goes online, is sent commands, and is killed at a moment of the seed's: during
the start, or while commands run and documents are committed. After each death the spool is read as it lies.
At the end the agent may live until it has delivered all.
"""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from judge import collecting, drained, judge
from kits import Failed, Kit, Shelf

from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Witness

KITS = 6
"""At once: each delivers 20 documents a second at most, and makes half as many in a life."""
START_S = 0.5
ALIVE_S = 0.4
ONLINE_S = 30.0
EARLY_SHARE = 0.25
"""Of the kills fall into the start."""
ORDERS = 3
VERBS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ping", {}),
    ("identify", {"seconds": 1}),
    ("config", {"get": True}),
)
DRAIN_S, DRAIN_PER_S = 30.0, 10.0
"""For reconnecting, and half of the pace that is promised: the machine is busy."""


def life(kit: Kit, witness: Witness, random: Random) -> None:
    """From its start to its death."""
    born_s = time.monotonic()
    witness.nonces.pop(kit.point, None)
    kit.start()
    if random.random() < EARLY_SHARE:
        time.sleep(random.uniform(0, START_S))
    else:
        if not witness.until(lambda: kit.point in witness.nonces, ONLINE_S):
            raise Failed(
                f"{kit.point}: not online {time.monotonic() - born_s:.0f} s after its start: {kit.words()}"
            )
        for _ in range(ORDERS):
            verb, args = random.choice(VERBS)
            witness.order(kit.point, verb, args, str(uuid.uuid4()))
        kit.world.set_fault("too_hot", random.random() < 0.5)
        time.sleep(random.uniform(0, ALIVE_S))
    kit.kill()


def tortured(
    point: str, kills: int, random: Random, port: int, place: Path, witness: Witness, db: Path
) -> None:
    """One kit's share: its lives, then one in which it delivers, an orderly stop, and one for its goodbye."""
    with Kit(point, port, place) as kit:
        shelf = Shelf(kit)
        for _ in range(kills):
            life(kit, witness, random)
            shelf.look()
        for last in (False, True):
            kit.start()
            drained(kit, shelf, witness)
            due = dict(shelf.committed)
            if last:
                kit.kill()
            elif kit.stop() != 0:
                raise Failed(f"{point}: its orderly stop failed: {kit.words()}")
            shelf.look()
        judge(due, shelf.committed, witness, db, point)


def run(kills: int, seed: int, place: Path) -> str:
    """``kills`` in all. Raises Failed."""
    db = place / "collected.sqlite3"
    shares = [kills // KITS + (number < kills % KITS) for number in range(KITS)]
    with ExitStack() as stack:
        port = int(stack.enter_context(PrivateMosquitto()).url.rpartition(":")[2])
        witness = Witness(port)
        stack.callback(witness.close)
        stack.enter_context(collecting(port, db))
        pool = stack.enter_context(ThreadPoolExecutor(KITS, "kit"))
        futures = [
            pool.submit(
                tortured, f"xp-{number:04d}", share, Random(f"{seed}/{number}"), port, place, witness, db
            )
            for number, share in enumerate(shares)
            if share
        ]
        for future in futures:
            future.result()
        return f"{len(witness.documents)} documents, {len(witness.done)} commands done"
