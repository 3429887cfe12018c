"""Against a real mosquitto with the written configuration: each way in is refused, or delivers nothing. With
``-s`` a table of what was tried, and what came of it, is printed at the end."""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker_rig import Broker, Fleet, Member, Papers, Refused
from diemcau_agent import mqtt, topics
from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import SystemClock
from diemcau_agent.mqtt import Connection
from diemcau_fleet.authority import Authority
from test_session import EXECUTOR

pytestmark = pytest.mark.mosquitto

DOCUMENTS = ("birth", "status", "health", "telemetry", "event", "selftest", "reply/op-1")
DENIED = "Not authorized"
Tried = Callable[[str, str], None]


class Room:
    """A broker, and those who may be there: two kits, an operator, a viewer, a collector, a publisher."""

    def __init__(self, place: Path) -> None:
        (place / "fleet").mkdir()
        self.fleet = Fleet(place / "fleet")
        host = self.fleet.server("localhost", "localhost")
        self.papers = {
            "xp-0001": self.fleet.kit("xp-0001", ("north",)),
            "xp-0002": self.fleet.kit("xp-0002"),
            "op-1": self.fleet.service("op-1", "operator"),
            "viewer-1": self.fleet.service("viewer-1", "viewer"),
            "collector": self.fleet.service("collector", "collector"),
            "publisher": self.fleet.service("publisher", "publisher"),
        }
        self.host = host
        self.broker = Broker(self.fleet, place / "broker", host, wss=True)
        assert self.broker.keeper.look().troubles == ()
        self.broker.start()

    def member(self, name: str, **more: object) -> Member:
        return Member(self.broker.port, self.fleet.ca, self.papers[name], name, **more)  # pyright: ignore[reportArgumentType]

    def refusal(self, papers: Papers | None) -> str:
        """What the broker says in the handshake: in TLS 1.2, as in 1.3 a client has ended its own by then."""
        with pytest.raises(Refused):
            Member(self.broker.port, self.fleet.ca, papers, "xp-0001")
        context = ssl.create_default_context(cafile=self.fleet.ca)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        if papers is not None:
            context.load_cert_chain(papers.cert, papers.key)
        with (
            pytest.raises(ssl.SSLError) as refused,
            socket.create_connection(("127.0.0.1", self.broker.port), 5) as sock,
        ):
            context.wrap_socket(sock, server_hostname="localhost")
        return str(refused.value.reason)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("nobody"))
    yield made
    made.broker.stop()
    made.fleet.close()


@pytest.fixture(scope="module")
def tried() -> Iterator[Tried]:
    rows: list[tuple[str, str]] = []
    yield lambda what, outcome: rows.append((what, outcome))
    print(f"\n{len(rows)} ways in, {len(rows)} refused or deaf and mute:")
    for what, outcome in rows:
        print(f"  {what:<62} {outcome}")


def test_a_kit_publishes_nothing_in_anothers_name(room: Room, tried: Tried) -> None:
    thief, witness = room.member("xp-0001"), room.member("op-1")
    witness.subscribe("diemcau/v1/#")
    named = [topics.point("xp-0002", name) for name in (*DOCUMENTS, "command/restart")]
    others = [
        topics.point("xp-0001", "command/restart"), "diemcau/v1/group/all/command/restart",
        "diemcau/v1/group/north/command/ping", topics.conference("c-1"), topics.KEYS_TOPIC,
        "$SYS/broker/uptime", "anything",
    ]  # fmt: skip
    for topic in [*named, *others]:
        said = thief.publish(topic, retain=True)
        assert said == DENIED, topic
        tried(f"a kit publishes {topic}", said)
    assert thief.publish(topics.point("xp-0001", "event")) == "Success"
    assert witness.topics(least=1) == [topics.point("xp-0001", "event")]


