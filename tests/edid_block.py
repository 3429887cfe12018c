"""EDID base blocks, put together field by field as in VESA's standard."""

from __future__ import annotations


def edid_block(
    *,
    manufacturer: str = "SAM",
    product: int = 0x0F93,
    serial_number: int = 0,
    size_px: tuple[int, int] | None = (1920, 1080),
    interlaced: bool = False,
    name: str | None = "SAMSUNG",
    serial_text: str | None = None,
) -> bytes:
    """A whole block with a good checksum."""
    letters = 0
    for letter in manufacturer:
        letters = letters << 5 | ord(letter) - ord("A") + 1
    head = bytes.fromhex("00ffffffffffff00") + letters.to_bytes(2, "big")
    head += product.to_bytes(2, "little") + serial_number.to_bytes(4, "little")
    descriptors = [_timing(size_px, interlaced)]
    descriptors += [_text(tag, text) for tag, text in ((0xFC, name), (0xFF, serial_text)) if text is not None]
    descriptors += [bytes(18)] * (4 - len(descriptors))
    block = head.ljust(54, b"\x01") + b"".join(descriptors) + b"\x00"
    return block + bytes([-sum(block) % 256])


def _timing(size_px: tuple[int, int] | None, interlaced: bool) -> bytes:
    if size_px is None:
        return bytes(18)
    width, height = size_px[0], size_px[1] // (2 if interlaced else 1)
    timing = bytearray(18)
    timing[0:2] = b"\x02\x3a"
    timing[2], timing[4] = width & 0xFF, width >> 8 << 4
    timing[5], timing[7] = height & 0xFF, height >> 8 << 4
    timing[17] = 0x80 if interlaced else 0
    return bytes(timing)


def _text(tag: int, text: str) -> bytes:
    return bytes([0, 0, 0, tag, 0]) + (text.encode("latin-1") + b"\n").ljust(13, b" ")[:13]
