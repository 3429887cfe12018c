"""A collector as the tests run it, as a process or in a thread, and what it has stored."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import Clock, SystemClock
from diemcau_fleet.collector import collect, gaps, repair
from diemcau_fleet.collector.collect import UNSIGNED, Collector, Signer
from diemcau_fleet.collector.store import Store

PROGRAM = Path(sys.executable).with_name("diemcau-fleet")
DEADLINE_S = 15.0

Name = tuple[str, str, str, int]
"""(point, spool, stream, seq)."""


def until(what: str, true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    end_s = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end_s, f"{what}: not within {deadline_s:g} s"
        time.sleep(0.01)


class Process:
    """``diemcau-fleet collect`` as whoever starts it has it. ``lines``: its stdout."""

    def __init__(self, url: str, db: Path, *options: str) -> None:
        self.popen = subprocess.Popen(
            [PROGRAM, "collect", "--broker", url, "--db", db, "--stats-s", "0.1", "--unsigned", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.rstrip("\n"))

    def until_says(self, words: str) -> None:
        until(f"says {words!r}", lambda: any(words in line for line in self.lines[-3:]))

    def end(self, *, kill: bool = False) -> int:
        """Its exit code."""
        if kill:
            self.popen.kill()
        else:
            self.popen.terminate()
        code = self.popen.wait(DEADLINE_S)
        self._reading.join(DEADLINE_S)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return code


@contextmanager
def process(url: str, db: Path, *options: str) -> Generator[Process]:
    running = Process(url, db, *options)
    try:
        yield running
    finally:
        if running.popen.poll() is None:
            running.end(kill=True)


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a collector seconds is done in tenths."""
    monkeypatch.setattr(gaps, "SETTLE_S", 0.3)
    monkeypatch.setattr(repair, "PACE_S", 0.02)
    monkeypatch.setattr(repair, "REST_S", 0.3)
    monkeypatch.setattr(repair, "ANSWER_S", 0.5)
    monkeypatch.setattr(collect, "REPAIR_PERIOD_S", 0.02)


@contextmanager
def collecting(url: str, db: Path, clock: Clock | None = None, signer: Signer = UNSIGNED) -> Generator[None]:
    """The collector in a thread, so that :func:`hasten` and a ``clock`` of the test's own hold; from when it
    is connected on."""
    stop = threading.Event()
    started: list[Collector] = []

    def run() -> None:
        with Store.open(db) as store:
            collector = Collector(
                store,
                store.ledger(),
                address=Address.parse(url),
                tls=Tls(None, None, None),
                iss="collector",
                signer=signer,
                clock=clock or SystemClock(),
                say=lambda line: None,
                stats_s=60.0,
            )
            started.append(collector)
            collector.run(stop)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until("connected", lambda: bool(started) and started[0].trouble is None)
        yield
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


class Stored(msgspec.Struct, frozen=True):
    """What the file holds, read without the collector's own code. ``lost``: reason -> numbers."""

    documents: dict[Name, bytes]
    lost: dict[Name, str]
    rejected: int


def stored(db: Path) -> Stored:
    with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True, timeout=DEADLINE_S)) as connection:
        rows = connection.execute(
            "SELECT point, uuid, stream, seq, payload FROM document JOIN spool ON spool = id"
        ).fetchall()
        documents = {(point, spool, stream, seq): payload for point, spool, stream, seq, payload in rows}
        assert len(documents) == len(rows), "a document is stored twice"
        lost = {
            (point, spool, stream, seq): reason
            for point, spool, stream, first, last, reason in connection.execute(
                "SELECT point, uuid, stream, first, last, reason FROM lost JOIN spool ON spool = id"
            )
            for seq in range(first, last + 1)
        }
        (rejected,) = connection.execute("SELECT count(*) FROM rejected").fetchone()
    return Stored(documents, lost, rejected)


def count(db: Path) -> int:
    """Documents in the file so far."""
    with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True, timeout=DEADLINE_S)) as connection:
        return int(connection.execute("SELECT count(*) FROM document").fetchone()[0])
