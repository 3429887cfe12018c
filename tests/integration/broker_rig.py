"""A fleet with its registry and authority, a mosquitto on the configuration that is written from them, and
clients with certificates."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from diemcau_fleet.authority import Authority, Certificate, private_pem
from diemcau_fleet.broker.acl import OFFICE
from diemcau_fleet.broker.eviction import Eviction, pinned
from diemcau_fleet.broker.keeper import Keeper
from diemcau_fleet.broker.reload import by_pid_file
from diemcau_fleet.broker.settings import Bridge, Listen, Settings
from diemcau_fleet.broker.source import Source
from diemcau_fleet.members import ServiceRole
from diemcau_fleet.registry import Registry
from diemcau_sim.mortal import MORTAL
from diemcau_sim.mosquitto import free_port, program

WAIT_S = 8.0
QUIET_S = 0.6
"""How long a client that should hear nothing listens, after others have heard what it should not."""


class Papers(msgspec.Struct, frozen=True):
    """A certificate and its key, in files."""

    cert: Path
    key: Path


class Fleet:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.registry = Registry.open(place, create=True)
        self.authority = Authority.make(place, "fleet", time.time() - 3 * 86_400)
        self.ca = place / "ca.pem"
        self.source = Source(place)

    def close(self) -> None:
        self.registry.close()

    def kit(self, name: str, groups: tuple[str, ...] = (), via: str | None = None) -> Papers:
        token = self.registry.add_kit(name, groups, via)
        key = ec.generate_private_key(ec.SECP256R1())
        made = self.client(name, key)
        self.registry.enrol(name, token, name.encode(), lambda: made)
        return self._papers(f"{name}-{made.serial[:8]}", made, key)

    def service(self, name: str, role: ServiceRole) -> Papers:
        key = ec.generate_private_key(ec.SECP256R1())
        made = self.registry.add_service(name, role, lambda: self.client(name, key))
        return self._papers(name, made, key)

    def server(self, name: str, *names: str) -> Papers:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        made = self.registry.add_server(name, lambda: self.authority.server(name, names, public, time.time()))
        return self._papers(name, made, key)

    def forged(self, name: str, *, by: Authority | None = None, ago_s: float = 0, days: int = 2) -> Papers:
        """A certificate that the registry knows nothing of: ``by`` another authority, or of another time."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = (by or self.authority).client(name, key.public_key(), time.time() - ago_s, days)
        return self._papers(f"{name}-forged-{made.serial[:8]}", made, key)

    def client(self, name: str, key: ec.EllipticCurvePrivateKey) -> Certificate:
        return self.authority.client(name, key.public_key(), time.time(), 2)

    def _papers(self, name: str, made: Certificate, key: ec.EllipticCurvePrivateKey) -> Papers:
        papers = Papers(self.place / f"{name}.pem", self.place / f"{name}.key")
        papers.cert.write_bytes(made.pem)
        papers.key.write_bytes(private_pem(key))
        return papers


class Broker:
    """mosquitto on what :class:`Keeper` writes; ``program`` of the machine, as the user ``user``."""

    def __init__(
        self, fleet: Fleet, place: Path, host: Papers, *, bridge: Bridge | None = None, wss: bool = False,
        user: str = "root",
    ) -> None:  # fmt: skip
        self.port = free_port()
        self.wss_port = free_port() if wss else None
        out = place / "etc"
        for folder in (place / "state", place / "run"):
            folder.mkdir(parents=True)
        self.settings = Settings(
            out=out, place=out, host_cert=host.cert, host_key=host.key,
            mqtts=(Listen("127.0.0.1", self.port),),
            wss=() if self.wss_port is None else (Listen("127.0.0.1", self.wss_port),),
            user=user, state=place / "state", pid_file=place / "run" / "mosquitto.pid", bridge=bridge,
        )  # fmt: skip
        self.log = place / "log"
        self.keeper = Keeper(
            fleet.source, self.settings, lambda: by_pid_file(self.settings.pid_file),
            Eviction("127.0.0.1", self.port, pinned(host.cert), fleet.source.issue),
        )  # fmt: skip
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*MORTAL, program(), "-c", self.settings.out / "mosquitto.conf"], stdout=log, stderr=log
            )
        until(lambda: reachable(self.port), self.said)
        until(lambda: by_pid_file(self.settings.pid_file), self.said)  # it listens before it takes signals

    def stop(self, *, kill: bool = False) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill() if kill else child.terminate()
            child.wait(5)

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")[-2000:] if self.log.exists() else ""


