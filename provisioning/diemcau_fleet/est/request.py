"""What a kit asks for: the body of simpleenroll and simplereenroll (RFC 7030, 4.2.1). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from diemcau_agent.topics import ID_PATTERN, is_id

MAX_BYTES = 16 * 1024
"""A request for an EC key is some 400 bytes of base64."""
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class RequestError(ValueError):
    """It is no request that a certificate can be issued for, and why."""


class Request(msgspec.Struct, frozen=True):
    """``id``: the subject's common name. Whoever sent it holds the private key of ``public``. Whatever else
    the request wishes for (extensions, attributes) is not looked at."""

    id: str
    public: ec.EllipticCurvePublicKey

    @property
    def key_sha256(self) -> bytes:
        der = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).digest()


def read(body: bytes) -> Request:
    """PKCS#10 (RFC 2986) in base64, with or without line ends (RFC 8951, 3.1). Raises RequestError."""
    if len(body) > MAX_BYTES:
        raise RequestError(f"got {len(body)} bytes, expected at most {MAX_BYTES}")
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"not base64: {error}") from None
    try:
        csr = x509.load_der_x509_csr(der)
        public, subject, algorithm = csr.public_key(), csr.subject, csr.signature_hash_algorithm
        # Before the signature: how long that of another kind takes is the sender's to choose.
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise RequestError("key: got one of another kind, expected EC P-256")
        if not isinstance(algorithm, _HASHES):
            raise RequestError("signature: expected ECDSA with SHA-256, SHA-384 or SHA-512")
        signed = csr.is_signature_valid
    except RequestError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise RequestError(f"no PKCS#10 in DER: {error}") from None
    if not signed:
        raise RequestError("signature: not of the key that is in the request")
    return Request(_common_name(subject), public)


def _common_name(subject: x509.Name) -> str:
    attributes = list(subject)
    if [attribute.oid for attribute in attributes] != [NameOID.COMMON_NAME]:
        raise RequestError(f"subject: got {len(attributes)} attributes, expected the common name alone")
    name = attributes[0].value
    if not isinstance(name, str) or not is_id(name):
        raise RequestError(f"subject: common name: expected {ID_PATTERN}")
    return name
