"""The tools of whoever has no operator's key: bytes, JWS parts, other people's keys, other spellings."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import string
from collections.abc import Mapping
from typing import Any

from nacl.signing import SigningKey

from diemcau_agent import jws
from signing import public, seed

EDGES = (
    b"",
    b"\0",
    b"\n",
    b" ",
    b".",
    b"..",
    b"=",
    b"-",
    b"_",
    b"+",
    b"/",
    b"%2E",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"{}",
)


def changed(rng: random.Random, payload: bytes) -> bytes:
    """Up to four changes of bits, bytes and spans; never the same bytes."""
    while True:
        data = bytearray(payload)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            span = rng.randint(1, 24)
            match rng.randrange(6):
                case 0:
                    data[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1])
                case 1:
                    data[at : at + span] = b""
                case 2:
                    data[at:at] = rng.randbytes(span)
                case 3:
                    data[at:at] = rng.choice(EDGES)
                case 4:
                    other = rng.randrange(len(data) + 1)
                    data[at : at + span] = data[other : other + span]
                case _:
                    data[at : at + span] = data[at : at + span].swapcase()
        if bytes(data) != payload:
            return bytes(data)


def parts(payload: bytes) -> list[bytes]:
    return payload.split(b".")


def compact(header: Any, claims: bytes, signature: bytes | None = None, *, by: str | None = None) -> bytes:
    """A JWS with any header, and ``by``'s true signature over it where one is asked for."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = jws.encoded(text) + b"." + jws.encoded(claims)
    if by is not None:
        signature = SigningKey(seed(by)).sign(body).signature
    return body + b"." + jws.encoded(signature or b"")


def mac(header: Mapping[str, Any], claims: bytes, secret: bytes) -> bytes:
    """HS256 with whatever is at hand as its secret (RFC 8725, 2.1: algorithm confusion)."""
    body = jws.encoded(json.dumps(dict(header)).encode()) + b"." + jws.encoded(claims)
    return body + b"." + jws.encoded(hmac.new(secret, body, hashlib.sha256).digest())


def public_secrets(name: str) -> list[bytes]:
    """How a library might be handed ``name``'s public key, as a secret."""
    text = public(name)
    raw = jws.public_key(text)
    der = bytes.fromhex("302a300506032b6570032100") + raw
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    return [raw, text.encode(), der, pem, pem.strip(), b""]


def respelt(rng: random.Random, payload: bytes) -> bytes:
    """The same three parts in another base64, which a lenient decoder would take."""
    three = parts(payload)
    which = rng.randrange(3)
    part = three[which]
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    options = [part + b"=" * (-len(part) % 4), part + b"=", part + b"====", part + b"\n", b" " + part]
    options += [part[:8] + b"\n" + part[8:], part + b"A", part + b"%3D", part.replace(b"-", b"+") + b"="]
    if len(part) % 4:  # the last character has bits to spare
        last = alphabet.index(part[-1:].decode())
        spare = 4 if len(part) % 4 == 2 else 2
        options += [part[:-1] + alphabet[last ^ bit].encode() for bit in range(1, 1 << spare)]
    if which == 0:
        options.append(
            jws.encoded(rng.choice((b'{"alg":"EdDSA" }', b'{ "alg":"EdDSA"}', b'\n{"alg":"EdDSA"}')))
        )
    three[which] = rng.choice(options)
    return b".".join(three)


def stretched(payload: bytes) -> bytes:
    """The signature's other S, S + L (RFC 8032, 8.4: malleability)."""
    three = parts(payload)
    signature = base64.urlsafe_b64decode(three[2] + b"==")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    return b".".join((*three[:2], jws.encoded(signature[:32] + scalar.to_bytes(32, "little"))))


TWISTS = ("\u200b", "\u202e", "\u0000", "\n", "\ufeff", "\u0301", " ", "\u00ad", "\U000e0041")
LOOKALIKES = {
    "o": "\u043e",
    "p": "\u0440",
    "e": "\u0435",
    "a": "\u0430",
    "1": "\uff11",
    "-": "\u2010",
    "t": "\uff54",
}


def twisted(rng: random.Random, text: str) -> str:
    """Looks like ``text``, and is another."""
    at = rng.randrange(len(text) + 1)
    like = [index for index, letter in enumerate(text) if letter in LOOKALIKES]
    match rng.randrange(4):
        case 0 if like:
            index = rng.choice(like)
            return text[:index] + LOOKALIKES[text[index]] + text[index + 1 :]
        case 1 if text.upper() != text:
            return text.upper()
        case _:
            return text[:at] + rng.choice(TWISTS) + text[at:]


def doubled(claims: Mapping[str, Any], field: str, value: Any, *, first: bool) -> bytes:
    """``claims`` as JSON that has ``field`` twice, once with ``value``."""
    fields = [(name, json.dumps(each)) for name, each in claims.items()]
    fields.insert(0 if first else len(fields), (field, json.dumps(value)))
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields) + "}").encode()


def deep(depth: int, what: str = "[") -> bytes:
    return b"[" * depth + b"]" * depth if what == "[" else b'{"a":' * depth + b"0" + b"}" * depth
