"""A kit that is updated for the tests: the real process of root's and the real dpkg, in a root of its own.
Below the seam is ``systemctl``, a script that runs dpkg where the unit would; the agent is played from what
is installed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec

import signing
from diemcau_agent import config, control_key, documents
from diemcau_agent.book import HealthBook
from diemcau_agent.health import Observation
from diemcau_agent.stamp import Stamp
from diemcau_agent.update import release
from fakeclock import FakeClock

POINT = "xp-0417"
ARCH = subprocess.run(
    ("dpkg", "--print-architecture"), check=True, capture_output=True, text=True
).stdout.strip()
SOON_S = 15.0
HAND_OVER = """
import os, sys
from pathlib import Path
from diemcau_agent.update import serve, steps
steps.WATCH_S, steps.STEADY_S, steps.LOOK_EVERY_S, steps.UNDO_AGAIN_S = 1.5, 0.2, 0.05, 0.1
config, state, control, listener = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
if not listener:
    sys.exit(serve.after_a_cut(state, control))
os.dup2(int(listener), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
sys.exit(serve.main(config, state, control, "daemon"))
"""
SYSTEMCTL = """#!/bin/sh
set -eu
case $1 in
show) cat "$DPKG_ROOT/run/active" ;;
start)
    name=${2#diemcau-update-dpkg@}
    package=$STATE/${name%.service}.deb
    exec dpkg --force-script-chrootless --force-confold --force-confdef --install "$package"
    ;;
*) exit 1 ;;
esac
"""
POSTINST = """#!/bin/sh
set -eu
version=$(cat "$DPKG_ROOT/usr/share/diemcau/version")
{hook}
echo "$version" >"$DPKG_ROOT/run/version"
echo x >>"$DPKG_ROOT/run/sessions"
echo "{active}" >"$DPKG_ROOT/run/active"
echo "{camera}" >"$DPKG_ROOT/run/camera"
"""


class Kit:
    """``folder``: ``etc/agent.toml``, ``state/`` of the updater, ``root/`` that dpkg installs into,
    ``bin/``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, self.state, self.bin = folder / "root", folder / "state", folder / "bin"
        self.config = folder / "etc" / "agent.toml"
        for place in (self.state, self.bin, self.config.parent, self.root / "run"):
            place.mkdir(parents=True)
        admin = self.root / "var/lib/dpkg"
        for name in ("info", "updates", "triggers"):
            (admin / name).mkdir(parents=True)
        (admin / "status").write_bytes(b"")
        self.config.write_text(
            f'point = "{POINT}"\nfleet_keys = ["{signing.public("fleet-1")}"]\n'
            f'release_keys = ["{signing.public("release-1")}"]\n'
            'broker = {urls = ["mqtts://broker.example"]}\n'
        )
        (self.bin / "systemctl").write_text(SYSTEMCTL)
        (self.bin / "systemctl").chmod(0o755)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.socket = folder / "update.sock"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.socket))
        self.listener.listen(8)
        self.agent = Agent(self.root, folder / "control.sock")
        self.environment = {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "DPKG_ROOT": str(self.root),
            "STATE": str(self.state),
        }

    def close(self) -> None:
        self.listener.close()
        for process in self.processes:
            process.kill()
            process.wait()
        self.agent.close()

    # --- Packages

    def package(
        self, version: str, *, camera: str = "ok", active: str = "active", hook: str = "", arch: str = ARCH,
        name: str = "diemcau", more: dict[str, str] | None = None,
    ) -> Path:  # fmt: skip
        """``hook``: a line of its postinst, in the middle of the installation."""
        tree = self.folder / f"tree-{version}"
        share, control = tree / "usr/share/diemcau", tree / "DEBIAN"
        for place in (share, control, tree / "etc/diemcau"):
            place.mkdir(parents=True)
        (share / "version").write_text(version)
        (share / "link").symlink_to("version")
        (tree / "etc/diemcau/agent.toml").write_text(f"# as packed in {version}\n")
        for path, text in (more or {}).items():
            (tree / path).write_text(text)
        (control / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: nobody <n@example>\n"
            "Description: a kit\n of two lines\n"
        )
        (control / "conffiles").write_text("/etc/diemcau/agent.toml\n")
        (control / "postinst").write_text(POSTINST.format(hook=hook, active=active, camera=camera))
        (control / "postinst").chmod(0o755)
        built = self.folder / f"diemcau_{version}_{arch}.deb"
        self.run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(built))
        shutil.rmtree(tree)
        return built

    def run(self, *argv: str) -> str:
        return subprocess.run(
            argv, env=self.environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def install(self, package: Path) -> None:
        """By hand, as a technician does."""
        self.run("dpkg", "--force-script-chrootless", "--install", str(package))

    @property
    def installed(self) -> str:
        """What dpkg says, and only where it has nothing left to do."""
        said = self.run("dpkg-query", "-W", "-f=${db:Status-Abbrev}${Version}", "diemcau")
        assert said.startswith("ii "), said
        assert self.run("dpkg", "--audit") == ""
        return said[3:].strip()

    @property
    def running(self) -> str:
        return (self.root / "run/version").read_text().strip()

    # --- The updater

    def start(self, *, at_boot: bool = False) -> subprocess.Popen[bytes]:
        number = "" if at_boot else str(self.listener.fileno())
        places = (str(self.config), str(self.state), str(self.agent.path))
        argv = (sys.executable, "-c", HAND_OVER, *places, number)
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                argv, pass_fds=(self.listener.fileno(),), env=self.environment, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def command(self, package: Path, version: str, by: str = "op-1", **changes: Any) -> bytes:
        now_s = int(time.time())
        args = {"version": version, "url": "https://updates.example/d.deb", "sha256": sha256(package)}
        claims = {
            "id": "command-1", "aud": f"point/{POINT}", "verb": "update", "iss": by, "iat": now_s,
            "exp": now_s + 60, "args": args, "nonce": "n", **changes,
        }  # fmt: skip
        return signing.signed(claims, by)

    def release(self, package: Path, version: str, by: str = "release-1", **changes: Any) -> bytes:
        made = release.Release(
            version=version, arch="amd64" if ARCH == "amd64" else "arm64", sha256=sha256(package),
            size=package.stat().st_size, serial=1,
        )  # fmt: skip
        return release.sign(msgspec.structs.replace(made, **changes), signing.seed(by))

    def ask(self, package: Path | None = None, **request: str) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SOON_S)
            connection.connect(str(self.socket))
            if package is not None:
                with package.open("rb") as file:
                    socket.send_fds(connection, [b" "], [file.fileno()])
            connection.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(connection.makefile("rb").readline() or b"{}")

    def know(self) -> None:
        keys = signing.key_list(signing.key("op-1")).decode()
        assert self.ask(do="keys", list=keys) == {"ok": {"revision": 1}}, self.log

    def order(self, package: Path, version: str, **changes: Any) -> dict[str, Any]:
        """Ask for it as the daemon does, all being right unless it is changed."""
        command = self.command(package, version, **changes).decode()
        return self.ask(
            package, do="install", command=command, release=self.release(package, version).decode()
        )

    def ending(self, command_id: str = "command-1") -> dict[str, Any]:
        """How it ended; another life of the process tells it, as systemd would start one."""
        self.start()
        return self.ask(do="ending", id=command_id)["ok"]


