"""What was done to this room from afar, as a chain of hashes on its own card (docs/audit.md)."""

from .chain import AUDITED, Head
from .record import Audit

__all__ = ["AUDITED", "Audit", "Head"]
