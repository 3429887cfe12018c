"""The daemon's memory: a Pi 3 has 1 GB for all, and the conference's browser wants most of it."""

from __future__ import annotations

import ctypes
import gc

M_ARENA_MAX = -8
"""malloc.h of glibc"""


def one_arena() -> None:
    """All of the daemon's threads but one sleep nearly always; a malloc arena for each costs 0.3 MB."""
    _libc("mallopt", M_ARENA_MAX, 1)


def give_back() -> None:
    """What starting up has left behind goes back to the kernel: half a megabyte."""
    gc.collect()
    _libc("malloc_trim", 0)


def _libc(name: str, *arguments: int) -> None:
    try:
        getattr(ctypes.CDLL(None), name)(*arguments)
    except (OSError, AttributeError):
        pass  # a C library that is not glibc has neither, and no arenas to trim
