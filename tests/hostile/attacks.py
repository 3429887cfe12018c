"""Every kind of attack on a room's commands, one function each: what an attacker has, he sends.

He has the broker, so every message that was ever sent, good ones too that he held back (:attr:`Loot.held`:
signed by an operator, never delivered, still in their time); every public key; and the private keys of a
viewer, a collector, two installers, a revoked operator, another fleet and the key list's own signer. He lacks
the operators'.
"""

from __future__ import annotations

import json
from typing import Any

import forging
from command_room import POINT
from loot import Attack, Loot, on
from misuse import (
    bad_args,
    beyond_the_role,
    group_misused,
    late_or_early,
    noise,
    other_protocols,
    readdressed,
    replayed,
    replayed_retained,
    revoked_key,
    unsigned,
)
from signing import public
from stage import (
    COLLECTOR,
    ELSEWHERE,
    INSTALLER,
    OPERATOR,
    REVOKED,
    VIEWER,
    Message,
)

STRANGERS = (
    "nobody",
    "operator-of-another-fleet",
    "fleet-1",
    VIEWER,
    COLLECTOR,
    INSTALLER,
    ELSEWHERE,
    REVOKED,
)


def bytes_changed(loot: Loot) -> Message:
    return on(loot, forging.changed(loot.rng, loot.held.payload))


def truncated(loot: Loot) -> Message:
    payload = loot.held.payload
    at = loot.rng.randrange(len(payload))
    return on(loot, payload[:at] if loot.rng.random() < 0.5 else payload[at + 1 :])


def concatenated(loot: Loot) -> Message:
    other = loot.rng.choice(loot.seen).payload
    between = loot.rng.choice((b"", b"\n", b".", b"\0", b" ", b","))
    pair = [loot.held.payload, loot.rng.choice((other, loot.held.payload))]
    loot.rng.shuffle(pair)
    return on(loot, between.join(pair))


def parts_swapped(loot: Loot) -> Message:
    """One's header, another's claims, a third one's signature; never all of one."""
    while True:
        three = [forging.parts(loot.rng.choice((*loot.seen, loot.held)).payload) for _ in range(3)]
        mixed = [three[place][loot.rng.choice((place, place, 0, 1, 2))] for place in range(3)]
        if mixed[1] != forging.parts(loot.held.payload)[1] or mixed[2] != forging.parts(loot.held.payload)[2]:
            return on(loot, b".".join(mixed))


def signature_stripped(loot: Loot) -> Message:
    header, claims, _ = forging.parts(loot.held.payload)
    tail = loot.rng.choice((b".", b"", b"..", b".AA", b"." + b"A" * 86, b"." + b"A" * 85 + b"Q"))
    return on(loot, header + b"." + claims + tail)


def algorithm_none(loot: Loot) -> Message:
    name = loot.rng.choice(("none", "None", "NONE", "nOnE", "", None, 0, False, [], "EdDSA\0none"))
    signature = loot.rng.choice((None, b"\0" * 64, b"x"))
    return on(loot, forging.compact({"alg": name}, loot.json(), signature))


def public_key_as_secret(loot: Loot) -> Message:
    header = {"alg": loot.rng.choice(("HS256", "EdDSA"))} | loot.rng.choice(
        ({}, {"typ": "JWT"}, {"kid": OPERATOR})
    )
    secret = loot.rng.choice(forging.public_secrets(loot.rng.choice((OPERATOR, "fleet-1"))))
    return on(loot, forging.mac(header, loot.json(), secret))


def header_changed(loot: Loot) -> Message:
    """A header that names an algorithm, a key or a meaning of its own, truly signed by a stranger."""
    by = loot.rng.choice(STRANGERS)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": public(by)}
    more: Any = loot.rng.choice(
        (
            {"jwk": jwk},
            {"kid": OPERATOR, "jwk": jwk},
            {"jku": "https://example.invalid/keys"},
            {"x5c": ["MIIB"]},
            {"crit": ["exp"]},
            {"b64": False, "crit": ["b64"]},
            {"kid": "../../keys.json"},
            {"kid": by},
            {"kid": OPERATOR},
            {"typ": "JWT", "cty": "JWT"},
            {"zip": "DEF"},
            {"alg": "Ed25519"},
            {"alg": "eddsa"},
            {"alg": "ES256"},
            {"alg": ["EdDSA"]},
            {"enc": "A256GCM"},
        )
    )
    return on(loot, forging.compact({"alg": "EdDSA", **more}, loot.json(), by=by))


