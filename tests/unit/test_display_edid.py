"""EDID: what a whole block says, and that nothing else is believed."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_drivers.backends.edid import Edid, EdidError, parse
from edid_block import edid_block

letters = st.text(string.ascii_uppercase, min_size=3, max_size=3)
labels = st.text(string.ascii_letters + string.digits, min_size=1, max_size=13)


@given(
    manufacturer=letters,
    product=st.integers(0, 0xFFFF),
    name=labels,
    size=st.tuples(st.integers(1, 4095), st.integers(1, 2047).map(lambda half: 2 * half)),
    interlaced=st.booleans(),
)
def test_what_was_put_in_comes_out(
    manufacturer: str, product: int, name: str, size: tuple[int, int], interlaced: bool
) -> None:
    block = edid_block(
        manufacturer=manufacturer, product=product, name=name, size_px=size, interlaced=interlaced
    )
    edid = parse(block + bytes(128))  # an extension block may follow
    assert (edid.manufacturer, edid.product, edid.name) == (manufacturer, product, name)
    assert edid.preferred_px == size


@given(st.binary(max_size=300))
def test_rubbish_is_refused_and_never_crashes(data: bytes) -> None:
    with pytest.raises(EdidError):
        parse(data)


@given(st.integers(0, 127), st.integers(1, 255))
def test_one_flipped_byte_is_noticed(place: int, change: int) -> None:
    block = bytearray(edid_block())
    block[place] ^= change
    with pytest.raises(EdidError):
        parse(bytes(block))


@given(st.binary(min_size=108, max_size=108))
def test_any_block_with_a_header_and_a_checksum_is_parsed_or_refused(rest: bytes) -> None:
    block = bytes.fromhex("00ffffffffffff00") + b"\x4c\x2d" + rest.ljust(117, b"\x00")
    edid = parse(block + bytes([-sum(block) % 256]))
    assert edid.manufacturer == "SAM"
    assert edid.name is None or edid.name.isprintable()


def test_the_serial_is_told_as_a_hash_that_is_the_same_for_the_same_screen() -> None:
    first = parse(edid_block(serial_text="H4ZN500123"))
    again = parse(edid_block(serial_text="H4ZN500123"))
    other = parse(edid_block(serial_text="H4ZN500124"))
    numbered = parse(edid_block(serial_number=77))
    assert first.serial_hash == again.serial_hash
    assert len({first.serial_hash, other.serial_hash, numbered.serial_hash}) == 3
    assert "H4ZN500123" not in repr(first)
    assert parse(edid_block()).serial_hash is None


def test_what_a_screen_does_not_tell_is_none() -> None:
    assert parse(edid_block(name=None, size_px=None)) == Edid("SAM", 0x0F93, None, None, None)
