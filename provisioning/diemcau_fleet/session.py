"""The centre's MQTT session: paho-mqtt in the caller's own thread, acknowledged by hand.

With ``expiry_s`` it outlives the connection: the broker keeps what comes while we are away, and sends again
what was not acknowledged. One client object a connection, as on the kits.

Stored copies and live messages of retained topics are told apart by the retain flag, so the subscriptions do
*not* ask for Retain As Published: with it a live ``health`` bears the flag too, and nothing would tell them.

Raises :mod:`diemcau_agent.mqtt`'s LineDown and Refused while connecting, ConnectionLost later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from diemcau_agent.address import Address, Tls
from diemcau_agent.mqtt import CLOSED, NOT_LET_IN, ConnectionLost, LineDown, Message, Refused, ending
from diemcau_agent.mqtt.client import CONNECT_TIMEOUT_S, connect, new_client

RECEIVE_MAXIMUM = 512
KEEPALIVE_S = 20
BATCH_S = 0.1
"""How long messages that keep coming are gathered before they are committed."""
QUIET_S = 0.01
"""A pause so long ends the gathering."""
CAUGHT_UP_S = 1.0
"""A pause sooner after connecting says nothing yet: what was kept may be on its way."""


class Session:
    """Opened by :meth:`open`, ended by :meth:`close`. One thread only."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._came: list[Message] = []
        self._refusal: str | None = None
        self._connected = False
        self._granted = False
        self._delivering: int | None = None
        """The publish whose PUBACK is waited for."""
        self._rejected: str | None = None
        self._lost: str | None = None
        self.caught_up = False
        """What was kept for the session while it was away has been received, as far as a pause tells: what
        comes now is live."""
        self._opened_s = time.monotonic()
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    @classmethod
    def open(
        cls, address: Address, *, client_id: str, tls: Tls, filters: Sequence[str] = (), expiry_s: int = 0
    ) -> Session:
        """Connect and subscribe, QoS 1; within some 20 s. ``expiry_s`` 0: a session that is new, and ends
        with the connection. Raises LineDown or Refused."""
        client = new_client(address, client_id)
        session = cls(client)
        where = f"{address.host}:{address.port}"
        try:
            connect(
                client,
                address,
                tls.context() if address.secure else None,
                keepalive_s=KEEPALIVE_S,
                expiry_s=expiry_s,
                receive_maximum=RECEIVE_MAXIMUM,
            )
            session._await(lambda: session._connected, "CONNACK")
            if filters:
                client.subscribe([(name, SubscribeOptions(qos=1)) for name in filters])
                session._await(lambda: session._granted, "SUBACK")
        except (OSError, ValueError, ConnectionLost) as error:  # TLS and names: OSError; wss: ValueError
            session._drop()
            if session._refusal is not None:
                raise Refused(f"{where}: {session._refusal}") from None
            raise LineDown(f"{where}: {error}") from None
        return session

    def receive(self, wait_s: float) -> list[Message]:
        """What has come: after at most ``wait_s`` for the first, as many as came in one go.

        At most :data:`RECEIVE_MAXIMUM`: the broker sends no more before something is acknowledged.
        """
        until = time.monotonic() + wait_s
        while len(self._came) < RECEIVE_MAXIMUM and (left := until - time.monotonic()) > 0:
            before, began_s = len(self._came), time.monotonic()
            pause_s = min(left, QUIET_S) if before else left
            self._turn(pause_s)
            now_s = time.monotonic()
            if len(self._came) > before:
                until = until if before else now_s + BATCH_S
            elif now_s - began_s >= pause_s:  # else it was no message that came
                self.caught_up |= pause_s >= QUIET_S and now_s - self._opened_s >= CAUGHT_UP_S
                break
        came, self._came = self._came, []
        return came

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """PUBACK: they are where they cannot be lost."""
        for message in messages:
            self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes) -> None:
        """QoS 1; whoever asks something waits for the answer, not for PUBACK."""
        self._client.publish(topic, payload, qos=1)

    def deliver(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """QoS 1, until PUBACK. Raises Refused where the broker says no, ConnectionLost."""
        self._rejected = None
        self._delivering = self._client.publish(topic, payload, qos=1, retain=retain).mid
        self._await(lambda: self._delivering is None, "PUBACK")
        if self._rejected is not None:
            raise Refused(f"{topic}: {self._rejected}")

    def close(self) -> None:
        """DISCONNECT; the broker keeps the session for ``expiry_s``."""
        self._client.disconnect()
        self._drop()

    def _await(self, came: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + CONNECT_TIMEOUT_S
        while not came():
            left = end - time.monotonic()
            if left <= 0:
                raise ConnectionLost(f"no {what} within {CONNECT_TIMEOUT_S:.0f} s")
            self._turn(left)

    def _turn(self, timeout_s: float) -> None:
        """Wait at most so long, then read, write and keep alive what there is."""
        code = self._client.loop(timeout_s)
        if self._lost is None and code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lost = code.name
        if self._refusal is not None or self._lost is not None:
            raise ConnectionLost(self._refusal or self._lost)

    def _drop(self) -> None:
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        self._connected = not reason.is_failure
        if reason.is_failure:
            self._refusal = str(reason)

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        told = ending(flags, reason)
        self._lost = self._lost or (NOT_LET_IN if told == CLOSED and not self._connected else told)

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._granted = not refused
        if refused:
            self._refusal = f"subscribe refused: {refused}"

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any
    ) -> None:
        if mid == self._delivering:
            self._delivering = None
            self._rejected = str(reason) if reason.is_failure else None

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            client.ack(message.mid, message.qos)  # no topic of ours
            return
        self._came.append(Message(topic, bytes(message.payload), message.retain, message.mid, message.qos))
