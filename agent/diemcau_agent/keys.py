"""Whose commands this kit obeys: the fleet's newest list of keys (docs/wire.md), kept on the card.

The room's settings name the fleet's own keys (``fleet_keys``). They sign the first list; each list names the
keys that may sign the next. An older list never takes the place of a newer one, over restarts too, so that a
broker that was taken over can bring no revoked key back; it can only withhold what is new, until ``exp``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from . import files, jws
from .explain import explain_json
from .model import FleetKey, Keys, Role

MAX_BYTES = 255 * 1024
"""A thousand keys are some 120 KiB; a packet with its topic has 256 (:data:`.mqtt.PACKET_LIMIT_BYTES`)."""
ALLOWED: dict[Role, frozenset[str] | None] = {
    "operator": None,
    "installer": None,
    "viewer": frozenset({"ping", "logs"}),
    "collector": frozenset({"ping", "resend"}),
}
"""The verbs of a role; None: all of them."""
CONFERENCE = "conference"
"""No verb: to plan a conference, which is of many points."""

log = logging.getLogger(__name__)


class KeysError(ValueError):
    """A list of keys that is not taken, and why. ``code``: ``too_large``, ``malformed``, ``bad_signature``,
    ``bad_args``, ``old_revision``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class _Kept(msgspec.Struct, frozen=True):
    """``anchors``: the settings' ``fleet_keys`` that ``list`` goes back to."""

    anchors: tuple[str, ...]
    list: str


def read(payload: bytes, trusted: Sequence[str]) -> Keys:
    """A list that one of the keys ``trusted`` has signed. Raises KeysError with every reason."""
    if len(payload) > MAX_BYTES:
        raise KeysError("too_large", f"got {len(payload)} bytes, expected at most {MAX_BYTES}")
    try:
        letter = jws.parse(payload)
        signed = letter.signed_by_one_of(trusted)
    except jws.JwsError as error:
        raise KeysError("malformed", str(error)) from None
    if not signed:
        raise KeysError("bad_signature", "it is signed by none of the fleet's keys")
    try:
        keys = msgspec.json.decode(letter.payload, type=Keys)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeysError("bad_args", "; ".join(explain_json(Keys, letter.payload)) or str(error)) from None
    if errors := _across(keys):
        raise KeysError("bad_args", "; ".join(errors))
    return keys


def _across(keys: Keys) -> list[str]:
    """What no single field can tell."""
    errors: list[str] = []
    ids = Counter(key.id for key in keys.keys)
    errors += [f"keys: {key_id} is named {count} times" for key_id, count in ids.items() if count > 1]
    for key in keys.keys:
        if key.role == "installer" and not key.points:
            errors.append(f"keys: {key.id}: got no points, expected those that this installer may set up")
    for name, texts in (("fleet", keys.fleet), ("keys", tuple(key.public for key in keys.keys))):
        for text in texts:
            try:
                jws.public_key(text)
            except jws.JwsError as error:
                errors.append(f"{name}: {text}: {error}")
    return errors


class Keyring:
    """The newest list, in ``path``. ``anchors``: the settings' ``fleet_keys``. Not for two threads."""

    def __init__(self, path: Path, anchors: Sequence[str]) -> None:
        self._path = path
        self._anchors = tuple(anchors)
        self._keys: Keys | None = None
        self._by_id: dict[str, FleetKey] = {}
        self._revoked: frozenset[str] = frozenset()
        self.text = b""
        """The newest list as it came."""

    @property
    def revision(self) -> int:
        """0 where there is no list yet."""
        return 0 if self._keys is None else self._keys.revision

    @property
    def count(self) -> int:
        """How many keys are obeyed."""
        return len(self._by_id)

    @property
    def trusted(self) -> tuple[str, ...]:
        """The keys that may sign the next list."""
        return self._anchors if self._keys is None else self._keys.fleet

    def load(self) -> None:
        """What was kept. A damaged file, or one of other anchors, is as none: the broker has it still."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
            if kept.anchors == self._anchors:
                text = kept.list.encode()
                # Its signer was trusted when it came, and may be named by a list that is not kept any more.
                own = msgspec.json.decode(jws.parse(text).payload, type=Keys).fleet
                self._adopt(read(text, (*self._anchors, *own)), text)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
            log.error("%s: not used: %s", self._path, error)

    def take(self, payload: bytes) -> bool:
        """Adopt a newer list, on the card when this returns; False where it is the one we have.

        Raises KeysError where it is not to be trusted or is older, OSError where it cannot be kept (it is in
        force all the same).
        """
        if payload and payload == self.text:
            return False
        keys = read(payload, self.trusted)
        if keys.revision <= self.revision:
            raise KeysError(
                "old_revision", f"revision: got {keys.revision}, expected more than {self.revision}"
            )
        self._adopt(keys, payload)
        files.replace(self._path, msgspec.json.encode(_Kept(self._anchors, payload.decode())))
        return True

    def find(self, key_id: str, now_s: float | None = None) -> FleetKey | None:
        """The key, None where it is unknown or revoked, or the list has run out by ``now_s`` (wall time, None
        where it is not known)."""
        expires_s = None if self._keys is None else self._keys.exp
        if now_s is not None and expires_s is not None and now_s >= expires_s:
            return None
        return self._by_id.get(key_id)

    def revoked(self, key_id: str) -> bool:
        """Whether the list says that it is never obeyed again."""
        return key_id in self._revoked

    def _adopt(self, keys: Keys, text: bytes) -> None:
        self._revoked = frozenset(keys.revoked)
        self._keys, self.text = keys, text
        self._by_id = {key.id: key for key in keys.keys if key.id not in self._revoked}


def permits(key: FleetKey, verb: str, point: str, *, accepted: bool) -> bool:
    """Whether ``key`` may order ``verb`` of ``point``, which has been ``accepted`` or not."""
    if verb == CONFERENCE:
        return key.role == "operator" and not key.points
    if key.points and point not in key.points:
        return False
    if key.role == "installer" and accepted:
        return False
    allowed = ALLOWED[key.role]
    return allowed is None or verb in allowed
