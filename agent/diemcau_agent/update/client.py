"""The daemon's side: it downloads, hands over with the command as it came, and asks how it ended. It has no
right to install anything."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from diemcau_agent.commands.outcome import Failed
from diemcau_agent.config import Settings
from diemcau_agent.privileged.client import Absent, NotDone, as_the_commands_end, ask, hand_on

from .ending import Ending
from .release import MAX_TEXT_BYTES, read
from .rules import check_named

SOCKET = Path("/run/diemcau-update.sock")
"""diemcau-update.socket."""
WHO = "the updater"
T = TypeVar("T")

log = logging.getLogger(__name__)


def update_client(settings: Callable[[], Settings], keys: Callable[[], bytes]) -> UpdateClient | None:
    """None without a release key, where commands are off, and in a simulated room that nobody can update."""
    now = settings()
    place = os.environ.get("DIEMCAU_UPDATE") if now.simulated else str(SOCKET)
    if place is None or not now.release_keys or now.commands == "off":
        return None
    return UpdateClient(Path(place), settings, keys)


class UpdateClient:
    """``keys``: the newest list of keys as it came."""

    def __init__(self, socket: Path, settings: Callable[[], Settings], keys: Callable[[], bytes]) -> None:
        self._socket = socket
        self._settings = settings
        self._keys = keys
        self._package = Path(settings().state_dir) / "package.deb"

    async def fetch(self, url: str, version: str, sha256: str) -> bytes:
        from . import download  # http.client and what it needs: only for this

        settings = self._settings()
        try:
            trust = ssl.create_default_context(cafile=settings.update.ca_file)
        except OSError as error:  # ssl.SSLError too
            raise Failed("download", f"update.ca_file: {error}") from None
        over = threading.Event()
        try:
            text = await _apart(lambda: download.fetch(f"{url}.jws", trust, MAX_TEXT_BYTES))
            # Root's process asks this again; here it spares a card from what will not be taken.
            release = read(text, settings.release_keys)
            check_named(release, version, sha256)
            await _apart(
                lambda: download.download(url, trust, self._package, release.size, sha256, over.is_set)
            )
        finally:
            over.set()
        return text

    async def install(self, command: bytes, release: bytes) -> None:
        try:
            if keys := self._keys():
                await hand_on(self._socket, keys)
            file = os.open(self._package, os.O_RDONLY | os.O_CLOEXEC)
            try:
                request = {
                    "do": "install",
                    "command": command.decode(errors="replace"),
                    "release": release.decode(errors="replace"),
                }
                await ask(self._socket, request, file)
            finally:
                os.close(file)
        except Absent as error:
            raise Failed("unsupported", f"nothing on this kit may install a package: {error}") from None
        except NotDone as error:
            as_the_commands_end(WHO, error.error)
        except OSError as error:
            raise Failed("internal", f"{self._package}: {error}") from None

    async def outcome(self, command_id: str) -> Ending | None:
        try:
            answer = await ask(self._socket, {"do": "ending", "id": command_id})
            return msgspec.convert(answer, Ending)
        except Absent as error:  # it installs, and answers nobody meanwhile
            log.info("%s: %s", WHO, error)
        except (NotDone, msgspec.ValidationError) as error:
            log.error("%s: %s", WHO, error)
        return None

    def discard(self) -> None:
        try:
            self._package.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: %s", self._package, error)


async def _apart(work: Callable[[], T]) -> T:
    """In a thread of its own, which ends with its work: the agent's only other one reads small files."""
    with_one = ThreadPoolExecutor(1, "download")
    try:
        return await asyncio.get_running_loop().run_in_executor(with_one, work)
    finally:
        with_one.shutdown(wait=False)
