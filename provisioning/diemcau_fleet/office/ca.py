"""``diemcau-fleet ca init | show | server | rotate``: the authority, and the key that signs the lists."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from diemcau_fleet.arguments import is_address

from .desk import add_directory, carry_out, moment

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage]

    Commands = _SubParsersAction[argparse.ArgumentParser]


def add(commands: Commands) -> None:
    ca = commands.add_parser("ca", help="the fleet's certificate authority, and its own signing key")
    actions = ca.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = actions.add_parser("init", help="make the fleet: authority, signing key, registry")
    init.add_argument("--name", default="diemcau fleet", help="the authority's; default: %(default)s")
    show = actions.add_parser("show", help="what the kits must know of it, and what it has issued")
    server = actions.add_parser("server", help="a certificate for a broker, or for the EST server")
    server.add_argument("name", metavar="NAME", type=_host, help="such as broker.example")
    server.add_argument(
        "--san",
        type=_host,
        nargs="+",
        action="extend",
        default=[],
        metavar="HOST",
        help="DNS names and IP addresses that it answers to; default: NAME",
    )
    server.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for ca.pem, cert.pem, key.pem"
    )
    server.add_argument("--replace", action="store_true", help="the files that are in DIR")
    rotate = actions.add_parser("rotate", help="change the fleet's signing key, in two steps")
    rotate.add_argument("step", choices=("begin", "finish"))
    for action in (init, show, server, rotate):
        add_directory(action)


def run(arguments: argparse.Namespace) -> int:
    actions = {"init": _init, "show": _show, "server": _server, "rotate": _rotate}
    return carry_out(f"ca {arguments.action}", lambda: actions[arguments.action](arguments))


def _init(arguments: argparse.Namespace) -> None:
    from diemcau_fleet import key_list
    from diemcau_fleet.authority import Authority
    from diemcau_fleet.registry import Registry
    from diemcau_fleet.registry_file import FILE, RegistryError

    directory: Path = arguments.dir
    directory.mkdir(0o700, parents=True, exist_ok=True)
    for taken in (directory / FILE, directory / key_list.KEY):  # the authority looks after its own
        if taken.exists():
            raise RegistryError(f"{taken}: there is a fleet already")
    Authority.make(directory, arguments.name, time.time())
    with Registry.open(directory, create=True) as registry:
        key_list.begin(registry)
    _show(arguments)


def _show(arguments: argparse.Namespace) -> None:
    from cryptography.hazmat.primitives import hashes

    from diemcau_fleet import key_list
    from diemcau_fleet.authority import read_certificate
    from diemcau_fleet.registry import Registry

    certificate = read_certificate(arguments.dir)
    with Registry.open(arguments.dir) as registry:
        counts = registry.rows(
            """SELECT kind, count(*) - count(revoked_s), count(revoked_s) FROM member
               GROUP BY kind ORDER BY kind"""
        )
        ((good,),) = registry.rows(
            "SELECT count(*) FROM certificate WHERE revoked_s IS NULL AND not_after_s > ?",
            int(registry.now_s),
        )
        ((revision,),) = registry.rows("SELECT coalesce(max(revision), 0) FROM key_list")
        fleet = key_list.fleet_keys(registry)
    ends_s = certificate.not_valid_after_utc.timestamp()
    print(f"authority: {certificate.subject.rfc4514_string()}, until {moment(ends_s)}")
    print(f"authority's SHA-256: {certificate.fingerprint(hashes.SHA256()).hex(':')}")
    for kind, present, revoked in counts:
        print(f"{kind}s: {present}" + (f" and {revoked} revoked" if revoked else ""))
    print(f"certificates that are good: {good}")
    print(f"list of keys: revision {revision}" if revision else "list of keys: none signed yet")
    print("for agent.toml:")
    print(f"fleet_keys = {json.dumps(fleet)}")


def _server(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.authority import Authority
    from diemcau_fleet.registry import Registry

    from .handout import Handout

    name, names = arguments.name, list(dict.fromkeys(arguments.san or [arguments.name]))
    with Registry.open(arguments.dir) as registry:
        handout = Handout(arguments.out, Authority.load(arguments.dir), replace=arguments.replace)
        certificate = registry.add_server(name, lambda: handout.server(name, names, registry.now_s))
    handout.fill(certificate)
    print(f"{name}: {', '.join(names)}; until {moment(certificate.not_after_s)}; in {arguments.out}")


def _rotate(arguments: argparse.Namespace) -> None:
    from diemcau_fleet import key_list
    from diemcau_fleet.registry import Registry

    with Registry.open(arguments.dir) as registry:
        if arguments.step == "begin":
            print(f"next key: {key_list.rotate_begin(registry)}")
            print("now: diemcau-fleet keys, publish the list, and wait until every kit has been online;")
            print("then: diemcau-fleet ca rotate finish, diemcau-fleet keys, and publish that list.")
        else:
            print(f"the key that signs from now on: {key_list.rotate_finish(registry)}")
            print("now: diemcau-fleet keys, and publish the list; new kits get the new fleet_keys.")


def _host(text: str) -> str:
    """A certificate's common name holds 64 characters (RFC 5280, appendix A)."""
    import re

    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if len(text) > 64 or not (re.fullmatch(rf"{label}(\.{label})*", text) or is_address(text)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a DNS name or an IP address")
    return text
