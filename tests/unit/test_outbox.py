"""What is told is kept and leaves in order; a card that fails costs what it was to take, no more."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from diemcau_agent.broker import Broker
from diemcau_agent.mqtt import Connection
from diemcau_agent.outbox import DRAIN_PAUSE_S, SPOOL_RETRY_S, Heartbeat, Outbox
from diemcau_agent.stamp import Stamp
from diemcau_agent.telemetry import Window
from fakeclock import FakeClock, settle
from steered_spool import Card, opened


class Bench:
    """An outbox on a real spool, and a connection that acknowledges when it is told to."""

    def __init__(self, clock: FakeClock, card: Card) -> None:
        self.clock = clock
        self.card = card
        self.window = Window()
        self.outbox = Outbox(card.spool, Stamp("xp-0417", "boot", 3, clock), clock, self.window)
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
            await asyncio.Event().wait()

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
    await bench.card.settle()
    bench.drain()
    await bench.card.live(bench.clock, 4, DRAIN_PAUSE_S)
    assert bench.kinds == [f"kind_{number}" for number in range(40)]
    moments = [moment for moment, _, _ in bench.sent]
    assert moments[-1] - moments[0] >= 39 * DRAIN_PAUSE_S - 1e-6


async def test_what_was_not_acknowledged_is_sent_again_on_the_next_connection(bench: Bench) -> None:
    bench.start(bench.outbox.run())
    bench.outbox.tell("one")
    bench.outbox.tell("two")
    bench.acknowledging = False
    lost = bench.drain()
    await bench.card.live(bench.clock, 1)
    assert bench.kinds == ["one"]
    lost.cancel()
    bench.acknowledging = True
    bench.drain()
    await bench.card.live(bench.clock, 1)
    assert bench.kinds == ["one", "one", "two"]


async def test_an_event_that_the_card_does_not_take_is_told_in_the_log_and_the_next_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    running = bench.start(bench.outbox.run())
    bench.card.broken = True
    bench.outbox.tell("lost")
    await bench.card.settle()
    assert "event not committed" in caplog.text
    bench.card.broken = False
    bench.outbox.tell("kept")
    await bench.card.settle()
    assert not running.done()
    assert [record.seq for record in await bench.card.spool.pending(9)] == [1]


async def test_a_spool_that_cannot_be_read_is_asked_again_after_half_a_minute(bench: Bench) -> None:
    bench.start(bench.outbox.run())
    bench.outbox.tell("waits")
    await bench.card.settle()
    bench.card.broken = True
    bench.card.asked = 0
    draining = bench.drain()
    await bench.clock.advance(SPOOL_RETRY_S * 3.5)
    assert bench.card.asked == 4
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


async def test_a_flush_that_failed_is_tried_again_a_minute_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = bench.start(bench.outbox.measure())
    await bench.card.live(bench.clock, 540, 30)
    bench.card.broken = True
    await bench.card.live(bench.clock, 60, 30)
    bench.card.broken = False
    await bench.card.live(bench.clock, 60, 30)
    assert not measuring.done()
    assert len(await bench.card.spool.pending(99)) == 10  # eleven minutes, of which the card took ten


class Air:
    """What a heartbeat publishes to."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.sent: list[tuple[float, str, bytes]] = []

    async def publish(self, document: str, payload: bytes, *, retain: bool) -> bool:
        assert retain
        self.sent.append((self.clock.mono_s, document, payload))
        return True


async def test_health_goes_out_on_change_once_for_changes_that_come_together_and_every_minute(
    clock: FakeClock,
) -> None:
    air = Air(clock)
    known: list[str] = []
    heart = Heartbeat("health", cast("Broker", air), clock, lambda: ",".join(known).encode(), 60)
    task = asyncio.create_task(heart.run(), name="heartbeat")
    await settle()
    for change in ("cable", "broker"):
        known.append(change)
        heart.changed()
        await clock.advance(0.04)
    await clock.advance(1)
    assert [payload for _, _, payload in air.sent] == [b"cable,broker"]
    await clock.advance(600)
    moments = [moment for moment, _, _ in air.sent]
    assert all(53.9 <= after - before <= 60 for before, after in pairwise(moments))
    assert len(moments) >= 10
    task.cancel()
    await asyncio.wait([task])


async def test_a_birth_goes_out_on_change_only(clock: FakeClock) -> None:
    air = Air(clock)
    heart = Heartbeat("birth", cast("Broker", air), clock, lambda: b"{}")
    task = asyncio.create_task(heart.run(), name="births")
    await clock.advance(3600)
    assert air.sent == []
    heart.changed()
    await clock.advance(1)
    assert len(air.sent) == 1
    task.cancel()
    await asyncio.wait([task])
