"""Any bytes from a broker: the connection ends, or goes on; nothing is raised into the daemon's loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from diemcau_agent.mqtt import Connection, Message
from fakeclock import FakeClock

logging.getLogger("diemcau_agent.mqtt").setLevel(logging.CRITICAL)
CONNACK = b"\x20\x03\x00\x00\x00"


def publish(topic: bytes, payload: bytes, qos: int = 1, retain: int = 0) -> bytes:
    """A PUBLISH packet (MQTT 5, 3.3)."""
    body = len(topic).to_bytes(2, "big") + topic + (b"\0\1" if qos else b"") + b"\0" + payload
    return bytes([0x30 | qos << 1 | retain, len(body)]) + body


def seeds() -> list[bytes]:
    return [
        CONNACK,
        CONNACK + publish(b"diemcau/v1/point/xp-0417/command/ping", b"{}"),
        CONNACK + publish(b"a\xff", b"x", retain=1) + publish(b"a", b"x", qos=2) + b"\x62\x02\0\1",
        b"\x20\x09\x00\x87\x06\x1f\x00\x03no!",
        CONNACK + b"\x90\x04\0\1\0\1" + b"\x40\x02\0\1" + b"\xd0\0" + b"\xe0\x02\x8e\0",
        CONNACK + b"\x30\xff\xff\xff\x7f",
        CONNACK + b"\xf0\x02\x18\0",
    ]


def fuzz(data: bytes) -> None:
    asyncio.run(_read(data))


async def _read(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    client = Client(
        CallbackAPIVersion.VERSION2, client_id="xp", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
    )
    got: list[Message] = []
    connection = Connection(client, FakeClock(), lambda _, message: got.append(message))
    client.on_connect, client.on_disconnect = connection._connected, connection._disconnected
    client.on_message, client.on_publish = connection._received, connection._acknowledged
    client.on_subscribe = connection._subscribed
    ours.setblocking(False)
    client._sock = ours  # pyright: ignore[reportAttributeAccessIssue] - as paho itself does
    connection._socket = ours
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    with theirs:
        theirs.sendall(data[:60_000])
        for _ in range(4 * len(data) + 4):
            if connection.lost.done():
                break
            before = client._in_packet["to_process"], len(got)
            connection._readable()
            if not _waiting(ours) and before == (client._in_packet["to_process"], len(got)):
                break
        connection._drop()
        ours.close()
    for message in got:
        assert isinstance(message.topic, str)
    if connection._connack.done():
        connection._connack.exception()
    assert not raised, raised


def _waiting(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
