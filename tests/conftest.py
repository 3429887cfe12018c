"""What every test shares: a clock that stands still, and the word that nothing is skipped in silence."""

from __future__ import annotations

import os
import shutil

import pytest

from backends import ROWS
from fakeclock import FakeClock

PROGRAMS = {
    "mosquitto": ("mosquitto",),
    "mounts": ("mount", "umount", "losetup", "truncate", "mkfs.ext4", "unshare", "setpriv"),
    "netns": ("ip", "tc", "setpriv", "openssl", "ping"),
    "machine": (
        "systemctl",
        "systemd-sysusers",
        "unshare",
        "nsenter",
        "pivot_root",
        "setpriv",
        "ss",
        "mosquitto",
    ),
    "deb": ("dpkg-deb", "lintian"),
    "arm64": ("mmdebstrap", "dpkg-deb", "unshare"),
    "package": ("mmdebstrap", "dpkg-deb", "unshare", "nsenter", "pivot_root"),
    "tshark": ("tshark",),
    "cloud_init": ("cloud-init",),
    "fat": ("mkfs.vfat", "mcopy", "sfdisk", "dpkg-deb"),
    "pipewire": (
        "pipewire",
        "wireplumber",
        "pipewire-pulse",
        "pw-cat",
        "pw-link",
        "pactl",
        "dbus-daemon",
        "amixer",
    ),
}
"""marker -> the programs that its tests run for real."""
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""Debian puts daemons where a common user's PATH does not look."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test whose program is not installed is an error, never a skip: a green run ran all it was asked."""
    for marker, programs in PROGRAMS.items():
        missing = [program for program in programs if shutil.which(program, path=SEARCH_PATH) is None]
        wanted = [item.nodeid for item in items if item.get_closest_marker(marker) is not None]
        if missing and wanted:
            raise pytest.UsageError(
                f"{', '.join(missing)}: not installed, but {len(wanted)} test(s) marked {marker!r} need it, "
                f"the first {wanted[0]}; `make test` installs it"
            )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What has not been run is said, not skipped in silence."""
    for row in ROWS:
        if row.not_run is not None:
            terminalreporter.write_line(f"not run here: {row.not_run}")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
