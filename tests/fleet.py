"""A fleet's office for the tests: a real registry and authority in a directory, and requests as a kit makes
them. Keys are made at run time; nothing of it outlives the test."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from diemcau_fleet import key_list
from diemcau_fleet.authority import Authority, Certificate
from diemcau_fleet.registry import Registry

NAMES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME}
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def found(directory: Path, now: Callable[[], float] = time.time) -> Registry:
    """A new fleet in ``directory``; its registry, open."""
    directory.mkdir(0o700, exist_ok=True)
    Authority.make(directory, "diemcau tests", now())
    registry = Registry.open(directory, now, create=True)
    key_list.begin(registry)
    return registry


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def request(name: str, key: PrivateKey | None = None, **more: str) -> bytes:
    """The body of a simpleenroll for the common name ``name``; ``more`` attributes of the subject."""
    subject = [x509.NameAttribute(NAMES[kind], value) for kind, value in {"CN": name, **more}.items()]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    der = builder.sign(key or ec_key(), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return base64.encodebytes(der)


def write_key(path: Path, key: PrivateKey) -> Path:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def identity(directory: Path, key: ec.EllipticCurvePrivateKey, certificate: Certificate) -> Path:
    """One PEM file of both, as ssl.SSLContext.load_cert_chain takes it."""
    path = write_key(directory / f"{certificate.serial}.pem", key)
    path.write_bytes(path.read_bytes() + certificate.pem)
    return path
