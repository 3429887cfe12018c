"""The centre's view: a plain MQTT client that keeps what it hears and can send commands."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions


@dataclass(frozen=True, slots=True)
class Heard:
    topic: str
    document: Any
    retained: bool
    at_s: float

    @property
    def point(self) -> str:
        return self.topic.split("/")[3]

    @property
    def name(self) -> str:
        """The topic below the point, e.g. ``health`` or ``reply/op-1``."""
        return "/".join(self.topic.split("/")[4:])


class Observer:
    def __init__(self, url: str, topic: str = "diemcau/v1/#") -> None:
        self._lock = threading.Lock()
        self._heard: list[Heard] = []
        self._ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_message = self._take
        self.client.on_subscribe = self._subscribed
        parts = urlsplit(url)
        self.client.connect(parts.hostname or "", parts.port or 1883)
        self.client.subscribe(topic, options=SubscribeOptions(qos=1))
        self.client.loop_start()

    def __enter__(self) -> Observer:
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _subscribed(self, *_: object) -> None:
        self._ready.set()

    def _take(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        try:
            document = json.loads(message.payload)
        except (ValueError, RecursionError):
            document = message.payload
        with self._lock:
            self._heard.append(Heard(message.topic, document, message.retain, time.monotonic()))

    def heard(self, name: str | None = None, point: str | None = None) -> list[Heard]:
        with self._lock:
            heard = list(self._heard)
        return [
            entry for entry in heard if (name is None or entry.name == name) and point in (None, entry.point)
        ]

    async def until(self, wanted: Callable[[Heard], bool], timeout_s: float = 10.0) -> Heard:
        """The first message, heard already or to come, that is wanted."""
        end = time.monotonic() + timeout_s
        while True:
            for entry in self.heard():
                if wanted(entry):
                    return entry
            assert time.monotonic() < end, (
                f"not heard in {timeout_s} s among {[e.name for e in self.heard()]}"
            )
            await asyncio.sleep(0.01)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5)

    def nonce(self, point: str) -> str:
        online = [e for e in self.heard("status", point) if e.document and e.document["status"] == "online"]
        return online[-1].document["nonce"]

    def command(self, point: str, verb: str, args: dict[str, Any] | None = None, **claims: Any) -> str:
        """Send a command as an operator would; its id."""
        now = int(time.time())
        ident = str(uuid.uuid4())
        body: dict[str, Any] = {
            "id": ident,
            "aud": f"point/{point}",
            "verb": verb,
            "args": args or {},
            "iss": "op-test",
            "iat": now,
            "exp": now + 60,
            "nonce": self.nonce(point),
            **claims,
        }
        self.publish(f"diemcau/v1/point/{point}/command/{verb}", json.dumps(body).encode())
        return str(body["id"])

    async def answer(self, ident: str, state: str | None = None, timeout_s: float = 10.0) -> dict[str, Any]:
        """The reply to a command: the first in ``state``, or its last word."""
        last = ("done", "failed", "refused")

        def wanted(entry: Heard) -> bool:
            if not entry.name.startswith("reply/") or entry.document.get("id") != ident:
                return False
            return entry.document["state"] == state if state else entry.document["state"] in last

        return (await self.until(wanted, timeout_s)).document
