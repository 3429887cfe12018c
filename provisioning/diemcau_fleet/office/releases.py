"""``diemcau-fleet release keygen | sign``: whose packages the kits install (docs/update.md).

The release key is no key of the fleet's: it is kept where packages are made, best without a network, and only
its public half is on the kits."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from diemcau_fleet.arguments import number

from .desk import WrongUsage, carry_out

if TYPE_CHECKING:
    from diemcau_agent.update.release import Release

    from .ca import Commands

CHUNK_BYTES = 1024 * 1024
QUERY_S = 60.0


def add(commands: Commands) -> None:
    release = commands.add_parser("release", help="sign packages that the kits install")
    actions = release.add_subparsers(dest="action", metavar="ACTION", required=True)
    keygen = actions.add_parser("keygen", help="a new release key; prints what goes into release_keys")
    keygen.add_argument("file", type=Path, metavar="NEW", help="where it is to be kept (PKCS#8)")
    sign = actions.add_parser("sign", help="write PACKAGE.jws, and print what update takes")
    sign.add_argument("package", type=Path, metavar="PACKAGE.deb")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE", help="the release key")
    sign.add_argument(
        "--serial",
        type=number(1, 2**53),
        required=True,
        metavar="N",
        help="more than that of every release before: no kit goes back to a lower one",
    )
    sign.add_argument("--downgrade", action="store_true", help="it may take the place of a higher version")


def run(arguments: argparse.Namespace) -> int:
    actions = {"keygen": _keygen, "sign": _sign}
    return carry_out(f"release {arguments.action}", lambda: actions[arguments.action](arguments))


def _keygen(arguments: argparse.Namespace) -> None:
    from diemcau_fleet import signing_key

    print(signing_key.make(arguments.file))


def _sign(arguments: argparse.Namespace) -> None:
    from diemcau_agent import files
    from diemcau_agent.update import release as releases
    from diemcau_fleet import signing_key

    seed = signing_key.load(arguments.key)
    release = _release(arguments.package, arguments.serial, downgrade=arguments.downgrade)
    signature = arguments.package.with_name(f"{arguments.package.name}.jws")
    files.replace(signature, releases.sign(release, seed) + b"\n", 0o644)
    told = {"version": release.version, "sha256": release.sha256, "serial": release.serial}
    print(json.dumps({**told, "arch": release.arch, "jws": str(signature)}))


def _release(package: Path, serial: int, *, downgrade: bool) -> Release:
    """What the package says of itself, and its hash. Raises WrongUsage, OSError."""
    import msgspec

    from diemcau_agent.explain import explain
    from diemcau_agent.update.release import Release

    digest, size = hashlib.sha256(), 0
    with package.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    data = {
        "schema": "diemcau.release/1",
        "package": _field(package, "Package"),
        "version": _field(package, "Version"),
        "arch": _field(package, "Architecture"),
        "sha256": digest.hexdigest(),
        "size": size,
        "serial": serial,
        "downgrade": downgrade,
    }
    if errors := explain(Release, data):
        raise WrongUsage(f"{package}: {'; '.join(errors)}")
    return msgspec.convert(data, Release)


def _field(package: Path, name: str) -> str:
    argv = ("dpkg-deb", "--field", str(package), name)
    try:
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=QUERY_S)
    except subprocess.CalledProcessError as error:
        raise WrongUsage(f"{package}: {error.stderr.strip()}") from None
    except FileNotFoundError:
        raise WrongUsage("dpkg-deb: not found, expected Debian's dpkg on this machine") from None
    return done.stdout.strip()
