"""Who belongs to the fleet, as a broker needs to know it. Each id is a certificate's CN and a client id."""

from __future__ import annotations

from typing import Literal

import msgspec

ServiceRole = Literal["operator", "viewer", "collector", "publisher", "bridge"]
"""``operator`` gives commands and conferences, ``viewer`` reads, ``collector`` reads and has documents sent
again, ``publisher`` publishes the list of keys, ``bridge`` speaks for a province's points."""


class Kit(msgspec.Struct, frozen=True):
    """``via``: the id of the bridge through which it comes, None where it connects itself."""

    id: str
    groups: tuple[str, ...] = ()
    via: str | None = None


class Service(msgspec.Struct, frozen=True):
    id: str
    role: ServiceRole


class Members(msgspec.Struct, frozen=True):
    """Those that are not revoked, and the ids of those that are."""

    kits: tuple[Kit, ...] = ()
    services: tuple[Service, ...] = ()
    revoked: tuple[str, ...] = ()
