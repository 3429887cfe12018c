"""What a service or a server is given: a directory with ``ca.pem``, ``cert.pem`` and ``key.pem`` (0600)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from diemcau_agent import files
from diemcau_fleet.authority import SERVICE_DAYS, Authority, Certificate, private_pem


class Handout:
    """Made before the certificate is issued, so that a directory that cannot be written costs none."""

    def __init__(self, directory: Path, authority: Authority, *, replace: bool = False) -> None:
        """Raises OSError where a key is there and is not to be replaced, or nothing can be written."""
        directory.mkdir(0o700, parents=True, exist_ok=True)
        path = directory / "key.pem"
        if path.exists() and not replace:
            raise FileExistsError(17, "there is a key already; a server's gives way to --replace", str(path))
        if not os.access(directory, os.W_OK):
            raise PermissionError(13, "cannot be written", str(directory))
        self._directory = directory
        self._authority = authority
        self._key = ec.generate_private_key(ec.SECP256R1())

    def client(self, member: str, now_s: float) -> Certificate:
        """Raises AuthorityError."""
        return self._authority.client(member, self._key.public_key(), now_s, SERVICE_DAYS)

    def server(self, name: str, names: Sequence[str], now_s: float) -> Certificate:
        """Raises AuthorityError."""
        return self._authority.server(name, names, self._key.public_key(), now_s)

    def fill(self, certificate: Certificate) -> None:
        """Raises OSError."""
        files.replace(self._directory / "key.pem", private_pem(self._key))
        files.replace(self._directory / "cert.pem", certificate.pem, 0o644)
        files.replace(self._directory / "ca.pem", self._authority.pem, 0o644)
