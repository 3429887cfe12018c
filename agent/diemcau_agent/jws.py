"""Compact JWS (RFC 7515, 3.1), ``alg`` ``EdDSA`` with Ed25519 (RFC 8037, 3.1) and no other.

Strict where the RFC leaves a choice: one spelling of the base64url (no padding, no stray bits), a header of
``alg`` and perhaps ``typ`` and ``kid``, nothing else. So one command has one payload on the wire, and no
header can name an algorithm, a key or a meaning of its own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

ALGORITHM = "EdDSA"
HEADER_MAX_BYTES = 256
KEY_BYTES = 32


class JwsError(ValueError):
    """It is no compact JWS of ours; the signature was not looked at."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    typ: str | None = None
    kid: str | None = None


class Jws(msgspec.Struct, frozen=True):
    """``payload``: not believed before :meth:`signed_by`. ``kid``: which key it claims, where it does."""

    payload: bytes
    kid: str | None
    signed: bytes
    signature: bytes

    def signed_by(self, public: bytes) -> bool:
        """Whether the signature is of the Ed25519 key ``public`` (32 bytes)."""
        try:
            VerifyKey(public).verify(self.signed, self.signature)
        except (BadSignatureError, ValueError, TypeError):
            return False
        return True

    def signed_by_one_of(self, publics: Iterable[str]) -> bool:
        """Whether one of these keys (base64url) has signed it. Raises JwsError for what is no key."""
        return any(self.signed_by(public_key(public)) for public in publics)


def parse(text: bytes) -> Jws:
    """Raises JwsError."""
    parts = text.split(b".")
    if len(parts) != 3:
        raise JwsError(f"got {len(parts)} parts, expected header.payload.signature")
    if len(parts[0]) > HEADER_MAX_BYTES:
        raise JwsError(f"header: got {len(parts[0])} bytes, expected at most {HEADER_MAX_BYTES}")
    raw, payload, signature = (_decoded(part) for part in parts)
    try:
        header = msgspec.json.decode(raw, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JwsError(f"header: {error}") from None
    if header.alg != ALGORITHM:
        raise JwsError(f"alg: got {header.alg[:16]!r}, expected {ALGORITHM}")
    return Jws(payload, header.kid, parts[0] + b"." + parts[1], signature)


def sign(payload: bytes, private: bytes, *, kid: str | None = None) -> bytes:
    """A compact JWS over ``payload`` with the Ed25519 key ``private`` (its 32-byte seed)."""
    header = {"alg": ALGORITHM} | ({} if kid is None else {"kid": kid})
    signed = encoded(msgspec.json.encode(header)) + b"." + encoded(payload)
    return signed + b"." + encoded(SigningKey(private).sign(signed).signature)


def public_key(text: str) -> bytes:
    """The 32 bytes of a public key in base64url. Raises JwsError."""
    key = _decoded(text.encode())
    if len(key) != KEY_BYTES:
        raise JwsError(f"got a key of {len(key)} bytes, expected {KEY_BYTES}")
    return key


def encoded(data: bytes) -> bytes:
    """base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(part: bytes) -> bytes:
    try:
        data = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise JwsError(f"not base64url: {error}") from None
    if encoded(data) != part:  # padding, stray bits, + and /: another spelling of the same bytes
        raise JwsError("not base64url in its one spelling")
    return data
