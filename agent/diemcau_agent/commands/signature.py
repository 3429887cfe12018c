"""Who sent a command, and whether he may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from diemcau_agent import jws, keys
from diemcau_agent.config import Settings
from diemcau_agent.keys import Keyring

from .outcome import Unanswerable


class Verifier(Protocol):
    def open(self, payload: bytes) -> bytes:
        """The claims, as JSON, of a payload whose signature holds.

        Raises Unanswerable: ``bad_signature``, ``unknown_key``, ``malformed``.
        """
        ...

    def permits(self, iss: str, verb: str) -> bool:
        """Whether the role of the key ``iss`` allows ``verb``."""
        ...


class Unsigned:
    """Plain JSON, believed as it stands: for the simulated room only, whose birth says so."""

    def open(self, payload: bytes) -> bytes:
        return payload

    def permits(self, iss: str, verb: str) -> bool:
        return True


class _Issuer(msgspec.Struct, frozen=True):
    iss: str


class Signed:
    """``now``: wall time, None where it is not known. ``accepted``: whether the room was accepted."""

    def __init__(
        self, keyring: Keyring, point: str, now: Callable[[], float | None], accepted: Callable[[], bool]
    ) -> None:
        self._keyring = keyring
        self._point = point
        self._now = now
        self._accepted = accepted

    def open(self, payload: bytes) -> bytes:
        try:
            letter = jws.parse(payload)
            iss = msgspec.json.decode(letter.payload, type=_Issuer).iss
        except (jws.JwsError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unanswerable("malformed", str(error)) from None
        key = self._keyring.find(iss, self._now())
        if key is None or letter.kid not in (None, iss):
            raise Unanswerable("unknown_key", f"iss {iss[:64]!r}, kid {letter.kid!r}")
        if not letter.signed_by(jws.public_key(key.public)):
            raise Unanswerable("bad_signature", f"it is not of {iss}")
        return letter.payload

    def permits(self, iss: str, verb: str) -> bool:
        key = self._keyring.find(iss, self._now())
        return key is not None and keys.permits(key, verb, self._point, accepted=self._accepted())


def verifier(settings: Settings, signed: Callable[[], Signed]) -> Verifier | None:
    """None where commands are off. The configuration's check has refused unsigned ones on a real kit."""
    if settings.commands == "unsigned" and settings.simulated:
        return Unsigned()
    return signed() if settings.commands == "signed" else None
