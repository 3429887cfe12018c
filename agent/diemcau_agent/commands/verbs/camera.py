"""``camera``: power, zoom, preset, a snapshot. Switching off is always allowed.

A snapshot is taken only where the room's own file says so, light or screen tells of it meanwhile, and the
audit has it on the card.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Any

from msgspec import Meta

from diemcau_agent.audit.chain import SNAPSHOT
from diemcau_agent.commands.outcome import Done, Failed, Refused
from diemcau_agent.commands.verb import Args, Call, Verb, given

SNAPSHOT_MAX_BYTES = 200 * 1024
AUDITED_S = 5.0


class CameraArgs(Args, frozen=True, forbid_unknown_fields=True, kw_only=True):
    power: bool | None = None
    zoom: Annotated[float, Meta(ge=1, le=10)] | None = None
    preset: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    snapshot: bool = False
    force: bool = False


class Camera(Verb[CameraArgs]):
    name = "camera"
    args = CameraArgs
    deadline_s = 150.0

    def holds(self, args: CameraArgs) -> tuple[str, ...]:
        return ("camera",)

    def disturbs(self, args: CameraArgs) -> bool:
        return bool(given(args, "power", "zoom", "preset"))

    async def permit(self, call: Call, args: CameraArgs) -> None:
        policy = call.context.settings().policy
        if not args.snapshot and not given(args, "power", "zoom", "preset"):
            raise Refused("bad_args", "args: got none, expected any of power, zoom, preset, snapshot")
        if args.power and not policy.camera_on:
            raise Refused("not_permitted", "this room's policy forbids to switch the camera on from afar")
        if args.snapshot and not policy.snapshot:
            raise Refused("not_permitted", "this room's policy forbids snapshots")

    async def run(self, call: Call, args: CameraArgs) -> Done:
        ask = call.context.ask
        force = {"force": True} if args.force else {}
        changes = given(args, "power", "zoom", "preset")
        result = await ask("camera", "set", changes | force) if changes else {}
        if not args.snapshot:
            return Done(result)
        taken = await self._taken(call, {"max_bytes": SNAPSHOT_MAX_BYTES} | force)
        size = {key: taken.get(key) for key in ("width_px", "height_px", "bytes")}
        proof = {"sha256": _digest(taken)} | size
        call.context.note(SNAPSHOT, {"id": call.claims.id, "iss": call.claims.iss, **proof})
        picture = proof | {"jpeg_base64": taken["jpeg_base64"]}
        return Done(result | {"snapshot": picture}, kept=result | {"snapshot": proof})

    async def _taken(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        context = call.context
        if not await context.noted(AUDITED_S):
            raise Failed("internal", "no picture is taken that the audit cannot keep: the card takes nothing")
        async with context.picture_told() as told:
            if not told:
                raise Refused("not_permitted", "nobody in the room would see it: no light or screen tells it")
            return await context.ask("camera", "snapshot", args)


def _digest(taken: dict[str, Any]) -> str:
    """SHA-256 of the JPEG. Raises Failed where the camera's process sent none, or too much."""
    try:
        jpeg = base64.b64decode(taken.get("jpeg_base64", ""), validate=True)
    except (binascii.Error, ValueError, TypeError):
        jpeg = b""
    if not 0 < len(jpeg) <= SNAPSHOT_MAX_BYTES:
        raise Failed("internal", f"snapshot: got {len(jpeg)} bytes, expected 1 to {SNAPSHOT_MAX_BYTES}")
    return hashlib.sha256(jpeg).hexdigest()
