"""The fleet's list of keys (``diemcau/v1/fleet/keys``, docs/wire.md): whose commands the kits obey.

Made from the registry, signed with the fleet's key (``fleet.key``), and read back with the kit's own eyes
before it is handed out. The fleet's key is changed in two steps: a list that names both keys, signed by the
old one, then one that names the new one alone, signed by it. A kit that never saw the former refuses the
latter.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from diemcau_agent import jws, keys
from diemcau_agent.model import FleetKey, Keys

from . import signing_key
from .owned_files import belong
from .registry import Registry
from .registry_file import RegistryError

KEY = "fleet.key"
NEXT_KEY = "fleet.next.key"


class KeyListError(Exception):
    """No list can be signed, or none that a kit would take."""


class Issued(msgspec.Struct, frozen=True):
    """``fresh``: it differs from the one before, and has a revision of its own."""

    revision: int
    text: bytes
    fresh: bool


def begin(registry: Registry) -> str:
    """The fleet's first key, in its directory; its public half."""
    public = _make(registry.directory / KEY)
    with registry.change("ca init", detail=f"fleet key {public}") as db:
        db.execute("INSERT INTO fleet_key VALUES (?, 'signs', ?)", (public, int(registry.now_s)))
    return public


def fleet_keys(registry: Registry) -> tuple[str, ...]:
    """Public keys that a kit is to trust, the one that signs first."""
    found = registry.rows("SELECT public FROM fleet_key WHERE state != 'gone' ORDER BY state DESC")
    return tuple(public for (public,) in found)


def rotate_begin(registry: Registry) -> str:
    """The next key, in its own file; the lists name both from now on."""
    if len(fleet_keys(registry)) > 1:
        raise RegistryError("a change of the fleet's key is under way: ca rotate finish ends it")
    path = registry.directory / NEXT_KEY
    # Left by a process that was killed before it said so.
    public = signing_key.public(signing_key.load(path)) if path.exists() else _make(path)
    with registry.change("ca rotate begin", detail=public) as db:
        db.execute("INSERT INTO fleet_key VALUES (?, 'next', ?)", (public, int(registry.now_s)))
    return public


def rotate_finish(registry: Registry) -> str:
    """From now on the next key alone signs; its public half."""
    named = fleet_keys(registry)
    if len(named) < 2:
        raise RegistryError("no change of the fleet's key is under way: ca rotate begin starts one")
    newest = _newest(registry)
    if newest is None or set(newest.fleet) != set(named):
        raise RegistryError("no list that names both keys was signed yet: do so, publish it and wait")
    old, new = named
    with registry.change("ca rotate finish", detail=new) as db:
        db.execute("UPDATE fleet_key SET state = 'gone' WHERE public = ?", (old,))
        db.execute("UPDATE fleet_key SET state = 'signs' WHERE public = ?", (new,))
    path = registry.directory / NEXT_KEY
    if path.exists():  # else it is kept elsewhere
        path.replace(registry.directory / KEY)
    return new


def issue(
    registry: Registry, key_file: Path | None = None, valid_s: int | None = None, after: int = 0
) -> Issued:
    """The list of what is in force, with the next revision where it differs from the last that was signed.

    ``key_file``: the fleet's key, where it is kept elsewhere. ``valid_s``: after so long the kits obey nobody
    by it. ``after``: a revision that the kits have and a registry from a backup does not know of. Raises
    KeyListError, RegistryError, SigningKeyError, OSError.
    """
    # All of it in one transaction: a list that was made before a revocation must not get the later number.
    with registry.transaction() as db:
        content = _content(registry, valid_s)
        newest = db.execute("SELECT revision, content, text FROM key_list ORDER BY revision DESC").fetchone()
        revision, before, text = newest or (0, b"", b"")
        same = before == msgspec.json.encode(msgspec.structs.replace(content, revision=revision))
        if same and revision > after:
            return Issued(revision, text, fresh=False)
        content = msgspec.structs.replace(content, revision=max(revision, after) + 1)
        encoded = msgspec.json.encode(content)
        text = jws.sign(encoded, _seed(registry, content.fleet[0], key_file))
        try:
            keys.read(text, content.fleet[:1])
        except keys.KeysError as error:
            raise KeyListError(f"no kit would take this list: {error}") from None
        signed = (content.revision, encoded, text, int(registry.now_s))
        db.execute("INSERT INTO key_list VALUES (?, ?, ?, ?)", signed)
        registry.log("keys", detail=f"revision={content.revision}")
    return Issued(content.revision, text, fresh=True)


def _content(registry: Registry, valid_s: int | None) -> Keys:
    operators = registry.rows(
        "SELECT id, role, public, points, revoked_s FROM operator JOIN member USING (id) ORDER BY id"
    )
    return Keys(
        schema="diemcau.keys/1",
        revision=1,
        fleet=fleet_keys(registry),
        keys=tuple(
            FleetKey(id=one, role=role, public=public, points=tuple(points.split(",")) if points else ())
            for one, role, public, points, revoked_s in operators
            if revoked_s is None
        ),
        revoked=tuple(one for one, *_, revoked_s in operators if revoked_s is not None),
        exp=None if valid_s is None else int(registry.now_s) + valid_s,
    )


def _newest(registry: Registry) -> Keys | None:
    found = registry.rows("SELECT content FROM key_list ORDER BY revision DESC LIMIT 1")
    return msgspec.json.decode(found[0][0], type=Keys) if found else None


def _seed(registry: Registry, public: str, key_file: Path | None) -> bytes:
    """Of the key that signs, whichever file has it: a change of keys may have been cut short."""
    files = (registry.directory / KEY, registry.directory / NEXT_KEY) if key_file is None else (key_file,)
    for path in files:
        if path.exists() and signing_key.public(seed := signing_key.load(path)) == public:
            return seed
    raise KeyListError(f"{files[0]}: expected the fleet's key {public}, which signs the lists")


def _make(path: Path) -> str:
    public = signing_key.make(path)
    belong(path)
    return public
