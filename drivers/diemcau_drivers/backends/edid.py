"""EDID: what a screen says of itself. Pure, standard library only.

VESA Enhanced EDID Standard, release A revision 2 (EDID 1.4), of which the base block is read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

BLOCK_BYTES = 128
HEADER = bytes.fromhex("00ffffffffffff00")
DESCRIPTORS_AT = (54, 72, 90, 108)
DESCRIPTOR_BYTES = 18
SERIAL_TAG, NAME_TAG = 0xFF, 0xFC


class EdidError(ValueError):
    """Not an EDID base block, or a broken one."""


@dataclass(frozen=True, slots=True)
class Edid:
    """``manufacturer``: three letters (PNP id). ``name``: as on the screen's label, None where not told.

    ``serial_hash``: the same for the same screen, and tells nothing else of it; None without a serial.
    ``preferred_px``: (width, height) of the first detailed timing, None where there is none.
    """

    manufacturer: str
    product: int
    name: str | None
    serial_hash: str | None
    preferred_px: tuple[int, int] | None


def parse(data: bytes) -> Edid:
    """Raises EdidError on anything that is not a whole base block with a good checksum."""
    block = data[:BLOCK_BYTES]
    if len(block) < BLOCK_BYTES:
        raise EdidError(f"{len(block)} bytes, expected {BLOCK_BYTES}")
    if not block.startswith(HEADER):
        raise EdidError("no EDID header")
    if sum(block) % 256:
        raise EdidError("wrong checksum")
    letters = int.from_bytes(block[8:10], "big")
    manufacturer = "".join(chr(ord("A") - 1 + (letters >> shift & 0x1F)) for shift in (10, 5, 0))
    if not manufacturer.isalpha() or not manufacturer.isupper():
        raise EdidError(f"manufacturer {manufacturer!r} is not three letters")
    product = int.from_bytes(block[10:12], "little")
    descriptors = [block[at : at + DESCRIPTOR_BYTES] for at in DESCRIPTORS_AT]
    serial = _text(descriptors, SERIAL_TAG) or str(int.from_bytes(block[12:16], "little") or "")
    return Edid(
        manufacturer=manufacturer,
        product=product,
        name=_text(descriptors, NAME_TAG),
        serial_hash=_hash(f"{manufacturer}:{product}:{serial}") if serial else None,
        preferred_px=_size_px(descriptors[0]),
    )


def _text(descriptors: list[bytes], tag: int) -> str | None:
    """A display descriptor's 13 characters (3.10.3), ended by a line feed and padded with blanks."""
    for descriptor in descriptors:
        if descriptor[:3] == b"\0\0\0" and descriptor[3] == tag:
            raw = descriptor[5:].split(b"\n", 1)[0].decode("latin-1")
            return "".join(letter for letter in raw if letter.isprintable()).strip() or None
    return None


def _size_px(timing: bytes) -> tuple[int, int] | None:
    """Active pixels of a detailed timing (3.10.2); an interlaced one counts its lines in one field."""
    if timing[:2] == b"\0\0":
        return None
    width = timing[2] | (timing[4] & 0xF0) << 4
    height = (timing[5] | (timing[7] & 0xF0) << 4) * (2 if timing[17] & 0x80 else 1)
    return (width, height) if width and height else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
