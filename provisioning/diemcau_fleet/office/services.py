"""``diemcau-fleet service add | renew | revoke | list``: programs that speak to the broker, and bridges."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diemcau_fleet.arguments import fleet_id

from .desk import add_directory, carry_out, moment

if TYPE_CHECKING:
    from .ca import Commands

ROLES = ("collector", "publisher", "bridge", "viewer", "operator")


def add(commands: Commands) -> None:
    service = commands.add_parser("service", help="programs of the centre, bridges: their certificates")
    actions = service.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("add", help="register a service and issue its certificate")
    new.add_argument("--role", choices=ROLES, required=True, help="what it may do at the broker")
    renew = actions.add_parser("renew", help="the next certificate of a service, or of an operator")
    revoke = actions.add_parser("revoke", help="its certificates, until `service add` anew")
    shown = actions.add_parser("list", help="every service, and operators with a certificate")
    for action in (new, renew):
        action.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="for ca.pem, cert.pem, key.pem"
        )
    for action in (new, renew, revoke):
        action.add_argument("id", type=fleet_id, metavar="ID")
    for action in (new, renew, revoke, shown):
        add_directory(action)


def run(arguments: argparse.Namespace) -> int:
    actions = {"add": _add, "renew": _add, "revoke": _revoke, "list": _list}
    return carry_out(f"service {arguments.action}", lambda: actions[arguments.action](arguments))


def _add(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.authority import Authority
    from diemcau_fleet.registry import Registry

    from .handout import Handout

    again = arguments.action == "renew"
    with Registry.open(arguments.dir) as registry:
        role = registry.service_role(arguments.id) if again else arguments.role
        handout = Handout(arguments.out, Authority.load(arguments.dir), replace=again)
        certificate = registry.add_service(
            arguments.id,
            role,
            lambda: handout.client(arguments.id, registry.now_s),
            again=again,
        )
    handout.fill(certificate)
    print(f"{arguments.id}: {role}, until {moment(certificate.not_after_s)}; in {arguments.out}")


def _revoke(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.registry import Registry

    with Registry.open(arguments.dir) as registry:
        count = registry.revoke(arguments.id, "service")
        ((kits,),) = registry.rows(
            "SELECT count(*) FROM kit JOIN member USING (id) WHERE via = ? AND revoked_s IS NULL",
            arguments.id,
        )
    print(f"{arguments.id}: revoked, with {count} certificates; `diemcau-fleet broker` tells the brokers")
    if kits:
        print(f"{kits} kits came through it")


def _list(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.registry import Registry

    with Registry.open(arguments.dir) as registry:
        services = registry.rows(
            """SELECT id, role, kind, revoked_s,
                   (SELECT max(not_after_s) FROM certificate WHERE id = service.id)
               FROM service JOIN member USING (id) ORDER BY id"""
        )
    for service, role, kind, revoked_s, ends_s in services:
        state = f"until {moment(ends_s)}" if revoked_s is None else f"revoked {moment(revoked_s)}"
        print(f"{service} role={role} kind={kind} {state}")
