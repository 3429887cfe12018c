"""A connection that the daemon's loop drives: what is read, written and kept alive, and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol, runtime_checkable

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import Clock

from .acknowledgements import Acknowledgements, fail
from .client import CONNECT_TIMEOUT_S, PACKET_LIMIT_BYTES, connect, held, new_client
from .errors import CLOSED, NOT_LET_IN, ConnectionLost, LineDown, NotEnrolled, Refused, ending

log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 60
RECEIVE_MAXIMUM = 8
WILL_DELAY_S = 20
ACK_TIMEOUT_S = 60.0
"""A broker that answers pings but acknowledges nothing is no connection."""
_WITH_WILL = 0x04
"""MQTT 5, 3.14.2.1: disconnect with Will Message."""
_TICK_S = 5.0


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


Receive = Callable[["Connection", Message], None]


class Connection:
    """An open connection. ``lost`` resolves with the reason when it ends."""

    def __init__(self, client: Client, clock: Clock, on_message: Receive) -> None:
        self._client = client
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._acks = Acknowledgements(clock)
        self._socket: Any = None
        self._ticking: asyncio.TimerHandle | None = None
        self._connack: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[str] = self._loop.create_future()
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
        client = new_client(address, client_id)
        will_properties = Properties(PacketTypes.WILLMESSAGE)
        will_properties.WillDelayInterval = WILL_DELAY_S
        client.will_set(will.topic, will.payload, qos=1, retain=True, properties=will_properties)
        connection = cls(client, clock, on_message)
        client.on_connect = connection._connected
        client.on_disconnect = connection._disconnected
        client.on_message = connection._received
        client.on_publish = connection._acknowledged
        client.on_subscribe = connection._subscribed

        def blocking() -> None:
            connect(
                client,
                address,
                tls.context() if address.secure else None,
                keepalive_s=keepalive_s,
                expiry_s=SESSION_EXPIRY_S,
                receive_maximum=RECEIVE_MAXIMUM,
            )
            if connection.lost.done() and (sock := client.socket()) is not None:
                sock.close()  # it took so long that it was given up: nobody would read it

        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await connection._loop.run_in_executor(executor, blocking)
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
        return self._acks.rtts_ms(window_s)

    @property
    def in_flight(self) -> int:
        """Publishes and subscriptions that wait for their acknowledgement."""
        return len(self._acks)

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
        announced, kept = held(self._client)
        if announced > PACKET_LIMIT_BYTES or kept > RECEIVE_MAXIMUM:
            self._abort(f"the broker keeps to no limit: a packet of {announced} bytes, {kept} held back")

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
        if self._acks.overdue(ACK_TIMEOUT_S):
            self._end(f"nothing was acknowledged in {ACK_TIMEOUT_S:g} s")
            return
        self._ticking = self._loop.call_later(_TICK_S, self._tick)

    def _sent(self, mid: int | None, outcome: str) -> asyncio.Future[None]:
        # The acknowledgement cannot have come yet, as this loop reads it. But where writing failed, the
        # connection is lost already and nothing would end the future.
        if mid is None or self.lost.done():
            failed: asyncio.Future[None] = self._loop.create_future()
            fail(failed, ConnectionLost(outcome))
            return failed
        return self._acks.expect(mid)

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
        self._acks.published(mid, f"publish refused: {reason}" if reason.is_failure else None)

    def _subscribed(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._acks.subscribed(mid, f"subscribe refused: {refused}" if refused else None)

    def _end(self, reason: str) -> None:
        if not self._connack.done():
            fail(self._connack, LineDown(NOT_LET_IN if reason == CLOSED else reason))
        if not self.lost.done():
            self.lost.set_result(reason)
        self._acks.lost(reason)

    def _drop(self) -> None:
        """Throw the client away, with its queue and its socket."""
        if self._ticking is not None:
            self._ticking.cancel()
        sock = self._socket
        if sock is not None:
            self._closing(self._client, None, sock)
            sock.close()
        self._end(self._closed_for or "closed")
