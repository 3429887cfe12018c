"""prctl(2): what a process settles about itself. The standard library has it from no version on."""

from __future__ import annotations

import ctypes
import os

SET_PDEATHSIG = 1
SET_SECCOMP = 22
SET_NO_NEW_PRIVS = 38
"""linux/prctl.h"""


def prctl(option: int, *arguments: int) -> None:
    """Each argument as wide as a register; an address is a number here. Raises OSError."""
    wide = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if ctypes.CDLL(None, use_errno=True).prctl(ctypes.c_int(option), *wide) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
