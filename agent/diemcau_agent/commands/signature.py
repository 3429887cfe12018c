"""Who sent a command, and whether he may. Signatures (Ed25519) come with the operators' keys."""

from __future__ import annotations

from typing import Protocol

from diemcau_agent.config import Settings


class Verifier(Protocol):
    def open(self, payload: bytes) -> bytes:
        """The claims, as JSON, of a payload whose signature holds.

        Raises Unanswerable: ``bad_signature``, ``unknown_key``, ``malformed``.
        """
        ...

    def permits(self, iss: str, verb: str) -> bool:
        """Whether the role of the key ``iss`` allows ``verb``."""
        ...


class Unsigned:
    """Plain JSON, believed as it stands: for the simulated room only, whose birth says so."""

    def open(self, payload: bytes) -> bytes:
        return payload

    def permits(self, iss: str, verb: str) -> bool:
        return True


def verifier(settings: Settings) -> Verifier | None:
    """None where commands are off. The configuration's check has refused what cannot be verified."""
    if settings.commands == "unsigned" and settings.simulated:
        return Unsigned()
    return None
