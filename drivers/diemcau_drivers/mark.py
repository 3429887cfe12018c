"""A yes or no that outlives the device's process, which leaves when nobody needs it."""

from __future__ import annotations

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
        """Raises Broken where it cannot be written down; it is then as before."""
        self._set = yes
        if self._path is None:
            return
        try:
            if yes:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            raise Broken(f"what was ordered cannot be kept in {self._path}: {error}") from error
