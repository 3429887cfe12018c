"""The collector and a real simulated room, with a bridge between them that loses what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector_points import Link, LossyBridge
from collector_rig import Name, collecting, stored
from diemcau_agent import jws, outbox, topics
from diemcau_agent.model import encode
from diemcau_fleet.collector.collect import UNSIGNED, Signer
from diemcau_fleet.collector.records import Records
from diemcau_sim.mosquitto import PrivateMosquitto
from signing import key, key_list, public, seed
from simroom import living

pytestmark = pytest.mark.mosquitto

FLUSH_S = 10.0
"""Telemetry waits no ten minutes here."""
SLOW = {"period_s": 300, "presence_s": 10, "host_s": 30, "line_s": 30, "deadline_s": 2}
"""Probes, so that the room's minutes pass quickly."""
REPAIRED_S = 1800.0
"""Of the room's time, in which a resend brings ten documents a second."""


class Listener(Link):
    """``heard``: every document of a spool, as it left the point."""

    def __init__(self, url: str) -> None:
        self.heard: dict[Name, bytes] = {}
        super().__init__(url, "listener", *(topics.point("+", stream) for stream in topics.STREAMS))

    def received(self, topic: str, payload: bytes, *, retain: bool) -> None:
        said: dict[str, Any] = msgspec.json.decode(payload)
        self.heard[said["point"], said["spool"], topic.split("/")[4], said["seq"]] = payload


@pytest.fixture
def below() -> Iterator[PrivateMosquitto]:
    with PrivateMosquitto() as broker:
        yield broker


@pytest.fixture
def above() -> Iterator[PrivateMosquitto]:
    with PrivateMosquitto() as broker:
        yield broker


@pytest.fixture
def listener(below: PrivateMosquitto) -> Iterator[Listener]:
    listener = Listener(below.url)
    yield listener
    listener.close()


@pytest.fixture
def bridge(below: PrivateMosquitto, above: PrivateMosquitto) -> Iterator[LossyBridge]:
    bridge = LossyBridge(below.url, above.url, seed=1)
    yield bridge
    bridge.close()


@pytest.mark.timeout(60)  # some 300 s of a room
@pytest.mark.parametrize("commands", ["unsigned", "signed"])
async def test_what_a_bridge_loses_of_a_real_room_is_repaired_by_the_room_itself(
    tmp_path: Path,
    below: PrivateMosquitto,
    above: PrivateMosquitto,
    bridge: LossyBridge,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    commands: str,
) -> None:
    monkeypatch.setattr(outbox, "FLUSH_REST_S", FLUSH_S)
    db = tmp_path / "collector.sqlite3"
    signer = Signer("signed", lambda claims: jws.sign(encode(claims), seed("collector")))
    trusted = {"fleet_keys": [public("fleet-1")]} if commands == "signed" else {}
    async with living(tmp_path, below.url, probe=SLOW, commands=commands, **trusted) as room:
        await room.app.notices.receive(topics.KEYS_TOPIC, key_list(key("collector", "collector")))
        assert (room.app.keyring.count == 1) is (commands == "signed")
        with collecting(above.url, db, room.clock, signer if commands == "signed" else UNSIGNED):
            for loss, code in ((1.0, "display_absent"), (0.5, "panel_absent"), (0.0, "display_absent")):
                bridge.loss = loss  # of what the room sends again too
                room.world.set_fault(code, True)
                await room.live(70.0)  # a minute of telemetry at least
                room.world.set_fault(code, False)
                await room.live(30.0)
            began_s = room.clock.mono_s
            while stored(db).documents != listener.heard:
                missing = sorted(listener.heard.keys() - stored(db).documents.keys())
                assert room.clock.mono_s < began_s + REPAIRED_S, missing
                await room.live(0.25)
            with Records.open(db) as records:
                assert records.gaps() == []
                (told,) = records.rooms(int(room.clock.wall() * 1000))
                readiness, _ = room.app.book.readiness()
                assert (told.point, told.presence, told.readiness) == (room.point, "online", readiness)
                times = [row.time_corrected_ms or 0 for row in records.documents(room.point)]
    found = stored(db)
    assert (found.lost, found.rejected) == ({}, 0)
    assert bridge.lost["event"] >= 3
    assert bridge.lost["telemetry"] >= 1
    assert times[0] > 0
    assert times == sorted(times)
