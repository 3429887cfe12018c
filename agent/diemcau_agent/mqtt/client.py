"""paho's client: how each of ours is set up, and what paho itself does not bound or close."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from diemcau_agent.address import Address

CONNECT_TIMEOUT_S = 10.0
PACKET_LIMIT_BYTES = 256 * 1024
"""What is larger the broker keeps to itself (MQTT 5, 3.1.2.11.4): a command has 16 KiB."""


def new_client(address: Address, client_id: str) -> Client:
    """For one connection to ``address``; it acknowledges nothing of its own accord."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        transport="websockets" if address.scheme == "wss" else "tcp",
        manual_ack=True,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    if address.scheme == "wss":
        client.ws_set_options(path=address.path)
    return client


def connect(
    client: Client,
    address: Address,
    context: ssl.SSLContext | None,
    *,
    keepalive_s: int,
    expiry_s: int,
    receive_maximum: int,
) -> None:
    """Name look-up, TCP, TLS where there is a ``context``, CONNECT: blocks. ``expiry_s`` 0: a session that is
    new, and ends with the connection. Raises OSError, and ValueError for a WebSocket that is none; then
    no socket is left open."""
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = expiry_s
    properties.ReceiveMaximum = receive_maximum
    properties.MaximumPacketSize = PACKET_LIMIT_BYTES
    opened: list[socket.socket] = []
    if context is not None:
        client.tls_set_context(_noting(context, opened))  # pyright: ignore[reportUnknownMemberType]
    try:
        client.connect(
            address.host, address.port, keepalive_s, clean_start=not expiry_s, properties=properties
        )
    except BaseException:
        for sock in opened:
            sock.close()  # paho only forgets one whose handshake failed
        raise
    sock = client.socket()
    if isinstance(sock, socket.socket):
        # Nagle holds a small reply back until the last one is acknowledged: 40 ms with delayed ACKs.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _noting(context: ssl.SSLContext, opened: list[socket.socket]) -> ssl.SSLContext:
    """``context``, which adds every socket that it makes to ``opened``."""

    class Noted(ssl.SSLSocket):
        def __new__(cls, *args: Any, **kwargs: Any) -> Self:
            made = super().__new__(cls, *args, **kwargs)
            opened.append(made)
            return made

    context.sslsocket_class = Noted
    return context


def held(client: Client) -> tuple[int, int]:
    """Length of the packet that is being read, and how many messages of QoS 2 wait for their release: paho
    bounds neither."""
    packet = client._in_packet  # pyright: ignore[reportPrivateUsage]
    return packet["remaining_length"], len(client._in_messages)  # pyright: ignore[reportPrivateUsage]
