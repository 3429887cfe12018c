"""Process "host": the kit's own health where another than the daemon measures it (in simulation)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .arguments import Answer, Arguments, Asked
from .interfaces import HostBackend

Tell = Callable[[str, Mapping[str, Any]], None]

INTERFACE_NAME_LENGTH = 15
"""IFNAMSIZ less its terminating zero."""


def open_device(backend: HostBackend, options: Mapping[str, Any], tell: Tell) -> Host:
    return Host(backend)


class Host(Asked):
    def __init__(self, backend: HostBackend) -> None:
        self._backend = backend
        self._verbs: Mapping[str, Answer] = {
            "probe": self._probe,
            "interface": self._interface,
            "path": self._path,
        }

    def close(self) -> None:
        """Nothing is open."""

    def _probe(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        Arguments(args)
        return self._backend.probe()

    def _interface(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = Arguments(args, "name")
        name = asked.text("name", INTERFACE_NAME_LENGTH) if asked.has("name") else None
        return self._backend.interface(name)

    def _path(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._backend.path(Arguments(args, "near_only").flag("near_only", default=False))
