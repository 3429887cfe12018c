"""The spool against a model of itself, through flushes, closings, crashes; and against a real SIGKILL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from diemcau_agent.spool import Spool
from diemcau_agent.topics import STREAMS


class SpoolModel(RuleBasedStateMachine):
    """The model: per stream the committed payloads, those in memory, and how far was delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "spool"
        self.spool = self.runner.run(Spool.open(self.path, keep_rows=30))
        self.uuid = self.spool.uuid
        self.count = 0
        self.committed: dict[str, list[bytes]] = {stream: [] for stream in STREAMS}
        self.memory: list[bytes] = []  # telemetry only
        self.delivered: dict[str, int] = dict.fromkeys(STREAMS, 0)
        self.durable: dict[str, int] = dict.fromkeys(STREAMS, 0)  # the least that a crash may fall back to

    def teardown(self) -> None:
        self.runner.run(self.spool.close())
        self.runner.close()
        self.folder.cleanup()

    def commit(self) -> None:
        self.committed["telemetry"] += self.memory
        self.memory = []

    @rule()
    def event(self) -> None:
        self.count += 1
        body = b"event %d" % self.count
        seq = self.runner.run(self.spool.append("event", lambda _: body))
        self.commit()
        self.durable.update(self.delivered)
        self.committed["event"].append(body)
        assert seq == len(self.committed["event"])

    @rule(times=st.integers(1, 40))
    def telemetry(self, times: int) -> None:
        for _ in range(times):
            self.count += 1
            body = b"telemetry %d" % self.count
            seq = self.runner.run(self.spool.append("telemetry", lambda _, body=body: body))
            self.memory.append(body)
            assert seq == len(self.committed["telemetry"]) + len(self.memory)
            if len(self.memory) == 50:
                self.commit()
                self.durable.update(self.delivered)

    @rule()
    def flush(self) -> None:
        self.runner.run(self.spool.flush())
        self.commit()
        self.durable.update(self.delivered)

    @precondition(lambda self: any(self.committed.values()))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from([name for name in STREAMS if self.committed[name]]))
        seq = data.draw(st.integers(1, len(self.committed[stream])))
        self.runner.run(self.spool.acknowledge(stream, seq))
        self.delivered[stream] = max(self.delivered[stream], seq)

    @rule()
    def close_and_open(self) -> None:
        self.runner.run(self.spool.close())
        self.commit()
        self.durable.update(self.delivered)
        self.spool = self.runner.run(Spool.open(self.path, keep_rows=30))

    @rule()
    def crash_and_open(self) -> None:
        """Memory is lost. A cursor may fall back, never behind what was committed, never forward."""
        self.runner.run(self.spool.database.close())
        self.memory = []
        self.spool = self.runner.run(Spool.open(self.path, keep_rows=30))
        for stream in STREAMS:
            waiting = [r.seq for r in self.runner.run(self.spool.pending(10_000)) if r.stream == stream]
            back = waiting[0] - 1 if waiting else len(self.committed[stream])
            assert self.durable[stream] <= back <= self.delivered[stream]
            self.delivered[stream] = self.durable[stream] = back

    @invariant()
    def what_waits_is_pending_whole_and_in_order(self) -> None:
        assert self.spool.uuid == self.uuid
        pending = self.runner.run(self.spool.pending(10_000))
        for stream in STREAMS:
            got = [(record.seq, record.payload) for record in pending if record.stream == stream]
            start = self.delivered[stream]
            assert got == list(enumerate(self.committed[stream], 1))[start:]
        ages = [int(record.payload.split()[1]) for record in pending]
        assert ages == sorted(ages)


TestSpoolModel = pytest.mark.timeout(60)(SpoolModel.TestCase)
TestSpoolModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)

WRITER = """
import asyncio, sys
from pathlib import Path
from diemcau_agent.spool import Spool

async def main() -> None:
    spool = await Spool.open(Path(sys.argv[1]))
    print("session", await spool.next_session(), flush=True)
    while True:
        for _ in range(3):
            await spool.append("telemetry", lambda seq: b"telemetry %d" % seq)
        seq = await spool.append("event", lambda seq: b"event %d" % seq)
        print("event", seq, flush=True)
        (first,) = await spool.pending(1)
        await spool.acknowledge(first.stream, first.seq)

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

    async def all_of_it() -> dict[str, list[tuple[int, bytes]]]:
        spool = await Spool.open(path)
        rows = await spool.database.run(
            lambda db: db.execute("SELECT stream, seq, payload FROM record ORDER BY seq").fetchall()
        )
        await spool.close()
        return {name: [(seq, body) for stream, seq, body in rows if stream == name] for name in STREAMS}

    kept = asyncio.run(all_of_it())
    assert len(kept["event"]) >= told
    for name in STREAMS:
        assert kept[name] == [(n, b"%s %d" % (name.encode(), n)) for n in range(1, len(kept[name]) + 1)]
