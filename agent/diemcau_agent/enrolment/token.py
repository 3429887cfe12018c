"""The one-time token, until it is used: a file that a technician puts on the kit, or a systemd credential."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .errors import EnrolError

CREDENTIAL = "token"
LIMIT_BYTES = 256


class TokenFile:
    """``credentials``: where systemd has put what only this process may read (LoadCredential=), None where it
    has not. What is there is taken away by systemd; a file of ours by us."""

    def __init__(self, path: Path, credentials: Path | None) -> None:
        loaded = None if credentials is None else credentials / CREDENTIAL
        self.path = path if loaded is None or not loaded.exists() else loaded
        self._ours = self.path == path

    @classmethod
    def of(cls, path: str, environment: Mapping[str, str] = os.environ) -> TokenFile:
        directory = environment.get("CREDENTIALS_DIRECTORY")
        return cls(Path(path), None if directory is None else Path(directory))

    def read(self) -> str | None:
        """None where there is none. Raises EnrolError("token_unreadable")."""
        try:
            with self.path.open("rb") as file:
                data = file.read(LIMIT_BYTES + 1).strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnrolError("token_unreadable", f"{self.path}: {error.strerror or error}") from error
        if not data:
            return None
        if len(data) > LIMIT_BYTES or not (data.isascii() and data.decode("ascii").isprintable()):
            expected = f"one line of printable ASCII, at most {LIMIT_BYTES} bytes"
            raise EnrolError("token_unreadable", f"{self.path}: got something else, expected {expected}")
        return data.decode("ascii")

    def used(self) -> str | None:
        """Delete it; why that cannot be done, None where it is gone or systemd's."""
        if not self._ours:
            return None
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            return f"{self.path}: {error.strerror or error}"
        return None
