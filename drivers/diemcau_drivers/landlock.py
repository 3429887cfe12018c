"""Landlock: a process gives up, for itself and all that it starts, every file but those it names.

Standard library only. linux/landlock.h and Documentation/userspace-api/landlock.rst of the kernel: ABI 1 is
Linux 5.13, 7 is 6.15. What an older kernel does not know is left out; what a newer one knows besides is not
asked for. Unix sockets with a path and UDP are in none of these ABIs: :mod:`.seccomp` shuts UDP off.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable
from enum import IntFlag
from pathlib import Path
from typing import Any

from .prctl import SET_NO_NEW_PRIVS, prctl

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The same on every architecture (asm-generic/unistd.h)."""
_GIVE_VERSION = 1
_PATH_BENEATH = 1


class Access(IntFlag):
    """LANDLOCK_ACCESS_FS_*, in the kernel's order."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Access.READ_FILE | Access.READ_DIR
RUN = READ | Access.EXECUTE
WRITE = Access.WRITE_FILE | Access.TRUNCATE
DEVICE = Access.READ_FILE | Access.WRITE_FILE | Access.IOCTL_DEV
KEEP = READ | WRITE | Access.MAKE_REG | Access.MAKE_FIFO | Access.REMOVE_FILE
"""A directory of one's own: files may come and go, nothing in it is run."""
_OF_A_FILE = Access.EXECUTE | Access.READ_FILE | WRITE | Access.IOCTL_DEV
"""The kernel refuses (EINVAL) a right of directories on a file."""

_NEW_IN = {2: Access.REFER, 3: Access.TRUNCATE, 5: Access.IOCTL_DEV}
_TCP_SINCE, _TCP = 4, 0b11
"""LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP; no port is named, so there is none left."""
_SCOPES_SINCE, _SCOPES = 6, 0b11
"""LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and SIGNAL: to no process outside this confinement."""


class LandlockError(Exception):
    """A kernel that has Landlock did not do as it was told."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The kernel's version of it; 0 where it is not built in or was not chosen at boot (lsm=)."""
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), _GIVE_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise LandlockError(f"the kernel does not tell its Landlock version: {error}") from error


def seal(rules: Iterable[tuple[Path, Access]], version: int) -> None:
    """From here on this thread and what it starts reaches what ``rules`` name, and below; for good.

    ``version``: what :func:`abi` said, at least 1. A path that is not there is passed over. To be called
    before there is another thread, which would stay free. Raises LandlockError.
    """
    handled = _known(version)
    net = _TCP if version >= _TCP_SINCE else 0
    scoped = _SCOPES if version >= _SCOPES_SINCE else 0
    try:
        attributes = _Ruleset(handled, net, scoped)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
        try:
            for path, access in rules:
                _allow(ruleset, path, access & handled)
            prctl(SET_NO_NEW_PRIVS, 1)
            _call(_RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)
    except OSError as error:
        raise LandlockError(f"Landlock (ABI {version}) refuses: {error}") from error


def _known(version: int) -> Access:
    newer = [right for since, right in _NEW_IN.items() if since > version]
    handled = Access((Access.IOCTL_DEV << 1) - 1)
    for right in newer:
        handled &= ~right
    return handled


def _allow(ruleset: int, path: Path, access: Access) -> None:
    try:
        # O_PATH opens no device: nothing is started or reset by being named here.
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not ours to reach anyway
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= _OF_A_FILE
        if access:
            rule = _PathBeneath(access, place)
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    except OSError as error:
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)} for {path}") from error
    finally:
        os.close(place)


def _call(number: int, *arguments: Any) -> int:
    """syscall(2), every argument as wide as a register. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
