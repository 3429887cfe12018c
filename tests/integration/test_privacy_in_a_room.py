"""Who sees and hears a room: what is told in it, what is on record, what no order lifts; on the real path."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from diemcau_agent.audit.chain import Head, digest, read, verify
from diemcau_agent.audit.file import paths
from diemcau_agent.indicator import PICTURE
from diemcau_agent.text import translate
from diemcau_drivers import lights
from diemcau_drivers.backends.holders import OTHER, PROGRAMS
from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Observer
from simroom import SimRoom, living

pytestmark = pytest.mark.mosquitto

OPEN_ROOM = {"policy": {"snapshot": True, "unmute": True, "camera_on": True}}
"""A room whose own file allows everything: what it refuses all the same, no room does."""


def order(
    observer: Observer, room: SimRoom, verb: str, args: dict[str, Any] | None = None, **more: Any
) -> str:
    now = int(room.clock.wall())
    return observer.command(room.point, verb, args, **{"iat": now, "exp": now + 60, **more})


async def answered(observer: Observer, room: SimRoom, ident: str) -> dict[str, Any]:
    waiting = asyncio.create_task(observer.answer(ident), name="answer")
    while not waiting.done():
        await room.live(0.25)
    return await waiting


async def online(observer: Observer, room: SimRoom) -> None:
    await observer.until(lambda h: h.name == "status" and h.point == room.point)


def record(room: SimRoom) -> list[tuple[str, bytes]]:
    directory = Path(room.app.settings.state_dir)
    return [(path.name, path.read_bytes()) for path in paths(directory)]


async def test_a_picture_is_told_while_it_is_taken_and_is_on_record_that_the_centre_can_check(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    seen: set[tuple[bool, str]] = set()
    identity = tmp_path / "state/identity"
    identity.mkdir(parents=True)
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
    (identity / "ca.pem").write_text("")
    (identity / "identity.pem").write_text(f"a key, of which nothing is told\n{certificate}\n")
    enrolment = {"url": "https://est.example:8443"}
    async with living(tmp_path, mosquitto.url, **OPEN_ROOM, enrolment=enrolment) as room:
        await online(observer, room)
        ident = order(observer, room, "camera", {"snapshot": True})
        waiting = asyncio.create_task(observer.answer(ident), name="answer")
        while not waiting.done():
            seen.add((room.world.light == lights.CYAN, room.world.screen.message))
            await room.live(0.1)
        reply = await waiting
        assert reply["state"] == "done", reply
        assert (True, translate(PICTURE, "vi")) in seen
        await room.live(2)
        assert (room.world.light, room.world.screen.message) == (lights.GREEN, "")
        told = await observer.until(
            lambda h: h.name == "event" and h.document["data"].get("id") == ident and h.point == room.point
        )
        point = room.point
    files = record(room)
    entries = [entry for _, text in files for line in text.splitlines() if (entry := read(line))]
    of_it = [(entry.kind, entry.data.get("state")) for entry in entries if entry.data.get("id") == ident]
    assert of_it == [("command_accepted", None), ("snapshot", None), ("command", "done")]
    picture = next(entry for entry in entries if entry.kind == "snapshot")
    assert picture.data["sha256"] == reply["result"]["snapshot"]["sha256"]
    started = next(h for h in observer.heard("event", point) if h.document["kind"] == "agent_started")
    assert entries[0].kind == "agent_started"
    (connected,) = (entry.data for entry in entries if entry.kind == "identity")
    assert connected == {"certificate_sha256": digest(certificate.encode())}
    for event in (started, told):
        head = Head(**event.document["data"]["audit"])
        assert verify([(name, text.splitlines(keepends=True)) for name, text in files], head).whole


async def test_no_picture_is_taken_in_a_room_that_cannot_be_told(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    """The light is dead, and the screen is off."""
    async with living(tmp_path, mosquitto.url, **OPEN_ROOM) as room:
        await online(observer, room)
        room.world.set_fault("display_standby", True)
        room.world.set_fault("panel_absent", True)
        await room.until_code("display", "display_standby", 60)
        reply = await answered(observer, room, order(observer, room, "camera", {"snapshot": True}))
        assert (reply["state"], reply["code"]) == ("refused", "not_permitted"), reply
        assert "jpeg" not in json.dumps(reply)


async def test_what_the_room_has_muted_stays_muted_whatever_is_ordered(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    async with living(tmp_path, mosquitto.url, **OPEN_ROOM) as room:
        await online(observer, room)
        muted = await answered(observer, room, order(observer, room, "microphone", {"mute": True}))
        assert muted["result"]["muted_by"] == "kit"
        lifted = await answered(observer, room, order(observer, room, "microphone", {"mute": False}))
        assert lifted["result"]["muted"] is False, "what was muted from afar is lifted from afar, by policy"

        room.world.set_fault("microphone_muted", True)  # somebody presses the microphone's own button
        unmute: dict[str, Any] = {"mute": False, "gain_db": 6.0, "force": True}
        everybody = {"aud": "group/all", "nonce": None}
        steps: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
            ("microphone", unmute, {}),
            ("microphone", unmute, everybody),
            ("restart", {"target": "microphone"}, {}),
            ("selftest", {"scope": "quick"}, {}),
            ("config", {"set": {"name": "Hall"}}, {}),
            ("microphone", {"mute": True}, {}),  # an order that finds it muted makes it nobody else's
            ("microphone", unmute, {}),
        )
        for number, (verb, args, more) in enumerate(steps):
            if more:
                now, ident = int(room.clock.wall()), f"to-everybody-{number}"
                claims = {"id": ident, "verb": verb, "args": args, "iss": "op-test", "iat": now, **more}
                claims["exp"] = now + 60
                observer.publish(f"diemcau/v1/group/all/command/{verb}", json.dumps(claims).encode())
            else:
                ident = order(observer, room, verb, args)
            reply = await answered(observer, room, ident)
            if args is unmute:
                assert (reply["state"], reply["code"]) == ("refused", "not_permitted"), (number, reply)
            assert room.world.microphone.muted, number
        await room.until_code("microphone", "microphone_muted", 60)
    switched = [
        (entry.data.get("muted"), entry.data.get("by"))
        for _, text in record(room)
        for line in text.splitlines()
        if (entry := read(line)) and entry.kind == "switched" and entry.data["device"] == "microphone"
    ]
    assert switched[-1] == (True, "room")


TEXT_READINGS: dict[str, str] = {
    "pattern": "of lights.PATTERNS",
    "power": "on, standby, unknown",
    "muted_by": "kit, room",
    "in_use_by": "of holders.PROGRAMS",
    "cause": "a code",
    "interface": "of the network, as the kernel calls it",
    "duplex": "full, half",
    "gateway": "an address of the room's router",
    "clock_source": "a program's name",
    "clock_server": "a time server's address",
    "dns_error": "an error of the resolver",
    "broker_error": "an error of the socket",
    "broker_tls_error": "an error of OpenSSL",
}
"""Readings that are texts, and what of."""
_FREE = re.compile(r"[A-Za-z0-9+/]{200}")
"""So long a run of base64 is a picture or sound; a hash is 64 long."""


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from strings(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from strings(item, f"{path}[]")


async def test_no_document_of_a_rooms_day_carries_picture_sound_or_a_name(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    """Every verb once, and faults; then all that was published is read."""
    async with living(tmp_path, mosquitto.url, **OPEN_ROOM, name="Hall 2") as room:
        await online(observer, room)
        for verb, args in (
            ("ping", {}),
            ("identify", {"seconds": 1}),
            ("microphone", {"mute": True}),
            ("speaker", {"volume_percent": 40}),
            ("display", {"message": "Xin chào"}),
            ("selftest", {"scope": "quick"}),
            ("config", {"get": True}),
            ("logs", {"lines": 50}),
            ("restart", {"target": "camera"}),
        ):
            await answered(observer, room, order(observer, room, verb, args))
        pictured = order(observer, room, "camera", {"snapshot": True})
        await answered(observer, room, pictured)
        room.world.set_fault("microphone_muted", True)
        room.world.set_fault("camera_absent", True)
        await room.until_code("camera", "camera_absent", 60)
        await room.live(130)
        point = room.point
    read_texts = 0
    for heard in observer.heard(point=point):
        if "/command/" in heard.topic or not heard.document:
            continue
        document: dict[str, Any] = heard.document
        for path, text in strings(document):
            read_texts += 1
            if (heard.name.startswith("reply/") and document["id"] == pictured) and "jpeg_base64" in path:
                continue
            assert not _FREE.search(text), (heard.name, path)
            assert "jpeg" not in path, (heard.name, path)
            if ".readings." in path or ".measured." in path:
                name = path.rpartition(".")[2]
                assert name in TEXT_READINGS, f"{heard.name}: a new reading that is a text: {path} = {text!r}"
            if path.endswith("in_use_by"):
                assert text in (*PROGRAMS, OTHER, "diemcau"), (heard.name, path, text)
    assert read_texts > 500
