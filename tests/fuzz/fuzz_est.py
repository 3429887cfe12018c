"""Any enrolment: the body that a kit sends (PKCS#10), and the body that it gets (PKCS#7), both in base64."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from diemcau_agent.enrolment import answer
from diemcau_fleet.est import request


def seeds() -> list[bytes]:
    made: list[bytes] = []
    for number, curve in ((7, ec.SECP256R1()), (9, ec.SECP384R1())):
        key = ec.derive_private_key(number, curve)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "xp-0417")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        now = datetime(2026, 11, 22, tzinfo=UTC)
        cert = x509.CertificateBuilder(name, name, key.public_key(), 5, now, now + timedelta(days=9))
        cert = cert.add_extension(x509.BasicConstraints(True, 0), critical=True).sign(key, hashes.SHA256())
        made += [base64.encodebytes(csr.public_bytes(Encoding.DER))]
        made += [base64.encodebytes(pkcs7.serialize_certificates([cert], Encoding.DER))]
    return [bytes([which]) + body for body in made for which in (0, 1)] + [
        bytes([2 + index % 2]) + base64.b64decode(body) for index, body in enumerate(made)
    ]


def fuzz(data: bytes) -> None:
    """The first byte's second bit: the body is DER, so that mutations reach behind the base64."""
    if not data:
        return
    body = data[1:] if not data[0] & 2 else base64.b64encode(data[1:])
    try:
        asked = request.read(body)
        assert asked.key_sha256
    except request.RequestError as error:
        assert str(error)
    try:
        assert answer.read(body)
    except answer.AnswerError as error:
        assert str(error)
