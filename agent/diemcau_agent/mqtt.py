"""One MQTT 5 connection on the daemon's own loop: paho-mqtt without a thread of its own.

One client object a connection, thrown away with its queue: paho resends its queue after
``on_connect``, so an old retained ``status`` would overwrite the new one. The spool is the only queue.

Errors::

    ConnectionLost             the connection ended; whatever was not acknowledged is not delivered
    ConnectFailed
    ├── LineDown               no route, no name, no answer
    └── Refused                the broker answered, and said no (``reason``)
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from .address import Address, Tls
from .clock import Clock

SESSION_EXPIRY_S = 60
RECEIVE_MAXIMUM = 8
WILL_DELAY_S = 20
CONNECT_TIMEOUT_S = 10.0
_TICK_S = 5.0


class ConnectionLost(Exception):
    pass


class ConnectFailed(Exception):
    pass


class LineDown(ConnectFailed):
    pass


class Refused(ConnectFailed):
    pass


class Message(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes
    retained: bool
    mid: int
    qos: int


class Will(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes


class Connection:
    """An open connection. ``lost`` resolves with the reason when it ends."""

    def __init__(self, client: Client, clock: Clock, on_message: Callable[[Message], None]) -> None:
        self._client = client
        self._clock = clock
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._acks: dict[int, asyncio.Future[None]] = {}
        self._socket: socket.socket | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._connack: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._rtts: deque[tuple[float, float]] = deque(maxlen=64)

    @classmethod
    async def open(
        cls,
        address: Address,
        *,
        client_id: str,
        keepalive_s: int,
        will: Will,
        tls: Tls,
        clock: Clock,
        executor: Executor,
        on_message: Callable[[Message], None],
    ) -> Connection:
        """Connect and wait for CONNACK. Raises LineDown or Refused within some 20 s.

        Name look-up, TCP and TLS block, so they run in ``executor``.
        """
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
        will_properties = Properties(PacketTypes.WILLMESSAGE)
        will_properties.WillDelayInterval = WILL_DELAY_S
        client.will_set(will.topic, will.payload, qos=1, retain=True, properties=will_properties)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        connection = cls(client, clock, on_message)
        client.on_connect = connection._connected
        client.on_disconnect = connection._disconnected
        client.on_message = connection._received
        client.on_publish = connection._acknowledged
        client.on_subscribe = connection._subscribed

        def connect() -> None:
            if address.scheme != "mqtt":
                client.tls_set_context(tls.context())  # pyright: ignore[reportUnknownMemberType]
            client.connect(address.host, address.port, keepalive_s, clean_start=False, properties=properties)

        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await connection._loop.run_in_executor(executor, connect)
            connection._attach()
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.shield(connection._connack)
        except TimeoutError:
            connection._drop()
            raise LineDown(f"{address.host}:{address.port}: no answer in time") from None
        except (OSError, ValueError) as error:  # TLS and name errors are OSErrors; wss: ValueError
            connection._drop()
            raise LineDown(f"{address.host}:{address.port}: {error}") from None
        except BaseException:
            connection._drop()
            raise
        return connection

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """QoS 1; returns when the broker has acknowledged. Raises ConnectionLost."""
        if self.lost.done():
            raise ConnectionLost(self.lost.result())
        started = self._clock.monotonic()
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise ConnectionLost(f"publish: {info.rc.name}")
        await self._acked(info.mid)
        now = self._clock.monotonic()
        self._rtts.append((now, (now - started) * 1000))

    async def subscribe(self, filters: Sequence[str]) -> None:
        """QoS 1 with Retain As Published: only so a live retained command can be told from a fresh one."""
        if self.lost.done():
            raise ConnectionLost(self.lost.result())
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        _, mid = self._client.subscribe([(name, options) for name in filters])
        if mid is not None:
            await self._acked(mid)

    def rtts_ms(self, window_s: float) -> list[float]:
        """Publish to PUBACK, of the last ``window_s`` seconds (64 at most)."""
        since = self._clock.monotonic() - window_s
        return [rtt_ms for at, rtt_ms in self._rtts if at >= since]

    @property
    def in_flight(self) -> int:
        """Publishes and subscriptions that wait for their acknowledgement."""
        return len(self._acks)

    def acknowledge(self, message: Message) -> None:
        """PUBACK: the message is where it cannot be lost."""
        if not self.lost.done():
            self._client.ack(message.mid, message.qos)

    async def close(self) -> None:
        """DISCONNECT, so that no Will is sent."""
        if not self.lost.done():
            self._client.disconnect()
            await asyncio.wait([self.lost], timeout=2)
        self._drop()

    def _attach(self) -> None:
        """The socket is open: from here on it is driven by the loop."""
        sock: Any = self._client.socket()
        if sock is None:
            raise OSError("the connection closed at once")
        self._socket = sock
        if isinstance(sock, socket.socket):
            # Nagle holds a small reply back until the last one is acknowledged: 40 ms with delayed ACKs.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(sock.fileno(), self._readable)
        self._client.on_socket_register_write = self._want_write
        self._client.on_socket_unregister_write = self._unwant_write
        self._client.on_socket_close = self._closing
        if self._client.want_write():
            self._want_write(self._client, None, sock)
        self._tick()

    def _readable(self) -> None:
        self._client.loop_read()
        # TLS may hold decrypted bytes that no select() shows.
        sock = self._socket
        while isinstance(sock, ssl.SSLSocket) and sock is self._socket and sock.pending():
            self._client.loop_read()

    def _want_write(self, client: Client, userdata: Any, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._client.loop_write)

    def _unwant_write(self, client: Client, userdata: Any, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    def _closing(self, client: Client, userdata: Any, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
        self._socket = None

    def _tick(self) -> None:
        if self.lost.done():
            return
        code = self._client.loop_misc()  # keep-alive: sends PINGREQ, finds a dead line
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end(code.name)
            return
        self._ticking = self._loop.call_later(_TICK_S, self._tick)

    async def _acked(self, mid: int) -> None:
        # The acknowledgement cannot have come yet: it is read by this loop, which is here.
        future: asyncio.Future[None] = self._loop.create_future()
        self._acks[mid] = future
        try:
            await future
        finally:
            self._acks.pop(mid, None)

    def _settle(self, mid: int, failure: Exception | None) -> None:
        waiting = self._acks.get(mid)
        if waiting is None or waiting.done():
            return  # whoever published has gone away
        if failure is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(failure)

    def _connected(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if self._connack.done():
            return
        if reason.is_failure:
            self._connack.set_exception(Refused(str(reason)))
        else:
            self._connack.set_result(None)

    def _disconnected(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        self._end(str(reason))

    def _received(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            client.ack(message.mid, message.qos)  # no topic of ours
            return
        self._on_message(Message(topic, bytes(message.payload), message.retain, message.mid, message.qos))

    def _acknowledged(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any
    ) -> None:
        self._settle(mid, ConnectionLost(f"publish refused: {reason}") if reason.is_failure else None)

    def _subscribed(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._settle(mid, ConnectionLost(f"subscribe refused: {refused}") if refused else None)

    def _end(self, reason: str) -> None:
        if not self._connack.done():
            self._connack.set_exception(LineDown(reason))
            self._connack.exception()
        if not self.lost.done():
            self.lost.set_result(reason)
        for future in list(self._acks.values()):
            if not future.done():
                future.set_exception(ConnectionLost(reason))

    def _drop(self) -> None:
        """Throw the client away, with its queue and its socket."""
        if self._ticking is not None:
            self._ticking.cancel()
        sock = self._socket
        if sock is not None:
            self._closing(self._client, None, sock)
            sock.close()
        self._end("closed")
