"""What the fleet says to all: taken where it is signed by who may, kept, told, and counted where not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from diemcau_agent import jws, topics
from diemcau_agent.commands.signature import Signed
from diemcau_agent.conference import Conferences
from diemcau_agent.keys import Keyring
from diemcau_agent.notices import Notices
from fakeclock import FakeClock, settle
from signing import key, key_list, public, seed, signed

POINT = "xp-0417"


class Bench:
    """One session; open another on the same folder for the next."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.folder = folder
        self.clock = clock
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.asked_again = 0
        self.lists: list[bytes] = []
        self.keyring = Keyring(folder / "keys.json", [public("fleet-1")])
        self.keyring.load()
        self.conferences = Conferences(folder / "conferences.json", lambda: ("all",), self.keyring.revoked)
        self.conferences.load()
        self.notices = Notices(
            self.keyring,
            self.conferences,
            Signed(self.keyring, POINT, clock.wall, lambda: False),
            clock,
            self._tell,
            now=clock.wall,
            again=self._again,
            changed=lambda: None,
        )
        self.notices.listeners.append(self.lists.append)

    def _tell(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, fields["data"]))

    def _again(self) -> None:
        self.asked_again += 1

    async def keys(self, payload: bytes) -> None:
        assert await self.notices.receive(topics.KEYS_TOPIC, payload)

    async def conference(self, payload: bytes, name: str = "national-1") -> None:
        assert await self.notices.receive(topics.conference(name), payload)

    @property
    def frozen(self) -> bool:
        return self.conferences.frozen(self.clock.wall())

    async def refused(self, kind: str) -> Counter[str]:
        """What a minute's event counts, a minute later."""
        self.events.clear()
        await self.clock.advance(60)
        await settle()
        counts: Counter[str] = Counter()
        for told, data in self.events:
            if told == kind:
                counts.update(data["counts"])
        return counts


@pytest.fixture
async def bench(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, clock)
    yield bench
    await bench.notices.aclose()


def conference(clock: FakeClock, by: str = "operator-1", **changes: Any) -> bytes:
    start = int(clock.wall()) - 60
    whole = {"schema": "diemcau.conference/1", "id": "national-1", "iss": by, "revision": 1,
             "start": start, "end": start + 3600, "groups": ["all"]}  # fmt: skip
    return signed({**whole, **changes}, by)


async def test_a_list_that_the_fleet_signed_is_taken_kept_and_told(bench: Bench) -> None:
    text = key_list(key("operator-1"), key("viewer-1", "viewer"), revision=3)
    await bench.keys(text)
    assert bench.events == [("keys", {"revision": 3, "count": 2, "kept": True})]
    assert bench.lists == [text]
    assert Bench(bench.folder, bench.clock).keyring.revision == 3
    await bench.keys(text)  # as after each connect
    await bench.keys(b"")
    assert len(bench.events) == 1


async def test_lists_that_are_not_taken_are_counted_once_a_minute(bench: Bench) -> None:
    await bench.keys(key_list(key("operator-1"), revision=3))
    for text in (
        key_list(key("operator-1"), revision=2),
        key_list(key("thief-1"), revision=9, by="thief-1"),
        b"\xff",
        b"x" * 300_000,
        signed({"schema": "diemcau.keys/1"}, "fleet-1"),
    ):
        await bench.keys(text)
    assert await bench.refused("keys_refused") == {
        "old_revision": 1, "bad_signature": 1, "malformed": 1, "too_large": 1, "bad_args": 1,
    }  # fmt: skip
    assert bench.keyring.revision == 3
    for _ in range(1000):
        await bench.keys(b"")
        await bench.keys(b"flood")
    assert await bench.refused("keys_refused") == {"malformed": 1000}
    assert len(bench.events) == 1


