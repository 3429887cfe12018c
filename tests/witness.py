"""An independent reader of the wire: what it heard is the judge's. No code of agent or collector is in it."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

Name = tuple[str, str, str, int]
"""(point, spool, stream, seq)."""
ISS = "torture"


class Witness:
    """Connected until :meth:`close`, again by itself after a loss; its session is the broker's to keep.

    ``documents``: every spooled document heard, by name. ``conflicts``: names under which two different ones
    came. ``done``: ids of commands that were answered ``done``: acknowledged on the wire. ``told``: ids of
    commands whose outcome an event told. ``nonces``: of each point's newest ``online``. ``papers``: the
    folder of the certificate that it shows; None: none, at a broker that wants none.
    """

    def __init__(self, port: int, iss: str = ISS, papers: Path | None = None) -> None:
        self.documents: dict[Name, bytes] = {}
        self.conflicts: list[Name] = []
        self.events: list[dict[str, Any]] = []
        """In the order heard, each once."""
        self.done: dict[str, tuple[str, str]] = {}
        """Id -> (point, verb)."""
        self.answers: dict[str, str] = {}
        """Id -> newest state."""
        self.told: set[str] = set()
        self.nonces: dict[str, str] = {}
        self.statuses: dict[str, dict[str, Any]] = {}
        self.health: dict[str, dict[str, Any]] = {}
        self.strange: list[str] = []
        """Topics of payloads that are no JSON object."""
        self._iss = iss
        self._changed = threading.Condition()
        self._port = port
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"witness-{iss}", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.on_socket_open = _no_delay
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._taken
        self._client.on_message = self._hear
        self._client.reconnect_delay_set(1, 1)
        if papers is not None:
            context = ssl.create_default_context(cafile=papers / "ca.pem")
            context.load_cert_chain(papers / "cert.pem", papers / "key.pem")
            self._client.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType]
        self._subscribed = threading.Event()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 86_400
        self._client.connect("127.0.0.1", port, keepalive=20, clean_start=False, properties=properties)
        self._client.loop_start()
        if not self._subscribed.wait(10):
            raise TimeoutError("the broker did not take a subscription in 10 s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def order(self, point: str, verb: str, args: dict[str, Any], ident: str) -> None:
        """Publish an unsigned command with the point's newest nonce."""
        now_s = int(time.time())
        claims = {
            "id": ident, "aud": f"point/{point}", "verb": verb, "args": args, "iss": self._iss,
            "iat": now_s, "exp": now_s + 100, "nonce": self.nonces.get(point, ""),
        }  # fmt: skip
        self.send(point, claims)

    def send(self, point: str, claims: dict[str, Any]) -> None:
        """Publish a command as it is given, be it an old one."""
        topic = f"diemcau/v1/point/{point}/command/{claims['verb']}"
        self._client.publish(topic, json.dumps(claims).encode(), qos=1)

    def until(self, true: Callable[[], bool], timeout_s: float) -> bool:
        """Whether ``true()`` came within ``timeout_s``; asked again after each message."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while not true():
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(min(left_s, 0.5))
        return True

    def of(self, point: str) -> dict[Name, bytes]:
        """Heard of one point."""
        with self._changed:
            return {name: payload for name, payload in self.documents.items() if name[0] == point}

    def kinds(self, point: str, kind: str) -> list[dict[str, Any]]:
        """Events of one kind, oldest first."""
        with self._changed:
            return [event for event in self.events if event["point"] == point and event["kind"] == kind]

    def _connected(
        self, client: Client, data: object, flags: ConnectFlags, reason: ReasonCode, more: Properties | None
    ) -> None:
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        client.subscribe([("diemcau/v1/point/#", options)])

    def _taken(
        self, client: Client, data: object, mid: int, reasons: list[ReasonCode], more: Properties | None
    ) -> None:
        self._subscribed.set()

    def _hear(self, client: Client, data: object, message: MQTTMessage) -> None:
        topic, payload = message.topic, bytes(message.payload)
        try:
            document = json.loads(payload) if payload else None
        except ValueError:
            document = None
        with self._changed:
            if isinstance(document, dict):
                self._note(topic.split("/")[3:], payload, cast("dict[str, Any]", document))
            elif payload:
                self.strange.append(topic)
            self._changed.notify_all()

    def _note(self, topic: list[str], payload: bytes, document: dict[str, Any]) -> None:
        point, kind = topic[0], topic[1]
        if kind in ("event", "telemetry"):
            name = (point, document["spool"], kind, document["seq"])
            before = self.documents.setdefault(name, payload)
            if before != payload:
                self.conflicts.append(name)
            elif kind == "event" and before is payload:
                self.events.append(document)
                if document["kind"] == "command":
                    self.told.add(document["data"]["id"])
        elif kind == "status":
            self.statuses[point] = document
            if document["status"] == "online":
                self.nonces[point] = document["nonce"]
            else:
                self.nonces.pop(point, None)
        elif kind == "health":
            self.health[point] = document
        elif kind == "reply" and topic[2] == self._iss:
            self.answers[document["id"]] = document["state"]
            if document["state"] == "done":
                self.done[document["id"]] = (point, document["verb"])


def _no_delay(client: Client, data: object, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
