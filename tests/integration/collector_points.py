"""What a collector is tested with: points that answer ``resend``, and a bridge between brokers that loses."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from collector_rig import DEADLINE_S, Name
from diemcau_agent import topics
from diemcau_agent.clock import rfc3339
from point_documents import document


class Link:
    """A plain MQTT 5 client in a thread of its own."""

    def __init__(self, url: str, client_id: str, *filters: str) -> None:
        self._filters = filters
        self._ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        self.client.max_inflight_messages_set(1000)
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._subscribed
        self.client.on_message = self._take
        parts = urlsplit(url)
        self.client.connect(parts.hostname or "", parts.port or 1883)
        self.client.loop_start()
        assert self._ready.wait(DEADLINE_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def received(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """One message of the filters; for those who want any."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, wait: bool = False) -> None:
        info = self.client.publish(topic, payload, qos=1, retain=retain)
        if wait:
            info.wait_for_publish(DEADLINE_S)

    def _connected(self, *_: object) -> None:
        if self._filters:
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            self.client.subscribe([(name, options) for name in self._filters])
        else:
            self._ready.set()

    def _subscribed(self, *_: object) -> None:
        self._ready.set()

    def _take(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self.received(message.topic, bytes(message.payload), retain=message.retain)


class Point(Link):
    """A scripted point: it makes documents, remembers each, and sends again what it is asked for and has not
    ``forgotten``."""

    def __init__(self, url: str, point: str = "xp-0417") -> None:
        self.point = point
        self.spool = str(uuid.uuid4())
        self.made: dict[Name, bytes] = {}
        self.forgotten: set[Name] = set()
        self.last: Counter[str] = Counter()
        self.asked: list[dict[str, Any]] = []
        super().__init__(url, point, topics.point(point, "command/+"))

    def greet(self) -> None:
        for name in ("birth", "status"):
            self.publish(*self._message(name), retain=True, wait=True)

    def report(self, stream: str, *, wait: bool = False, **fields: Any) -> None:
        topic, payload = self.make(stream, **fields)
        self.publish(topic, payload, wait=wait)

    def replace_spool(self) -> None:
        """A new card. What was on the old one can still be sent again."""
        previous, self.spool = self.spool, str(uuid.uuid4())
        self.last.clear()
        data = {"previous": previous, "reason": "corrupt", "kept": None}
        self.report("event", kind="spool_replaced", data=data)

    def make(self, stream: str, **fields: Any) -> tuple[str, bytes]:
        """(topic, payload) of the next document, which is not sent."""
        self.last[stream] += 1
        topic, payload = self._message(stream, spool=self.spool, seq=self.last[stream], **fields)
        self.made[self.point, self.spool, stream, self.last[stream]] = payload
        return topic, payload

    def received(self, topic: str, payload: bytes, *, retain: bool) -> None:
        claims = json.loads(payload)
        self.asked.append(claims["args"])
        spool, stream, first, last = (claims["args"][name] for name in ("spool", "stream", "from", "to"))
        missing: list[tuple[int, int]] = []
        for seq in range(first, last + 1):
            name = (self.point, spool, stream, seq)
            if name in self.made and name not in self.forgotten:
                self.publish(topics.point(self.point, stream), self.made[name])
            else:
                missing.append((seq, seq))
        result = {"sent": last - first + 1 - len(missing), "missing": missing, "next": None}
        reply = document("reply", self.point, id=claims["id"], verb="resend", state="done", result=result)
        self.publish(topics.reply(self.point, claims["iss"]), json.dumps(reply).encode())

    def _message(self, name: str, **fields: Any) -> tuple[str, bytes]:
        body = document(name, self.point, time=rfc3339(time.time()), **fields)
        return topics.point(self.point, name), json.dumps(body).encode()


class LossyBridge:
    """Carries what points say from one broker to another, and commands back. It loses the part ``loss`` of
    events and telemetry and doubles as many; of commands and replies it loses a quarter as many. Never lost:
    what is retained, and the payloads in ``spared``."""

    def __init__(self, below: str, above: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.loss = 0.0
        self.spared: set[bytes] = set()
        self.lost: Counter[str] = Counter()
        self.doubled = 0
        self._down = _End(above, "bridge-down", "diemcau/v1/point/+/command/+", self._carry_down)
        self._up = _End(below, "bridge-up", "diemcau/v1/point/#", self._carry_up)

    def close(self) -> None:
        self._up.close()
        self._down.close()

    def _carry_down(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if not self._loses("command", self.loss / 4):
            self._up.publish(topic, payload, retain=retain)

    def _carry_up(self, topic: str, payload: bytes, *, retain: bool) -> None:
        name = topic.split("/")[4]
        if name in topics.STREAMS:
            if payload not in self.spared and self._loses(name, self.loss):
                return
            if self.chance.random() < self.loss:
                self.doubled += 1
                self._down.publish(topic, payload, retain=retain)
        elif name == "command" or (name == "reply" and self._loses(name, self.loss / 4)):
            return
        self._down.publish(topic, payload, retain=retain)

    def _loses(self, name: str, part: float) -> bool:
        lost = self.chance.random() < part
        self.lost[name] += lost
        return lost


class _End(Link):
    def __init__(self, url: str, client_id: str, name: str, carry: Callable[..., None]) -> None:
        self.received = carry  # pyright: ignore[reportIncompatibleMethodOverride]
        super().__init__(url, client_id, name)
