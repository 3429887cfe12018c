"""Compact JWS: one spelling, one algorithm, and a signature that holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent import jws
from signing import public, seed

GOOD = jws.sign(b'{"iss":"operator-1"}', seed("operator-1"))
KEY = jws.public_key(public("operator-1"))


def with_header(header: bytes) -> bytes:
    return jws.encoded(header) + b"." + GOOD.split(b".", 1)[1]


def test_what_was_signed_is_read_back_and_its_signature_holds_for_that_key_alone() -> None:
    letter = jws.parse(GOOD)
    assert letter.payload == b'{"iss":"operator-1"}'
    assert letter.signed_by(KEY)
    assert not letter.signed_by(jws.public_key(public("operator-2")))
    assert not letter.signed_by(b"short")


def test_rfc_8037_appendix_a_4_verifies() -> None:
    text = (
        b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWb"  # pragma: allowlist secret
        b"hijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"  # pragma: allowlist secret
    )
    letter = jws.parse(text)
    assert letter.payload == b"Example of Ed25519 signing"
    public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # pragma: allowlist secret
    assert letter.signed_by(jws.public_key(public))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "1 parts"),
        (b"a.b", "2 parts"),
        (GOOD + b".", "4 parts"),
        (with_header(b'{"alg":"none"}'), "alg: got 'none'"),
        (with_header(b'{"alg":"HS256"}'), "alg: got 'HS256'"),
        (with_header(b'{"alg":"eddsa"}'), "alg"),
        (with_header(b'{"typ":"JWT"}'), "alg"),
        (with_header(b'{"alg":"EdDSA","crit":["b64"],"b64":false}'), "crit"),
        (with_header(b'{"alg":"EdDSA","jwk":{}}'), "jwk"),
        (with_header(b'["EdDSA"]'), "header"),
        (with_header(b"\xff"), "header"),
        (with_header(b'{"alg":"EdDSA","kid":"' + b"x" * 200 + b'"}'), "at most 256"),
        (GOOD + b"=", "spelling"),
        (GOOD + b"\n", "base64url"),
        (b" " + GOOD, "base64url"),
        (GOOD.replace(b".", b"=.", 1), "spelling"),
    ],
)
def test_what_is_spelt_otherwise_is_not_read(text: bytes, why: str) -> None:
    with pytest.raises(jws.JwsError, match=why):
        jws.parse(text)


@given(place=st.integers(0, len(GOOD) - 1), octet=st.integers(0, 255))
def test_no_byte_can_be_changed(place: int, octet: int) -> None:
    changed = GOOD[:place] + bytes([octet]) + GOOD[place + 1 :]
    if changed == GOOD:
        return
    try:
        letter = jws.parse(changed)
    except jws.JwsError:
        return
    assert not letter.signed_by(KEY)


@given(st.binary(max_size=400))
def test_whatever_comes_is_refused_in_order(text: bytes) -> None:
    with pytest.raises(jws.JwsError):
        jws.parse(text)
