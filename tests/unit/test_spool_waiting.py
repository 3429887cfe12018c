"""A card that takes nothing, or does not answer: documents wait in memory, nobody else waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from diemcau_agent import database
from diemcau_agent.spool import WAITING_LIMIT, Drop, Replaced
from steered_spool import Card, opened


def body(text: str = "x") -> Callable[[str, int], bytes]:
    return lambda spool, seq: text.encode()


@pytest.fixture
async def card(tmp_path: Path) -> AsyncIterator[Card]:
    card = await opened(tmp_path, blocked_s=0.2)
    yield card
    card.broken = False
    card.release()
    await card.settle()
    await card.spool.close()


def described(told: list[Drop | Replaced]) -> Callable[[Drop | Replaced], Callable[[str, int], bytes]]:
    def describe(fact: Drop | Replaced) -> Callable[[str, int], bytes]:
        told.append(fact)
        return lambda spool, seq: b"told"

    return describe


async def test_documents_wait_while_the_card_takes_none_and_come_in_their_order(card: Card) -> None:
    card.broken = True
    assert await card.spool.append("event", body("one")) is None
    assert await card.spool.append("telemetry", body("two")) is None
    assert await card.spool.append("event", body("three")) is None
    card.broken = False
    assert await card.spool.append("event", body("four")) == 3
    payloads = [record.payload for record in await card.spool.pending(9)]
    assert payloads == [b"one", b"two", b"three", b"four"]


async def test_memory_is_bounded_telemetry_goes_first_and_it_is_told_how_much(card: Card) -> None:
    card.broken = True
    await card.spool.append("event", body("event 0"))
    for number in range(WAITING_LIMIT):
        await card.spool.append("telemetry", body(f"telemetry {number}"))
    for number in range(1, WAITING_LIMIT + 10):
        await card.spool.append("event", body(f"event {number}"))
    await card.settle()  # what was handed to the card has come back
    assert len(card.spool._waiting) == WAITING_LIMIT
    assert not card.spool.news  # nothing can be told yet
    card.broken = False
    await card.spool.tend()
    assert card.spool.news
    told: list[Drop | Replaced] = []
    await card.spool.tell(described(told))
    uuid = card.spool.uuid
    assert told == [
        Drop(uuid, "event", None, None, 10, "io_error"),
        Drop(uuid, "telemetry", None, None, WAITING_LIMIT, "io_error"),
    ]
    records = await card.spool.pending(10_000)
    kept = [record.payload for record in records if record.payload != b"told"]
    assert kept == [b"event %d" % number for number in range(10, WAITING_LIMIT + 10)]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))


async def test_a_card_that_hangs_holds_nobody_up_and_the_watchdog_can_see_it(card: Card) -> None:
    assert card.spool.busy_since_s is None
    card.hang()
    assert await card.spool.append("event", body("hangs")) is None
    assert card.spool.busy_since_s is not None
    assert card.spool.alive
    with pytest.raises(database.Blocked):
        await card.spool.pending(9)
    asked = card.asked
    assert await card.spool.append("event", body("later")) is None
    assert card.asked == asked  # what is known to hang is not asked again
    card.release()
    await card.settle()
    assert card.spool.busy_since_s is None
    await card.spool.tend()
    payloads = [record.payload for record in await card.spool.pending(9)]
    assert payloads == [b"hangs", b"later"]


async def test_what_hung_and_then_failed_waits_on_in_its_place(card: Card) -> None:
    card.hang()
    await card.spool.append("event", body("first"))
    await card.spool.append("event", body("second"))
    card.broken = True
    card.release()
    await card.settle()
    card.broken = False
    await card.spool.tend()
    assert [record.payload for record in await card.spool.pending(9)] == [b"first", b"second"]


async def test_an_orderly_stop_does_not_wait_for_a_card_that_hangs(tmp_path: Path) -> None:
    card = await opened(tmp_path, blocked_s=0.05)
    card.hang()
    await card.spool.append("event", body())
    with pytest.raises(database.Blocked):
        await card.spool.close()
    card.release()
    card.spool._thread._thread.join(5)
    assert not card.spool.alive


async def test_a_session_that_cannot_be_kept_does_not_go_back(card: Card) -> None:
    assert await card.spool.next_session() == 1
    card.broken = True
    told = await card.spool.next_session()
    assert told > 25_000_000  # minutes since 1970
    card.broken = False
    await card.spool.tend()
    assert await card.spool.next_session() == told + 1
