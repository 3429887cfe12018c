"""What the kernel makes of a classic BPF program over one call: of the instructions in seccomp's filter."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from diemcau_drivers.seccomp import Instruction


def verdict(
    program: Iterable[Instruction], architecture: int, number: int, arguments: Iterable[int] = ()
) -> int:
    """Raises IndexError where it runs past its end or reads past the call: the kernel takes no such."""
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    call = struct.pack("<IIQ6Q", number, architecture, 0, *words)
    instructions = [*program]
    at = accumulator = 0
    while True:
        code, where_so, where_not, value = instructions[at]
        at += 1
        match code:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                if value % 4 or value + 4 > len(call):
                    raise IndexError(f"reads at {value}")
                accumulator = struct.unpack_from("<I", call, value)[0]
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                at += where_so if accumulator == value else where_not
            case 0x35:  # BPF_JMP | BPF_JGE | BPF_K
                at += where_so if accumulator >= value else where_not
            case 0x45:  # BPF_JMP | BPF_JSET | BPF_K
                at += where_so if accumulator & value else where_not
            case 0x06:  # BPF_RET | BPF_K
                return value
            case _:
                raise ValueError(f"instruction {code:#x} at {at - 1}")
