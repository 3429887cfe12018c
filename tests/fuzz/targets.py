"""What is fuzzed: every reader of bytes that come from outside. One module a target, each with
``fuzz(data)``, which raises for a finding alone, and ``seeds()``."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
CORPUS, CRASHES = HERE / "corpus", HERE / "crashes"
NAMES = tuple(sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py")))


class Target(msgspec.Struct, frozen=True):
    name: str
    fuzz: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def target(name: str) -> Target:
    module = importlib.import_module(f"fuzz_{name}")
    return Target(name, module.fuzz, module.seeds)


def kept(name: str) -> list[bytes]:
    """The corpus and every crasher of a target, in the order of their names."""
    files = sorted((CORPUS / name).glob("*")) + sorted(CRASHES.glob(f"{name}-*"))
    return [file.read_bytes() for file in files]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
