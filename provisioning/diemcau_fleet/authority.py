"""The fleet's certificate authority: one EC P-256 key (``ca.key``) and its certificate (``ca.pem``).

It signs what it is told; who may have a certificate is the registry's to say. Profile: RFC 5280; a kit or a
service is a TLS client and nothing else, a broker or the EST server a TLS server and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import owned_files

CERTIFICATE = "ca.pem"
KEY = "ca.key"
CA_DAYS = 3653
KIT_DAYS = 90
"""A kit renews at two thirds: one that was away a month is still let in."""
SERVICE_DAYS = 365
SERVER_DAYS = 397
CRL_DAYS = 365
"""OpenSSL refuses every client once its list has run out: a renewal that was forgotten must not lock the
country out. A new list goes out with each revocation, whatever this says."""
CRL_BACKDATED_S = 3600
"""A list from the future counts for nothing either: a broker's clock may be behind ours."""

PublicKey = ec.EllipticCurvePublicKey
Use = Literal["client", "server"]
_USES = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}


class AuthorityError(Exception):
    """There is no authority to use, or one is there already."""


class Revoked(msgspec.Struct, frozen=True):
    """``serial`` as in :attr:`Certificate.serial`."""

    serial: str
    revoked_s: int


class Certificate(msgspec.Struct, frozen=True):
    """``serial``: hexadecimal. Times: seconds since the epoch."""

    serial: str
    not_before_s: int
    not_after_s: int
    der: bytes

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Certificate:
        return cls(
            f"{certificate.serial_number:x}",
            int(certificate.not_valid_before_utc.timestamp()),
            int(certificate.not_valid_after_utc.timestamp()),
            certificate.public_bytes(serialization.Encoding.DER),
        )

    @property
    def pem(self) -> bytes:
        return x509.load_der_x509_certificate(self.der).public_bytes(serialization.Encoding.PEM)


class Authority:
    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate

    @classmethod
    def make(cls, directory: Path, name: str, now_s: float) -> Authority:
        """A new one, kept in ``directory``. Raises AuthorityError where one is there, OSError."""
        for taken in (directory / KEY, directory / CERTIFICATE):
            if taken.exists():
                raise AuthorityError(f"{taken}: there is an authority already")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begins = _moment(now_s)
        certificate = (
            _builder(subject, subject, key.public_key(), key.public_key())
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        owned_files.keep(directory / KEY, private_pem(key))
        owned_files.keep(directory / CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return cls(key, certificate)

    @classmethod
    def load(cls, directory: Path) -> Authority:
        """Raises AuthorityError, OSError."""
        path = directory / KEY
        certificate = read_certificate(directory)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise AuthorityError(f"{path}: got no private key in PEM: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise AuthorityError(f"{path}: got another key than that of {directory / CERTIFICATE}")
        return cls(key, certificate)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def ends_s(self) -> float:
        return self.certificate.not_valid_after_utc.timestamp()

    def client(self, member: str, public: PublicKey, now_s: float, days: int) -> Certificate:
        """For the kit or the service ``member``, from ``now_s`` on (never backdated: a kit without a clock
        takes its time from it), for ``days`` or until the authority ends. Raises AuthorityError."""
        return self._issue(member, public, "client", now_s, days)

    def server(self, name: str, names: Sequence[str], public: PublicKey, now_s: float) -> Certificate:
        """For a server that is called ``names`` (DNS names and IP addresses). Raises AuthorityError."""
        return self._issue(name, public, "server", now_s, SERVER_DAYS, names)

    def crl(self, number: int, revoked: Iterable[Revoked], now_s: float) -> bytes:
        """The list of revoked certificates, PEM (RFC 5280, 5)."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(_moment(now_s - CRL_BACKDATED_S))
            .next_update(_moment(now_s) + timedelta(days=CRL_DAYS))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_issuer_key(self._key.public_key()), critical=False)
        )
        for one in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(one.serial, 16))
                .revocation_date(_moment(one.revoked_s))
                .build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issue(
        self, name: str, public: PublicKey, use: Use, now_s: float, days: int, names: Sequence[str] = ()
    ) -> Certificate:
        begins, last = _moment(now_s), self.certificate.not_valid_after_utc
        if begins >= last:
            raise AuthorityError(f"the authority's own certificate ended on {last:%Y-%m-%d}")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            _builder(subject, self.certificate.subject, public, self._key.public_key())
            .not_valid_before(begins)
            .not_valid_after(min(begins + timedelta(days=days), last))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_USES[use]]), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([general_name(one) for one in names]), critical=False
            )
        return Certificate.of(builder.sign(self._key, hashes.SHA256()))


def read_certificate(directory: Path) -> x509.Certificate:
    """The authority's own; its key need not be there. Raises AuthorityError, OSError."""
    path = directory / CERTIFICATE
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise AuthorityError(f"{path}: got no certificate in PEM: {error}") from None


def general_name(text: str) -> x509.GeneralName:
    """Raises ValueError where it is neither a DNS name nor an IP address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: PublicKey, issuer_key: PublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_issuer_key(issuer_key), critical=False)
    )


def _issuer_key(public: PublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _moment(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(int(epoch_s), UTC)
