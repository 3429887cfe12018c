"""Whoever is revoked is off, and stays off; whoever is not notices nothing."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_rig import Broker, Fleet, Member, Papers, Refused, until
from diemcau_agent import topics
from diemcau_fleet.broker.keeper import Keeper
from diemcau_fleet.broker.reload import by_pid_file
from diemcau_fleet.cli import main
from diemcau_sim.mortal import MORTAL

pytestmark = pytest.mark.mosquitto

DENIED = "Not authorized"
TURN_S = 2.0
"""A turn of mosquitto's loop, with much room."""
STATUS = topics.point("xp-0001", "status")


class Scene:
    def __init__(self, place: Path) -> None:
        (place / "fleet").mkdir()
        self.fleet = Fleet(place / "fleet")
        self.host = self.fleet.server("localhost", "localhost")
        self.thief = self.fleet.kit("xp-0001")
        self.other = self.fleet.kit("xp-0002")
        self.operator = self.fleet.service("op-1", "operator")
        self.broker = Broker(self.fleet, place / "broker", self.host, wss=True)
        self.look()
        self.broker.start()

    def look(self) -> tuple[str, ...]:
        look = self.broker.keeper.look()
        assert look.troubles == ()
        return look.thrown_out

    def member(self, name: str, papers: Papers, will: tuple[str, bytes, int] | None = None) -> Member:
        return Member(self.broker.port, self.fleet.ca, papers, name, will=will)

    def stays_out(self, papers: Papers) -> None:
        with pytest.raises(Refused):
            self.member("xp-0001", papers)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.broker.stop()
    made.fleet.close()


def test_a_revoked_kit_is_off_while_the_command_follows_the_registry(scene: Scene) -> None:
    settings = scene.broker.settings
    kit, other = scene.member("xp-0001", scene.thief), scene.member("xp-0002", scene.other)
    command = [
        *MORTAL, sys.executable, "-c", "import sys; from diemcau_fleet.cli import main; sys.exit(main())",
        "broker", "--dir", scene.fleet.place, "--out", settings.out, "--user", "root", "--follow", "1",
        "--host-cert", settings.host_cert, "--host-key", settings.host_key, "--state", settings.state,
        "--listen", f"127.0.0.1:{scene.broker.port}", "--wss", f"127.0.0.1:{scene.broker.wss_port}",
        "--pid-file", settings.pid_file,
    ]  # fmt: skip
    log = settings.out.parent / "follow"
    with log.open("wb") as output:
        following = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until(lambda: "told to read it" in log.read_text(), log.read_text)
        scene.fleet.registry.revoke("xp-0001", "kit")
        began_s = time.monotonic()
        assert kit.gone()
        took_s = time.monotonic() - began_s
        assert took_s < 5  # it looks every second here, every 30 s by default
        scene.stays_out(scene.thief)
        until(lambda: "revoked: xp-0001" in log.read_text(), log.read_text)
        assert not other.gone(0.3)
        following.send_signal(signal.SIGTERM)
        assert following.wait(5) == 0
        print(f"\nrevoked, looked at every second: off after {took_s:.2f} s")
    finally:
        following.kill()
        following.wait(5)
    assert "configuration" not in log.read_text()  # what the command wrote is what runs already
    assert "ERROR" not in log.read_text()


def test_what_is_retained_of_a_revoked_kit_is_cleared_and_its_will_is_not_published(scene: Scene) -> None:
    kit = scene.member("xp-0001", scene.thief, will=(STATUS, b"lost", 1))
    witness = scene.member("op-1", scene.operator)
    witness.subscribe("diemcau/v1/point/+/#")
    for name in topics.RETAINED:
        kit.publish(topics.point("xp-0001", name), b"kept", retain=True)
    witness.topics(least=4)
    scene.fleet.registry.revoke("xp-0001", "kit")
    assert scene.look() == ("xp-0001",)
    assert kit.gone()
    witness.topics(2.0)  # longer than the Will's delay
    assert [m.payload for m in witness.heard[4:]] == [b""] * 4
    late = scene.member("op-1", scene.operator)
    late.subscribe("diemcau/v1/point/+/#")
    assert late.topics() == []


def test_from_the_reload_on_an_open_connection_is_deaf_and_mute(scene: Scene) -> None:
    settings = scene.broker.settings
    keeper = Keeper(scene.fleet.source, settings, lambda: by_pid_file(settings.pid_file), None)
    kit, operator = scene.member("xp-0001", scene.thief), scene.member("op-1", scene.operator)
    kit.subscribe("#")
    operator.publish(topics.point("xp-0001", "command/ping"))
    assert len(kit.topics(least=1)) == 1
    scene.fleet.registry.revoke("xp-0001", "kit")
    assert keeper.look().troubles == ()
    until(lambda: kit.publish(topics.point("xp-0001", "event")) == DENIED, scene.broker.said, TURN_S)
    operator.publish(topics.point("xp-0001", "command/ping"))
    assert len(kit.topics()) == 1
    scene.stays_out(scene.thief)


