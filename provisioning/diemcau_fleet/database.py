"""SQLite's errors at the centre, where there are several files: each names its own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from diemcau_agent import database
from diemcau_agent.database import CardFailed, DatabaseError


@contextmanager
def told(path: Path) -> Generator[None]:
    """SQLite's and the system's errors as ours, with the file's name."""
    try:
        with database.told():
            yield
    except DatabaseError as error:
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise CardFailed(f"{path}: {error}") from error
