"""The settings that may be changed from afar, kept apart from the room's own file.

``remote.json`` in the state directory holds dotted names and their values, and nothing but those of
:data:`CHANGEABLE`; the room's file stays as the technician wrote it. It is replaced whole (a new file,
fsync, rename), since an interrupted rewrite has cost other agents their configuration (LESSONS).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import msgspec

from diemcau_agent import config, files
from diemcau_agent.config import ConfigError, Settings

CHANGEABLE = (
    "name",
    "place",
    "level",
    "language",
    "expected.camera",
    "expected.microphone",
    "expected.speaker",
    "expected.display",
    "expected.panel",
    "probe.period_s",
    "panel.hold_s",
    "camera.presets",
)
LIVE = frozenset({"name", "place", "level", "probe.period_s"})
"""What a running agent takes into force; the rest comes with its next start."""
SECRET = ("backend_options", "broker.ca_file", "broker.cert_file", "broker.key_file")
"""Left out of every answer: where keys lie, and what a backend alone knows the meaning of."""
_MAX_BYTES = 64 * 1024

log = logging.getLogger(__name__)


class RemoteSettings:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, "remote settings")

    def load(self) -> dict[str, Any]:
        """Dotted name -> value; empty where nothing was ever set. Raises ConfigError."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_MAX_BYTES + 1)
            data = json.loads(text) if len(text) <= _MAX_BYTES else None
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError([f"{self.path}: cannot be read: {error}"]) from error
        if not isinstance(data, dict):
            raise ConfigError([f"{self.path}: got something else, expected a JSON object"])
        return cast("dict[str, Any]", data)

    def over(self, settings: Settings) -> Settings:
        """``settings`` with what was set from afar. Raises ConfigError, naming every reason."""
        return merge(settings, self.load())

    async def keep(self, changes: Mapping[str, Any]) -> None:
        """Add ``changes`` to the file, on the card when this returns. Raises OSError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._keep, dict(changes))

    def _keep(self, changes: dict[str, Any]) -> None:
        try:
            kept = {name: value for name, value in self.load().items() if name in CHANGEABLE}
        except ConfigError as error:
            log.warning("replaced: %s", error)
            kept = {}
        text = json.dumps(kept | changes, ensure_ascii=False, indent=1, sort_keys=True)
        files.replace(self.path, f"{text}\n".encode())


def flatten(data: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Dotted names and values of nested tables. Raises ConfigError for what may not be changed."""
    flat: dict[str, Any] = {}
    errors: list[str] = []
    for key, value in data.items():
        name = f"{path}.{key}" if path else key
        if name in CHANGEABLE:
            flat[name] = value
        elif isinstance(value, Mapping) and any(known.startswith(f"{name}.") for known in CHANGEABLE):
            try:
                flat |= flatten(cast("Mapping[str, Any]", value), name)
            except ConfigError as error:
                errors += error.errors
        else:
            errors.append(f"{name}: cannot be changed from afar, expected one of {', '.join(CHANGEABLE)}")
    if errors:
        raise ConfigError(errors)
    return flat


def merge(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """``settings`` with dotted ``changes``, checked as a whole. Raises ConfigError."""
    data: dict[str, Any] = msgspec.to_builtins(settings)
    for name, value in flatten(changes).items():
        *tables, leaf = name.split(".")
        table = data
        for part in tables:
            table = table[part]
        table[leaf] = value
    return config.check(data)


def taken(running: Settings, changed: Settings) -> Settings:
    """``running`` with what it can take of ``changed``."""
    return merge(running, {name: value_of(changed, name) for name in LIVE})


def value_of(settings: Settings, name: str) -> Any:
    """The plain value of a dotted name."""
    value: Any = msgspec.to_builtins(settings)
    for part in name.split("."):
        value = value[part]
    return value


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting but the secret ones, as plain nested tables."""
    data: dict[str, Any] = msgspec.to_builtins(settings)
    for name in SECRET:
        *tables, leaf = name.split(".")
        table = data
        for part in tables:
            table = table[part]
        table.pop(leaf, None)
    return data