async def test_an_operators_conference_is_taken_kept_and_told(bench: Bench, clock: FakeClock) -> None:
    await bench.keys(key_list(key("operator-1")))
    bench.events.clear()
    text = conference(clock)
    await bench.conference(text)
    assert bench.events == [
        ("conference",
         {"id": "national-1", "iss": "operator-1", "revision": 1, "state": "planned", "kept": True}),
    ]  # fmt: skip
    assert bench.frozen
    await bench.conference(text)
    await bench.conference(b"")  # cancels nothing
    assert len(bench.events) == 1
    assert Bench(bench.folder, bench.clock).frozen
    await bench.conference(conference(clock, revision=2, state="cancelled"))
    assert not bench.frozen
    assert not Bench(bench.folder, bench.clock).frozen


async def test_nobody_else_plans_a_conference(bench: Bench, clock: FakeClock) -> None:
    await bench.keys(
        key_list(
            key("operator-1"),
            key("viewer-1", "viewer"),
            key("collector-1", "collector"),
            key("installer-1", "installer", [POINT]),
            key("operator-2", points=[POINT]),
            key("gone-1"),
            revoked=["gone-1"],
        )
    )
    good = jws.parse(conference(clock)).payload
    for text in (
        *(conference(clock, by) for by in ("viewer-1", "collector-1", "installer-1", "operator-2")),
        conference(clock, "gone-1"),
        conference(clock, "stranger-1"),
        jws.sign(good, seed("viewer-1")),
        good,
        b"\xff\xfe",
        b"x" * 200_000,
        conference(clock, id="national-2"),
        conference(clock, end=1),
        signed({"iss": "operator-1"}, "operator-1"),
        key_list(key("operator-1")),
    ):
        await bench.conference(text)
    assert not bench.frozen
    assert await bench.refused("conference_refused") == {
        "not_permitted": 4, "unknown_key": 2, "bad_signature": 1, "malformed": 3, "too_large": 1,
        "bad_args": 3,
    }  # fmt: skip


async def test_one_that_came_before_its_key_is_asked_for_again(bench: Bench, clock: FakeClock) -> None:
    text = conference(clock)
    await bench.keys(key_list(key("viewer-1", "viewer")))
    await bench.conference(text)
    assert bench.asked_again == 0
    await bench.keys(key_list(key("operator-1"), revision=2))
    assert bench.asked_again == 1
    await bench.conference(text)
    assert bench.frozen
    await bench.keys(key_list(key("operator-1"), revision=3))
    assert bench.asked_again == 1


async def test_a_key_that_goes_takes_no_conference_with_it_but_one_that_is_revoked_does(
    bench: Bench, clock: FakeClock
) -> None:
    await bench.keys(key_list(key("operator-1"), key("operator-2")))
    await bench.conference(conference(clock))
    await bench.keys(key_list(key("operator-2"), revision=2))
    assert bench.frozen
    await bench.keys(key_list(key("operator-2"), revision=3, revoked=["operator-1"]))
    assert not bench.frozen
    await bench.conference(conference(clock, "operator-2"))
    assert bench.frozen


async def test_a_card_that_takes_nothing_is_told_and_keeps_nothing_from_being_in_force(
    bench: Bench, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diemcau_agent.files.replace", full)
    await bench.keys(key_list(key("operator-1")))
    await bench.conference(conference(clock))
    assert [(kind, data["kept"]) for kind, data in bench.events] == [("keys", False), ("conference", False)]
    assert bench.frozen
    assert not bench.notices.writing


async def test_while_the_card_takes_its_time_that_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def slow(*_: object) -> None:
        seen.append(bench.notices.writing)

    monkeypatch.setattr("diemcau_agent.files.replace", slow)
    await asyncio.wait_for(bench.keys(key_list(key("operator-1"))), 5)
    assert seen == [True]
    assert not bench.notices.writing


async def test_what_is_no_notice_is_left_to_others(bench: Bench) -> None:
    for topic in (
        "diemcau/v1/point/xp-0417/command/ping",
        "diemcau/v1/conference",
        "diemcau/v1/conference/a/b",
    ):
        assert not await bench.notices.receive(topic, b"{}")


async def test_where_commands_are_off_nothing_is_taken(bench: Bench, clock: FakeClock) -> None:
    bench.notices._verifier = None
    await bench.conference(conference(clock))
    assert await bench.refused("conference_refused") == {"not_a_command": 1}
