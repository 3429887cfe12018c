"""The Ed25519 key of an operator or of the fleet, in a file: PKCS#8, PEM (RFC 8410), mode 0600."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from diemcau_agent import files, jws


class SigningKeyError(ValueError):
    """A file that holds no such key."""


def make(path: Path) -> str:
    """A new key in ``path``, which must not be there; its public half, base64url. Raises OSError."""
    if path.exists():
        raise FileExistsError(17, "there is a key already", str(path))
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files.replace(path, pem)
    return public(key.private_bytes_raw())


def load(path: Path) -> bytes:
    """The seed (32 bytes), as :func:`diemcau_agent.jws.sign` wants it. Raises SigningKeyError, OSError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(f"{path}: got no private key in PEM: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{path}: got a key of another kind, expected Ed25519")
    return key.private_bytes_raw()


def public_of(text: str) -> str:
    """A public key, base64url: ``text`` itself, or what the PEM file of that name holds (as ``openssl pkey
    -pubout`` writes it). Raises JwsError, SigningKeyError."""
    path = Path(text)
    if not path.is_file():
        jws.public_key(text)
        return text
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(f"{path}: got no public key in PEM: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(f"{path}: got a key of another kind, expected Ed25519")
    return jws.encoded(key.public_bytes_raw()).decode()


def public(seed: bytes) -> str:
    """The public half of ``seed``, base64url."""
    raw = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return jws.encoded(raw).decode()
