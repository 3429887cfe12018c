"""``diemcau-fleet kit add | list | token | revoke``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diemcau_fleet.arguments import fleet_id, number

from .desk import WrongUsage, add_directory, carry_out, moment

if TYPE_CHECKING:
    from .ca import Commands


def add(commands: Commands) -> None:
    kit = commands.add_parser("kit", help="the kits in the rooms: their ids, one-time tokens, revocation")
    actions = kit.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("add", help="register a kit; prints its one-time token and its agent.toml")
    new.add_argument("--group", type=fleet_id, action="append", default=[], metavar="GROUP")
    new.add_argument("--via", type=fleet_id, metavar="BRIDGE", help="the service that speaks for it")
    new.add_argument("--est-url", metavar="URL", help="such as https://est.example:8443")
    new.add_argument(
        "--broker-url", action="append", default=[], metavar="URL", help="in order of preference"
    )
    new.add_argument(
        "--out", type=Path, metavar="DIR", help="for agent.toml, token and ca.pem, instead of printing"
    )
    token = actions.add_parser("token", help="a new one-time token; the one before is void")
    revoke = actions.add_parser("revoke", help="its certificates and tokens, until `kit add` anew")
    shown = actions.add_parser("list", help="every kit, its groups, and until when it is let in")
    for action in (new, token):
        action.add_argument(
            "--valid-h",
            type=number(1, 24 * 90),
            default=72,
            metavar="HOURS",
            help="how long the token may be used; default: %(default)s",
        )
    for action in (new, token, revoke):
        action.add_argument("point", type=fleet_id, metavar="POINT")
    for action in (new, token, revoke, shown):
        add_directory(action)


def run(arguments: argparse.Namespace) -> int:
    actions = {"add": _add, "list": _list, "token": _token, "revoke": _revoke}
    return carry_out(f"kit {arguments.action}", lambda: actions[arguments.action](arguments))


def _add(arguments: argparse.Namespace) -> None:
    from diemcau_agent import config, files
    from diemcau_fleet import key_list
    from diemcau_fleet.authority import CERTIFICATE
    from diemcau_fleet.registry import Registry

    from . import kit_settings

    point, groups, out = arguments.point, list(dict.fromkeys(arguments.group)), arguments.out
    with Registry.open(arguments.dir) as registry:
        fleet = key_list.fleet_keys(registry)
        urls = (arguments.est_url, arguments.broker_url)
        try:  # before anything is registered: what the kit would say to it
            known = (urls[0] or "https://est.example", urls[1] or ["mqtts://broker.example"])
            config.parse(kit_settings.text(point, groups, fleet, *known))
        except config.ConfigError as error:
            raise WrongUsage(str(error)) from None
        authority = (arguments.dir / CERTIFICATE).read_bytes()
        if out is not None:
            out.mkdir(0o700, parents=True, exist_ok=True)
        token = registry.add_kit(point, groups, arguments.via, arguments.valid_h * 3600)
        until = moment(registry.now_s + arguments.valid_h * 3600)
    settings = kit_settings.text(point, groups, fleet, *urls)
    if out is not None:
        files.replace(out / "token", f"{token}\n".encode())
        files.replace(out / "agent.toml", settings.encode(), 0o644)
        files.replace(out / "ca.pem", authority, 0o644)
        print(f"{point}: agent.toml, ca.pem and token (once, until {until}) in {out}, for /etc/diemcau")
        return
    print(f"# One-time token, shown this once, good until {until}; into /etc/diemcau/token (0600) it goes:")
    print(f"# {token}")
    print(f"# {arguments.dir / CERTIFICATE} goes to {kit_settings.CA_FILE}, and this to agent.toml:")
    print(settings, end="")


def _token(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.registry import Registry

    with Registry.open(arguments.dir) as registry:
        print(registry.new_token(arguments.point, arguments.valid_h * 3600))


def _revoke(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.registry import Registry

    with Registry.open(arguments.dir) as registry:
        count = registry.revoke(arguments.point, "kit")
    print(f"{arguments.point}: revoked, with {count} certificates; `diemcau-fleet broker` tells the brokers")


def _list(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.registry import Registry

    with Registry.open(arguments.dir) as registry:
        now_s = int(registry.now_s)
        kits = registry.rows(
            """SELECT id, groups, via, revoked_s,
                   (SELECT max(not_after_s) FROM certificate WHERE id = kit.id AND revoked_s IS NULL),
                   (SELECT expires_s FROM token WHERE id = kit.id AND serial IS NULL)
               FROM kit JOIN member USING (id) ORDER BY id"""
        )
    for kit, groups, via, revoked_s, ends_s, expires_s in kits:
        if revoked_s is not None:
            state = f"revoked {moment(revoked_s)}"
        elif ends_s is not None:
            state = f"certificate {'until' if ends_s > now_s else 'ended'} {moment(ends_s)}"
        else:
            state = "never enrolled"
        if expires_s is not None:
            state += f", token {'until' if expires_s > now_s else 'ended'} {moment(expires_s)}"
        print(f"{kit} groups={groups or '-'} via={via or '-'} {state}")
