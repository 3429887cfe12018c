"""What the broker's rules are made from: the registry, and the authority where its key is at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from diemcau_agent.database import DatabaseError
from diemcau_fleet.authority import CERTIFICATE, Authority, AuthorityError, private_pem
from diemcau_fleet.members import Members
from diemcau_fleet.registry import Registry
from diemcau_fleet.registry_file import RegistryError

from .eviction import Credentials

DAY_S = 86_400
PASS_S = 300
"""How long a certificate of :meth:`Source.issue` is good."""


class SourceError(Exception):
    """The registry or the authority cannot be read."""


class State(msgspec.Struct, frozen=True):
    """``revoked``: serial number -> id, of the certificates that were revoked and have not run out.
    ``ca``: the authority's certificate, PEM."""

    members: Members
    revoked: Mapping[int, str]
    ca: bytes


class Source:
    def __init__(self, directory: Path, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now = now

    def look(self) -> State:
        """Changes nothing. Raises SourceError."""
        try:
            with Registry.open(self._directory, self._now) as registry:
                revoked = registry.rows(
                    "SELECT serial, id FROM certificate WHERE revoked_s IS NOT NULL AND not_after_s > ?",
                    int(self._now()),
                )
                return State(
                    registry.members(),
                    {int(serial, 16): member for serial, member in revoked},
                    (self._directory / CERTIFICATE).read_bytes(),
                )
        except (RegistryError, DatabaseError, OSError) as error:
            raise SourceError(str(error)) from None

    def crl(self) -> bytes:
        """A new list of revoked certificates, PEM; the registry counts them. Raises SourceError."""
        try:
            with Registry.open(self._directory, self._now) as registry:
                return registry.crl()
        except (RegistryError, DatabaseError, AuthorityError, OSError) as error:
            raise SourceError(f"list of revoked certificates: {error}") from None

    def issue(self, name: str) -> Credentials:
        """A client's certificate of this CN for :data:`PASS_S`. It is not in the registry, so nothing can be
        renewed with it. Raises SourceError."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            authority = Authority.load(self._directory)
            made = authority.client(name, key.public_key(), self._now() + PASS_S - DAY_S, 1)
        except (AuthorityError, OSError) as error:
            raise SourceError(f"certificate of {name}: {error}") from None
        return Credentials(made.pem, private_pem(key))
