"""Whether this command installs this release on this kit now. Pure.

What every process of root's asks of a command (:mod:`diemcau_agent.privileged.authority`); then the room's
window; then the release: signed by a release key, the one that the command names, for this machine, and no
way back into the past."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from diemcau_agent.commands.outcome import Refused
from diemcau_agent.commands.signature import Verifier
from diemcau_agent.config import Settings
from diemcau_agent.privileged.authority import authorised, opened
from diemcau_agent.privileged.moment import Moment

from .release import Release, Sha256, Version, read

GRACE_S = 7200.0
"""The daemon has waited up to an hour (``spread_s``) and then downloaded, since the command was in its
time."""
KEEP_IDS = 1000
NO_KEY = "this kit has no release_keys, and takes no package without one"

Url = Annotated[
    str, Meta(pattern=r"^https://[^\s?#@]{1,500}\Z", description="an https:// URL without ?, # and @")
]


class Past(Struct, frozen=True):
    """``ids``: of the commands that were obeyed, oldest first. ``serial``, ``sha256``: of the newest release
    that was installed here and stayed."""

    ids: tuple[str, ...] = ()
    serial: int = 0
    sha256: str = ""


class Installed(Struct, frozen=True):
    version: str
    arch: str


class _Args(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: Version
    url: Url
    sha256: Sha256
    spread_s: float = 0.0


def decide(
    command: bytes,
    release: bytes,
    *,
    settings: Settings,
    verifier: Verifier | None,
    past: Past,
    now: Moment,
    installed: Installed,
    older: Callable[[str, str], bool],
) -> tuple[str, Release]:
    """The command's id, and what it installs. ``older(a, b)``: whether version a is before b. Raises Refused;
    Unanswerable where it is not known who asks."""
    claim, verifier = opened(command, verifier, settings.audiences, past.ids)
    args = authorised(claim, verifier, "update", _Args, now, grace_s=GRACE_S)
    if not settings.release_keys:
        raise Refused("not_permitted", NO_KEY)
    check_window(settings.update.window, now.wall_s, synced=now.synced)
    wanted = read(release, settings.release_keys)
    check_named(wanted, args.version, args.sha256)
    if wanted.arch != installed.arch:
        raise Refused("not_permitted", f"the release: arch: got {wanted.arch}, expected {installed.arch}")
    if wanted.serial < past.serial or (wanted.serial == past.serial and wanted.sha256 != past.sha256):
        raise Refused(
            "not_permitted", f"the release: serial: got {wanted.serial}, expected more than {past.serial}"
        )
    if older(wanted.version, installed.version) and not wanted.downgrade:
        raise Refused(
            "not_permitted",
            f"the release: version: got {wanted.version}, expected {installed.version} or later "
            "(or a release that was signed as a downgrade)",
        )
    return claim.id, wanted


def check_named(release: Release, version: str, sha256: str) -> None:
    """Whether the command and the release mean the same. Raises Refused."""
    for name, ordered, signed in (
        ("version", version, release.version),
        ("sha256", sha256, release.sha256),
    ):
        if ordered != signed:
            raise Refused("bad_args", f"args.{name}: got {ordered}, expected {signed} as the release says")


def check_window(window: str | None, wall_s: float, *, synced: bool) -> None:
    """``window``: "HH:MM-HH:MM" of the kit's own local time, over midnight too; None: any time. Raises
    Refused."""
    if window is None:
        return
    if not synced:
        raise Refused("clock_unsynced", f"update.window: {window} needs a synced clock, this point has none")
    local = time.localtime(wall_s)
    clock = f"{local.tm_hour:02}:{local.tm_min:02}"
    begin, _, end = window.partition("-")
    inside = begin <= clock < end if begin < end else clock >= begin or clock < end
    if not inside:
        raise Refused("not_permitted", f"update.window: it is {clock}, expected {window}")
