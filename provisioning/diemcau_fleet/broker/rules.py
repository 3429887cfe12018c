"""The files of a broker, from the registry to the disk: whole or not at all, and only where they differ."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from diemcau_agent import files
from diemcau_fleet.members import Members

from .acl import acl
from .configuration import configuration
from .settings import ACL, CA, CONF, CRL, Settings

CRL_AGE = timedelta(days=30)
"""A list is made anew at this age, long before it runs out: with one that has run out nobody comes in."""
MODE = 0o400
Change = Literal["configuration", "authority", "acl", "crl"]


class RulesError(Exception):
    """A file that a broker could not use, or that could not be written."""


def write(settings: Settings, members: Members, *, ca: bytes, crl: bytes | None) -> set[Change]:
    """What has changed on the disk; ``crl`` None leaves the one that is there. Raises RulesError,
    MembersError, SettingsError."""
    bridge = None if settings.bridge is None else settings.bridge.id
    wanted: list[tuple[Change, Path, bytes | None]] = [
        ("crl", settings.out / CRL, crl),
        ("acl", settings.out / ACL, acl(members, bridge).encode()),
        ("authority", settings.out / CA, ca),
        ("configuration", settings.out / CONF, configuration(settings).encode()),
    ]
    changed: set[Change] = set()
    try:
        settings.out.mkdir(0o755, parents=True, exist_ok=True)
        for what, path, data in wanted:
            if data is not None and not (path.exists() and path.read_bytes() == data):
                files.replace(path, data, MODE)
                changed.add(what)
            if settings.here:
                _give(path, settings.user)
    except OSError as error:
        raise RulesError(str(error)) from None
    return changed


def crl_serves(path: Path, serials: Collection[int], now: datetime) -> bool:
    """Whether the list in ``path`` revokes these (and perhaps others, that have run out) and is young."""
    try:
        crl = x509.load_pem_x509_crl(path.read_bytes())
    except (OSError, ValueError):
        return False
    return {entry.serial_number for entry in crl} >= set(serials) and now - crl.last_update_utc < CRL_AGE


def revoked_in(path: Path) -> set[int]:
    """The serial numbers in the list, none where there is no list."""
    try:
        return {entry.serial_number for entry in x509.load_pem_x509_crl(path.read_bytes())}
    except (OSError, ValueError):
        return set()


def check_pair(what: str, cert_file: Path, key_file: Path) -> None:
    """Raises RulesError where these are no certificate and its key: mosquitto would not start with them."""
    try:
        certificate = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise RulesError(f"{what}: {error}") from None
    if certificate.public_key() != key.public_key():
        raise RulesError(f"{what}: got {key_file}, expected the key of {cert_file}")


def check_readable(what: str, path: Path, user: str) -> None:
    """Raises RulesError where mosquitto could not read it: it gives root's rights up before. Only root can
    look with another's eyes."""
    if os.geteuid() != 0:
        return
    entry = _entry(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    test = ("/usr/bin/test", "-r", str(path))
    looked = subprocess.run(  # noqa: S603 - one argument, and no shell
        test, user=entry.pw_uid, group=entry.pw_gid, extra_groups=groups, check=False
    )
    if looked.returncode:
        raise RulesError(f"{what}: {path} cannot be read by {user}; chown it, and see its folders' modes")


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise RulesError(f"--user: got {user!r}, expected a user of this machine") from None


def _give(path: Path, user: str) -> None:
    """mosquitto 2.0.16 and later wants its files to be its own. It reads them, it need not write them."""
    if os.geteuid() != 0:
        return
    entry = _entry(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)