class Agent:
    """Answers ``status`` with the real documents of a room, as the installed version makes it."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path
        self._root = root
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._key = control_key.make(path.parent)
        self._listener.listen(16)
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    said = connection.makefile("rb")
                    if said.readline().strip() != self._key.strip():
                        continue  # who does not show the key learns nothing
                    said.readline()
                    connection.sendall(json.dumps({"ok": self.status()}).encode() + b"\n")
                except OSError:
                    continue  # whoever asked was killed

    def status(self) -> dict[str, Any]:
        run, clock = self._root / "run", FakeClock()
        if not (run / "version").exists():
            return {}
        settings = config.check(
            {"point": POINT, "broker": {"urls": ["mqtt://localhost"]}, "backends": "sim", "commands": "off"}
        )
        stamp = Stamp(POINT, "boot-1", len((run / "sessions").read_text().split()), clock)
        book = HealthBook(documents.expected_devices(settings), clock)
        for part in book.parts:
            gone = part == "camera" and "absent" in (run / "camera").read_text()
            codes = ("camera_absent",) if gone else ()
            book.apply(part, Observation(codes, frozenset({"camera_absent"}), decisive=True))
        birth = msgspec.to_builtins(documents.birth(settings, stamp, {}))
        birth["software"]["version"] = (run / "version").read_text().strip()
        return {
            "birth": birth,
            "health": msgspec.to_builtins(documents.health(stamp, book)),
            "connection": {"state": "online", "broker": "mqtt://localhost"},
            "conference": {"id": "national-1", "on": True} if (run / "conference").exists() else None,
        }


def sha256(package: Path) -> str:
    return hashlib.sha256(package.read_bytes()).hexdigest()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)
