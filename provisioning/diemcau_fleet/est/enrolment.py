"""Who gets a certificate: every decision of the EST server, apart from HTTP and TLS.

Not for two threads: the server asks it in the one that the registry lives in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus

import msgspec

from diemcau_fleet.authority import KIT_DAYS, Authority, Certificate
from diemcau_fleet.registry import CertificateError, Registry, TokenError

from . import request
from .tries import Tries

WINDOW_S = 600.0
KIT_FAILURES = 5
"""Of one kit's id from one address. Not of the id alone: anybody could keep a kit out in its name."""
ADDRESS_FAILURES = 60
"""A whole ministry may come from one address, each kit of it mistyped once."""
RENEWALS = 5
"""Of one kit, whether they failed or not: each is a row in the registry for ever."""


class Refused(Exception):
    """``status``: of HTTP. ``reason``: for the log and for the kit; names no token. ``wait_s``: until it may
    come again. ``kit``: whose id was given, well-formed or "", for the log."""

    def __init__(self, status: HTTPStatus, reason: str, *, kit: str = "", wait_s: float = 0.0) -> None:
        super().__init__(f"{kit or '?'}: {status.value} {reason}")
        self.status = status
        self.reason = reason
        self.wait_s = wait_s


class Peer(msgspec.Struct, frozen=True):
    """The certificate that TLS has checked: of ours, for a client, not run out. ``serial``: hexadecimal."""

    serial: str
    der: bytes


class Enrolment:
    def __init__(
        self, registry: Registry, authority: Authority, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._authority = authority
        self._kit_failures = Tries(KIT_FAILURES, WINDOW_S, monotonic)
        self._address_failures = Tries(ADDRESS_FAILURES, WINDOW_S, monotonic)
        self._renewals = Tries(RENEWALS, WINDOW_S, monotonic)

    def admit(self, address: str, kit: str, token: str) -> None:
        """Whether the body of a simpleenroll is worth reading. Raises Refused."""
        _within(self._address_failures, address, kit, "too many failures from this address")
        _within(self._kit_failures, (kit, address), kit, "too many failures of this kit")
        try:
            self._registry.check_token(kit, token)
        except TokenError as error:
            raise self._failed(address, kit, HTTPStatus.UNAUTHORIZED, str(error)) from None

    def enrol(self, address: str, kit: str, token: str, body: bytes) -> bytes:
        """The DER of a certificate for ``kit``. A request that is refused leaves the token good. Raises
        Refused."""
        self.admit(address, kit, token)
        wanted = self._read(address, kit, body)
        self._registry.actor = f"est {address}"
        try:
            return self._registry.enrol(kit, token, wanted.key_sha256, lambda: self._issue(wanted))
        except TokenError as error:
            raise self._failed(address, kit, HTTPStatus.UNAUTHORIZED, str(error)) from None

    def recognise(self, peer: Peer) -> str:
        """The kit that ``peer`` is, where it may have another certificate. Raises Refused."""
        try:
            kit = self._registry.check_certificate(peer.serial, peer.der)
        except CertificateError as error:
            raise Refused(HTTPStatus.FORBIDDEN, str(error)) from None
        _within(self._renewals, kit, kit, "too many renewals")
        return kit

    def renew(self, address: str, peer: Peer, body: bytes) -> tuple[str, bytes]:
        """The kit that shows ``peer``, and the DER of its next certificate. Raises Refused."""
        kit = self.recognise(peer)
        self._renewals.count(kit)
        wanted = self._read(address, kit, body)
        self._registry.actor = f"est {address}"
        try:
            return kit, self._registry.renew(peer.serial, peer.der, lambda _: self._issue(wanted))
        except CertificateError as error:  # revoked meanwhile
            raise Refused(HTTPStatus.FORBIDDEN, str(error), kit=kit) from None

    def _read(self, address: str, kit: str, body: bytes) -> request.Request:
        try:
            wanted = request.read(body)
        except request.RequestError as error:
            raise self._failed(address, kit, HTTPStatus.BAD_REQUEST, str(error)) from None
        if wanted.id != kit:
            reason = f"subject: got {wanted.id}, expected {kit}"
            raise self._failed(address, kit, HTTPStatus.FORBIDDEN, reason)
        return wanted

    def _issue(self, wanted: request.Request) -> Certificate:
        return self._authority.client(wanted.id, wanted.public, self._registry.now_s, KIT_DAYS)

    def _failed(self, address: str, kit: str, status: HTTPStatus, reason: str) -> Refused:
        self._address_failures.count(address)
        self._kit_failures.count((kit, address))
        return Refused(status, reason, kit=kit)


def _within(tries: Tries, key: object, kit: str, reason: str) -> None:
    if (wait_s := tries.wait_s(key)) > 0:
        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, reason, kit=kit, wait_s=wait_s)
