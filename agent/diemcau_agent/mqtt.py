"""One MQTT 5 connection on the daemon's own loop: paho-mqtt without a thread of its own.

One client object a connection, thrown away with its queue: paho resends its queue after
``on_connect``, so an old retained ``status`` would overwrite the new one. The spool is the only queue.

Errors::

    ConnectionLost             the connection ended; whatever was not acknowledged is not delivered
    ConnectFailed
    ├── NotEnrolled            our certificate is not there yet
    ├── LineDown               no route, no name, no answer
    └── Refused                the broker answered, and said no (``reason``)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol, Self, runtime_checkable

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from .address import Address, Tls
from .clock import Clock

log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 60
RECEIVE_MAXIMUM = 8
WILL_DELAY_S = 20
CONNECT_TIMEOUT_S = 10.0
ACK_TIMEOUT_S = 60.0
"""A broker that answers pings but acknowledges nothing is no connection."""
PACKET_LIMIT_BYTES = 256 * 1024
"""What is larger the broker keeps to itself (MQTT 5, 3.1.2.11.4): a command has 16 KiB."""
_WITH_WILL = 0x04
"""MQTT 5, 3.14.2.1: disconnect with Will Message."""
_UNSPECIFIED = 0x80
_TICK_S = 5.0
CLOSED = "closed without a word"
NOT_LET_IN = "closed before CONNACK: over TLS, it may not take our certificate (none, revoked, run out)"
"""TLS 1.3 asks for it after the handshake, as we see it, and mosquitto closes without an alert."""


class ConnectionLost(Exception):
    pass


class ConnectFailed(Exception):
    pass


class NotEnrolled(ConnectFailed):
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


@runtime_checkable
class _Buffering(Protocol):
    def pending(self) -> int: ...


class _Sent(msgspec.Struct, frozen=True):
    at_s: float
    acked: asyncio.Future[None]


Receive = Callable[["Connection", Message], None]


class Connection:
    """An open connection. ``lost`` resolves with the reason when it ends."""

    def __init__(self, client: Client, clock: Clock, on_message: Receive) -> None:
        self._client = client
        self._clock = clock
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._unacked: dict[int, _Sent] = {}
        self._socket: Any = None
        self._ticking: asyncio.TimerHandle | None = None
        self._connack: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._rtts: deque[tuple[float, float]] = deque(maxlen=64)
        self._closed_for = ""
        """Why we close it ourselves."""

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
        on_message: Receive,
    ) -> Connection:
        """Connect and wait for CONNACK. Raises ConnectFailed within some 20 s. What a resumed session
        held back for us comes right behind it: ``on_message`` is called before this returns.

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
        properties.MaximumPacketSize = PACKET_LIMIT_BYTES
        connection = cls(client, clock, on_message)
        client.on_connect = connection._connected
        client.on_disconnect = connection._disconnected
        client.on_message = connection._received
        client.on_publish = connection._acknowledged
        client.on_subscribe = connection._subscribed

        def connect() -> None:
            opened: list[socket.socket] = []
            if address.scheme != "mqtt":
                context = noting(tls.context(), opened)
                client.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType]
            try:
                client.connect(
                    address.host, address.port, keepalive_s, clean_start=False, properties=properties
                )
            except BaseException:
                for sock in opened:
                    sock.close()  # paho only forgets one whose handshake failed
                raise
            if connection.lost.done() and (sock := client.socket()) is not None:
                sock.close()  # it took so long that it was given up: nobody would read it

        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await connection._loop.run_in_executor(executor, connect)
            connection._attach()
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.shield(connection._connack)
        except TimeoutError:
            connection._drop()
            raise LineDown(f"{address.host}:{address.port}: no answer in time") from None
        except FileNotFoundError as error:
            connection._drop()
            raise NotEnrolled(f"not enrolled yet: {error.filename} is not there") from None
        except (OSError, ValueError) as error:  # TLS and name errors are OSErrors; wss: ValueError
            connection._drop()
            raise LineDown(f"{address.host}:{address.port}: {error}") from None
        except BaseException:
            connection._drop()
            raise
        return connection

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        """Send now, QoS 1, in the order of calls; the future ends when the broker has acknowledged, or
        raises ConnectionLost."""
        if self.lost.done():
            return self._sent(None, self.lost.result())
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        return self._sent(info.mid, info.rc.name)

    def subscribe(self, filters: Sequence[str]) -> asyncio.Future[None]:
        """QoS 1 with Retain As Published: only so a live retained command can be told from a fresh one.

        As :meth:`publish`."""
        if self.lost.done():
            return self._sent(None, self.lost.result())
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        code, mid = self._client.subscribe([(name, options) for name in filters])
        return self._sent(mid, code.name)

    def rtts_ms(self, window_s: float) -> list[float]:
        """Publish to PUBACK, of the last ``window_s`` seconds (64 at most)."""
        since = self._clock.monotonic() - window_s
        return [rtt_ms for at, rtt_ms in self._rtts if at >= since]

    @property
    def in_flight(self) -> int:
        """Publishes and subscriptions that wait for their acknowledgement."""
        return len(self._unacked)

    def acknowledge(self, message: Message) -> None:
        """PUBACK: the message is where it cannot be lost."""
        if not self.lost.done():
            self._client.ack(message.mid, message.qos)

    async def close(self, *, goodbye: bool = False, reason: str = "closed") -> None:
        """DISCONNECT. After a ``goodbye`` the broker throws the Will away; else it sends it in its time,
        unless a new connection comes before. ``lost`` resolves with ``reason``."""
        if not self.lost.done():
            self._closed_for = reason
            with_will = ReasonCode(PacketTypes.DISCONNECT, identifier=_WITH_WILL)
            self._client.disconnect(None if goodbye else with_will)
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
        self._read_packet()
        # TLS, bare or below a WebSocket, may hold decrypted bytes that no select() shows.
        while isinstance(self._socket, _Buffering) and self._socket.pending():
            self._read_packet()

    def _read_packet(self) -> None:
        """A broker that was taken over sends what it likes: no packet ends more than the connection."""
        try:
            self._client.loop_read()
        except Exception as error:  # paho raises KeyError, IndexError, struct.error ... on what is no MQTT
            log.warning("%s: not MQTT: %r", self._client.host, error)
            self._abort(f"not MQTT: {type(error).__name__}")
            return
        announced, held = _held(self._client)
        if announced > PACKET_LIMIT_BYTES or held > RECEIVE_MAXIMUM:
            self._abort(f"the broker keeps to no limit: a packet of {announced} bytes, {held} held back")

    def _abort(self, reason: str) -> None:
        """No word more with such a broker."""
        self._closed_for = reason
        self._drop()

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
        oldest_s = min((sent.at_s for sent in self._unacked.values()), default=None)
        if oldest_s is not None and self._clock.monotonic() - oldest_s > ACK_TIMEOUT_S:
            self._end(f"nothing was acknowledged in {ACK_TIMEOUT_S:g} s")
            return
        self._ticking = self._loop.call_later(_TICK_S, self._tick)

    def _sent(self, mid: int | None, outcome: str) -> asyncio.Future[None]:
        # The acknowledgement cannot have come yet, as this loop reads it. But where writing failed, the
        # connection is lost already and nothing would end the future.
        acked: asyncio.Future[None] = self._loop.create_future()
        if mid is None or self.lost.done():
            _fail(acked, ConnectionLost(outcome))
        else:
            self._unacked[mid] = _Sent(self._clock.monotonic(), acked)
        return acked

    def _settle(self, mid: int, failure: str | None) -> _Sent | None:
        sent = self._unacked.pop(mid, None)
        if sent is None or sent.acked.done():
            return None  # whoever sent it has gone away
        if failure is None:
            sent.acked.set_result(None)
        else:
            _fail(sent.acked, ConnectionLost(failure))
        return sent

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
        self._end(self._closed_for or ending(flags, reason))

    def _received(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            client.ack(message.mid, message.qos)  # no topic of ours
            return
        told = Message(topic, bytes(message.payload), message.retain, message.mid, message.qos)
        self._on_message(self, told)

    def _acknowledged(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any
    ) -> None:
        sent = self._settle(mid, f"publish refused: {reason}" if reason.is_failure else None)
        if sent is not None:
            now_s = self._clock.monotonic()
            self._rtts.append((now_s, (now_s - sent.at_s) * 1000))

    def _subscribed(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._settle(mid, f"subscribe refused: {refused}" if refused else None)

    def _end(self, reason: str) -> None:
        if not self._connack.done():
            _fail(self._connack, LineDown(NOT_LET_IN if reason == CLOSED else reason))
        if not self.lost.done():
            self.lost.set_result(reason)
        for mid in list(self._unacked):
            self._settle(mid, reason)

    def _drop(self) -> None:
        """Throw the client away, with its queue and its socket."""
        if self._ticking is not None:
            self._ticking.cancel()
        sock = self._socket
        if sock is not None:
            self._closing(self._client, None, sock)
            sock.close()
        self._end(self._closed_for or "closed")


def ending(flags: DisconnectFlags, reason: ReasonCode) -> str:
    """Why it ended: where the broker did not say, paho calls it an unspecified error."""
    untold = not flags.is_disconnect_packet_from_server and reason.value == _UNSPECIFIED
    return CLOSED if untold else str(reason)


def _held(client: Client) -> tuple[int, int]:
    """Length of the packet that is being read, and how many messages of QoS 2 wait for their release: paho
    bounds neither."""
    packet = client._in_packet  # pyright: ignore[reportPrivateUsage]
    return packet["remaining_length"], len(client._in_messages)  # pyright: ignore[reportPrivateUsage]


def noting(context: ssl.SSLContext, opened: list[socket.socket]) -> ssl.SSLContext:
    """``context``, which adds every socket that it makes to ``opened``."""

    class Noted(ssl.SSLSocket):
        def __new__(cls, *args: Any, **kwargs: Any) -> Self:
            made = super().__new__(cls, *args, **kwargs)
            opened.append(made)
            return made

    context.sslsocket_class = Noted
    return context


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # read once here: nobody may be waiting for it
