"""Every kind of attack on a room's commands, one function each: what an attacker has, he sends.

He has the broker, so every message that was ever sent, good ones too that he held back (:attr:`Loot.held`:
signed by an operator, never delivered, still in their time); every public key; and the private keys of a
viewer, a collector, two installers, a revoked operator, another fleet and the key list's own signer. He lacks
the operators'.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

import forging
from command_room import POINT
from signing import key, key_list, public, signed
from stage import (
    COLLECTOR,
    ELSEWHERE,
    INSTALLER,
    OPERATOR,
    ORDERS,
    REVOKED,
    VIEWER,
    Message,
    Stage,
    claims_of,
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


class Loot(msgspec.Struct):
    """``seen``: delivered, and run once each. ``held``: good, fresh and not delivered."""

    stage: Stage
    rng: random.Random
    seen: list[Message]
    held: Message

    def fresh(self, **changes: Any) -> dict[str, Any]:
        """Claims that would run, were they an operator's."""
        verb, args = self.rng.choice(ORDERS)
        return self.stage.claims(verb, args, **{"iss": OPERATOR, **changes})

    def json(self, **changes: Any) -> bytes:
        return json.dumps(self.fresh(**changes)).encode()


Attack = Callable[[Loot], Message]


def _on(loot: Loot, payload: bytes, verb: str | None = None) -> Message:
    return Message(loot.held.topic if verb is None else f"diemcau/v1/point/{POINT}/command/{verb}", payload)


def bytes_changed(loot: Loot) -> Message:
    return _on(loot, forging.changed(loot.rng, loot.held.payload))


def truncated(loot: Loot) -> Message:
    payload = loot.held.payload
    at = loot.rng.randrange(len(payload))
    return _on(loot, payload[:at] if loot.rng.random() < 0.5 else payload[at + 1 :])


def concatenated(loot: Loot) -> Message:
    other = loot.rng.choice(loot.seen).payload
    between = loot.rng.choice((b"", b"\n", b".", b"\0", b" ", b","))
    pair = [loot.held.payload, loot.rng.choice((other, loot.held.payload))]
    loot.rng.shuffle(pair)
    return _on(loot, between.join(pair))


def parts_swapped(loot: Loot) -> Message:
    """One's header, another's claims, a third one's signature; never all of one."""
    while True:
        three = [forging.parts(loot.rng.choice((*loot.seen, loot.held)).payload) for _ in range(3)]
        mixed = [three[place][loot.rng.choice((place, place, 0, 1, 2))] for place in range(3)]
        if mixed[1] != forging.parts(loot.held.payload)[1] or mixed[2] != forging.parts(loot.held.payload)[2]:
            return _on(loot, b".".join(mixed))


def signature_stripped(loot: Loot) -> Message:
    header, claims, _ = forging.parts(loot.held.payload)
    tail = loot.rng.choice((b".", b"", b"..", b".AA", b"." + b"A" * 86, b"." + b"A" * 85 + b"Q"))
    return _on(loot, header + b"." + claims + tail)


def algorithm_none(loot: Loot) -> Message:
    name = loot.rng.choice(("none", "None", "NONE", "nOnE", "", None, 0, False, [], "EdDSA\0none"))
    signature = loot.rng.choice((None, b"\0" * 64, b"x"))
    return _on(loot, forging.compact({"alg": name}, loot.json(), signature))


def public_key_as_secret(loot: Loot) -> Message:
    header = {"alg": loot.rng.choice(("HS256", "EdDSA"))} | loot.rng.choice(
        ({}, {"typ": "JWT"}, {"kid": OPERATOR})
    )
    secret = loot.rng.choice(forging.public_secrets(loot.rng.choice((OPERATOR, "fleet-1"))))
    return _on(loot, forging.mac(header, loot.json(), secret))


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
    return _on(loot, forging.compact({"alg": "EdDSA", **more}, loot.json(), by=by))


def wrong_key(loot: Loot) -> Message:
    claims = loot.fresh()
    return loot.stage.order(claims, by=loot.rng.choice(STRANGERS))