def test_without_the_authoritys_key_a_revoked_kit_is_deaf_and_mute(scene: Scene) -> None:
    kit = scene.member("xp-0001", scene.thief)
    scene.fleet.registry.revoke("xp-0001", "kit")
    key = scene.fleet.place / "ca.key"
    kept = key.rename(key.with_name("elsewhere"))
    look = scene.broker.keeper.look()
    assert look.changed == {"acl"}
    assert "ca.key" in " ".join(look.troubles)
    until(lambda: kit.publish(topics.point("xp-0001", "event")) == DENIED, scene.broker.said, TURN_S)
    kept.rename(key)
    assert scene.look() == ("xp-0001",)  # what failed is done by the next look
    assert kit.gone()
    scene.stays_out(scene.thief)


def test_a_kit_that_was_replaced_under_its_old_id_is_in_and_the_stolen_one_is_not(scene: Scene) -> None:
    stolen = scene.member("xp-0001", scene.thief)
    scene.fleet.registry.revoke("xp-0001", "kit")
    again = scene.fleet.kit("xp-0001")  # before anybody has looked
    assert scene.look() == ("xp-0001",)
    assert stolen.gone()
    scene.stays_out(scene.thief)
    kit = scene.member("xp-0001", again)
    assert kit.publish(STATUS, b"online", retain=True) == "Success"
    assert scene.look() == ()
    assert not kit.gone(0.3)
    follower = Keeper(  # which is started anew
        scene.fleet.source, scene.broker.settings, lambda: True, None
    )
    assert follower.look().changed == frozenset()


def test_through_a_websocket_a_revoked_kit_hears_nothing_and_says_nothing(scene: Scene) -> None:
    """mosquitto 2.0 gives libwebsockets no CRL, so it is let in: docs/broker.md."""
    scene.fleet.registry.revoke("xp-0001", "kit")
    scene.look()
    assert scene.broker.wss_port is not None
    kit = Member(scene.broker.wss_port, scene.fleet.ca, scene.thief, "xp-0001", transport="websockets")
    kit.subscribe("#")
    operator = scene.member("op-1", scene.operator)
    operator.publish(topics.point("xp-0001", "command/ping"))
    operator.publish(topics.conference("c-1"), retain=True)
    assert kit.publish(topics.point("xp-0001", "event")) == DENIED
    assert kit.topics() == []


def test_whoever_is_revoked_while_no_broker_runs_is_thrown_out_of_the_next_one(scene: Scene) -> None:
    kit = scene.member("xp-0001", scene.thief)
    kit.publish(STATUS, b"online", retain=True)
    scene.broker.stop()
    scene.fleet.registry.revoke("xp-0001", "kit")
    assert scene.look() == ()
    scene.broker.start()
    scene.stays_out(scene.thief)
    assert scene.look() == ("xp-0001",)
    late = scene.member("op-1", scene.operator)
    late.subscribe("diemcau/v1/point/+/#")
    assert late.topics() == []


def test_a_renewed_certificate_of_the_broker_is_shown_without_a_restart(scene: Scene) -> None:
    other = scene.member("xp-0002", scene.other)

    def shown() -> bytes:
        pem = ssl.get_server_certificate(("127.0.0.1", scene.broker.port))
        return pem.encode()

    before = shown()
    scene.fleet.server("localhost", "localhost")
    assert scene.look() == ()
    until(lambda: shown() != before, scene.broker.said)
    assert not other.gone(0.3)


def test_a_number_that_is_no_mosquittos_gets_no_signal(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert by_pid_file(tmp_path / "pid") is False


def test_from_another_machine_the_files_are_carried_over_and_the_connection_is_ended(
    scene: Scene, tmp_path: Path
) -> None:
    """As systemd/diemcau-broker.service does: the authority's key is not where the broker is."""
    settings = scene.broker.settings
    out, push = tmp_path / "office-out", tmp_path / "push"
    push.write_text(f"#!/bin/sh\ncp -f {out}/* {settings.out}/ && kill -HUP $(cat {settings.pid_file})\n")
    push.chmod(0o755)
    command = [
        "broker", "--dir", scene.fleet.place, "--out", out, "--place", settings.out, "--user", "root",
        "--host-cert", "/etc/mosquitto/host.pem", "--host-key", "/etc/mosquitto/host.key",
        "--listen", f"127.0.0.1:{scene.broker.port}", "--reload-command", push,
        "--evict-at", f"mqtts://localhost:{scene.broker.port}",
    ]  # fmt: skip
    assert main([str(part) for part in command]) == 0
    kit, other = scene.member("xp-0001", scene.thief), scene.member("xp-0002", scene.other)
    scene.fleet.registry.revoke("xp-0001", "kit")
    assert main([str(part) for part in command]) == 0
    assert kit.gone()
    scene.stays_out(scene.thief)
    assert not other.gone(0.3)
    assert main([*(str(part) for part in command[:-1]), f"mqtts://127.0.0.1:{scene.broker.port}"]) == 1
