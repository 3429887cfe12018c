"""What is told is kept and leaves in order; a card that fails costs what it was to take, no more."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from diemcau_agent.audit.chain import Head, verify
from diemcau_agent.audit.record import Audit
from diemcau_agent.mqtt import Connection
from diemcau_agent.outbox import AUDITED_S, DRAIN_PAUSE_S, SPOOL_RETRY_S, Outbox
from diemcau_agent.stamp import Stamp
from diemcau_agent.telemetry import Window
from fakeclock import FakeClock
from steered_spool import Card, opened


class Bench:
    """An outbox on a real spool, and a connection that acknowledges when it is told to."""

    def __init__(self, clock: FakeClock, card: Card) -> None:
        self.clock = clock
        self.card = card
        self.window = Window()
        self.conference = False
        self.outbox = Outbox(
            card.spool, Stamp("xp-0417", "boot", 3, clock), clock, self.window, lambda: self.conference
        )
        self.waiting: list[asyncio.Event] = []
        self.sent: list[tuple[float, str, dict[str, Any]]] = []
        self.acknowledging = True
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._tasks.append(asyncio.create_task(work, name="outbox"))
        return self._tasks[-1]

    def drain(self) -> asyncio.Task[None]:
        return self.start(self.outbox.drain(cast("Connection", self)))

    async def publish(self, topic: str, payload: bytes) -> None:
        self.sent.append((self.clock.mono_s, topic, json.loads(payload)))
        if not self.acknowledging:
            self.waiting.append(asyncio.Event())
            await self.waiting[-1].wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.card.broken = False
        await self.card.spool.close()

    @property
    def kinds(self) -> list[str]:
        return [document["kind"] for _, _, document in self.sent]


@pytest.fixture
async def bench(clock: FakeClock, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(clock, await opened(tmp_path))
    yield made
    await made.close()


async def test_events_are_numbered_in_the_order_told_and_stamped_when_told(bench: Bench) -> None:
    bench.outbox.tell("state", device="camera", code="camera_absent", from_="ok", to="absent")
    bench.clock.mono_s += 5
    bench.outbox.tell("help_called", device="panel")
    bench.clock.mono_s += 5
    bench.start(bench.outbox.run())
    bench.drain()
    await bench.card.live(bench.clock, 1)
    first, second = (document for _, _, document in bench.sent)
    assert (first["seq"], first["kind"], first["from"], first["to"]) == (1, "state", "ok", "absent")
    assert (second["seq"], second["mono_ms"] - first["mono_ms"]) == (2, 5000)
    assert first["spool"] == bench.card.spool.uuid
    assert {topic for _, topic, _ in bench.sent} == {"diemcau/v1/point/xp-0417/event"}
    assert [event.kind for event in bench.outbox.recent] == ["state", "help_called"]


async def test_catching_up_is_no_faster_than_20_a_second(bench: Bench) -> None:
    bench.start(bench.outbox.run())
    for number in range(40):
        bench.outbox.tell(f"kind_{number}")
    await bench.outbox.settle(5)
    bench.drain()
    await bench.card.live(bench.clock, 4, DRAIN_PAUSE_S)
    assert bench.kinds == [f"kind_{number}" for number in range(40)]
    moments = [moment for moment, _, _ in bench.sent]
    assert moments[-1] - moments[0] >= 39 * DRAIN_PAUSE_S - 1e-6


async def test_what_was_not_acknowledged_is_sent_again_on_the_next_connection(bench: Bench) -> None:
    bench.start(bench.outbox.run())
    bench.outbox.tell("one")
    bench.outbox.tell("two")
    await bench.outbox.settle(5)
    bench.acknowledging = False
    lost = bench.drain()
    await bench.card.live(bench.clock, 1)
    assert bench.kinds == ["one", "two"]
    lost.cancel()
    bench.acknowledging = True
    bench.drain()
    await bench.card.live(bench.clock, 1)
    assert bench.kinds == ["one", "two", "one", "two"]


async def test_an_event_that_the_card_does_not_take_waits_in_memory_and_comes_in_its_order(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    running = bench.start(bench.outbox.run())
    bench.card.broken = True
    bench.outbox.tell("waits")
    await bench.card.settle()
    assert "documents wait in memory" in caplog.text
    assert [event.kind for event in bench.outbox.recent] == ["waits"]
    bench.card.broken = False
    bench.outbox.tell("next")
    await bench.card.settle()
    assert not running.done()
    bench.drain()
    await bench.card.live(bench.clock, 1)
    assert bench.kinds == ["waits", "next"]


async def test_what_a_failing_card_kept_waiting_is_committed_within_a_minute_of_its_return(
    bench: Bench,
) -> None:
    bench.start(bench.outbox.run())
    bench.start(bench.outbox.measure())
    bench.card.broken = True
    bench.outbox.tell("waits")
    await bench.card.live(bench.clock, 120, 30)
    bench.card.broken = False
    await bench.card.live(bench.clock, 60, 30)
    kinds = [json.loads(record.payload).get("kind") for record in await bench.card.spool.pending(99)]
    assert kinds == ["waits", None, None, None]


async def test_a_spool_that_cannot_be_read_is_asked_again_after_half_a_minute(bench: Bench) -> None:
    bench.start(bench.outbox.run())
    bench.outbox.tell("waits")
    await bench.card.settle()
    bench.card.broken = True
    bench.card.asked = 0
    draining = bench.drain()
    for asked in range(1, 5):
        await bench.card.settle()
        assert bench.card.asked == asked
        await bench.clock.advance(SPOOL_RETRY_S)
    assert not draining.done()
    bench.card.broken = False
    await bench.card.live(bench.clock, SPOOL_RETRY_S, 1.0)
    assert bench.kinds == ["waits"]


async def test_telling_never_blocks_and_what_is_too_much_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1001):
        bench.outbox.tell(f"kind_{number}")
    assert "event lost" in caplog.text
    assert "kind_1000" in caplog.text
    assert "kind_999" not in caplog.text


async def test_settling_ends_when_all_is_committed_and_at_its_time_where_it_cannot(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.outbox.tell("told")
    with caplog.at_level(logging.WARNING):
        await bench.outbox.settle(0.01)
    assert "1 events not committed" in caplog.text
    bench.start(bench.outbox.run())
    await bench.outbox.settle(5)
    assert [record.seq for record in await bench.card.spool.pending(9)] == [1]


async def test_telemetry_is_a_document_a_minute_and_committed_every_ten(bench: Bench) -> None:
    bench.start(bench.outbox.measure())
    for minute in range(9):
        bench.window.add("camera", {"luma_mean": minute / 10})
        await bench.card.live(bench.clock, 60, 30)
    assert await bench.card.spool.pending(99) == []
    await bench.card.live(bench.clock, 60, 30)
    documents = [json.loads(record.payload) for record in await bench.card.spool.pending(99)]
    assert [document["seq"] for document in documents] == list(range(1, 11))
    assert documents[3]["series"]["camera.luma_mean"]["mean"] == 0.3
    assert documents[9]["series"] == {}
    assert documents[0]["window_s"] == 60


async def test_a_flush_that_failed_is_made_up_for_a_minute_later(bench: Bench) -> None:
    measuring = bench.start(bench.outbox.measure())
    await bench.card.live(bench.clock, 540, 30)
    bench.card.broken = True
    await bench.card.live(bench.clock, 60, 30)
    bench.card.broken = False
    await bench.card.live(bench.clock, 60, 30)
    assert not measuring.done()
    assert len(await bench.card.spool.pending(99)) == 11


async def test_while_a_conference_is_on_telemetry_is_committed_each_minute(bench: Bench) -> None:
    bench.conference = True
    bench.start(bench.outbox.measure())
    await bench.card.live(bench.clock, 60, 30)
    assert len(await bench.card.spool.pending(99)) == 1


async def test_a_slow_line_has_four_on_their_way_and_each_is_delivered_in_its_order(bench: Bench) -> None:
    bench.start(bench.outbox.run())
    for number in range(6):
        bench.outbox.tell(f"kind_{number}")
    await bench.outbox.settle(5)
    bench.acknowledging = False
    bench.drain()
    await bench.card.live(bench.clock, 1)
    assert bench.kinds == ["kind_0", "kind_1", "kind_2", "kind_3"]
    assert len(await bench.card.spool.pending(99)) == 6
    for publish in bench.waiting[1:]:
        publish.set()
    await bench.card.live(bench.clock, 1)
    assert len(await bench.card.spool.pending(99)) == 6  # the first is still on its way
    bench.waiting[0].set()
    await bench.card.live(bench.clock, 1)
    assert len(await bench.card.spool.pending(99)) == 2


async def test_events_that_memory_could_not_hold_are_told_by_one_event_with_their_count(bench: Bench) -> None:
    for number in range(1003):
        bench.outbox.tell(f"kind_{number}")
    bench.start(bench.outbox.run())
    await bench.outbox.settle(15)
    await bench.card.settle()
    records = await bench.card.spool.pending(9999)
    told = [document for record in records if (document := json.loads(record.payload))["kind"] == "dropped"]
    assert [event["data"] for event in told] == [
        {
            "spool": bench.card.spool.uuid,
            "stream": "event",
            "from": None,
            "to": None,
            "count": 3,
            "reason": "io_error",
        }
    ]


async def test_what_the_spool_lost_and_that_it_is_another_one_are_events_as_any_other(
    clock: FakeClock, tmp_path: Path
) -> None:
    card = await opened(tmp_path)
    before = card.spool.uuid
    await card.spool.close()
    (tmp_path / "spool.sqlite3").write_bytes(b"no database any more")
    bench = Bench(clock, await opened(tmp_path))
    bench.start(bench.outbox.run())
    bench.drain()
    await bench.card.live(clock, 1)
    (told,) = (document for _, _, document in bench.sent)
    assert (told["kind"], told["seq"], told["spool"]) == ("spool_replaced", 1, bench.card.spool.uuid)
    assert told["point"] == "xp-0417"
    assert told["data"] == {"previous": before, "reason": "corrupt", "kept": "spool-1.broken", "salvaged": 0}
    await bench.close()


# --- With an audit


async def test_an_audited_event_is_an_entry_and_carries_its_hash(
    clock: FakeClock, tmp_path: Path, bench: Bench
) -> None:
    audit = Audit(tmp_path, Stamp("xp-0417", "boot", 3, clock), clock)
    bench.outbox._audit = audit
    bench.start(audit.run())
    bench.start(bench.outbox.run())
    bench.drain()
    bench.outbox.tell("agent_started", data={"session": 3})
    bench.outbox.tell("state", device="camera", code="camera_absent", from_="ok", to="absent")
    bench.outbox.tell("command", code="busy", data={"verb": "camera", "iss": "operator-1"})
    while len(bench.sent) < 3:  # a thread writes; pytest's own time limit ends a wait that is in vain
        await clock.advance(0.001)
        await asyncio.sleep(0.001)
    started, state, command = (document["data"] for _, _, document in bench.sent)
    assert "audit" not in state
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines(keepends=True)
    for data in (started, command):
        head = Head(data["audit"]["n"], data["audit"]["hash"])
        assert verify([("audit.jsonl", lines)], head).whole
    entry = json.loads(lines[-1])
    assert (entry["n"], entry["kind"], entry["data"]) == (
        2, "command", {"code": "busy", "verb": "camera", "iss": "operator-1"},
    )  # fmt: skip
    await audit.aclose()


async def test_a_card_that_takes_no_audit_holds_up_no_event(
    clock: FakeClock, tmp_path: Path, bench: Bench
) -> None:
    audit = Audit(tmp_path / "missing", Stamp("xp-0417", "boot", 3, clock), clock)
    bench.outbox._audit = audit
    bench.start(audit.run())
    bench.start(bench.outbox.run())
    bench.drain()
    for _ in range(5):
        bench.outbox.tell("command", data={"verb": "ping"})
    await bench.card.live(clock, AUDITED_S + 1)
    assert [document["data"] for _, _, document in bench.sent] == [{"verb": "ping"}] * 5
    await audit.aclose()
