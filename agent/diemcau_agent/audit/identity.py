"""The certificate with which this room is who it is: noted where it is another than before."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .chain import IDENTITY, digest

log = logging.getLogger(__name__)

CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
"""The first of a PEM file: the kit's own."""


class Identity:
    """``cert_file`` None: a room that has none. ``note``: as :meth:`.record.Audit.note`."""

    def __init__(self, cert_file: str | None, note: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._file = cert_file
        self._note = note
        self._before: str | None = None

    async def connected(self) -> None:
        try:
            text = b"" if self._file is None else await asyncio.to_thread(Path(self._file).read_bytes)
        except OSError as error:
            log.warning("%s: %s", self._file, error)
            return
        found = CERTIFICATE.search(text)  # the key is in the same file: nothing of it
        identity = None if found is None else digest(found[0])
        if identity != self._before:
            self._before = identity
            self._note(IDENTITY, {"certificate_sha256": identity})
