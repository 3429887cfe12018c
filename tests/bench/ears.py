"""One MQTT client that hears everything on the private broker and says when it heard it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions


class Heard(NamedTuple):
    topic: str
    payload: bytes
    at_s: float
    """Seconds, :func:`time.monotonic`."""

    @property
    def document(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.payload))


class Ears:
    """Connected until :meth:`close`. Only live messages count: what the broker had kept is no news."""

    def __init__(self, port: int) -> None:
        self._changed = threading.Condition()
        self._heard: list[Heard] = []
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id="ears", protocol=MQTTProtocolVersion.MQTTv5
        )
        subscribed = threading.Event()

        def connected(
            _client: Client,
            _data: object,
            _flags: ConnectFlags,
            _reason: ReasonCode,
            _more: Properties | None,
        ) -> None:
            options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=2)
            self._client.subscribe([("diemcau/#", options), ("floor/#", options)])

        def taken(
            _client: Client, _data: object, _mid: int, _reasons: list[ReasonCode], _more: Properties | None
        ) -> None:
            subscribed.set()

        def opened(_client: Client, _data: object, sock: Any) -> None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        self._client.on_socket_open = opened
        self._client.on_connect = connected
        self._client.on_subscribe = taken
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port, keepalive=20)
        self._client.loop_start()
        if not subscribed.wait(10):
            raise TimeoutError("the private broker did not take a subscription in 10 s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1)

    def forget(self) -> None:
        with self._changed:
            self._heard.clear()

    def await_(self, what: str, wanted: Callable[[Heard], bool], timeout_s: float) -> Heard:
        """The oldest message since :meth:`forget` that is wanted. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        seen = 0
        with self._changed:
            while True:
                for heard in self._heard[seen:]:
                    if wanted(heard):
                        return heard
                seen = len(self._heard)
                if not self._changed.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    raise TimeoutError(f"waited {timeout_s:g} s in vain: {what}")

    def _hear(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        now = time.monotonic()
        with self._changed:
            self._heard.append(Heard(message.topic, bytes(message.payload), now))
            self._changed.notify_all()