@pytest.mark.parametrize(
    "subscription",
    ["#", "+/+/#", "diemcau/v1/point/xp-0002/#", "diemcau/v1/point/+/+", "diemcau/v1/group/+/command/+",
     "$share/us/diemcau/v1/point/#", "$SYS/#"],
)  # fmt: skip
def test_a_kit_hears_nothing_of_another_while_traffic_flows(
    room: Room, tried: Tried, subscription: str
) -> None:
    spy, kit, operator = room.member("xp-0001"), room.member("xp-0002"), room.member("op-1")
    granted = spy.subscribe(subscription)
    operator.subscribe("diemcau/v1/point/+/#")
    kit.subscribe("diemcau/v1/point/xp-0002/command/+")
    for name in DOCUMENTS:
        assert kit.publish(topics.point("xp-0002", name)) == "Success"
    assert operator.publish(topics.point("xp-0002", "command/ping")) == "Success"
    assert operator.publish("diemcau/v1/group/south/command/ping") == "Success"
    assert len(operator.topics(least=len(DOCUMENTS) + 1)) == len(DOCUMENTS) + 1
    assert kit.topics(least=1) == [topics.point("xp-0002", "command/ping")]
    assert spy.topics() == []
    tried(f"a kit subscribes {subscription}", f"{granted}, 0 of {len(DOCUMENTS) + 2} heard")


def test_a_kit_hears_no_retained_document_of_another(room: Room, tried: Tried) -> None:
    kit, operator = room.member("xp-0002"), room.member("op-1")
    kit.publish(topics.point("xp-0002", "birth"), b"kept", retain=True)
    spy = room.member("xp-0001")
    spy.subscribe("diemcau/v1/point/xp-0002/birth")
    operator.subscribe("diemcau/v1/point/xp-0002/birth")
    assert len(operator.topics(least=1)) == 1
    assert spy.topics() == []
    tried("a kit subscribes what is retained of another", "Granted QoS 1, 0 of 1 heard")
    kit.publish(topics.point("xp-0002", "birth"), b"", retain=True)


def test_a_kit_takes_over_nobodys_session(room: Room, tried: Tried) -> None:
    victim = room.member("xp-0002")
    thief = Member(room.broker.port, room.fleet.ca, room.papers["xp-0001"], "xp-0002")
    assert not victim.gone(0.5)
    assert victim.publish(topics.point("xp-0002", "event")) == "Success"
    assert thief.publish(topics.point("xp-0002", "event")) == DENIED
    tried("a kit connects with another's client id", "is taken for itself, the other stays")


def test_a_kit_leaves_no_will_in_anothers_name(room: Room, tried: Tried) -> None:
    witness = room.member("op-1")
    witness.subscribe("diemcau/v1/#")
    for name in ("xp-0002", "xp-0001"):
        thief = room.member("xp-0001", will=(topics.point(name, "status"), b"lost", 0))
        thief.cut()
    assert witness.topics(least=1) == [topics.point("xp-0001", "status")]  # the second: its own
    assert len(witness.topics()) == 1
    tried("a kit's Will on another's status", "never published")
    room.member("xp-0001").publish(topics.point("xp-0001", "status"), b"", retain=True)


def test_a_service_may_what_its_role_says_and_is_no_room(room: Room, tried: Tried) -> None:
    point, group = topics.point("xp-0002", ""), "diemcau/v1/group/all/command/ping"
    wrong = {
        "viewer-1": ["point/viewer-1/birth", f"{point}command/ping", group, "conference/c-1", "fleet/keys"],
        "collector": ["point/collector/birth", f"{point}command/restart", group, "fleet/keys"],
        "publisher": ["point/publisher/birth", f"{point}command/ping", group, "conference/c-1"],
        "op-1": ["point/op-1/birth", f"{point}health", f"{point}reply/op-1", "fleet/keys"],
    }
    right = {
        "collector": f"{point}command/resend", "publisher": topics.KEYS_TOPIC, "op-1": f"{point}command/ping"
    }  # fmt: skip
    for name, named in wrong.items():
        member = room.member(name)
        for topic in named:
            whole = topic if topic.startswith(topics.ROOT) else f"{topics.ROOT}/{topic}"
            assert member.publish(whole, retain=True) == DENIED, (name, whole)
            tried(f"{name} publishes {whole.removeprefix(topics.ROOT)}", DENIED)
        if name in right:
            assert member.publish(right[name]) == "Success"


