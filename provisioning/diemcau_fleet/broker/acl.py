"""Who may say and hear what, in mosquitto's ACL file. Pure.

A kit needs no line of its own unless it is in a group: the patterns are made of its user name, which is
its certificate's CN. Patterns hold for everybody, so whoever is no kit is denied the point of its own name:
else a viewer could make up a room. A denial comes before every permission (mosquitto sorts them so).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diemcau_agent import topics
from diemcau_fleet.members import Kit, Members, Service, ServiceRole

OFFICE = "_office"
"""CN of the short session that clears a revoked kit's retained documents. No id of a member can be this one;
who can have a certificate of this name made has the authority's key, and so any name."""
_ROOT = topics.ROOT
_COMMANDS = f"{_ROOT}/group/+/command/+"
_CONFERENCES = topics.CONFERENCE_FILTER
_ROLES: dict[ServiceRole, tuple[str, ...]] = {
    "operator": (
        f"read {_ROOT}/point/+/#",
        f"write {_ROOT}/point/+/command/+",
        f"write {_COMMANDS}",
        f"write {_CONFERENCES}",
    ),
    "viewer": (f"deny {_ROOT}/group/#", f"read {_ROOT}/point/+/#"),
    "collector": (
        f"deny {_ROOT}/group/#",
        f"read {_ROOT}/point/+/#",
        f"write {_ROOT}/point/+/command/resend",
    ),
    "publisher": (f"deny {_ROOT}/group/#", f"deny {_CONFERENCES}", f"write {topics.KEYS_TOPIC}"),
    "bridge": (f"read {_COMMANDS}",),
}


class MembersError(ValueError):
    """An id or a group that would be more than a name in a file of lines."""


def acl(members: Members, bridge: str | None = None) -> str:
    """The file's text; ``bridge``: of the province's broker that this bridge connects to the centre's.

    What a point publishes is one level below it, or a reply; commands to it lie two levels below: so a kit
    writes no commands, not even its own. Raises MembersError.
    """
    return "\n".join(_lines(members, bridge)) + "\n"


def _lines(members: Members, bridge: str | None) -> Iterator[str]:
    gone = set(members.revoked)
    kits = [kit for kit in members.kits if kit.id not in gone and bridge in (None, kit.via)]
    yield "# Written by `diemcau-fleet broker`: a change by hand is lost. docs/broker.md"
    yield f"pattern write {_ROOT}/point/%u/+"
    yield f"pattern write {_ROOT}/point/%u/reply/+"
    yield f"pattern read {_ROOT}/point/%u/command/+"
    yield "# These three are for every kit; mosquitto warns that they are no patterns, and obeys."
    yield f"pattern read {_ROOT}/group/all/command/+"
    yield f"pattern read {_CONFERENCES}"
    yield f"pattern read {topics.KEYS_TOPIC}"
    yield from _user(OFFICE, [f"write {_ROOT}/point/+/+"])
    for kit in kits:
        groups = [_checked(group, f"{kit.id}: group") for group in kit.groups if group != "all"]
        if groups:
            yield from _user(kit.id, (f"read {_ROOT}/group/{group}/command/+" for group in groups))
    for service in members.services:
        if service.id not in gone:
            yield from _service(service, kits if bridge is None else [])
    for identity in members.revoked:
        if topics.is_id(identity):  # a server's name is no client's
            yield from _user(identity, ["deny #"])


def _service(service: Service, kits: Iterable[Kit]) -> Iterator[str]:
    """A bridge speaks for the kits that come through it, and hears what is said to them."""
    rules = [f"deny {_ROOT}/point/{service.id}/#", *_ROLES[service.role]]
    if service.role == "bridge":
        own = [f"{_ROOT}/point/{_checked(kit.id, 'id')}" for kit in kits if kit.via == service.id]
        rules += [f"write {point}/+" for point in own]
        rules += [f"write {point}/reply/+" for point in own]
        rules += [f"read {point}/command/+" for point in own]
    return _user(service.id, rules)


def _user(identity: str, rules: Iterable[str]) -> Iterator[str]:
    yield ""
    yield f"user {identity if identity == OFFICE else _checked(identity, 'id')}"
    for rule in rules:
        yield f"topic {rule}"


def _checked(name: str, what: str) -> str:
    if not topics.is_id(name):
        raise MembersError(f"{what}: got {name!r}, expected {topics.ID_PATTERN}")
    return name
