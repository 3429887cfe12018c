"""The floor: a bare Python process that imports what the daemon cannot do without, is connected, and echoes.

``python floor.py PORT TOPIC``: says ``online`` (retained) below TOPIC at each start, and sends what comes to
TOPIC/ask back to TOPIC/answer. It keeps nothing, checks nothing and knows nothing: what costs more is ours.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import ssl
import sys
from typing import Any

import psutil
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

WEIGHT = (asyncio, sqlite3, ssl, psutil)


def main() -> None:
    port, topic = int(sys.argv[1]), sys.argv[2]
    client = Client(CallbackAPIVersion.VERSION2, client_id="floor", protocol=MQTTProtocolVersion.MQTTv5)

    def connected(
        _client: Client,
        _data: object,
        _flags: ConnectFlags,
        _reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        client.subscribe(f"{topic}/ask", qos=1)
        client.publish(f"{topic}/status", "online", qos=1, retain=True)

    def asked(_client: Client, _data: object, message: MQTTMessage) -> None:
        client.publish(f"{topic}/answer", message.payload, qos=1)

    def opened(_client: Client, _data: object, sock: Any) -> None:
        # Without it Nagle's algorithm and delayed acknowledgements cost 40 ms, and would flatter us.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    client.on_socket_open = opened
    client.on_connect = connected
    client.on_message = asked
    client.connect("127.0.0.1", port, keepalive=20)
    client.loop_forever()


if __name__ == "__main__":
    main()
