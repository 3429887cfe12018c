"""A whole room's device processes shut themselves in, and its health says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from diemcau_drivers import landlock
from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Observer
from simroom import living

pytestmark = pytest.mark.mosquitto


async def test_health_tells_of_each_device_whether_its_process_is_confined_and_of_the_host_how_many_are(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    able = landlock.abi() > 0
    async with living(tmp_path, mosquitto.url) as room:
        await room.live(61)  # a heartbeat after everything has been looked at
        await observer.until(
            lambda h: (
                h.name == "health" and h.point == room.point and "processes" in h.document["host"]["readings"]
            )
        )
        health = next(
            heard.document for heard in reversed(observer.heard("health", room.point)) if not heard.retained
        )
    for device in ("camera", "microphone", "speaker", "display", "panel"):
        assert health["devices"][device]["readings"]["confined"] is able
    host = health["host"]["readings"]
    assert (host["processes"], host["processes_confined"]) == (6, 6 if able else 0)
