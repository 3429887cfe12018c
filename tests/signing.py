"""A fleet's keys for the tests: seeds that anybody can read, and what is signed with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from nacl.signing import SigningKey

from diemcau_agent import jws


def seed(name: str) -> bytes:
    """The Ed25519 seed of ``name``."""
    return hashlib.sha256(name.encode()).digest()


def public(name: str) -> str:
    """Its public key, base64url."""
    return jws.encoded(bytes(SigningKey(seed(name)).verify_key)).decode()


def signed(content: Mapping[str, Any], by: str) -> bytes:
    """A compact JWS over ``content`` with the key of ``by``."""
    return jws.sign(json.dumps(content).encode(), seed(by))


def key(name: str, role: str = "operator", points: Sequence[str] = ()) -> dict[str, Any]:
    return {"id": name, "role": role, "public": public(name), "points": list(points)}


def key_list(
    *keys: Mapping[str, Any],
    revision: int = 1,
    fleet: Sequence[str] = ("fleet-1",),
    by: str = "fleet-1",
    **more: Any,
) -> bytes:
    """``diemcau/v1/fleet/keys`` of ``keys``, signed ``by``; ``fleet`` may sign the next."""
    content = {
        "schema": "diemcau.keys/1",
        "revision": revision,
        "fleet": [public(name) for name in fleet],
        "keys": list(keys),
        **more,
    }
    return signed(content, by)
