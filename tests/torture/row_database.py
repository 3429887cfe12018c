"""The spool flipped, truncated or zeroed under the whole agent: up in 10 s, the file kept, the new spool
told; and each document that was on the card comes, or it is told that it will not.

A kit lives, is sent commands, and is killed; what lies on its card is read, and then damaged. So it goes on,
with what the damage before has left.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any, cast

from filling import fill
from kits import STREAMS, Failed, Kit
from supervisor import Supervisor

from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Name, Witness

KITS = 3
"""At once: a start takes half a second of a core."""
UP_S = 10.0
ONLINE_S = 15.0
ORDERS, ORDER_S = 2, 1.0
FILLED = 40
"""Documents at most that are put on the card beside those of the life; the agent sends 20 a second."""
SETTLED_S = 30.0
FLIPPED_BITS = 8
ZEROED_BYTES = 16_384


def run(count: int, seed: int, place: Path) -> str:
    """``count`` damages in all. Raises Failed."""
    shares = [count // KITS + (number < count % KITS) for number in range(KITS)]
    with ExitStack() as stack:
        port = stack.enter_context(PrivateMosquitto()).port or 0
        witness = Witness(port)
        stack.callback(witness.close)
        pool = stack.enter_context(ThreadPoolExecutor(KITS, "kit"))
        patients = [
            Patient(f"xp-{number:04d}", Random(f"{seed}/{number}"), port, place, witness)
            for number, share in enumerate(shares)
            if share
        ]
        futures = [pool.submit(one.suffer, share) for one, share in zip(patients, shares, strict=False)]
        for future in futures:
            future.result()
        kinds = Counter[str]()
        for one in patients:
            kinds += one.damages
        return (
            f"{', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))}; "
            f"{sum(one.replaced for one in patients)} spools replaced, "
            f"{sum(len(one.held) for one in patients)} documents, "
            f"{sum(one.lost for one in patients)} of them told lost; "
            f"up in {max(one.slowest_s for one in patients):.1f} s"
        )


class Patient:
    """One kit and its card. ``held``: each document that was seen on it."""

    def __init__(self, point: str, random: Random, port: int, place: Path, witness: Witness) -> None:
        self._random = random
        self._witness = witness
        self._kit = Kit(point, port, place)
        self._uuid: str | None = None
        """Of the spool that was on the card at the last look."""
        self._session = 0
        self.held: dict[Name, bytes] = {}
        self.damages: Counter[str] = Counter()
        self.replaced = self.lost = 0
        self.slowest_s = 0.0

    def suffer(self, count: int) -> None:
        with self._kit:
            self._live()
            for _ in range(count):
                self._look()
                if self._uuid is not None and self._random.random() < 0.5:
                    count = self._random.randint(1, FILLED)
                    fill(self._kit.spool, self._kit.point, self._random.choices(STREAMS, k=count))
                    self._look()
                self._damage()
                self._live()
            self.lost = len(self.held.keys() - self._witness.of(self._kit.point).keys())

    # --- One life

    def _live(self) -> None:
        """Up in time, commands work, and all that was on the card is accounted for."""
        kit, point, witness = self._kit, self._kit.point, self._witness
        before = self._broken()
        witness.nonces.pop(point, None)
        with Supervisor(kit) as supervisor:
            supervisor.until_ready(UP_S)
            self.slowest_s = max(self.slowest_s, supervisor.ready_after_s[0])
            if not witness.until(lambda: point in witness.nonces, ONLINE_S):
                raise self._failed(f"not online in {ONLINE_S:g} s")
            self._settle()
            set_aside = sorted(self._broken() - before)
            self._check_replaced(set_aside)
            if supervisor.ended:
                raise self._failed(f"it ended with {supervisor.ended}")
        sessions = [event["session"] for event in witness.kinds(point, "agent_started")]
        if sessions != sorted({*sessions}):
            raise self._failed(f"sessions went back: {sessions}")
        if conflicts := [name for name in witness.conflicts if name[0] == point]:
            raise self._failed(f"two documents of one name: {conflicts[:5]}")

    def _settle(self) -> None:
        """Commands are sent until they and all that was on the card have come, or are told to be lost: what
        the drain passes over is told with the next event."""
        witness, orders = self._witness, list[str]()
        ends_s = time.monotonic() + SETTLED_S
        while len(orders) < ORDERS or not witness.told >= {*orders} or self._missing():
            if time.monotonic() > ends_s:
                missing, answers = sorted(self._missing()), [witness.answers.get(ident) for ident in orders]
                raise self._failed(
                    f"{len(missing)} documents neither came nor are lost: {missing[:5]}; {answers}"
                )
            orders.append(str(uuid.uuid4()))
            witness.order(self._kit.point, "ping", {}, orders[-1])
            witness.until(lambda: witness.told >= {*orders} and not self._missing(), ORDER_S)

    def _missing(self) -> set[Name]:
        """What was on the card, did not come, and is not told to be lost."""
        point, witness = self._kit.point, self._witness
        left = self.held.keys() - witness.of(point).keys()
        if not left:
            return set()
        lost: set[Name] = set()
        for event in witness.kinds(point, "dropped"):
            data: dict[str, Any] = event["data"]
            if data["from"] is not None:
                numbers = range(data["from"], data["to"] + 1)
                lost |= {(point, data["spool"], data["stream"], seq) for seq in numbers}
        unreadable = {
            event["data"]["previous"]
            for event in witness.kinds(point, "spool_replaced")
            if event["data"]["salvaged"] == 0
        }
        return {name for name in left - lost if name[1] not in unreadable}

    def _check_replaced(self, set_aside: list[str]) -> None:
        """A file that was set aside is kept, and told. What reading on found late in the life before may be
        told in this one."""
        told = self._witness.kinds(self._kit.point, "spool_replaced")[self.replaced :]
        self.replaced += len(told)
        kept = {str(event["data"]["kept"]) for event in told}
        if not set(set_aside) <= kept <= self._broken() or len(kept) != len(told):
            raise self._failed(f"set aside {set_aside}, told {[event['data'] for event in told]}")
        before = {event["data"]["previous"] for event in told if event["data"]["reason"] == "corrupt"}
        if set_aside and self._uuid not in before:
            raise self._failed(f"{self._uuid} was damaged, told {[event['data'] for event in told]}")

    # --- Its card, while nobody has it open

    def _look(self) -> None:
        """Read a copy as it lies. What is damaged is passed over: it was read before, or never committed."""
        copy = self._kit.place / "copy.sqlite3"
        for ending in ("", "-wal", "-shm"):
            Path(f"{copy}{ending}").unlink(missing_ok=True)
        for ending in ("", "-wal"):
            if Path(f"{self._kit.spool}{ending}").exists():
                shutil.copyfile(f"{self._kit.spool}{ending}", f"{copy}{ending}")
        with closing(sqlite3.connect(copy)) as db:
            (self._uuid,) = db.execute("SELECT value FROM pair WHERE key = 'uuid'").fetchone()
            rows = [
                (self._uuid, stream, seq, payload)
                for stream in STREAMS
                for seq, payload in db.execute(f"SELECT seq, payload FROM {stream}")
            ]
            rows += db.execute("SELECT spool, stream, seq, payload FROM inherited")
        for spool, stream, seq, payload in rows:
            name: Name = (self._kit.point, str(spool), stream, seq)
            if name not in self.held and _says(payload, name):
                self.held[name] = payload

    def _broken(self) -> set[str]:
        return {path.name for path in self._kit.state.glob("spool-*.broken")}

    def _damage(self) -> None:
        log = Path(f"{self._kit.spool}-wal")
        target = (
            log if log.exists() and log.stat().st_size and self._random.random() < 0.4 else self._kit.spool
        )
        content = bytearray(target.read_bytes())
        kind = self._random.choice(("flipped", "truncated", "zeroed"))
        if kind == "flipped":
            for _ in range(self._random.randint(1, FLIPPED_BITS)):
                content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        elif kind == "truncated":
            del content[self._random.randrange(len(content)) :]
        else:
            size = self._random.choice((1, 512, 4096, ZEROED_BYTES, len(content)))
            at = self._random.randrange(max(1, len(content) - size + 1))
            content[at : at + size] = bytes(min(size, len(content) - at))
        target.write_bytes(content)
        self.damages[f"{kind}{' log' if target == log else ''}"] += 1

    def _failed(self, what: str) -> Failed:
        return Failed(f"{self._kit.point}, after {dict(self.damages)}: {what}: {self._kit.words()}")


def _says(payload: Any, name: Name) -> bool:
    """Whether a row is the document that it should be: a flipped byte may lie in it since the last damage."""
    try:
        document = json.loads(payload)
    except (ValueError, TypeError):
        return False
    if not isinstance(document, dict):
        return False
    said = cast("dict[str, Any]", document)
    return (said.get("spool"), said.get("seq")) == (name[1], name[3])
