"""The spool against a model of who reads it, through crashes, full and failing cards and broken files; and
against a real SIGKILL."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from diemcau_agent.database import DatabaseError
from diemcau_agent.spool import Drop, Replaced
from diemcau_agent.topics import STREAMS
from steered_spool import Card, opened

MAX_BYTES = 256 * 1024
"""Some fifty large documents."""
Name = tuple[str, str, int]
"""Of a document: spool, stream, seq."""


class SpoolModel(RuleBasedStateMachine):
    """A reader takes what it is given, drops what it has seen, and knows what it was told is lost. At the end
    it has each document exactly once, or was told that it will not come."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = tempfile.TemporaryDirectory()
        self.folders = 0
        self.count = 0
        self.named: dict[Name, bytes] = {}
        """What the spool built under each name, the last time."""
        self.acknowledged: dict[bytes, Name] = {}
        """Events, by what they say, that are on the card by the spool's own word."""
        self.read: dict[Name, bytes] = {}
        self.facts: list[Drop | Replaced] = []
        self.uuids: list[str] = []
        self.gone: set[str] = set()
        """Spools of which nothing could be read any more."""
        self.sessions = 0
        self.runner.run(self.open(Path(self.root.name)))

    async def open(self, folder: Path) -> None:
        self.folder = folder
        self.card: Card = await opened(folder, max_bytes=MAX_BYTES)
        self.spool = self.card.spool
        if self.spool.uuid not in self.uuids[-1:]:
            assert self.spool.uuid not in self.uuids
            self.uuids.append(self.spool.uuid)
        self.sessions += 1
        assert await self.spool.next_session() == self.sessions

    def teardown(self) -> None:
        try:
            self.runner.run(self.to_the_end())
        finally:
            self.runner.close()
            self.root.cleanup()

    def build(self, stream: str, body: bytes) -> Any:
        def build(spool: str, seq: int) -> bytes:
            self.named[spool, stream, seq] = body
            return body

        return build

    def body(self, size: int = 0) -> bytes:
        self.count += 1
        return b"%d " % self.count + b"x" * size

    # --- What the agent does

    @rule(size=st.sampled_from([10, 10, 4000]))
    def event(self, size: int) -> None:
        body = self.body(size)
        uuid = self.spool.uuid
        seq = self.runner.run(self.spool.append("event", self.build("event", body)))
        assert (seq is None) == self.card.broken
        if seq is not None:
            self.acknowledged[body] = (uuid, "event", seq)

    @rule(times=st.integers(1, 60), size=st.sampled_from([10, 2000]))
    def telemetry(self, times: int, size: int) -> None:
        for _ in range(times):
            build = self.build("telemetry", self.body(size))
            self.runner.run(self.spool.append("telemetry", build))

    @rule()
    def a_minute_passes(self) -> None:
        async def act() -> None:
            await self.spool.tend()
            if self.spool.news:
                await self.spool.tell(self.describe)

        self.runner.run(act())

    def describe(self, fact: Drop | Replaced) -> Any:
        def build(spool: str, seq: int) -> bytes:
            if fact not in self.facts:
                self.facts.append(fact)
            return self.build("event", repr(fact).encode())(spool, seq)

        return build

    @rule()
    def flush(self) -> None:
        try:
            self.runner.run(self.spool.flush())
        except DatabaseError:
            assert self.card.broken

    @precondition(lambda self: not self.card.broken)
    @rule(limit=st.integers(1, 60), acknowledged=st.integers(0, 60))
    def deliver(self, limit: int, acknowledged: int) -> None:
        self.runner.run(self.deliver_some(limit, acknowledged))

    async def deliver_some(self, limit: int, acknowledged: int) -> int:
        records = await self.spool.pending(limit)
        assert len(records) <= limit
        for number, record in enumerate(records):
            name = (record.spool, record.stream, record.seq)
            assert self.named[name] == record.payload
            assert self.read.setdefault(name, record.payload) == record.payload
            if number < acknowledged:
                await self.spool.acknowledge(record)
        return len(records)

    # --- What happens to it

    @rule()
    def the_card_fails(self) -> None:
        self.card.broken = True

    @rule()
    def the_card_is_well_again(self) -> None:
        self.card.broken = False

    @precondition(lambda self: not self.card.broken)
    @rule()
    def close_and_open(self) -> None:
        async def act() -> None:
            await self.spool.close()
            await self.open(self.folder)

        self.runner.run(act())

    @rule(damage=st.sampled_from([None, None, "a row", "the log", "the file"]))
    def crash_and_open(self, damage: str | None) -> None:
        """What SIGKILL leaves is a copy of the folder as it is; what was in memory is gone."""

        async def act() -> None:
            self.folders += 1
            copy = Path(self.root.name) / str(self.folders)
            copy.mkdir()
            for file in self.folder.iterdir():
                if file.is_file():
                    shutil.copy(file, copy)
            self.card.broken = False
            await self.spool.close()
            if damage is not None:
                self.damage(copy / "spool.sqlite3", damage)
            await self.open(copy)

        self.runner.run(act())

    def damage(self, path: Path, what: str) -> None:
        if what == "the log":
            path.with_name(f"{path.name}-wal").write_bytes(b"")
        elif what == "the file":
            self.gone = set(self.uuids)
            with path.open("r+b") as file:
                file.write(bytes(16))
        else:
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("UPDATE stream SET crc = 0 WHERE name = 'event'")

    # --- What must hold

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.spool._waiting) <= 1000

    async def to_the_end(self) -> None:
        """Everything is delivered and told; then nothing is missing that nobody spoke of."""
        self.card.broken = False
        await self.spool.flush()
        for _ in range(1000):
            await self.spool.tell(self.describe)
            if not await self.deliver_some(100, 100):
                break
        await self.spool.close()
        lost = {
            (fact.spool, fact.stream, number)
            for fact in self.facts
            if isinstance(fact, Drop) and fact.first is not None and fact.last is not None
            for number in range(fact.first, fact.last + 1)
        }
        for name in self.acknowledged.values():
            assert name in self.read or name in lost or name[0] in self.gone
        for spool in set(self.uuids) - self.gone:
            for stream in STREAMS:
                seqs = {seq for uuid, name, seq in self.read.keys() | lost if (uuid, name) == (spool, stream)}
                assert seqs == set(range(1, max(seqs, default=0) + 1))
        bodies = [body for body in self.read.values() if body[:1].isdigit()]  # a loss may be told twice
        assert len(bodies) == len(set(bodies))
        replaced = {fact.previous for fact in self.facts if isinstance(fact, Replaced)}
        assert replaced >= set(self.uuids[:-1]) - self.gone
        assert self.uuids[:-1][-1:] == [] or self.uuids[-2] in replaced


