"""A bridge that loses messages stands between the kit's broker and the centre's: the collector finds every
gap and has it repaired by the kit itself. Each loses by a seed of its own, of what is sent again too."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from random import Random
from typing import Any

from judge import collected, collecting
from kits import Failed, Kit, Shelf, until
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Witness

LANES = 3
LOSS = 0.3
ORDERS = 15
ONLINE_S = 30.0
REPAIRED_S = 90.0


class Bridge:
    """Carries what points say up and commands down. Of events and telemetry the share ``loss`` is lost."""

    def __init__(self, below: int, above: int, random: Random) -> None:
        self.loss = LOSS
        self.lost = 0
        self._random = random
        self._up = self._client(above, "bridge-up", "diemcau/v1/point/+/command/+")
        self._down = self._client(below, "bridge-down", "diemcau/v1/point/#")
        self._down.on_message = self._carry_up
        self._up.on_message = self._carry_down

    def close(self) -> None:
        for client in (self._down, self._up):
            client.disconnect()
            client.loop_stop()

    def _client(self, port: int, name: str, topics: str) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)

        def connected(client: Client, *_: object) -> None:
            client.subscribe(topics, options=SubscribeOptions(qos=1, retainAsPublished=True))

        client.on_connect = connected
        client.connect("127.0.0.1", port)
        client.loop_start()
        return client

    def _carry_up(self, client: Client, data: Any, message: MQTTMessage) -> None:
        kind = message.topic.split("/")[4]
        if kind == "command":
            return
        if kind in ("event", "telemetry") and self._random.random() < self.loss:
            self.lost += 1
            return
        self._up.publish(message.topic, message.payload, qos=1, retain=message.retain)

    def _carry_down(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self._down.publish(message.topic, message.payload, qos=1)


def one(number: int, seed: int, place: Path) -> int:
    """A kit, two brokers and what is lost between them: how many. Raises Failed."""
    random = Random(f"{seed}/{number}")
    point = f"xp-{number:04d}"
    folder = place / f"{number}"
    folder.mkdir()
    db = folder / "collected.sqlite3"
    with ExitStack() as stack:
        below, above = (int(stack.enter_context(PrivateMosquitto()).url.rpartition(":")[2]) for _ in range(2))
        stack.enter_context(collecting(above, db))
        bridge = Bridge(below, above, random)
        stack.callback(bridge.close)
        witness = Witness(below)
        stack.callback(witness.close)
        kit = stack.enter_context(Kit(point, below, folder))
        bridge.loss = 0.0  # a gap shows between two documents: the first has to come
        kit.start()
        if not until(lambda: bool(collected(db)), ONLINE_S, 0.1):
            raise Failed(f"{point}: nothing came over the bridge: {kit.words()}")
        bridge.loss = LOSS
        for _ in range(ORDERS):
            witness.order(point, "config", {"get": True}, str(uuid.uuid4()))
            time.sleep(random.uniform(0, 0.3))
        bridge.loss = LOSS / 3
        shelf = Shelf(kit)

        def repaired() -> bool:
            shelf.look()
            return not shelf.committed.keys() - collected(db).keys()

        end_s = time.monotonic() + REPAIRED_S
        while not repaired():
            if time.monotonic() > end_s:
                missing = sorted(shelf.committed.keys() - collected(db).keys())
                raise Failed(f"{point}: {len(missing)} gaps are left: {missing[:5]}")
            witness.order(
                point, "config", {"get": True}, str(uuid.uuid4())
            )  # something newer shows the last gap
            time.sleep(1.0)
        kit.kill()
        shelf.look()
        found = collected(db)
        if wrong := sorted(name for name in found if found[name] != shelf.committed.get(name)):
            raise Failed(f"{point}: collected, but not as it was committed: {wrong[:5]}")
        for name, payload in found.items():
            if json.loads(payload)["seq"] != name[3]:
                raise Failed(f"{point}: {name} is filed under a wrong number")
        return bridge.lost


def run(count: int, seed: int, place: Path) -> str:
    """``count`` bridges. Raises Failed, also where next to nothing was lost, which would prove nothing."""
    with ThreadPoolExecutor(LANES, "bridge") as pool:
        lost = sum(pool.map(one, range(count), repeat(seed), repeat(place)))
    if lost < count:
        raise Failed(f"{count} bridges lost {lost} documents only")
    return f"{lost} documents lost on the way, all repaired"
