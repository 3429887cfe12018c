"""Whether a write-ahead log is whole: SQLite takes a flipped byte in it for its end, and would give the
numbers behind it once more (fileformat2.html, The Write-Ahead Log). Pure."""

from __future__ import annotations

import struct

from diemcau_agent.database import Corrupt

_HEAD = struct.Struct(">8I")
_FRAME_HEAD = struct.Struct(">6I")


def surely_committed(content: bytes) -> int:
    """The last frame, counted from 1, that ends a transaction and is followed by another, whether or not
    what stands before it can be read; 0 where there is none. Raises Corrupt where the log's head is damaged.

    A transaction that nothing follows may be torn: who wrote it was killed, or lost its power, before
    anybody was told that it is on the card. Any other was there when the next one began. Frames that an
    earlier log left behind have other salts.
    """
    if len(content) <= _HEAD.size + _FRAME_HEAD.size:
        return 0
    magic, _, page_bytes, _, *salts, sum1, sum2 = _HEAD.unpack_from(content)
    if (sum1, sum2) != _checksum(content[:24], big=bool(magic & 1)) or page_bytes < 512:
        raise Corrupt("the head of its log is damaged")
    ends: list[int] = [0]
    last = 0
    step = _FRAME_HEAD.size + page_bytes
    for number, at in enumerate(range(_HEAD.size, len(content) - step + 1, step), 1):
        _, pages, *frame_salts = _FRAME_HEAD.unpack_from(content, at)[:4]
        if frame_salts == salts:
            last = number
            if pages:
                ends.append(number)
    return max((end for end in ends if end < last), default=0)


def _checksum(head: bytes, *, big: bool) -> tuple[int, int]:
    words = struct.unpack(f"{'>' if big else '<'}6I", head)
    sum1 = sum2 = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        sum1 = (sum1 + even + sum2) & 0xFFFFFFFF
        sum2 = (sum2 + odd + sum1) & 0xFFFFFFFF
    return sum1, sum2
