"""A province's broker, bridged to the centre's on the written configurations, with TLS on each way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_rig import Broker, Fleet, Member, Papers, Refused, until
from diemcau_agent import topics
from diemcau_fleet.broker.settings import Bridge

pytestmark = pytest.mark.mosquitto

MESSAGES = 20
CROSSING_S = 15.0
"""A bridge that lost the centre comes back after a second and more."""


class Country:
    def __init__(self, place: Path) -> None:
        (place / "fleet").mkdir()
        self.fleet = Fleet(place / "fleet")
        host = self.fleet.server("localhost", "localhost")
        self.bridge = self.fleet.service("bridge-1", "bridge")
        self.papers = {
            "xp-0001": self.fleet.kit("xp-0001", ("north",), via="bridge-1"),
            "xp-0002": self.fleet.kit("xp-0002"),
            "op-1": self.fleet.service("op-1", "operator"),
            "publisher": self.fleet.service("publisher", "publisher"),
        }
        self.centre = Broker(self.fleet, place / "centre", host)
        link = Bridge(
            "bridge-1", "localhost", self.centre.port, self.fleet.ca, self.bridge.cert, self.bridge.key
        )
        self.province = Broker(self.fleet, place / "province", host, bridge=link)
        for broker in (self.centre, self.province):
            assert broker.keeper.look().troubles == ()
            broker.start()
        until(lambda: "as bridge-1" in self.centre.said(), self.centre.said)

    def member(self, broker: Broker, name: str, papers: Papers | None = None) -> Member:
        return Member(broker.port, self.fleet.ca, papers or self.papers[name], name)

    def close(self) -> None:
        self.province.stop()
        self.centre.stop()
        self.fleet.close()


@pytest.fixture
def country(tmp_path: Path) -> Iterator[Country]:
    made = Country(tmp_path)
    yield made
    made.close()


def test_what_a_point_says_reaches_the_centre_and_what_is_said_to_it_reaches_the_point(
    country: Country,
) -> None:
    kit, operator = country.member(country.province, "xp-0001"), country.member(country.centre, "op-1")
    kit.subscribe("#", "diemcau/v1/group/north/command/+")
    operator.subscribe("diemcau/v1/#")
    said = [topics.point("xp-0001", name) for name in
            ("birth", "status", "health", "selftest", "telemetry", "event", "reply/op-1")]  # fmt: skip
    for topic in said:
        assert (
            kit.publish(topic, topic.encode(), retain=topic.rsplit("/", 1)[-1] in topics.RETAINED)
            == "Success"
        )
    assert sorted(operator.topics(least=len(said))) == sorted(said)
    heard = [
        topics.point("xp-0001", "command/ping"), "diemcau/v1/group/all/command/ping",
        "diemcau/v1/group/north/command/ping", topics.conference("c-1"),
    ]  # fmt: skip
    for topic in heard:
        assert operator.publish(topic, topic.encode(), retain="conference" in topic) == "Success"
    country.member(country.centre, "publisher").publish(topics.KEYS_TOPIC, b"keys", retain=True)
    assert set(kit.topics(least=6)) == {*heard, topics.KEYS_TOPIC}  # north: by two subscriptions
    late = country.member(country.centre, "op-1")
    late.subscribe("diemcau/v1/point/+/#")
    assert len(late.topics()) == len(topics.RETAINED)
    assert all(message.retain for message in late.heard)


def test_nothing_goes_round_in_a_loop(country: Country) -> None:
    here, there = country.member(country.province, "op-1"), country.member(country.centre, "xp-0002")
    here.subscribe("diemcau/v1/#")
    there.subscribe("#")
    operator = Member(country.centre.port, country.fleet.ca, country.papers["op-1"], "op-1")
    operator.publish(topics.point("xp-0001", "command/ping"))
    operator.publish(topics.conference("c-1"))
    assert sorted(here.topics(2.0)) == [topics.conference("c-1"), topics.point("xp-0001", "command/ping")]
    assert there.topics() == [topics.conference("c-1")]


def test_twenty_of_twenty_messages_cross_a_line_that_was_down(country: Country) -> None:
    kit = country.member(country.province, "xp-0001")
    witness = country.member(country.centre, "op-1")
    witness.subscribe("diemcau/v1/point/+/event")
    kit.publish(topics.point("xp-0001", "event"), b"before")
    assert len(witness.topics(least=1)) == 1
    witness.leave()
    country.centre.stop()
    for number in range(MESSAGES):
        assert kit.publish(topics.point("xp-0001", "event"), b"%d" % number) == "Success"
    country.centre.start()
    witness = country.member(country.centre, "op-1")
    witness.subscribe("diemcau/v1/point/+/event")
    until(lambda: len(witness.topics(0.1)) >= MESSAGES, country.province.said, CROSSING_S)
    witness.topics()
    assert [message.payload for message in witness.heard] == [b"%d" % number for number in range(MESSAGES)]
    print(f"\n{len(witness.heard)} of {MESSAGES} crossed")


def test_a_province_that_was_restarted_meanwhile_hands_over_what_it_had(country: Country) -> None:
    kit = country.member(country.province, "xp-0001")
    country.centre.stop()
    for number in range(MESSAGES):
        kit.publish(topics.point("xp-0001", "event"), b"%d" % number)
    country.province.stop()
    country.centre.start()
    witness = country.member(country.centre, "op-1")
    witness.subscribe("diemcau/v1/point/+/event")
    country.province.start()
    until(lambda: len(witness.topics(0.1)) >= MESSAGES, country.province.said, CROSSING_S)
    assert len({bytes(message.payload) for message in witness.heard}) == MESSAGES


def test_a_bridge_speaks_for_its_own_kits_alone(country: Country) -> None:
    country.province.stop()
    witness = country.member(country.centre, "op-1")
    witness.subscribe("diemcau/v1/#")
    bridge = country.member(country.centre, "bridge-1", country.bridge)
    bridge.subscribe("#")
    foreign = ["point/xp-0002/health", "point/xp-0002/reply/op-1", "point/xp-0001/command/ping",
               "point/bridge-1/birth", "group/all/command/ping", "conference/c-1", "fleet/keys"]  # fmt: skip
    for topic in foreign:
        assert bridge.publish(f"diemcau/v1/{topic}") == "Not authorized", topic
    assert bridge.publish(topics.point("xp-0001", "health")) == "Success"
    assert witness.topics(least=1) == [topics.point("xp-0001", "health")]
    witness.publish(topics.point("xp-0002", "command/ping"))
    witness.publish(topics.point("xp-0001", "command/ping"))
    assert bridge.topics(least=1) == [topics.point("xp-0001", "command/ping")]


def test_a_bridge_that_was_revoked_speaks_for_nobody(country: Country) -> None:
    country.fleet.registry.revoke("bridge-1", "service")
    look = country.centre.keeper.look()
    assert look.thrown_out == ("bridge-1",)
    with pytest.raises(Refused):
        country.member(country.centre, "bridge-1", country.bridge)
    kit, witness = country.member(country.province, "xp-0001"), country.member(country.centre, "op-1")
    witness.subscribe("diemcau/v1/#")
    kit.publish(topics.point("xp-0001", "event"))
    assert witness.topics(2.0) == []


def test_a_kit_that_is_revoked_is_off_in_its_province_and_forgotten_at_the_centre(country: Country) -> None:
    kit = country.member(country.province, "xp-0001")
    kit.publish(topics.point("xp-0001", "status"), b"online", retain=True)
    witness = country.member(country.centre, "op-1")
    witness.subscribe("diemcau/v1/point/+/#")
    witness.topics(least=1)
    country.fleet.registry.revoke("xp-0001", "kit")
    for broker in (country.province, country.centre):
        assert broker.keeper.look().thrown_out == ("xp-0001",)
    assert kit.gone()
    late = country.member(country.centre, "op-1")
    late.subscribe("diemcau/v1/point/+/#")
    assert late.topics() == []