def revoked_key(loot: Loot) -> Message:
    return loot.stage.order(loot.fresh(iss=REVOKED))


def beyond_the_role(loot: Loot) -> Message:
    """A key of the fleet, rightly signed, for what is not its to order."""
    iss, verbs = loot.rng.choice(
        (
            (VIEWER, ("identify", "restart", "microphone", "speaker", "display", "config", "resend")),
            (COLLECTOR, ("identify", "restart", "microphone", "speaker", "display", "config", "logs")),
            (INSTALLER, tuple(verb for verb, _ in ORDERS)),  # this room is accepted
            (ELSEWHERE, tuple(verb for verb, _ in ORDERS)),
        )
    )
    verb = loot.rng.choice(verbs)
    return loot.stage.order(loot.stage.claims(verb, dict(ORDERS).get(verb, {}), iss=iss))


def base64_respelt(loot: Loot) -> Message:
    while (payload := forging.respelt(loot.rng, loot.held.payload)) == loot.held.payload:
        pass
    return _on(loot, payload)


def signature_stretched(loot: Loot) -> Message:
    return _on(loot, forging.stretched(loot.held.payload))


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
    return _on(loot, forging.compact({"alg": "EdDSA"}, data, by=VIEWER), "restart")


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
        return _on(loot, rng.choice((data, forging.deep(30_000), b"." * 60_000, b"A" * 250_000)))
    return _on(loot, forging.compact({"alg": "EdDSA"}, data, by=VIEWER), "restart")


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
    return _on(loot, forging.compact({"alg": "EdDSA"}, data, by=VIEWER), "restart")


def replayed(loot: Loot) -> Message:
    """In any order, as it came."""
    return loot.rng.choice(loot.seen)


def replayed_retained(loot: Loot) -> Message:
    return msgspec.structs.replace(loot.rng.choice((*loot.seen, loot.held)), retained=True)


def readdressed(loot: Loot) -> Message:
    """An operator's own, for another point, group, topic or verb."""
    rng, stage = loot.rng, loot.stage
    if rng.random() < 0.5:
        aud = rng.choice(
            ("point/xp-0001", "group/district-8", "point/+", "group/#", f"POINT/{POINT}", "", "group/")
        )
        claims = loot.fresh(aud=aud)
        return stage.order(claims, topic=f"diemcau/v1/point/{POINT}/command/{claims['verb']}")
    claims = loot.fresh()
    wrong = [verb for verb, _ in ORDERS if verb != claims["verb"]]
    topics = [
        f"diemcau/v1/point/{POINT}/command/{rng.choice(wrong)}",
        f"diemcau/v1/group/all/command/{claims['verb']}",
        f"diemcau/v1/point/xp-0001/command/{claims['verb']}",
        f"diemcau/v1/point/{POINT}/command/{claims['verb']}/more",
        f"diemcau/v2/point/{POINT}/command/{claims['verb']}",
        f"/diemcau/v1/point/{POINT}/command/{claims['verb']}",
        "diemcau/v1/fleet/keys",
        "diemcau/v1/conference/hop-1",
        "",
    ]
    return stage.order(claims, topic=rng.choice(topics))


def late_or_early(loot: Loot) -> Message:
    """An operator's own, held back until its nonce or its time is over, or of a time to come."""
    rng, now_s = loot.rng, int(loot.stage.clock.wall())
    claims = loot.fresh() | rng.choice(
        (
            {"nonce": "of-the-session-before"},
            {"nonce": None},
            {"nonce": loot.stage.nonce + " "},
            {"iat": now_s - 120, "exp": now_s - rng.randint(0, 60)},
            {"iat": now_s + rng.randint(130, 9000), "exp": now_s + 9060},
            {"exp": now_s + rng.randint(121, 10**6)},
            {"iat": now_s, "exp": now_s},
            {"iat": now_s + 1, "exp": now_s},
            {"iat": -(10**12), "exp": 10**12},
            {"iat": 0, "exp": 60},
        )
    )
    return loot.stage.order(claims)


