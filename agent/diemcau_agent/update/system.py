"""dpkg and systemd, as the updater needs them. dpkg itself runs in a unit of its own
(diemcau-update-dpkg@.service): it outlives the updater, and has the rights that the updater has not."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from diemcau_agent.control_client import ControlClient, ControlError

from . import look
from .look import Look
from .release import PACKAGE, Release
from .repack import tree
from .rules import Installed
from .steps import StepFailed

QUERY_S = 60.0
PACK_S = 600.0
PUT_S = 1000.0
"""More than the unit's own TimeoutStartSec: it says better why."""
STATUS_S = 10.0
AGENT = "diemcau-agent.service"
INSTALLER = "diemcau-update-dpkg@{}.service"

log = logging.getLogger(__name__)


class System:
    """``state``: where ``new.deb``, ``before.deb`` and ``before``, the venv of the version before, lie.
    ``control``: the agent's socket."""

    def __init__(self, state: Path, control: Path) -> None:
        self._state = state
        self._control = control
        self._root = Path(os.environ.get("DPKG_ROOT", "/"))  # dpkg(1): it does the same

    # --- Questions

    def installed(self) -> Installed:
        version = _run(("dpkg-query", "--show", "--showformat=${Version}", PACKAGE)).strip()
        return Installed(version, _run(("dpkg", "--print-architecture")).strip())

    def older(self, version: str, than: str) -> bool:
        try:
            _run(("dpkg", "--compare-versions", version, "lt", than))
        except StepFailed:
            return False
        return True

    def check(self, package: Path, release: Release) -> None:
        """The package says of itself what its release says of it. Raises StepFailed."""
        fields = ("Package", "Version", "Architecture")
        said = _run(("dpkg-deb", "--field", str(package), *fields)).split("\n")
        expected = [f"{name}: {value}" for name, value in zip(fields, _told(release), strict=True)]
        if (got := [line for line in said if line]) != expected:
            raise StepFailed(f"{package.name}: got {', '.join(got)}, expected {', '.join(expected)}")

    def look(self) -> Look | None:
        try:
            state = _run(("systemctl", "show", "--property=ActiveState", "--value", AGENT)).strip()
            if state != "active":  # Type=notify: active is READY
                return None
            with ControlClient(self._control) as agent:
                return look.of_status(agent.call("status", timeout_s=STATUS_S))
        except (StepFailed, ControlError) as error:
            log.info("%s", error)
            return None

    # --- Steps

    def pack_before(self) -> None:
        """dpkg keeps no package once it is installed: one is made of what it has put here."""
        packed, folder = self._state / "before.deb", self._state / "before.tree"
        fresh = self._state / "before.new"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            fresh.unlink(missing_ok=True)
            tree(folder, self._root, _run)
            # Not pressed hard: it is for this card alone, and the room waits.
            argv = ("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(folder), str(fresh))
            _run(argv, PACK_S)
            _run(("sync", str(fresh)), PACK_S)
            fresh.replace(packed)
            self._keep_venv()
            _run(("sync", str(self._state)), PACK_S)
        except OSError as error:
            raise StepFailed(f"{packed.name}: {error}") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, which: Literal["new", "before"]) -> None:
        unit = INSTALLER.format(which)
        try:
            _run(("systemctl", "start", unit), PUT_S)
        except StepFailed as error:
            said = _journal(unit)
            raise StepFailed(f"{error}{': ' if said else ''}{said}") from None

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()

    def _keep_venv(self) -> None:
        """Where our own code lies: what finishes an update after a power cut must be of no new version's
        making (diemcau-update-finish.service)."""
        link, fresh = self._state / "before", self._state / "before.link"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(sys.prefix)
        fresh.replace(link)


def _told(release: Release) -> tuple[str, str, str]:
    return release.package, release.version, release.arch


def _journal(unit: str) -> str:
    """The last that dpkg said, if it can be had."""
    try:
        argv = ("journalctl", "--unit", unit, "--lines", "3", "--output", "cat", "--no-pager")
        return " | ".join(_run(argv).split("\n")).strip(" |")
    except StepFailed:
        return ""


def _run(argv: Sequence[str], timeout_s: float = QUERY_S) -> str:
    """What it printed. Raises StepFailed."""
    name = " ".join(argv[:2])
    try:
        done = subprocess.run(
            tuple(argv), check=True, capture_output=True, text=True, errors="replace", timeout=timeout_s
        )
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().partition("\n")[0]  # dpkg ends with its usage
        raise StepFailed(f"{name}: exit code {error.returncode}: {why}") from None
    except subprocess.TimeoutExpired:
        raise StepFailed(f"{name}: not done within {timeout_s:g} s") from None
    except OSError as error:
        raise StepFailed(f"{name}: {error}") from None
    return done.stdout
