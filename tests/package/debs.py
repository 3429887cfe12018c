"""Packages built for a trial, once a run for all workers, and the machine they are tried on."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import signing
from machine import Machine
from repacked import repacked

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "provisioning/package"
SETTINGS = f"""
point = "xp-0417"
fleet_keys = ["{signing.public("fleet-1")}"]
# Nothing answers there: this machine has no network.
broker = {{urls = ["mqtts://127.0.0.1:8883"], ca_file = "/etc/diemcau/ca.pem", spread_s = 1}}
"""
BACKENDS = {"camera": "v4l2", "audio": "sounddevice", "display": "cec", "panel": "gpio", "presence": "sysfs"}
"""A kit's, by process."""
MENDED = SETTINGS + 'name = "Phòng họp"\n'


def built(folder: Path, package: str = "diemcau", **settings: str) -> Path:
    """build.sh's; ``settings``: VERSION, ARCH."""
    ended = subprocess.run(
        [str(SCRIPTS / "build.sh"), package],
        env={**os.environ, "OUT": str(folder), **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


def once(made: Path, make: Callable[[Path], object]) -> Path:
    """``made``, by ``make`` (into a folder that is renamed last) unless another worker was first."""
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            half = made.with_suffix(".half")
            half.mkdir()
            make(half)
            half.rename(made)
    return made


def spoiled(deb: Path, folder: Path) -> None:
    """The same package with a wheel that was cut short before it was packed."""
    with repacked(deb, folder, "-Znone") as tree:
        (wheel,) = (tree / "usr/share/diemcau/wheelhouse").glob("pynacl-*.whl")
        wheel.write_bytes(wheel.read_bytes()[:100_000])


def root(suite: str, **settings: str) -> Path:
    """A Debian with what the package depends on, and no more; ``settings``: ARCH, unpacked only."""
    ended = subprocess.run(
        [str(SCRIPTS / "root.sh"), suite],
        env={**os.environ, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


class Fresh(Machine):
    """Booted, without a network, and nothing of ours on it."""

    def _lay_out(self, kit: Path) -> None:
        kit.mkdir()

    def write(self, path: str, text: str) -> None:
        Path(f"/proc/{self.init}/root{path}").write_text(text)

    def exists(self, path: str) -> bool:
        return self.run("sh", "-c", f"[ -e {path} ] || [ -L {path} ]; echo $?") == "0\n"

    def install(self, deb: Path, *options: str) -> str:
        """As a technician would; nobody answers a question."""
        shutil.copy(deb, f"/proc/{self.init}/root/root/")
        return self.run(
            "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet",
            "--allow-downgrades", "--reinstall", "--no-install-recommends", *options, f"/root/{deb.name}",
        )  # fmt: skip

    def configure(self) -> None:
        self.write("/etc/diemcau/agent.toml", SETTINGS)
        self.run("systemctl", "restart", "diemcau-agent")

    def version(self) -> str:
        return self.run("diemcau-agent", "--version").split()[-1]

    def in_use(self) -> str:
        return self.run("readlink", "/opt/diemcau/bin").strip()

    def agent(self) -> str:
        """Its pid, where it is ready."""
        assert self.property("diemcau-agent", "ActiveState") == "active", self.journal("diemcau-agent")
        return self.property("diemcau-agent", "MainPID")

    def until_answers(self) -> None:
        """Ready is told before the control socket is asked for the first time."""
        ends_s = time.monotonic() + 20
        while "xp-0417" not in self.run("sh", "-c", "diemcau-agent status --json || true"):
            assert time.monotonic() < ends_s, self.journal("diemcau-agent")
            time.sleep(0.2)