def group_misused(loot: Loot) -> Message:
    """A group's command has no nonce: nothing of one point's, and nothing from before this start."""
    rng, now_s = loot.rng, int(loot.stage.clock.wall())
    before = (
        int(loot.stage.clock.wall() - (loot.stage.clock.monotonic() - loot.stage.room.context.started_s)) - 1
    )
    for_one: tuple[tuple[str, dict[str, Any]], ...] = (("restart", {"target": "camera"}), ("logs", {}))
    verb, args = rng.choice((*for_one, ("config", {"get": True})))
    choice: tuple[str, Any, dict[str, Any]] = rng.choice(
        (
            (verb, args, {"iat": now_s, "exp": now_s + 60}),
            ("identify", {}, {"iat": min(before, now_s - 1), "exp": now_s + 10}),
        )
    )
    verb, args, times = choice
    if times["exp"] - times["iat"] > 120:
        times["iat"] = times["exp"] - 121
    return loot.stage.order(loot.stage.claims(verb, args, aud="group/all", iss=OPERATOR, **times))


def unsigned(loot: Loot) -> Message:
    return _on(loot, loot.json(), None)


def other_protocols(loot: Loot) -> Message:
    """What the fleet signs for another purpose, sent as a command."""
    now_s = int(loot.stage.clock.wall())
    conference = {
        "schema": "diemcau.conference/1",
        "id": f"hop-{loot.rng.randrange(10**6)}-abcdef",
        "iss": OPERATOR,
        "revision": 1,
        "start": now_s,
        "end": now_s + 60,
        "groups": ["all"],
        "verb": "restart",
        "aud": f"point/{POINT}",
    }
    documents = (
        key_list(key(OPERATOR), revision=9),
        signed(conference, OPERATOR),
        signed(conference, "fleet-1"),
    )
    return _on(loot, loot.rng.choice(documents))


def bad_args(loot: Loot) -> Message:
    """An operator's own mistake: refused whole, nothing of it done."""
    verb, args = loot.rng.choice(
        (
            ("restart", {"target": "everything"}),
            ("restart", {"target": "camera", "now": True}),
            ("speaker", {"volume_percent": 10**400}),
            ("speaker", {"volume_percent": "40"}),
            ("display", {"message": "x" * 301}),
            ("display", {"message": ["a"]}),
            ("identify", {"seconds": 5, "spread_s": -1}),
            ("config", {"set": {"point": "xp-0002"}}),
            ("config", {"set": {"probe": {"period_s": 10**400}}}),
            ("microphone", {"mute": False}),
            ("camera", {"power": True}),
            ("camera", {"snapshot": True}),
            ("update", {"version": "9", "url": "https://example.invalid/x", "sha256": "0" * 64}),
            ("explode", {}),
        )
    )
    return loot.stage.order(loot.stage.claims(verb, args, iss=OPERATOR))


def noise(loot: Loot) -> Message:
    size = loot.rng.choice((0, 1, 40, 700, 17_000))
    return _on(loot, loot.rng.randbytes(size))


ATTACKS: tuple[Attack, ...] = (
    bytes_changed, truncated, concatenated, parts_swapped, signature_stripped, signature_stretched,
    algorithm_none, public_key_as_secret, header_changed, wrong_key, revoked_key, beyond_the_role,
    base64_respelt, unicode_twisted, giant, duplicate_keys, replayed, replayed_retained, readdressed,
    late_or_early, group_misused, unsigned, other_protocols, bad_args, noise,
)  # fmt: skip


def good(loot: Loot) -> Message:
    """Of an operator, or of a viewer within his role: to this point, or to a group."""
    rng = loot.rng
    verb, args = rng.choice(ORDERS)
    iss = rng.choice((OPERATOR, OPERATOR, "operator-2", VIEWER if verb in ("ping", "logs") else OPERATOR))
    to_group = verb in ("ping", "identify", "speaker", "display", "microphone") and rng.random() < 0.3
    aud = rng.choice(("group/all", "group/district-7")) if to_group else f"point/{POINT}"
    return loot.stage.order(loot.stage.claims(verb, args, iss=iss, aud=aud))


def id_of(message: Message) -> str:
    return str(claims_of(message)["id"])
