"""How an update ended, as the daemon is told."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Ending(Struct, frozen=True):
    """``unknown``: that command was never obeyed. ``not_installed``: nothing was changed. ``rolled_back``:
    the version ``before`` is back. ``broken``: it could not be put back."""

    state: Literal["unknown", "installed", "rolled_back", "not_installed", "broken"]
    before: str = ""
    to: str = ""
    reason: str = ""
