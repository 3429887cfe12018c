"""A key and the certificate over it, in one PEM: a power cut never leaves one without the other.

Errors::

    PairError    a file that holds no such pair, or a certificate that is not the one that was asked for
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

RENEWED_AT = 2 / 3
"""Of its life: a third is left for a server that is away."""


class PairError(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class Pair:
    """``chain``: our certificate first, then those that lead from it to an authority; empty until the answer
    has come."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def new(cls) -> Pair:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def parse(cls, pem: bytes) -> Pair:
        """Raises PairError."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
            chain = tuple(x509.load_pem_x509_certificates(pem)) if b"BEGIN CERTIFICATE" in pem else ()
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise PairError(f"got no key and certificate in PEM: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PairError("got a key of another kind, expected EC P-256")
        return cls(key, chain)

    def pem(self) -> bytes:
        return b"".join(
            (
                self.key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
                *(one.public_bytes(serialization.Encoding.PEM) for one in self.chain),
            )
        )

    def request(self, point: str) -> bytes:
        """PKCS#10, DER: CN = ``point``."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, point)])
        made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self.key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.DER)

    def with_answer(self, certificates: tuple[x509.Certificate, ...], point: str) -> Pair:
        """With the certificate over our key first, wherever it stands in the answer, as no order is promised.

        Raises PairError where it is not there, or not in the name of ``point``.
        """
        mine = [one for one in certificates if one.public_key() == self.key.public_key()]
        if len(mine) != 1:
            raise PairError(f"got {len(mine)} certificates over our key, expected 1")
        names = [str(one.value) for one in mine[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [point]:
            raise PairError(f"got a certificate for CN {', '.join(names) or 'nobody'}, expected {point}")
        return replace(self, chain=(*mine, *(one for one in certificates if one is not mine[0])))

    @property
    def not_before_s(self) -> float:
        """Seconds since the epoch, as of all that follow."""
        return self.chain[0].not_valid_before_utc.timestamp()

    @property
    def not_after_s(self) -> float:
        return self.chain[0].not_valid_after_utc.timestamp()

    @property
    def due_s(self) -> float:
        """When it is to be renewed."""
        return self.not_before_s + (self.not_after_s - self.not_before_s) * RENEWED_AT