class Refused(Exception):
    """The connection, by either side; the message says how."""


class Member:
    """An MQTT client with papers. Raises Refused where it is not let in."""

    def __init__(
        self, port: int, ca: Path, papers: Papers | None, client_id: str, *, host: str = "localhost",
        context: ssl.SSLContext | None = None, will: tuple[str, bytes, int] | None = None,
        transport: Any = "tcp",
    ) -> None:  # fmt: skip
        self.heard: list[MQTTMessage] = []
        self.reasons: dict[int, ReasonCode] = {}
        self.connack: ReasonCode | None = None
        self.ended: ReasonCode | None = None
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, transport=transport
        )
        self.client.connect_timeout = 3
        if context is None:
            context = ssl.create_default_context(cafile=ca)
            if papers is not None:
                context.load_cert_chain(papers.cert, papers.key)
        self.client.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType]
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_message = lambda client, data, message: self.heard.append(message)
        self.client.on_publish = self._settled
        self.client.on_subscribe = self._subscribed
        session = Properties(PacketTypes.CONNECT)
        if will is not None:
            topic, payload, delay_s = will
            session.SessionExpiryInterval = 60 if delay_s else 0  # a delay ends with the session
            properties = Properties(PacketTypes.WILLMESSAGE)
            properties.WillDelayInterval = delay_s
            self.client.will_set(topic, payload, 1, True, properties)
        try:
            self.client.connect(host, port, keepalive=20, clean_start=True, properties=session)
        except (OSError, ValueError) as error:
            raise Refused(str(error)) from None
        self._turn(lambda: self.connack is not None or self.ended is not None)
        if self.connack is None or self.connack.is_failure:
            self.cut()
            raise Refused(str(self.connack or self.ended or "closed without an answer"))

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> str:
        """The reason in PUBACK; that nobody listens is a success."""
        mid = self.client.publish(topic, payload, 1, retain).mid
        self._turn(lambda: mid in self.reasons or self.ended is not None)
        reason = self.reasons.get(mid, self.ended)
        return "Success" if reason is not None and not reason.is_failure else str(reason)

    def subscribe(self, *filters: str) -> str:
        options = SubscribeOptions(1, retainAsPublished=True)
        _, mid = self.client.subscribe([(name, options) for name in filters])
        assert mid is not None
        self._turn(lambda: mid in self.reasons or self.ended is not None)
        return str(self.reasons.get(mid, self.ended))

    def topics(self, wait_s: float = QUIET_S, least: int | None = None) -> list[str]:
        """What it has heard: ``least`` messages, waited for, or all that come within ``wait_s``."""
        end_s = time.monotonic() + (wait_s if least is None else WAIT_S)
        while time.monotonic() < end_s and (least is None or len(self.heard) < least):
            self.client.loop(0.05)
        return [message.topic for message in self.heard]

    def gone(self, within_s: float = WAIT_S) -> bool:
        self._turn(lambda: self.ended is not None, within_s)
        return self.ended is not None

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop(0.1)
        self.cut()

    def cut(self) -> None:
        """The socket, without a goodbye."""
        sock: Any = self.client.socket()
        if sock is not None:
            sock.close()

    def _turn(self, condition: Callable[[], bool], within_s: float = WAIT_S) -> None:
        end_s = time.monotonic() + within_s
        while not condition() and time.monotonic() < end_s:
            if self.client.loop(0.05).value and not condition():
                self.ended = self.ended or ReasonCode(PacketTypes.DISCONNECT, identifier=0x80)

    def _connected(self, client: Client, data: Any, flags: Any, reason: ReasonCode, more: Any) -> None:
        self.connack = reason

    def _disconnected(self, client: Client, data: Any, flags: Any, reason: ReasonCode, more: Any) -> None:
        self.ended = reason

    def _settled(self, client: Client, data: Any, mid: int, reason: ReasonCode, more: Any) -> None:
        self.reasons[mid] = reason

    def _subscribed(self, client: Client, data: Any, mid: int, reasons: list[ReasonCode], more: Any) -> None:
        self.reasons[mid] = reasons[0]


def until(condition: Callable[[], bool], said: Callable[[], str], within_s: float = WAIT_S) -> float:
    """How long it took. Fails with what was ``said``."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < within_s, said()
        time.sleep(0.02)
    return time.monotonic() - began_s


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


__all__ = ["OFFICE", "Broker", "Fleet", "Member", "Papers", "Refused", "until"]