EXAMPLES = int(os.environ.get("SPOOL_EXAMPLES", "40"))
"""A shrunk example of thirty steps takes minutes: the steps as they were are printed."""

TestSpoolModel = pytest.mark.timeout(20 + EXAMPLES)(SpoolModel.TestCase)
TestSpoolModel.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)

WRITER = """
import asyncio, sys
from pathlib import Path
from diemcau_agent.spool import Spool

async def main() -> None:
    spool = await Spool.open(Path(sys.argv[1]))
    print("session", await spool.next_session(), flush=True)
    while True:
        for _ in range(3):
            await spool.append("telemetry", lambda spool, seq: b"telemetry %d" % seq)
        seq = await spool.append("event", lambda spool, seq: b"event %d" % seq)
        print("event", seq, flush=True)
        (first,) = await spool.pending(1)
        await spool.acknowledge(first)

asyncio.run(main())
"""


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    told = 0
    for life in range(1, 6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stderr is not None
        assert writer.stdout.readline() == b"session %d\n" % life
        numbers: list[int] = []
        for line in writer.stdout:
            numbers.append(int(line.split()[1]))
            if len(numbers) == 7 * life:
                os.kill(writer.pid, signal.SIGKILL)
                break
        numbers += [int(line.split()[1]) for line in writer.stdout if line.endswith(b"\n")]
        assert writer.wait(10) == -signal.SIGKILL, writer.stderr.read()
        writer.stdout.close()
        writer.stderr.close()
        # Each life goes on where the one before ended: nothing told is lost, nothing told comes twice.
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert told < numbers[0] <= told + 2
        told = numbers[-1]

    kept: dict[str, list[tuple[int, bytes]]] = {}
    with closing(sqlite3.connect(path)) as db:
        for name in STREAMS:
            kept[name] = db.execute(f"SELECT seq, payload FROM {name} ORDER BY seq").fetchall()
    assert len(kept["event"]) >= told
    for name in STREAMS:
        assert kept[name] == [(n, b"%s %d" % (name.encode(), n)) for n in range(1, len(kept[name]) + 1)]
