"""What must hold after any torture, by the wire, the collector's file and the card's own. Raises Failed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from kits import Failed, Kit, Shelf, until

from witness import Name, Witness

CONNECTED_S = 30.0
DRAIN_S, DRAIN_PER_S = 30.0, 10.0
"""For reconnecting, and half of the pace that is promised: the machine is busy."""
COLLECTED_S = 60.0
"""A gap waits for what is late, is asked for, and comes."""


@contextmanager
def collecting(port: int, db: Path) -> Generator[None]:
    """The second witness: ``diemcau-fleet collect``."""
    program = Path(sys.executable).with_name("diemcau-fleet")
    log_file = db.parent / "collector.log"
    with log_file.open("wb") as log:
        popen = subprocess.Popen(
            [program, "collect", "--broker", f"mqtt://127.0.0.1:{port}", "--db", db, "--unsigned"],
            stdout=log,
            stderr=log,
        )
    try:
        if not until(lambda: connected(db), CONNECTED_S):
            raise Failed(f"the collector is not connected: {log_file.read_text()}")
        yield
    finally:
        popen.terminate()
        popen.wait(15)


def connected(db: Path) -> bool:
    """Whether the collector that writes ``db`` says so; what comes before that is no news to it."""
    told = [line for line in (db.parent / "collector.log").read_text().splitlines() if " broker: " in line]
    return bool(told) and told[-1].endswith("broker: connected")


def collected(db: Path) -> dict[Name, bytes]:
    """Read without the collector's code. Raises Failed where a document is stored twice."""
    with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True, timeout=15)) as connection:
        rows = connection.execute(
            "SELECT point, uuid, stream, seq, payload FROM document JOIN spool ON spool = id"
        ).fetchall()
    found: dict[Name, bytes] = {
        (point, spool, stream, seq): bytes(load) for point, spool, stream, seq, load in rows
    }
    if len(found) != len(rows):
        raise Failed(f"the collector has {len(rows)} rows of {len(found)} documents")
    return found


def judge(
    due: Mapping[Name, bytes],
    known: Mapping[Name, bytes],
    witness: Witness,
    db: Path,
    point: str,
    *,
    heard_all: bool = True,
) -> None:
    """All that is ``due`` was heard and collected, as it was committed, and nothing that is not ``known`` to
    have been committed. ``heard_all``: the broker kept our session, so the wire alone had all of it."""
    missing = sorted(due.keys() - witness.of(point).keys())
    if heard_all and missing:
        raise Failed(f"{point}: {len(missing)} acknowledged documents never came: {missing[:5]}")
    until(lambda: not due.keys() - collected(db).keys(), COLLECTED_S, 0.2)
    if missing := sorted(due.keys() - collected(db).keys()):
        raise Failed(
            f"{point}: {len(missing)} acknowledged documents are not at the collector: {missing[:5]}"
        )
    mine = {name: payload for name, payload in collected(db).items() if name[0] == point}
    for who, has in (("heard", witness.of(point)), ("collected", mine)):
        if unknown := sorted(has.keys() - known.keys()):
            raise Failed(f"{point}: {who}, but never committed: {unknown[:5]}")
        if changed := sorted(name for name, payload in has.items() if payload != known[name]):
            raise Failed(f"{point}: {who}, but not as it was committed: {changed[:5]}")
    if conflicts := [name for name in witness.conflicts if name[0] == point]:
        raise Failed(f"{point}: two documents of one name: {conflicts[:5]}")
    if replaced := witness.kinds(point, "spool_replaced"):
        raise Failed(f"{point}: a spool was given up: {replaced[0]['data']}")
    # A ping is answered before it is written down.
    done = {ident for ident, (of, verb) in witness.done.items() if of == point and verb != "ping"}
    events = [json.loads(payload) for name, payload in mine.items() if name[2] == "event"]
    untold = done - {event["data"]["id"] for event in events if event["kind"] == "command"}
    if untold:
        raise Failed(f"{point}: {len(untold)} commands were done, and no event tells: {sorted(untold)[:3]}")


def drained(kit: Kit, shelf: Shelf, witness: Witness) -> None:
    """Wait until what is known to be committed was heard; :func:`judge` says where it was not."""
    due = shelf.committed.keys()
    until(lambda: not due - witness.of(kit.point).keys(), DRAIN_S + len(due) / DRAIN_PER_S, 0.2)


def finish(kit: Kit, shelf: Shelf, witness: Witness, db: Path, *, heard_all: bool) -> None:
    """Deliver what is left, and judge. A last command gives every gap a document that shows it."""
    if not until(lambda: connected(db), CONNECTED_S):
        raise Failed(f"the collector does not come back: {(db.parent / 'collector.log').read_text()}")
    ident = str(uuid.uuid4())
    witness.order(kit.point, "config", {"get": True}, ident)
    if not witness.until(lambda: ident in witness.told, 30):
        raise Failed(f"{kit.point}: does not obey any more: {kit.words()}")
    shelf.look()
    due = dict(shelf.committed)
    if heard_all:
        drained(kit, shelf, witness)
    until(lambda: not due.keys() - collected(db).keys(), COLLECTED_S, 0.2)  # it alone can send again
    kit.kill()
    shelf.look()
    judge(due, shelf.committed, witness, db, kit.point, heard_all=heard_all)