def test_nobody_comes_in_without_a_good_certificate(room: Room, tried: Tried, tmp_path: Path) -> None:
    other = Authority.make(tmp_path, "fleet", time.time())  # of the same name
    fleet = room.fleet
    ways = {
        "no certificate": (None, "HANDSHAKE_FAILURE"),
        "one of another authority of the same name": (fleet.forged("xp-0001", by=other), "UNKNOWN_CA"),
        "one that has run out": (fleet.forged("xp-0001", ago_s=2 * 86_400, days=1), "CERTIFICATE_EXPIRED"),
        "one that is not good yet": (fleet.forged("xp-0001", ago_s=-86_400), "BAD_CERTIFICATE"),
        "a server's certificate": (room.host, "UNSUPPORTED_CERTIFICATE"),
    }
    for what, (papers, alert) in ways.items():
        said = room.refusal(papers)
        assert alert in said, what
        tried(f"certificate: {what}", said)
    room.member("xp-0001").leave()


def test_a_name_with_a_wildcard_may_nothing(room: Room, tried: Tried) -> None:
    for name in ("+", "#"):
        papers = room.fleet.forged(name)
        odd = Member(room.broker.port, room.fleet.ca, papers, name)
        odd.subscribe("#")
        room.member("xp-0002").publish(topics.point("xp-0002", "event"))
        assert odd.publish(topics.point("xp-0002", "event")) == DENIED
        assert odd.topics() == []
        tried(f"a certificate of the name {name}", f"let in, {DENIED}, hears nothing")


def test_plaintext_is_not_answered(room: Room, tried: Tried) -> None:
    connect = bytes.fromhex("101000044d5154540502003c00000378702d")
    for port in (room.broker.port, room.broker.wss_port):
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(connect)
            try:
                answer = sock.recv(64)
            except ConnectionResetError:
                answer = b""
        assert answer[:1] != b"\x20"  # no CONNACK; an alert of TLS at most
        tried(f"plain MQTT {'(wss)' if port == room.broker.wss_port else '(mqtts)'}", "closed, no CONNACK")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("door", ["mqtts", "wss"])
def test_it_is_the_broker_who_refuses_an_old_tls(
    room: Room, tried: Tried, version: ssl.TLSVersion, door: str
) -> None:
    context = ssl.create_default_context(cafile=room.fleet.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")  # else our own OpenSSL would not even try
    context.load_cert_chain(room.papers["xp-0001"].cert, room.papers["xp-0001"].key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    port = room.broker.port if door == "mqtts" else room.broker.wss_port
    with (
        socket.create_connection(("127.0.0.1", port or 0), timeout=5) as sock,
        pytest.raises(ssl.SSLError) as refused,
    ):
        context.wrap_socket(sock, server_hostname="localhost")
    assert "ALERT" in str(refused.value.reason)  # what the other side said
    tried(f"{version.name} ({door})", str(refused.value.reason))


async def test_a_kit_does_not_speak_to_a_broker_of_another_name(room: Room, tried: Tried) -> None:
    papers = room.papers["xp-0001"]
    address = Address.parse(f"mqtts://127.0.0.1:{room.broker.port}")
    with pytest.raises(mqtt.LineDown) as refused:
        await Connection.open(
            address, client_id="xp-0001", keepalive_s=20,
            will=mqtt.Will(topics.point("xp-0001", "status"), b"{}"),
            tls=Tls(str(room.fleet.ca), str(papers.cert), str(papers.key)), clock=SystemClock(),
            executor=EXECUTOR, on_message=lambda _, message: None,
        )  # fmt: skip
    tried(f"a broker that is not called {address.host}", "our client refuses")
    assert "not valid for" in str(refused.value)


def test_what_is_too_large_ends_the_connection_and_nobody_hears_it(room: Room, tried: Tried) -> None:
    kit, witness = room.member("xp-0001"), room.member("op-1")
    witness.subscribe("diemcau/v1/point/+/#")
    snapshot = b"x" * (200 * 1024 * 4 // 3 + 4096)
    assert kit.publish(topics.point("xp-0001", "reply/op-1"), snapshot) == "Success"
    assert witness.topics(least=1) == [topics.point("xp-0001", "reply/op-1")]
    kit.publish(topics.point("xp-0001", "event"), b"x" * 330_000)
    assert kit.gone()
    assert len(witness.topics()) == 1
    tried("a packet of 330,000 bytes", "disconnected, not delivered")


def test_the_offices_name_is_nobodys() -> None:
    from diemcau_fleet.broker.acl import OFFICE

    assert not topics.is_id(OFFICE)
