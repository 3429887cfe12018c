"""A whole room with the real agent, whose broker is not there: it lives, dies, and lives again."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diemcau_sim.room import Room, RoomError
from diemcau_sim.service import marked

SOON_S = 15.0
NOBODY = "mqtt://127.0.0.1:9"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Room("xp-0001", NOBODY, tmp_path / "room", extra_config={"probe": {"presence_s": 1.5}}) as running:
        assert running.wait_ready(SOON_S), running.log_path.read_text()
        yield running
    assert marked(str(running.directory)) == []
    assert not running.socket_path.exists()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def test_the_agent_runs_on_the_rooms_own_settings(room: Room) -> None:
    settings = tomllib.loads((room.directory / "agent.toml").read_text())
    assert settings["probe"]["presence_s"] == 1.5
    assert settings["runtime_dir"] == str(room.runtime_dir)
    assert settings["broker"]["urls"][0] != NOBODY  # through the relay, which can be cut
    assert room.alive()
    until(lambda: (room.runtime_dir / "control.sock").exists())
    until(lambda: len(room.world.lit) > 0)  # the panel's process lights the panel


def test_an_agent_that_is_killed_comes_back_on_the_same_boot(room: Room) -> None:
    boot, pid = (room.directory / "boot_id").read_text(), room.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: room.starts == 2 and room.pid is not None)
    assert room.wait_ready(SOON_S)
    assert room.pid != pid
    assert (room.directory / "boot_id").read_text() == boot


def test_a_reboot_that_the_agent_orders_is_a_new_boot(room: Room) -> None:
    boot, pid = (room.directory / "boot_id").read_text(), room.pid
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as order:
        order.connect(str(room.directory / "reboot.sock"))
        answers = order.makefile("rb")
        order.sendall(b'{"do": "nonce"}\n')
        nonce = json.loads(answers.readline())["ok"]["reboot_nonce"]
        now_s = int(time.time())
        claims = {
            "id": "command-1", "aud": "point/xp-0001", "verb": "restart", "iss": "operator-1",
            "iat": now_s, "exp": now_s + 60, "args": {"target": "host", "reboot_nonce": nonce},
        }  # fmt: skip
        order.sendall(json.dumps({"do": "reboot", "command": json.dumps(claims)}).encode() + b"\n")
        assert json.loads(answers.readline()) == {"ok": {"restarting": True}}
    until(lambda: room.starts == 2)
    assert room.wait_ready(SOON_S)
    assert room.pid != pid
    assert (room.directory / "boot_id").read_text() != boot


def test_a_second_room_cannot_live_in_the_same_place(room: Room) -> None:
    with pytest.raises(RoomError, match="another room runs there"):
        Room("xp-0002", NOBODY, room.directory).start()
    assert room.alive()


def test_settings_that_the_agent_refuses_start_nothing(tmp_path: Path) -> None:
    with pytest.raises(RoomError, match=r"probe\.perriod_s: unknown key") as refused:
        Room("xp-0001", NOBODY, tmp_path / "room", extra_config={"probe": {"perriod_s": 1}, "level": 2})
    assert "level: got 2" in str(refused.value)
    assert not (tmp_path / "room").exists()
