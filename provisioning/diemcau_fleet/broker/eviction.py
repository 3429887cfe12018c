"""Throw a revoked kit out of a broker, and clear what is retained of it.

A CRL is asked at a handshake only: a connection that is open stays so (mosquitto#3568, emqx#9732). But a
broker gives a client id to whoever comes last. So we come, with a certificate of the kit's name that the
authority issues for some minutes, and go again; the CRL keeps the kit from coming back.
"""

from __future__ import annotations

import re
import ssl
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from diemcau_agent import topics
from diemcau_agent.address import Address
from diemcau_agent.mqtt.client import connect, new_client

from .acl import OFFICE

TIMEOUT_S = 10.0
KEEPALIVE_S = 20
RECEIVE_MAXIMUM = 1
"""It listens to nothing."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class EvictionFailed(Exception):
    """The broker could not be reached, or said no."""


class Credentials(msgspec.Struct, frozen=True):
    """PEM."""

    certificate: bytes
    key: bytes


Issue = Callable[[str], Credentials]
"""A client's certificate of this CN, for some minutes."""


Trust = Callable[[], ssl.SSLContext]
"""How a broker is known: :func:`pinned` or :func:`named`. Raises OSError, ValueError."""


def pinned(host_cert: Path) -> Trust:
    """By this very certificate, whatever name it is reached by."""

    def trust() -> ssl.SSLContext:
        found = _CERTIFICATE.search(host_cert.read_text("ascii"))
        if found is None:
            raise ValueError(f"{host_cert}: got no certificate in PEM")
        context = ssl.create_default_context(cadata=found[0])
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # itself, and no issuer
        context.check_hostname = False
        return context

    return trust


def named(ca_file: Path) -> Trust:
    """By a certificate of this authority with the name that it is reached by."""
    return lambda: ssl.create_default_context(cafile=ca_file)


class Eviction(msgspec.Struct, frozen=True):
    host: str
    port: int
    trust: Trust
    issue: Issue

    def throw_out(self, identity: str) -> None:
        """Take over its session, which ends its connection, and end it. Raises EvictionFailed."""
        with self._session(identity):
            pass

    def clear(self, identity: str) -> None:
        """Nothing is retained of it any more. Raises EvictionFailed."""
        with self._session(OFFICE) as session:
            for document in topics.RETAINED:
                session.clear(topics.point(identity, document))

    @contextmanager
    def _session(self, identity: str) -> Generator[_Session]:
        try:
            session = _Session(self.host, self.port, self._context(identity), identity)
        except (OSError, ValueError) as error:
            raise EvictionFailed(f"{self.host}:{self.port}: as {identity}: {error}") from None
        try:
            yield session
            session.leave()
        finally:
            session.drop()

    def _context(self, identity: str) -> ssl.SSLContext:
        context = self.trust()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        own = self.issue(identity)
        with tempfile.NamedTemporaryFile(prefix="diemcau-") as file:  # mode 0600; ssl reads files only
            file.write(own.certificate + own.key)
            file.flush()
            context.load_cert_chain(file.name)
        return context


class _Session:
    """Clean from the start, and nothing of it stays."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, identity: str) -> None:
        self._where = f"{host}:{port}: as {identity}"
        self._acknowledged: set[int] = set()
        self._connack: ReasonCode | None = None
        self._refused: str | None = None
        address = Address("mqtts", host, port, "")
        self._client = new_client(address, identity)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        connect(
            self._client,
            address,
            context,
            keepalive_s=KEEPALIVE_S,
            expiry_s=0,
            receive_maximum=RECEIVE_MAXIMUM,
        )
        try:
            self._until(lambda: self._connack is not None, "CONNACK")
        except EvictionFailed:
            self.drop()
            raise

    def clear(self, topic: str) -> None:
        mid = self._client.publish(topic, b"", qos=1, retain=True).mid
        self._until(lambda: mid in self._acknowledged, f"PUBACK of {topic}")

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop(0)

    def drop(self) -> None:
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + TIMEOUT_S
        while not condition():
            left_s = end_s - time.monotonic()
            code = self._client.loop(left_s) if left_s > 0 else MQTTErrorCode.MQTT_ERR_KEEPALIVE
            if self._refused is not None:
                raise EvictionFailed(f"{self._where}: {self._refused}")
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS and not condition():
                raise EvictionFailed(f"{self._where}: no {what}: {code.name}")

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        self._connack = reason
        if reason.is_failure:
            self._refused = f"CONNACK {reason}"

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties
    ) -> None:
        self._acknowledged.add(mid)
        if reason.is_failure:
            self._refused = f"PUBACK {reason}"
