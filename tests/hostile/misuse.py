"""Attacks by what is rightly signed: at the wrong time, place or purpose, or by a key of too small a role."""

from __future__ import annotations

from typing import Any

import msgspec

from command_room import POINT
from loot import Loot, on
from signing import key, key_list, signed
from stage import COLLECTOR, ELSEWHERE, INSTALLER, OPERATOR, ORDERS, REVOKED, VIEWER, Message


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
    return on(loot, loot.json(), None)


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
    return on(loot, loot.rng.choice(documents))


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
    return on(loot, loot.rng.randbytes(size))
