"""The other end of the wire: an operations centre as small as can be, for the demo and for tests.

It reads what a point has published and gives it unsigned commands, which a kit takes in simulation only.
"""

from __future__ import annotations

import json
import queue
import secrets
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Self, cast
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from diemcau_agent import topics

CONNECT_S = 10.0
FINAL = ("done", "failed", "refused")

Document = dict[str, Any]


class CentreError(Exception):
    """The broker cannot be reached, or nothing came in time."""


class Centre:
    """``with Centre(url) as centre``: connected. Every wait is bounded and ends in CentreError."""

    def __init__(self, url: str, iss: str = "demo-centre") -> None:
        self._iss = iss
        self._came: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._granted: queue.Queue[int] = queue.Queue()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{iss}-{secrets.token_hex(4)}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        self._client.on_message = self._received
        self._client.on_subscribe = self._subscribed
        place = urlsplit(url)
        self._host, self._port = place.hostname or "127.0.0.1", place.port or 1883

    def __enter__(self) -> Self:
        try:
            self._client.connect(self._host, self._port, keepalive=20)
        except OSError as error:
            raise CentreError(f"no broker at {self._host}:{self._port}: {error}") from error
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def retained(self, point: str, document: str, timeout_s: float = CONNECT_S) -> Document:
        """A retained document of ``point`` as it lies on the broker now, e.g. "health"."""
        topic = topics.point(point, document)
        self._subscribe(topic)
        try:
            return next(self._messages(topic, timeout_s))
        finally:
            self._client.unsubscribe(topic)

    def command(
        self, point: str, verb: str, args: Mapping[str, Any] | None = None, timeout_s: float = 30.0
    ) -> Document:
        """Give ``point`` a command and wait for its last answer ("done", "failed" or "refused")."""
        status = self.retained(point, "status")
        wanted = dict(args or {})
        if verb == "restart" and wanted == {"target": "host"}:
            wanted["reboot_nonce"] = status["reboot_nonce"]
        now = int(time.time())
        claims = {
            "id": str(uuid.uuid4()),
            "aud": f"point/{point}",
            "verb": verb,
            "args": wanted,
            "iss": self._iss,
            "iat": now,
            "exp": now + 60,
            "nonce": status["nonce"],
        }
        answers = topics.reply(point, self._iss)
        self._subscribe(answers)
        self._client.publish(topics.point(point, f"command/{verb}"), json.dumps(claims), qos=1)
        for answer in self._messages(answers, timeout_s):
            if answer["id"] == claims["id"] and answer["state"] in FINAL:
                return answer
        raise AssertionError("unreachable: the wait for messages ends in an error")

    def _messages(self, topic: str, timeout_s: float) -> Iterator[Document]:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                came_on, payload = self._came.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise CentreError(f"nothing on {topic} in {timeout_s:.0f} s") from None
            if came_on == topic:
                yield cast("Document", json.loads(payload))

    def _subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, qos=1)
        try:
            self._granted.get(timeout=CONNECT_S)
        except queue.Empty:
            raise CentreError(f"the broker grants no subscription to {topic}") from None

    def _received(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        self._came.put((message.topic, bytes(message.payload)))

    def _subscribed(
        self,
        client: Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        self._granted.put(mid)
