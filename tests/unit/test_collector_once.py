"""Ledger, gaps, repair and store together, against a model of a point and of the broker between: whatever is
lost, doubled, late or crashes, in the end each document is stored once, or told as lost for a reason."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from diemcau_agent import topics
from diemcau_agent.clock import rfc3339
from diemcau_agent.model import Reply
from diemcau_fleet.collector.batch import Loss
from diemcau_fleet.collector.gaps import Key, Range
from diemcau_fleet.collector.repair import Ask, Repair
from diemcau_fleet.collector.store import Store
from point_documents import WALL_S, document

POINT = "xp-0417"
STREAMS = st.sampled_from(topics.STREAMS)


class Sent(msgspec.Struct, frozen=True):
    """One document as the point made it. ``true_ms``: when that was, whatever its clock said."""

    key: Key
    seq: int
    boot: str
    synced: bool
    true_ms: int
    payload: bytes


class CollectorModel(RuleBasedStateMachine):
    """``wire``: what is on its way. ``unacknowledged``: what was taken since the last commit, which the
    broker sends again after a crash."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="diemcau-collector-", dir="/dev/shm")
        self.store = Store.open(Path(self.directory.name) / "collector.sqlite3")
        self.ledger = self.store.ledger()
        self.made: dict[tuple[Key, int], Sent] = {}
        self.dropped: set[tuple[Key, int]] = set()
        self.told: set[tuple[Key, int]] = set()
        """Those of the dropped that the collector has heard of, and committed."""
        self.wire: list[Sent] = []
        self.unacknowledged: list[Sent] = []
        self.stored: set[tuple[Key, int]] = set()
        self.known: set[str] = set()
        """Boots of which a true time is stored."""
        self.last: Counter[Key] = Counter()
        self.spool = self.boots = 0
        self.now_ms = WALL_S * 1000
        self.reboot()

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.repair()
            self.judge()
        finally:
            self.store.close()
            self.directory.cleanup()

    # --- The point

    @rule()
    def reboot(self) -> None:
        self.boots += 1
        self.began_ms, self.synced = self.now_ms, False

    @rule()
    def sync(self) -> None:
        self.synced = True

    @rule(stream=STREAMS)
    def report(self, stream: str) -> None:
        self.make(stream)

    @rule(stream=STREAMS, count=st.integers(1, 4))
    def drop(self, stream: str, count: int) -> None:
        key, first = self.key(stream), self.last[self.key(stream)] + 1
        self.last[key] += count
        self.dropped |= {(key, seq) for seq in range(first, first + count)}
        data = {"spool": key.spool, "stream": stream, "from": first, "to": self.last[key], "count": count}
        self.make("event", kind="dropped", data={**data, "reason": "full"})

    @rule()
    def break_card(self) -> None:
        self.spool += 1
        data = {"previous": f"spool-{self.spool - 1}", "reason": "corrupt", "kept": None}
        self.make("event", kind="spool_replaced", data=data)

    def key(self, stream: str) -> Key:
        return Key(POINT, f"spool-{self.spool}", stream)

    def make(self, stream: str, **fields: Any) -> None:
        self.now_ms += 60_000
        key, mono_ms = self.key(stream), self.now_ms - self.began_ms
        self.last[key] += 1
        boot, seq = f"boot-{self.boots}", self.last[key]
        body = document(
            stream,
            spool=key.spool,
            seq=seq,
            boot=boot,
            mono_ms=mono_ms,
            clock="synced" if self.synced else "unsynced",
            time=rfc3339((self.now_ms if self.synced else mono_ms) / 1000),
            **fields,
        )
        sent = Sent(key, seq, boot, self.synced, self.now_ms, json.dumps(body).encode())
        self.made[key, seq] = sent
        self.wire.append(sent)

    # --- Between

    @precondition(lambda self: self.wire)
    @rule(at=st.integers(0), again=st.booleans())
    def deliver(self, at: int, again: bool) -> None:
        sent = self.wire[at % len(self.wire)]
        if not again:
            self.wire.remove(sent)
        self.take(sent)

    @precondition(lambda self: self.wire)
    @rule()
    def deliver_all(self) -> None:
        while self.wire:
            self.take(self.wire.pop(0))

    @precondition(lambda self: self.wire)
    @rule(at=st.integers(0))
    def lose(self, at: int) -> None:
        del self.wire[at % len(self.wire)]

    def take(self, sent: Sent) -> None:
        topic = topics.point(POINT, sent.key.stream)
        assert self.ledger.take(topic, sent.payload, self.now_ms, live=True) is None
        self.unacknowledged.append(sent)

    # --- The collector

    @rule()
    def commit(self) -> None:
        self.store.write(self.ledger)
        for sent in self.unacknowledged:
            self.stored.add((sent.key, sent.seq))
            if sent.synced:
                self.known.add(sent.boot)
            event = json.loads(sent.payload)
            if event.get("kind") == "dropped":
                span, key = event["data"], Key(POINT, event["data"]["spool"], event["data"]["stream"])
                self.told |= {(key, seq) for seq in range(span["from"], span["to"] + 1)}
        self.unacknowledged.clear()

    @rule()
    def crash(self) -> None:
        self.store.close()
        self.store = Store.open(self.store.path)
        self.ledger = self.store.ledger()
        self.wire += self.unacknowledged
        self.unacknowledged.clear()

    @invariant()
    def each_committed_document_is_stored_once(self) -> None:
        rows = Counter((row.key, row.seq) for row in self.store.documents(POINT))
        assert rows == Counter(self.stored)

    @invariant()
    def what_is_missing_is_what_came_not_and_was_not_told(self) -> None:
        if self.unacknowledged:
            return
        tops: dict[Key, int] = {}
        for key, seq in self.stored | self.told:
            tops[key] = max(seq, tops.get(key, 0))
        numbers = {(key, seq) for key, top in tops.items() for seq in range(1, top + 1)}
        missing = numbers - self.stored - self.told
        gaps = ((key, gap) for key, tracker in self.ledger.open.items() for gap in tracker.gaps())
        assert expanded(gaps) == missing
        assert expanded((gap.key, gap.range) for gap in self.store.gaps()) == missing
        assert expanded((loss.key, loss.range) for loss in self.store.losses()) == self.told - self.stored

    # --- The end

    def repair(self) -> None:
        """The line is good from now on, and the point answers ``resend``."""
        for stream in topics.STREAMS:
            self.make(stream)
        self.deliver_all()
        mend = Repair("collector", nonce_of=lambda point: "n", current_spool=self.ledger.spools.newest)
        for second in range(5000):
            if not self.ledger.open:
                break
            for step in mend.due(self.ledger.open, float(second), self.now_ms / 1000):
                if isinstance(step, Loss):
                    self.ledger.lose(step.key, *step.range, step.reason)
                    continue
                for loss in mend.answer(POINT, self.resend(step), float(second)):
                    self.ledger.lose(loss.key, *loss.range, loss.reason)
        self.commit()

    def resend(self, ask: Ask) -> Reply:
        missing: list[tuple[int, int]] = []
        for seq in range(ask.range.first, ask.range.last + 1):
            sent = self.made.get((ask.key, seq))
            if sent is None:
                missing.append((seq, seq))
            else:
                self.take(sent)
        body = document("reply", id=ask.claims.id, result={"sent": 0, "missing": missing, "next": None})
        return msgspec.convert(body, Reply)

    def judge(self) -> None:
        assert not self.ledger.open
        assert not self.store.gaps()
        self.each_committed_document_is_stored_once()
        tops = {key: tracker.top for key, tracker in self.ledger.trackers.items()}
        for key, seq in self.made.keys() - self.stored:  # nothing that came later shows that it was there
            assert seq > tops.get(key, 0)
        lost = expanded((loss.key, loss.range) for loss in self.store.losses())
        assert lost == {(key, seq) for key, seq in self.dropped if seq <= tops.get(key, 0)}
        for row in self.store.documents(POINT):
            sent = self.made[row.key, row.seq]
            assert row.payload == sent.payload
            assert row.time_corrected_ms == (sent.true_ms if sent.boot in self.known else None)
        newest = max((int(spool.split("-")[1]) for spool in self.ledger.spools.of(POINT)), default=0)
        assert self.ledger.spools.newest(POINT) == f"spool-{newest}"


def expanded(ranges: Any) -> set[tuple[Key, int]]:
    """Each number of (key, range) pairs."""
    spans: list[tuple[Key, Range]] = list(ranges)
    return {(key, seq) for key, span in spans for seq in range(span.first, span.last + 1)}


TestCollectorModel = CollectorModel.TestCase
TestCollectorModel.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
