"""What the attacker has, and the good commands that he has not sent yet."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

from command_room import POINT
from stage import OPERATOR, ORDERS, VIEWER, Message, Stage, claims_of


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


def on(loot: Loot, payload: bytes, verb: str | None = None) -> Message:
    return Message(loot.held.topic if verb is None else f"diemcau/v1/point/{POINT}/command/{verb}", payload)


Attack = Callable[[Loot], Message]


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