def wrong_key(loot: Loot) -> Message:
    claims = loot.fresh()
    return loot.stage.order(claims, by=loot.rng.choice(STRANGERS))


def base64_respelt(loot: Loot) -> Message:
    while (payload := forging.respelt(loot.rng, loot.held.payload)) == loot.held.payload:
        pass
    return on(loot, payload)


def signature_stretched(loot: Loot) -> Message:
    return on(loot, forging.stretched(loot.held.payload))


def unicode_twisted(loot: Loot) -> Message:
    """The viewer signs what looks like the operator's, or as his own something beyond his role."""
    field = loot.rng.choice(("iss", "verb", "aud", "id"))
    claims = loot.stage.claims("restart", {"target": "camera"}, iss=OPERATOR if field == "iss" else VIEWER)
    text = json.dumps(claims | {field: forging.twisted(loot.rng, str(claims[field]))}, ensure_ascii=False)
    if loot.rng.random() < 0.3:  # escapes, which name the very operator
        text = json.dumps(claims | {"iss": "@"}).replace("@", "\\u006fperator-1")
    data = text.encode("utf-8", "surrogatepass")
    if loot.rng.random() < 0.2:
        data = data.decode().encode(loot.rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")))
    return on(loot, forging.compact({"alg": "EdDSA"}, data, by=VIEWER), "restart")


def giant(loot: Loot) -> Message:
    """Deep, long, endless: signed by the viewer, who is let in that far."""
    rng = loot.rng
    claims = loot.stage.claims("restart", {"target": "camera"}, iss=VIEWER)
    text = json.dumps(claims)[:-1].encode()
    more = rng.choice(
        (
            lambda: b',"args":' + forging.deep(rng.choice((200, 5000, 30_000)), rng.choice("[{")),
            lambda: b',"iat":' + b"9" * rng.choice((30, 400, 5000)),
            lambda: b',"exp":1e' + b"9" * rng.choice((3, 400)),
            lambda: b',"nonce":"' + b"x" * rng.choice((20_000, 60_000, 300_000)) + b'"',
            lambda: b"," + b",".join(b'"k%d":0' % number for number in range(rng.choice((300, 4000)))),
            lambda: b" " * rng.choice((20_000, 70_000)),
        )
    )()
    data = text + more + b"}"
    if rng.random() < 0.2:
        return on(loot, rng.choice((data, forging.deep(30_000), b"." * 60_000, b"A" * 250_000)))
    return on(loot, forging.compact({"alg": "EdDSA"}, data, by=VIEWER), "restart")


def duplicate_keys(loot: Loot) -> Message:
    """Two readers of the same JSON may each see another of the two: both readings must be refused."""
    rng = loot.rng
    field, mine, good = rng.choice(
        (
            ("iss", VIEWER, OPERATOR),
            ("verb", "ping", "restart"),
            ("aud", "point/xp-0001", f"point/{POINT}"),
            ("nonce", "old", loot.stage.nonce),
        )
    )
    claims = loot.stage.claims("restart", {"target": "camera"}, iss=VIEWER) | {field: good}
    data = forging.doubled(claims, field, mine, first=rng.random() < 0.5)
    return on(loot, forging.compact({"alg": "EdDSA"}, data, by=VIEWER), "restart")


ATTACKS: tuple[Attack, ...] = (
    bytes_changed, truncated, concatenated, parts_swapped, signature_stripped, signature_stretched,
    algorithm_none, public_key_as_secret, header_changed, wrong_key, revoked_key, beyond_the_role,
    base64_respelt, unicode_twisted, giant, duplicate_keys, replayed, replayed_retained, readdressed,
    late_or_early, group_misused, unsigned, other_protocols, bad_args, noise,
)  # fmt: skip
