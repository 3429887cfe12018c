"""Any bytes as a compact JWS: no JWS, or one whose parts are spelt in just this way."""

from __future__ import annotations

from diemcau_agent import jws
from signing import public, signed

PUBLIC = jws.public_key(public("operator-1"))


def seeds() -> list[bytes]:
    return [
        signed({"iss": "operator-1"}, "operator-1"),
        jws.sign(b"{}", bytes(32), kid="operator-1"),
        b"..",
        b"e30.e30.",
    ]


def fuzz(data: bytes) -> None:
    try:
        letter = jws.parse(data)
    except jws.JwsError:
        return
    letter.signed_by(PUBLIC)
    assert data == letter.signed + b"." + jws.encoded(letter.signature), "another spelling of the same"
    assert jws.encoded(letter.payload) == data.split(b".")[1]
