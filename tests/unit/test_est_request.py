"""What a kit asks the EST server for: read strictly, and nothing that comes is more than refused."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fleet
from diemcau_fleet.est.request import MAX_BYTES, RequestError, read

KEY = fleet.ec_key()
GOOD = fleet.request("xp-0417", KEY)


def test_a_request_names_its_kit_and_carries_its_key() -> None:
    wanted = read(GOOD)
    assert wanted.id == "xp-0417"
    assert wanted.public == KEY.public_key()
    assert read(b"".join(GOOD.split())).key_sha256 == wanted.key_sha256
    assert read(fleet.request("xp-0417")).key_sha256 != wanted.key_sha256


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no PKCS#10"),
        (b"?", "not base64"),
        (base64.b64encode(b"garbage"), "no PKCS#10"),
        (b"A" * (MAX_BYTES + 4), "at most 16384"),
        (fleet.request("XP 0417"), "common name"),
        (fleet.request("xp-0417", O="ministry"), "got 2 attributes"),
        (fleet.request("xp-0417", rsa.generate_private_key(65537, 2048)), "expected EC P-256"),
        (fleet.request("xp-0417", ec.generate_private_key(ec.SECP384R1())), "expected EC P-256"),
    ],
)
def test_what_is_no_request_for_a_kits_key_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        read(body)


def test_a_version_that_there_is_not_is_refused_as_any_garbage() -> None:
    der = bytearray(base64.b64decode(b"".join(GOOD.split())))
    der[der.index(b"\x02\x01\x00") + 2] = 1
    with pytest.raises(RequestError, match="not a valid CSR version"):
        read(base64.b64encode(der))


def test_a_request_that_somebody_else_signed_is_refused() -> None:
    """Else a certificate could be had for a key that the kit does not hold."""
    der = bytearray(base64.b64decode(b"".join(GOOD.split())))
    place = der.index(b"xp-0417")
    der[place : place + 7] = b"xp-0418"
    with pytest.raises(RequestError, match="signature"):
        read(base64.b64encode(der))


@settings(deadline=None)
@given(st.binary(max_size=600))
@example(GOOD)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for text in (body, base64.b64encode(body)):
        try:
            read(text)
        except RequestError:
            pass


@settings(deadline=None)
@given(st.data())
def test_a_request_with_a_bit_turned_is_never_taken_for_another_kits(data: st.DataObject) -> None:
    der = bytearray(base64.b64decode(b"".join(GOOD.split())))
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        wanted = read(base64.b64encode(der))
    except RequestError:
        return
    assert (wanted.id, wanted.public) == ("xp-0417", KEY.public_key())
