"""A yes or no that outlives the device's process, which leaves when nobody needs it."""

from __future__ import annotations

import os
from pathlib import Path

from .contract import Broken


class Mark:
    """A file ``name`` in ``directory`` means yes; without a directory it is kept in memory only."""

    def __init__(self, directory: str | None, name: str) -> None:
        self._path = None if directory is None else Path(directory) / name
        self._set = False

    def __bool__(self) -> bool:
        return self._set if self._path is None else self._path.exists()

    def put(self, yes: bool) -> None:
        """On a card it is written when this returns. Raises Broken where it cannot be: it is then as before,
        or a power cut may yet make it so."""
        self._set = yes
        if self._path is None:
            return
        try:
            if yes:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise Broken(f"what was ordered cannot be kept in {self._path}: {error}") from error
