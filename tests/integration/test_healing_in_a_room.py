"""A device of a whole room that fails: restarted in steps that are told, and well again when it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Observer
from simroom import SimRoom, living

pytestmark = pytest.mark.mosquitto


def steps(observer: Observer, room: SimRoom) -> list[dict[str, Any]]:
    """Of the camera; on a machine that is busy others may hang, too."""
    events = [entry.document for entry in observer.heard("event", room.point)]
    return [event for event in events if event["kind"] == "healing" and event["device"] == "camera"]


async def test_a_camera_that_hangs_is_restarted_and_that_is_told_and_is_well_when_it_can_be(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    async with living(tmp_path, mosquitto.url) as room:
        room.world.set_fault("camera_hung", True)
        await room.until_code("camera", "camera_hung", 15)
        await room.live(2)
        room.world.set_fault("camera_hung", False)
        await room.until_code("camera", None, 15)
        await room.live(2)
        await observer.until(lambda h: bool(steps(observer, room)))
        first = steps(observer, room)[0]
        assert first["code"] == "camera_hung"
        assert first["data"] == {"step": "respawn", "outcome": "failed", "attempt": 1}


async def test_a_camera_whose_picture_stands_still_is_opened_anew_in_its_process(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    async with living(tmp_path, mosquitto.url) as room:
        room.world.set_fault("frame_frozen", True)
        await room.until_code("camera", "frame_frozen", 10)
        await room.live(8)
        room.world.set_fault("frame_frozen", False)
        await room.until_code("camera", None, 10)
        await room.live(2)
        await observer.until(lambda h: bool(steps(observer, room)))
        first = steps(observer, room)[0]
        assert first["code"] == "frame_frozen"
        assert (first["data"]["step"], first["data"]["attempt"]) == ("reopen", 1)
