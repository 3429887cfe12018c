"""The operator's hand on a real room: signed by the fleet's tools, over a real broker, obeyed or not."""

from __future__ import annotations

import subprocess
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from diemcau_agent.broker import reachable
from diemcau_agent.thresholds import Baseline
from diemcau_sim.mosquitto import PrivateMosquitto, free_port, program
from fakeclock import FakeClock
from observer import Observer
from office import CAMERA, KEYS, Office, everybody, signed_room
from signing import public
from simroom import SimRoom, living

pytestmark = pytest.mark.mosquitto


@pytest.fixture(autouse=True)
def right_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools are processes of their own: the room's clock begins at theirs."""
    monkeypatch.setattr("simroom.FakeClock", lambda: FakeClock(time.time()))


@pytest.fixture
def broker() -> Any:
    with PrivateMosquitto() as broker:
        yield broker


@pytest.fixture
def observer(broker: PrivateMosquitto) -> Any:
    with Observer(broker.url) as listening:
        yield listening


@pytest.fixture
def denying(tmp_path: Path) -> Iterator[str]:
    """A broker where nobody may publish."""
    port = free_port()
    (tmp_path / "acl").write_text("topic read #\n")
    configuration = f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nacl_file {tmp_path}/acl\n"
    (tmp_path / "mosquitto.conf").write_text(configuration)
    child = subprocess.Popen(
        [program(), "-c", tmp_path / "mosquitto.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        ends_s = time.monotonic() + 5
        while not reachable("127.0.0.1", port):
            assert time.monotonic() < ends_s
            time.sleep(0.02)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(5)


@pytest.fixture
def office(tmp_path: Path, broker: PrivateMosquitto) -> Office:
    folder = tmp_path / "office"
    folder.mkdir()
    return Office(folder, broker)


@pytest.fixture
async def room(tmp_path: Path, broker: PrivateMosquitto, observer: Observer) -> AsyncIterator[SimRoom]:
    async with signed_room(tmp_path, broker) as living_room:
        await observer.until(lambda h: h.name == "status" and h.point == living_room.point)
        yield living_room


async def test_a_list_is_published_and_who_is_on_it_is_obeyed(room: SimRoom, office: Office) -> None:
    silent = await office.command(room, room.point, "ping", wait_s=1)
    assert (silent.code, silent.lines) == (1, [])
    assert "no answer within 1 s" in silent.errors
    published = await office.publish(room, everybody())
    assert (published.code, published.lines) == (0, [f"published at {KEYS}"])
    await office.until_keys(room, 1)
    before = room.app.workers.pid("camera")
    done = await office.command(room, room.point, *CAMERA)
    assert done.code == 0, done
    assert [line.split()[1] for line in (done.lines[0], done.lines[-1])] == ["accepted", "done"]
    assert f'"pid":{room.app.workers.pid("camera")}' in done.lines[-1]
    assert room.app.workers.pid("camera") != before


async def test_a_revoked_key_is_not_even_answered(room: SimRoom, office: Office) -> None:
    await office.publish(room, everybody())
    await office.until_keys(room, 1)
    assert (await office.command(room, room.point, "ping")).code == 0
    await office.publish(room, everybody(revision=2, revoked=["operator-1"]))
    await office.until_keys(room, 2)
    silent = await office.command(room, room.point, "ping", wait_s=1)
    assert (silent.code, silent.lines) == (1, [])
    assert (await office.command(room, room.point, "ping", by="operator-2")).code == 0
    await office.publish(room, everybody())  # the old list once more
    await room.live(1)
    assert room.app.keyring.revision == 2


async def test_each_role_may_what_it_may(room: SimRoom, office: Office) -> None:
    await office.publish(room, everybody([room.point]))
    await office.until_keys(room, 1)
    assert (await office.command(room, room.point, "ping", by="viewer-1")).code == 0
    logs = await office.command(room, room.point, "logs", "lines=3", by="viewer-1")
    assert (logs.code, logs.last[1]) == (0, "done")
    refused = await office.command(room, room.point, *CAMERA, by="viewer-1")
    assert (refused.code, refused.last) == (1, [room.point, "refused", "not_permitted"])
    assert (await office.command(room, room.point, *CAMERA, by="installer-1")).code == 0
    room.app.room.baseline_now = Baseline(time="2026-11-27T00:00:00.000Z", readings={})  # accepted
    refused = await office.command(room, room.point, *CAMERA, by="installer-1")
    assert (refused.code, refused.last) == (1, [room.point, "refused", "not_permitted"])


async def test_a_conference_freezes_the_room_unless_forced(room: SimRoom, office: Office) -> None:
    await office.publish(room, everybody())
    await office.until_keys(room, 1)
    published = await office.confer(room, "--broker", office.url)
    assert published.lines == ["published at diemcau/v1/conference/national-1"]
    await until(room, lambda: room.app._frozen())
    refused = await office.command(room, room.point, *CAMERA)
    assert (refused.code, refused.last) == (1, [room.point, "refused", "frozen"])
    assert (await office.command(room, room.point, "ping")).code == 0
    assert (await office.command(room, room.point, *CAMERA, "force=true")).code == 0


async def test_one_that_freezes_nothing_still_holds_an_update_back(
    tmp_path: Path,
    broker: PrivateMosquitto,
    observer: Observer,
    office: Office,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIEMCAU_UPDATE", str(tmp_path / "update.sock"))
    update = ("update", "version=9.1.0", "url=https://localhost:1/d.deb", f"sha256={'ab' * 32}")
    async with signed_room(tmp_path, broker, release_keys=[public("release-1")]) as room:
        await observer.until(lambda h: h.name == "status" and h.point == room.point)
        await office.publish(room, everybody())
        await office.until_keys(room, 1)
        begun = await office.command(room, room.point, *update)
        assert begun.last == [room.point, "failed", "download"]  # nobody is there, but it was begun
        await office.confer(room, "--broker", office.url, freeze="freeze = false")
        await until(room, lambda: room.app._conference_on())
        refused = await office.command(room, room.point, *update)
        assert refused.last == [room.point, "refused", "frozen"]
        assert (await office.command(room, room.point, *CAMERA)).code == 0


async def test_a_cancelled_conference_frees_the_room(room: SimRoom, office: Office) -> None:
    await office.publish(room, everybody())
    await office.until_keys(room, 1)
    await office.confer(room, "--broker", office.url)
    await until(room, lambda: room.app._frozen())
    assert room.app.room.status()["conference"]["frozen"] is True
    assert (await office.confer(room, "--broker", office.url, "--cancel", revision=2)).code == 0
    await until(room, lambda: not room.app._frozen())
    assert room.app.room.status()["conference"] is None
    assert (await office.command(room, room.point, *CAMERA)).code == 0


async def test_a_conferences_own_bounds_hold_while_it_is_on(room: SimRoom, office: Office) -> None:
    assert room.shows("camera", None)
    await office.publish(room, everybody())
    await office.confer(room, "--broker", office.url)
    await until(room, lambda: room.shows("camera", "frame_dark"), 30)
    await office.confer(room, "--broker", office.url, "--cancel", revision=2)
    await until(room, lambda: room.shows("camera", None), 30)


async def test_a_viewer_plans_no_conference(room: SimRoom, office: Office, observer: Observer) -> None:
    await office.publish(room, everybody())
    await office.until_keys(room, 1)
    assert (await office.confer(room, "--broker", office.url, by="viewer-1")).code == 0
    await room.live(70)
    assert not room.app._frozen()
    told = await observer.until(lambda h: told_of(h.document, "conference_refused"))
    assert told.document["data"]["counts"] == {"not_permitted": 1}


async def test_a_conference_is_known_after_a_restart_without_a_broker_that_says_so(
    tmp_path: Path, office: Office, broker: PrivateMosquitto, observer: Observer
) -> None:
    point = "xp-frozen"
    async with signed_room(tmp_path, broker, point=point) as room:
        await office.publish(room, everybody())
        await office.until_keys(room, 1)
        await office.confer(room, "--broker", office.url)
        await until(room, lambda: room.app._frozen())
    for topic in (KEYS, "diemcau/v1/conference/national-1"):
        observer.publish(topic, b"", retain=True)
    async with signed_room(tmp_path, broker, point=point) as room:
        assert room.app._frozen()
        refused = await office.command(room, point, *CAMERA)
        assert (refused.code, refused.last) == (1, [point, "refused", "frozen"])


async def test_from_the_fleets_office_to_the_room(
    tmp_path: Path, office: Office, broker: PrivateMosquitto
) -> None:
    fleet, operator, listed = tmp_path / "fleet", tmp_path / "operator.key", tmp_path / "keys.jws"
    shown = await office.run(None, "ca", "init", "--dir", str(fleet))
    told = ("--key-file", str(operator), "--dir", str(fleet))
    assert (await office.run(None, "operator", "add", "chief-1", "--role", "operator", *told)).code == 0
    assert (await office.run(None, "keys", "--out", str(listed), "--dir", str(fleet))).code == 0
    trusted = tomllib.loads(next(line for line in shown.lines if line.startswith("fleet_keys")))
    async with living(tmp_path, broker.url, commands="signed", **trusted) as room:
        published = await office.run(room, "publish", str(listed), "--broker", office.url)
        assert published.lines == [f"published at {KEYS}"]
        await office.until_keys(room, 1)
        by = ("--key", str(operator), "--iss", "chief-1", "--broker", office.url)
        done = await office.run(room, "command", room.point, "ping", *by)
        assert (done.code, done.last[:2]) == (0, [room.point, "done"])


async def test_a_command_to_a_group_is_answered_by_each_of_its_points(
    tmp_path: Path, office: Office, broker: PrivateMosquitto
) -> None:
    async with signed_room(tmp_path, broker, groups=["lao-cai"]) as room:
        await office.publish(room, everybody())
        await office.until_keys(room, 1)
        done = await office.command(room, "ping", "spread_s=0.2", "--group", "lao-cai", wait_s=2)
        assert done.lines[-1] == "1 points: 1 done, 0 failed, 0 refused", done
        assert done.code == 0
        nobody = await office.command(room, "ping", "--group", "ha-noi", wait_s=1)
        assert (nobody.code, nobody.lines) == (1, [])


async def test_a_command_that_is_only_printed_is_good_when_it_is_sent_by_others(
    room: SimRoom, office: Office, observer: Observer
) -> None:
    await office.publish(room, everybody())
    await office.until_keys(room, 1)
    nonce = observer.nonce(room.point)
    words = (room.point, "ping", "--print", "--nonce", nonce)
    by = ("--key", str(office.key_file("operator-1")), "--iss", "operator-1")
    printed = await office.run(room, "command", *words, *by)
    assert printed.code == 0
    observer.publish(f"diemcau/v1/point/{room.point}/command/ping", printed.lines[0].encode())
    await until(room, lambda: any(h.document["state"] == "done" for h in observer.heard("reply/operator-1")))


async def test_a_conference_that_came_before_its_key_is_heard_once_the_key_comes(
    room: SimRoom, office: Office
) -> None:
    assert (await office.confer(room, "--broker", office.url)).code == 0
    await room.live(2)
    assert not room.app._frozen()
    await office.publish(room, everybody())
    await until(room, lambda: room.app._frozen())


async def test_a_notice_that_the_broker_refuses_is_not_called_published(
    office: Office, denying: str, tmp_path: Path
) -> None:
    (tmp_path / "notice.jws").write_bytes(everybody())
    refused = await office.run(None, "publish", str(tmp_path / "notice.jws"), "--broker", denying)
    assert (refused.code, refused.lines) == (1, [])
    assert refused.errors == f"diemcau-fleet publish: {KEYS}: Not authorized\n"


async def test_a_point_that_is_not_there_is_told(office: Office) -> None:
    by = ("--key", str(office.key_file("operator-1")), "--iss", "operator-1", "--broker", office.url)
    nobody = await office.run(None, "command", "xp-nobody", "ping", *by)
    assert (nobody.code, nobody.lines) == (1, [])
    assert nobody.errors.startswith(
        "diemcau-fleet command: xp-nobody: the broker has no status of it, or has not"
    )


def told_of(document: Any, kind: str) -> bool:
    return isinstance(document, dict) and cast("dict[str, Any]", document).get("kind") == kind


async def until(room: SimRoom, true: Any, within_s: float = 10.0) -> None:
    began_s = room.clock.mono_s
    while not true():
        assert room.clock.mono_s - began_s <= within_s
        await room.live(0.25)
