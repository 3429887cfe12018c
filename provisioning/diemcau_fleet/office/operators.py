"""``diemcau-fleet operator add | revoke | list`` and ``keys``: whose commands the kits obey."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from diemcau_fleet.arguments import fleet_id, number
from diemcau_fleet.papers import SIGNING_KEY

from .desk import WrongUsage, add_directory, carry_out, moment

if TYPE_CHECKING:
    from .ca import Commands

ROLES = ("operator", "installer", "viewer", "collector")


def add(commands: Commands) -> None:
    operator = commands.add_parser("operator", help="people and programs whose signed commands are obeyed")
    actions = operator.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("add", help="register the signing key of an operator")
    new.add_argument("--role", choices=ROLES, required=True, help="which commands it may give")
    new.add_argument(
        "--point",
        type=fleet_id,
        action="append",
        default=[],
        metavar="POINT",
        help="the only kits that obey it; an installer needs one",
    )
    key = new.add_mutually_exclusive_group()
    key.add_argument(
        "--key-file", type=Path, metavar="NEW",
        help=f"where its new key is to be kept (PKCS#8); default: {SIGNING_KEY} in --out",
    )  # fmt: skip
    key.add_argument(
        "--public", metavar="KEY|FILE", help="the public half of a key that it has: base64url, or PEM in FILE"
    )
    new.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="for ca.pem, cert.pem, key.pem: what it is at the broker; made where it is not there",
    )
    revoke = actions.add_parser("revoke", help="for ever; its certificates too")
    shown = actions.add_parser("list", help="every operator, its role and its key")
    for action in (new, revoke):
        action.add_argument("id", type=fleet_id, metavar="ID")
    for action in (new, revoke, shown):
        add_directory(action)
    keys = commands.add_parser("keys", help="sign the list of the operators' keys (diemcau/v1/fleet/keys)")
    keys.add_argument("--out", type=Path, metavar="FILE", help="default: stdout")
    keys.add_argument(
        "--valid-days",
        type=number(1, 3650),
        metavar="DAYS",
        help="after which no command is obeyed any more; default: for ever",
    )
    keys.add_argument(
        "--after",
        type=number(0, 2**53 - 1),
        default=0,
        metavar="REVISION",
        help="that the kits have, where the registry came from a backup and does not know of it",
    )
    keys.add_argument("--fleet-key", type=Path, metavar="FILE", help="where it is not in DIR (kept offline)")
    add_directory(keys)


def run(arguments: argparse.Namespace) -> int:
    actions = {"add": _add, "revoke": _revoke, "list": _list}
    return carry_out(f"operator {arguments.action}", lambda: actions[arguments.action](arguments))


def keys(arguments: argparse.Namespace) -> int:
    return carry_out("keys", lambda: _keys(arguments))


def _add(arguments: argparse.Namespace) -> None:
    from diemcau_fleet import signing_key
    from diemcau_fleet.authority import Authority
    from diemcau_fleet.registry import Registry

    from .handout import Handout

    if arguments.role == "installer" and not arguments.point:
        raise WrongUsage("--point: missing, expected the kits that this installer may set up")
    given = "" if arguments.public is None else _given(arguments.public)
    key_file = None if given else _kept_at(arguments)
    with Registry.open(arguments.dir) as registry:
        handout = None
        if arguments.out is not None:
            handout = Handout(arguments.out, Authority.load(arguments.dir))
        public = given if key_file is None else signing_key.make(key_file)
        try:
            certificate = registry.add_operator(
                arguments.id,
                arguments.role,
                public,
                tuple(dict.fromkeys(arguments.point)),
                None if handout is None else partial(handout.client, arguments.id, registry.now_s),
            )
        except BaseException:
            if key_file is not None:
                key_file.unlink()  # nobody's
            raise
    if handout is not None and certificate is not None:
        handout.fill(certificate)
        print(f"{arguments.id}: at the broker until {moment(certificate.not_after_s)}; in {arguments.out}")
    print(f"{arguments.id}: {arguments.role}, {public}; {_next(at_broker=handout is not None)}")


def _given(key: str) -> str:
    from diemcau_agent import jws
    from diemcau_fleet import signing_key

    try:
        return signing_key.public_of(key)
    except (jws.JwsError, signing_key.SigningKeyError, UnicodeEncodeError) as error:
        raise WrongUsage(f"--public: {error}") from None


def _kept_at(arguments: argparse.Namespace) -> Path:
    if arguments.key_file is None and arguments.out is None:
        raise WrongUsage("--out, --key-file or --public: missing, expected where its key is to be kept")
    return arguments.key_file or arguments.out / SIGNING_KEY


def _revoke(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.registry import Registry

    with Registry.open(arguments.dir) as registry:
        count = registry.revoke(arguments.id, "operator")
    print(f"{arguments.id}: revoked, with {count} certificates; {_next(at_broker=count > 0)}")


def _next(*, at_broker: bool) -> str:
    """Who does not know of it yet."""
    return "`diemcau-fleet keys` tells the kits" + (", `diemcau-fleet broker` the brokers" * at_broker)


def _list(arguments: argparse.Namespace) -> None:
    from diemcau_fleet.registry import Registry

    with Registry.open(arguments.dir) as registry:
        operators = registry.rows(
            "SELECT id, role, public, points, revoked_s FROM operator JOIN member USING (id) ORDER BY id"
        )
    for operator, role, public, points, revoked_s in operators:
        state = "" if revoked_s is None else f" revoked {moment(revoked_s)}"
        print(f"{operator} role={role} points={points or 'all'} {public}{state}")


def _keys(arguments: argparse.Namespace) -> None:
    from diemcau_agent import files
    from diemcau_fleet import key_list
    from diemcau_fleet.registry import Registry

    valid_s = None if arguments.valid_days is None else arguments.valid_days * 86400
    with Registry.open(arguments.dir) as registry:
        issued = key_list.issue(registry, arguments.fleet_key, valid_s, arguments.after)
    news = "new" if issued.fresh else "as before"
    if arguments.out is None:
        print(issued.text.decode())
        print(f"revision {issued.revision}, {news}", file=sys.stderr)
    else:
        files.replace(arguments.out, issued.text, 0o644)
        print(f"{arguments.out}: revision {issued.revision}, {news}; `diemcau-fleet publish` tells the kits")
