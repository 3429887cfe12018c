"""A broker that was taken over, played against one room: it has all that was ever sent, and time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from command_room import POINT
from diemcau_agent.commands.inbox import LIMIT, LIMIT_BYTES, Inbox
from diemcau_agent.commands.signature import Signed
from diemcau_agent.conference import Conferences
from diemcau_agent.keys import Keyring, KeysError
from diemcau_agent.mqtt import Connection
from diemcau_agent.mqtt import Message as Packet
from diemcau_agent.notices import Notices
from fakeclock import FakeClock, settle
from signing import key, key_list, public, signed
from stage import KEYS, OPERATOR, REVOKED, Message, Stage


@pytest.fixture
async def stage(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Stage]:
    stage = await Stage.open(tmp_path, clock)
    yield stage
    await stage.room.close()


async def history(stage: Stage) -> list[Message]:
    """What operators ordered so far: to this room, to its group, at once and spread over a while."""
    sent = [
        stage.order(stage.claims(verb, args, iss=OPERATOR, aud=aud))
        for verb, args, aud in (
            ("restart", {"target": "camera"}, f"point/{POINT}"),
            ("identify", {"spread_s": 20}, f"point/{POINT}"),
            ("display", {"message": "a"}, "group/all"),
            ("speaker", {"volume_percent": 9}, "group/district-7"),
            ("ping", {}, f"point/{POINT}"),
            ("config", {"get": True}, f"point/{POINT}"),
        )
    ]
    for message in sent:
        await stage.room.dispatcher.receive(message.topic, message.payload, False)
    await stage.clock.advance(20)
    await stage.room.idle()
    assert stage.ran.total() == len(sent)
    return sent


async def replay(stage: Stage, sent: list[Message]) -> None:
    before = stage.ran.total()
    for message in (*sent, *reversed(sent)):
        for retained in (False, True):
            await stage.deliver(Message(message.topic, message.payload, retained))
    assert stage.ran.total() == before


@pytest.mark.parametrize("wait_s", [0, 59, 130, 700, 90_000])
async def test_what_ran_does_not_run_again_after_a_reconnect(stage: Stage, wait_s: int) -> None:
    sent = await history(stage)
    await stage.clock.advance(wait_s)
    stage.renew()
    await replay(stage, sent)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("lost", [False, True], ids=["journal kept", "journal lost"])
async def test_nor_after_a_restart_or_a_reboot_whatever_becomes_of_the_card(
    stage: Stage, *, killed: bool, lost: bool
) -> None:
    sent = await history(stage)
    for boot in ("boot-1", "boot-2"):
        stage.lose_journal = lost
        await stage.start_again(killed=killed, boot=boot, pause_s=6)
        await replay(stage, sent)


@pytest.mark.parametrize("wall_s", [12.0, 1_795_332_600.0 - 90, 1_795_332_610.0, 4e9])
@pytest.mark.parametrize("synced", [True, False])
async def test_nor_by_any_clock(stage: Stage, wall_s: float, *, synced: bool) -> None:
    """1970, back to when they were sent, and far ahead; before and after a restart."""
    sent = await history(stage)
    await stage.clock.advance(300)
    stage.clock.wall_s, stage.clock.is_synced = wall_s, synced
    stage.renew()
    await replay(stage, sent)
    await stage.start_again(boot="boot-2")
    stage.clock.wall_s = wall_s
    await replay(stage, sent)


async def test_what_was_held_back_runs_in_no_session_but_its_own(stage: Stage) -> None:
    held = [stage.order(stage.claims(verb, {}, iss=OPERATOR)) for verb in ("identify", "ping")]
    held.append(stage.order(stage.claims("identify", {}, iss=OPERATOR, aud="group/all")))
    await stage.start_again(pause_s=6)
    await replay(stage, held)
    assert stage.ran.total() == 0


async def test_a_flood_takes_bounded_memory_and_one_event_and_one_line_a_minute(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    acknowledged: list[Packet] = []

    class Wire:
        def acknowledge(self, message: Packet) -> None:
            acknowledged.append(message)

    wire = cast("Connection", Wire())
    inbox = Inbox(stage.room.dispatcher.receive, stage.clock, lambda: None)
    forged = stage.order(stage.claims("identify", {}, iss=OPERATOR), by="nobody")
    for number in range(20_000):
        inbox.put(wire, Packet(forged.topic, forged.payload, False, number, 0))
    assert len(inbox._waiting) == LIMIT
    for number in range(2_000):
        inbox.put(wire, Packet(forged.topic, bytes(250_000), False, number, 0))
    assert sum(len(message.payload) for _, message in inbox._waiting) <= LIMIT_BYTES
    task = asyncio.create_task(inbox.run(), name="inbox")
    while len(acknowledged) < LIMIT:
        await asyncio.sleep(0)
    for _ in range(3_000):
        await stage.deliver(forged)
    assert stage.room.events == []
    await stage.clock.advance(60)
    (event,) = stage.room.events
    assert event["data"]["counts"] == {"bad_signature": LIMIT + 3_000}
    assert len(caplog.records) <= 3, [record.getMessage() for record in caplog.records][:5]
    assert stage.ran.total() == len(stage.room.replies) == 0
    task.cancel()
    await asyncio.wait([task])


async def test_after_the_flood_a_good_command_runs(stage: Stage) -> None:
    for _ in range(500):
        await stage.deliver(stage.order(stage.claims("identify", {}, iss=OPERATOR), by="nobody"))
    assert await stage.deliver(stage.order(stage.claims("identify", {}, iss=OPERATOR))) == "ran"


# --- The lists of keys


async def test_an_older_list_of_keys_brings_no_revoked_key_back(stage: Stage) -> None:
    old, new = key_list(*KEYS, revision=2), key_list(*KEYS, revision=3, revoked=[OPERATOR, REVOKED])
    stage.keyring.take(old)
    stage.keyring.take(new)
    order = stage.order(stage.claims("identify", {}, iss=OPERATOR))
    for _ in range(2):
        with pytest.raises(KeysError, match="revision"):
            stage.keyring.take(old)
        assert await stage.deliver(order) == "unknown_key"
        await stage.start_again(killed=True)
        order = stage.order(stage.claims("identify", {}, iss=OPERATOR))


async def test_a_revocation_that_is_withheld_holds_at_the_lists_end(stage: Stage) -> None:
    """Until then the revoked key is obeyed: ``exp`` is how long a broker can hide a revocation."""
    now_s = int(stage.clock.wall())
    stage.keyring.take(key_list(*KEYS, revision=2, exp=now_s + 3600))
    assert await stage.deliver(stage.order(stage.claims("identify", {}, iss=OPERATOR))) == "ran"
    await stage.clock.advance(3600)
    assert await stage.deliver(stage.order(stage.claims("identify", {}, iss=OPERATOR))) == "unknown_key"


async def test_a_key_that_is_revoked_while_its_command_waits_runs_nothing(stage: Stage) -> None:
    waiting = stage.order(stage.claims("identify", {"spread_s": 60}, iss=OPERATOR))
    await stage.room.dispatcher.receive(waiting.topic, waiting.payload, False)
    stage.keyring.take(key_list(*KEYS, revision=2, revoked=[OPERATOR]))
    await stage.clock.advance(61)
    await stage.room.idle()
    assert stage.ran.total() == 0


@pytest.mark.parametrize("by", [OPERATOR, REVOKED, "nobody", "fleet-2"])
async def test_a_list_by_anybody_else_than_the_fleet_is_not_taken(stage: Stage, by: str) -> None:
    with pytest.raises(KeysError):
        stage.keyring.take(key_list(*KEYS, key("nobody"), revision=9, by=by))


# --- One protocol's document as another's


async def test_topics_that_are_swapped_move_nothing(stage: Stage, tmp_path: Path) -> None:
    """Every signed document on every topic but its own; a revoked operator's on its own."""
    book = Conferences(tmp_path / "conferences.json", lambda: ("all",), stage.keyring.revoked)
    notices = Notices(
        stage.keyring, book, stage.signed, stage.clock, stage.room._event,
        now=stage.clock.wall, again=lambda: None, changed=lambda: None,
    )  # fmt: skip
    now_s = int(stage.clock.wall())
    conference = {
        "schema": "diemcau.conference/1", "id": "hop-1", "iss": OPERATOR, "revision": 1,
        "start": now_s, "end": now_s + 60, "groups": ["all"],
    }  # fmt: skip
    command = stage.order(stage.claims("identify", {}, iss=OPERATOR)).payload
    documents = {
        "diemcau/v1/fleet/keys": key_list(*KEYS, key("mallory"), revision=7, by="fleet-1"),
        "diemcau/v1/conference/hop-1": signed(conference, OPERATOR),
        f"diemcau/v1/point/{POINT}/command/identify": command,
    }
    before = stage.keyring.text
    for topic in documents:
        for own, payload in documents.items():
            if own == topic:
                continue
            if "/command/" in topic:
                assert await stage.deliver(Message(topic, payload)) != "ran"
            else:
                assert await notices.receive(topic, payload)
    for revoked in ({"iss": REVOKED}, {"iss": "viewer-1"}, {"id": "hop-2"}):
        told_as = conference | revoked
        await notices.receive("diemcau/v1/conference/hop-1", signed(told_as, str(told_as["iss"])))
    assert stage.keyring.text == before
    assert not book.frozen(now_s + 1)
    assert stage.ran.total() == 0
    await notices.receive("diemcau/v1/conference/hop-1", documents["diemcau/v1/conference/hop-1"])
    assert book.frozen(now_s + 1), "on its own topic it is taken"
    assert await stage.deliver(Message(f"diemcau/v1/point/{POINT}/command/identify", command)) == "ran"
    await notices.aclose()


async def test_a_lost_card_takes_the_first_list_that_is_signed(tmp_path: Path, clock: FakeClock) -> None:
    """The limit of it: with the kept list gone, an old one is as good as new until its ``exp``."""
    keyring = Keyring(tmp_path / "keys.json", [public("fleet-1")])
    keyring.take(key_list(*KEYS, revision=3, exp=int(clock.wall()) + 60))
    signed_by = Signed(keyring, POINT, clock.wall, lambda: True)
    assert signed_by.permits(REVOKED, "restart")
    await clock.advance(60)
    await settle()
    assert not signed_by.permits(REVOKED, "restart")
