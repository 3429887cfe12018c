"""The certificates in an EST answer: certs-only PKCS#7 in base64 (RFC 7030, 4.1.3 and 4.2.3). Pure."""

from __future__ import annotations

import base64
import binascii
import warnings

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs7

LIMIT_BYTES = 64 * 1024
"""A chain of four certificates has some 4 KiB."""
LIMIT_CERTIFICATES = 16


class AnswerError(ValueError):
    """Bytes that are no such answer."""


def read(body: bytes) -> tuple[x509.Certificate, ...]:
    """One certificate at least, in the answer's order; subject, dates, key and extensions can be read.

    Raises AnswerError, and nothing else.
    """
    if len(body) > LIMIT_BYTES:
        raise AnswerError(f"got {len(body)} bytes, expected at most {LIMIT_BYTES}")
    try:
        # RFC 4648 with the line breaks of MIME; other white space is no answer of anybody's.
        der = base64.b64decode(body.translate(None, b"\r\n"), validate=True)
    except binascii.Error as error:
        raise AnswerError(f"got no base64: {error}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # cryptography would try BER, which RFC 7030 does not allow
            certificates = pkcs7.load_der_pkcs7_certificates(der)
            if len(certificates) <= LIMIT_CERTIFICATES:
                for certificate in certificates:
                    _readable(certificate)
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        Warning,
    ) as error:
        raise AnswerError(f"got no certs-only PKCS#7: {error}") from None
    if not 1 <= len(certificates) <= LIMIT_CERTIFICATES:
        raise AnswerError(f"got {len(certificates)} certificates, expected 1 to {LIMIT_CERTIFICATES}")
    return tuple(certificates)


def _readable(certificate: x509.Certificate) -> None:
    """cryptography reads each field when it is asked for: whoever comes later must not be surprised."""
    certificate.public_key()
    _ = (
        certificate.version,
        certificate.subject,
        certificate.issuer,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.extensions,
    )
