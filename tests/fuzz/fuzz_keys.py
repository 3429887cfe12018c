"""Any list of keys, unsigned and under the fleet's true signature; a list that is read can be used."""

from __future__ import annotations

import json

from diemcau_agent import jws
from diemcau_agent.keys import KeysError, permits, read
from signing import key, key_list, public, seed
from stage import KEYS

TRUSTED = (public("fleet-1"),)


def seeds() -> list[bytes]:
    content = {
        "schema": "diemcau.keys/1",
        "revision": 2,
        "fleet": [public("fleet-1")],
        "keys": [key("a-1", "installer", ["xp-1"])],
    }
    return [
        b"\0" + key_list(*KEYS),
        *(b"\1" + json.dumps(content | more).encode() for more in ({}, {"exp": 2**37}, {"revoked": ["a-1"]})),
    ]


def fuzz(data: bytes) -> None:
    payload = data[1:] if data[:1] != b"\1" else jws.sign(data[1:], seed("fleet-1"))
    try:
        keys = read(payload, TRUSTED)
    except KeysError as error:
        assert str(error)
        return
    for each in (*keys.fleet, *(each.public for each in keys.keys)):
        assert len(jws.public_key(each)) == 32
    for each in keys.keys:
        permits(each, "restart", "xp-0417", accepted=False)
