"""A request's arguments, checked as they are read. Standard library only.

Whatever is wrong raises BadRequest as ``field: got X, expected Y``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .contract import BadRequest


class Arguments:
    """The arguments of one request; names that nobody asked for are refused at once."""

    def __init__(self, args: Mapping[str, Any], *known: str) -> None:
        self._args = args
        for name in args:
            if name not in known:
                raise BadRequest(f"{name}: got an unknown argument, expected {_any_of(known)}")

    def has(self, name: str) -> bool:
        """Given, and not null."""
        return self._args.get(name) is not None

    def flag(self, name: str, default: bool) -> bool:
        value = self._args.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _wrong(name, value, "true or false")
        return value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number from ``low`` to ``high``."""
        value = self._args.get(name)
        if value is None and default is not None:
            return default
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not low <= value <= high
        ):
            raise _wrong(name, value, f"a number from {low:g} to {high:g}")
        return value

    def text(self, name: str, max_length: int) -> str:
        value = self._args.get(name)
        if not isinstance(value, str) or len(value) > max_length:
            raise _wrong(name, value, f"text of at most {max_length} characters")
        return value

    def choice(self, name: str, options: Collection[str]) -> str:
        value = self._args.get(name)
        if not isinstance(value, str) or value not in options:
            raise _wrong(name, value, _any_of(options))
        return value


Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What a device's process does when it is asked: arguments -> result."""


class Asked:
    """A device's logic: answers what it is asked by the verbs of contract.py's table."""

    _verbs: Mapping[str, Answer]

    def handle(self, do: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises BadRequest for a verb that it has not, and what the verb raises."""
        verb = self._verbs.get(do)
        if verb is None:
            raise unknown_verb(do, self._verbs)
        return verb(args)


def unknown_verb(do: str, known: Collection[str]) -> BadRequest:
    return _wrong("do", do, _any_of(known))


def _any_of(options: Collection[str]) -> str:
    return f"one of {', '.join(options)}" if options else "none: there is none here"


def _wrong(name: str, value: Any, expected: str) -> BadRequest:
    got = repr(value)
    return BadRequest(f"{name}: got {got if len(got) <= 60 else got[:57] + '...'}, expected {expected}")
