"""What the written configuration must not keep from happening: a kit's whole session, through it."""

from __future__ import annotations

import asyncio
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import lone_session
from broker_rig import Broker, Fleet, Member, Papers
from diemcau_agent import topics
from diemcau_agent.clock import SystemClock
from lone_session import point

pytestmark = pytest.mark.mosquitto


class Open:
    """A broker that runs as the user of Debian's package, in folders that this user can enter."""

    def __init__(self, place: Path) -> None:
        for folder in (place, place / "fleet"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        self.fleet = Fleet(place / "fleet")
        self.operator = self.fleet.service("op-1", "operator")
        host = self.fleet.server("localhost", "localhost")
        host.key.chmod(0o600)
        user = "mosquitto" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.broker = Broker(self.fleet, place / "broker", host, wss=True, user=user)
        self.look()
        if os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            for path in (host.key, self.broker.settings.state, self.broker.settings.pid_file.parent):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        self.broker.start()

    def look(self) -> None:
        assert self.broker.keeper.look().troubles == ()

    def member(self, name: str, papers: Papers, will: tuple[str, bytes, int] | None = None) -> Member:
        return Member(self.broker.port, self.fleet.ca, papers, name, will=will)


@pytest.fixture
def served() -> Iterator[Open]:
    with tempfile.TemporaryDirectory(prefix="diemcau-served-") as place:
        made = Open(Path(place))
        yield made
        made.broker.stop()
        made.fleet.close()


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_an_agent_is_online_through_it_and_hears_its_commands(served: Open, scheme: str) -> None:
    name = f"xp-reconnect-{next(lone_session.numbers) + 1}"  # the next that a point will take
    papers = served.fleet.kit(name, ("north",))
    served.look()
    port = served.broker.port if scheme == "mqtts" else served.broker.wss_port
    operator = served.member("op-1", served.operator)
    operator.subscribe(topics.point("+", "birth"), topics.point("+", "status"))
    files = {
        "ca_file": str(served.fleet.ca), "cert_file": str(papers.cert), "key_file": str(papers.key)
    }  # fmt: skip
    async with point(SystemClock(), f"{scheme}://localhost:{port}", **files) as room:
        assert room.name == name
        await room.online()
        assert operator.topics(least=2) == [topics.point(name, "birth"), topics.point(name, "status")]
        assert all(message.retain for message in operator.heard)
        for topic in (topics.point(name, "command/ping"), "diemcau/v1/group/all/command/ping"):
            assert operator.publish(topic) == "Success"
        async with asyncio.timeout(5):
            while len(room.received) < 2:
                await asyncio.sleep(0.01)
        for connection, message in room.received:
            connection.acknowledge(message)
        served.broker.keeper.look()
        assert room.changes == 1  # nothing of this cost it its connection


def test_a_kits_will_comes_after_its_delay_and_stays(served: Open) -> None:
    papers = served.fleet.kit("xp-0001")
    served.look()
    status = topics.point("xp-0001", "status")
    kit = served.member("xp-0001", papers, will=(status, b"lost", 1))
    assert kit.publish(status, b"online", retain=True) == "Success"
    operator = served.member("op-1", served.operator)
    operator.subscribe(topics.point("+", "status"))
    operator.topics(least=1)
    kit.cut()
    assert len(operator.topics(0.5)) == 1
    operator.topics(least=2)
    assert [message.payload for message in operator.heard] == [b"online", b"lost"]
    late = served.member("op-1", served.operator)
    late.subscribe(topics.point("+", "status"))
    late.topics(least=1)
    assert late.heard[0].payload == b"lost"


def test_a_group_that_a_kit_joins_is_heard_from_the_reload_on(served: Open) -> None:
    papers = served.fleet.kit("xp-0001")
    served.look()
    kit, operator = served.member("xp-0001", papers), served.member("op-1", served.operator)
    kit.subscribe("diemcau/v1/group/north/command/+")
    operator.publish("diemcau/v1/group/north/command/ping")
    assert kit.topics() == []
    served.fleet.registry.revoke("xp-0001", "kit")
    again = served.fleet.kit("xp-0001", ("north",))
    served.look()
    kit = served.member("xp-0001", again)
    kit.subscribe("diemcau/v1/group/north/command/+")
    operator.publish("diemcau/v1/group/north/command/ping")
    assert kit.topics(least=1) == ["diemcau/v1/group/north/command/ping"]


def test_mosquitto_finds_nothing_to_complain_of_but_the_three_rules_for_everybody(served: Open) -> None:
    said = {line.partition(": ")[2] for line in served.broker.said().splitlines() if "connect" not in line}
    assert len(said) == 3, said
    assert all("does not contain '%c' or '%u'" in line for line in said), said
