"""seccomp: a process gives up, for itself and all that it starts, the calls that no device of a room needs.

Standard library only. What Landlock does not know of: any socket but Unix ones (so UDP, raw packets, netlink,
vsock, the kernel's ciphers, and TCP where Landlock has no word for it yet), a look into another process, and
the calls through which kernels are broken into. The program is classic BPF (linux/filter.h), which the
kernel runs over each call's number and arguments. It cannot follow a pointer, so it knows no socket's path.

What is not named here is let through: which calls a camera's or a sound server's library makes is its makers'
to change. The unit's own SystemCallFilter= holds besides.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from .prctl import SET_NO_NEW_PRIVS, SET_SECCOMP, prctl

_MODE_FILTER = 2
AF_UNIX, AF_NETLINK = 1, 16
NETLINK_KOBJECT_UEVENT = 15
"""Which devices came and went, told by the kernel; nobody but root may send there."""
_NEW_NAMESPACES = 0x7E020000
"""Every CLONE_NEW* that clone(2) takes: where CLONE_NEWTIME would be, in the lowest byte, it has a signal."""
_X32 = 0x40000000
"""Set in a call's number by x86-64's other ABI, whose calls would pass by these numbers."""

KILL = 0x80000000
ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
"""Where in struct seccomp_data."""
_INSTRUCTION = struct.Struct("=HBBI")
Instruction = tuple[int, int, int, int]
"""Code, how many to skip where it is so, how many where not, value."""

Numbers = int | tuple[int, int, int]
"""A call's, on x86-64, aarch64 and 32-bit ARM (EABI); one, where it is the same on all (since Linux 5.1)."""


class Machine(NamedTuple):
    """An instruction set as a filter sees it: AUDIT_ARCH_*, and its column of the numbers."""

    architecture: int
    column: int

    def number(self, of: Numbers) -> int:
        return of if isinstance(of, int) else of[self.column]


X86_64, AARCH64, ARM = Machine(0xC000003E, 0), Machine(0xC00000B7, 1), Machine(0x40000028, 2)
MACHINES = {
    ("x86_64", 8): X86_64,
    ("aarch64", 8): AARCH64,
    # The last: Raspberry Pi OS of 32 bits runs on a kernel of 64.
    **{(name, 4): ARM for name in ("armv6l", "armv7l", "armv8l", "aarch64")},
}
"""By uname(2) and the bytes of a pointer. Linux on ARM has either seccomp or the older ABI (OABI)."""

SOCKET, SOCKETPAIR = (41, 198, 281), (53, 199, 288)
CLONE, CLONE3 = (56, 220, 120), 435
REFUSED: dict[str, Numbers] = {
    # another process: its memory, its open files
    "ptrace": (101, 117, 26),
    "process_vm_readv": (310, 270, 376),
    "process_vm_writev": (311, 271, 377),
    "pidfd_getfd": 438,
    # io_uring opens sockets without a call that a filter sees
    **{f"io_uring_{name}": 425 + at for at, name in enumerate(("setup", "enter", "register"))},
    # much of the kernel for little use in a room
    "bpf": (321, 280, 386),
    "perf_event_open": (298, 241, 364),
    "userfaultfd": (323, 282, 388),
    "add_key": (248, 217, 309),
    "request_key": (249, 218, 310),
    "keyctl": (250, 219, 311),
    # another view of the files, and the namespaces in which an ordinary user may make one
    "mount": (165, 40, 21),
    "umount2": (166, 39, 52),
    "pivot_root": (155, 41, 218),
    "chroot": (161, 51, 61),
    "open_by_handle_at": (304, 265, 371),
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "open_tree_attr": 467,
    "unshare": (272, 97, 337),
    "setns": (308, 268, 375),
}
"""Each gets EPERM."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def machine() -> Machine | None:
    """Of this process; None where its numbers are not known here."""
    if sys.byteorder != "little":  # where in an argument its lower half is
        return None
    return MACHINES.get((os.uname().machine, ctypes.sizeof(ctypes.c_void_p)))


def seal(uevents: bool) -> bool:
    """From here on this thread and what it starts does without; for good. ``uevents``: it may still hear
    which devices come and go. False where the kernel has no seccomp, or the machine is not known here.

    To be called before there is another thread, which would stay free. Raises OSError where the kernel has
    it and refuses.
    """
    own = machine()
    if own is None or not _built_in():
        return False
    instructions = [*program(own, uevents)]
    code = b"".join(_INSTRUCTION.pack(*one) for one in instructions)
    told = _Program(len(instructions), code)
    prctl(SET_NO_NEW_PRIVS, 1)
    prctl(SET_SECCOMP, _MODE_FILTER, ctypes.addressof(told))
    return True


def _built_in() -> bool:
    try:
        prctl(SET_SECCOMP, _MODE_FILTER, 0)  # no program: the kernel that knows filters says EFAULT
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        if error.errno != errno.EFAULT:
            raise
    return True


def program(machine: Machine, uevents: bool) -> Iterator[Instruction]:
    number = machine.number
    # Another instruction set has other numbers. Nothing here calls by one; who does is ended.
    yield from (_load(_ARCHITECTURE), (_EQUAL, 1, 0, machine.architecture), _return(KILL))
    yield _load(_NUMBER)
    if machine is X86_64:
        yield from ((_AT_LEAST, 0, 1, _X32), _return(KILL))
    for refused in REFUSED.values():
        yield from ((_EQUAL, 0, 1, number(refused)), _return(_ERRNO | errno.EPERM))
    # Its flags are behind a pointer. The C library, told that there is none, takes clone(2) for a thread.
    yield from ((_EQUAL, 0, 1, number(CLONE3)), _return(_ERRNO | errno.ENOSYS))
    yield from ((_EQUAL, 0, 4, number(CLONE)), _load(_argument(0)), (_ANY_BIT, 0, 1, _NEW_NAMESPACES))
    yield from (_return(_ERRNO | errno.EPERM), _return(ALLOW))
    yield from ((_EQUAL, 2, 0, number(SOCKET)), (_EQUAL, 1, 0, number(SOCKETPAIR)), _return(ALLOW))
    yield from (_load(_argument(0)), (_EQUAL, 0, 1, AF_UNIX), _return(ALLOW))
    if uevents:
        yield from ((_EQUAL, 0, 3, AF_NETLINK), _load(_argument(2)))
        yield from ((_EQUAL, 0, 1, NETLINK_KOBJECT_UEVENT), _return(ALLOW))
    yield _return(_ERRNO | errno.EACCES)


def _argument(place: int) -> int:
    """The lower half of it, which is all that the kernel takes of an int."""
    return 16 + 8 * place


def _load(offset: int) -> Instruction:
    return _LOAD, 0, 0, offset


def _return(verdict: int) -> Instruction:
    return _RETURN, 0, 0, verdict
