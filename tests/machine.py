"""A machine of its own with a real systemd as PID 1, in namespaces, on a copy of this one's files: for units
that are to run as on a kit, and a restart that may really happen. As root; nothing of it outlives it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Self

import signing

REPOSITORY = Path(__file__).parents[1]
PACKAGES = (
    "agent/diemcau_agent",
    "drivers/diemcau_drivers",
    "hw-sim/diemcau_sim",
    "provisioning/diemcau_fleet",
)
POINT = "xp-0417"
BOOT_S = 30.0
SETTINGS = f"""
point = "{POINT}"
fleet_keys = ["{signing.public("fleet-1")}"]
release_keys = ["{signing.public("release-1")}"]
commands = "signed"
backends = "sim"
backend_options = {{socket = "/run/world/world.sock"}}
broker = {{urls = ["mqtt://127.0.0.1:1883"], spread_s = 1}}
"""
WORLD = """
import os, threading
from diemcau_sim.server import WorldServer
from diemcau_sim.world import World
os.mkdir("/run/world", 0o755)
server = WorldServer(World(), "/run/world/world.sock")
server.start()
os.chmod("/run/world/world.sock", 0o666)
threading.Event().wait()
"""
# The first leaves a control group of its own behind, so that systemd may rule in it; the second makes the
# machine's file system and becomes its PID 1. chroot would not do: the kernel gives such no user namespaces.
OUTER = """
mount --make-rprivate /
mkdir -p "$WORK/cgroup" && mount -t cgroup2 cgroup2 "$WORK/cgroup"
mkdir -p "$WORK/cgroup/$GROUP" && echo $$ >"$WORK/cgroup/$GROUP/cgroup.procs"
exec unshare --pid --fork --mount --uts --ipc --cgroup --net --kill-child=KILL sh -eu "$WORK/inner"
"""
INNER = """
mount -t tmpfs tmpfs "$WORK/memory" && mkdir "$WORK/memory/upper" "$WORK/memory/work" "$WORK/memory/root"
root="$WORK/memory/root"
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$WORK/memory/upper,workdir=$WORK/memory/work" "$root"
# What this machine itself may have of ours is not the kit's.
rm -rf "$root/opt/diemcau" "$root/etc/diemcau" "$root"/var/lib/diemcau* "$root"/var/lib/private/diemcau* \
    "$root"/etc/systemd/system/diemcau* "$root/etc/systemd/system/mosquitto.service.d"
kit="$root/opt/diemcau"
cp -r "$WORK/kit/." "$root/"
if [ -d "$kit/lib" ]; then
    mkdir -p "$kit/site" "$kit/python"
    mount --bind "$SITE" "$kit/site"
    [ "$PREFIX" = /usr ] || mount --bind "$PREFIX" "$kit/python"
fi
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev
# The kernel's table of foreign programs is everybody's on this host: systemd would empty it.
ln -sf /dev/null etc/systemd/system/systemd-binfmt.service
mkdir -p mnt/before
pivot_root . mnt/before
cd /
umount -l /mnt/before
# So that what systemd mounts for a unit's credentials arrives there: in a container it leaves this to us.
mount --make-rshared /
if [ -d /opt/diemcau/lib ]; then systemd-sysusers diemcau.conf diemcau-fleet.conf; fi
ip link set lo up
exec env -i container=diemcau PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=console
"""
CLEAN = """
mount --make-rprivate / && mount -t cgroup2 cgroup2 "$WORK/cgroup"
until ! grep -q "populated 1" "$WORK/cgroup/$GROUP/cgroup.events"; do sleep 0.05; done
find "$WORK/cgroup/$GROUP" -depth -type d -exec rmdir {} +
"""


class Machine:
    """``with Machine(folder) as machine: machine.run("systemctl", "start", ...)``."""

    def __init__(self, folder: Path, lower: Path = Path("/")) -> None:
        """``lower``: whose files it has a copy of."""
        self.folder = folder
        self._group = f"diemcau-test-{os.getpid()}-{time.monotonic_ns()}"
        self._environment = {
            **os.environ,
            "WORK": str(folder),
            "LOWER": str(lower),
            "GROUP": self._group,
            "SITE": sysconfig.get_path("purelib"),
            "PREFIX": sys.base_prefix,
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.init = 0
        """systemd's pid, as it is seen from here."""

    def __enter__(self) -> Self:
        self._lay_out(self.folder / "kit")
        (self.folder / "memory").mkdir()
        (self.folder / "cgroup").mkdir()
        (self.folder / "inner").write_text(INNER)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ("unshare", "--mount", "sh", "-euc", OUTER),
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        ends_s = time.monotonic() + BOOT_S
        while not self._booted():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < ends_s, self.log
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            if self.init:
                try:
                    os.kill(self.init, signal.SIGKILL)  # and so every process of its namespace
                except ProcessLookupError:
                    pass  # it has ended by itself
            self._process.kill()
            self._process.wait()
            subprocess.run(("unshare", "--mount", "sh", "-euc", CLEAN), env=self._environment, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def run(self, *argv: str, user: str | None = None) -> str:
        """What ``argv`` prints in the machine, with stderr; its end's code is told by AssertionError."""
        if user is not None:
            argv = ("setpriv", f"--reuid={user}", "--regid=diemcau", "--clear-groups", *argv)
        ended = subprocess.run(
            ("nsenter", f"--target={self.init}", "-m", "-p", "-C", "-u", "-i", "-n", *argv),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, f"{shlex.join(argv)}: {ended.returncode}: {ended.stdout}"
        return ended.stdout

    def python(self, program: str, *argv: str, user: str | None = None) -> str:
        return self.run("/opt/diemcau/bin/python", "-c", program, *argv, user=user)

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--unit", unit)

    def _booted(self) -> bool:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            pids = children.read_text().split()
            self.init = int(pids[0])
            if Path(f"/proc/{self.init}/comm").read_text() != "systemd\n":
                return False
            return self.run("systemctl", "is-active", "basic.target").strip() == "active"
        except (OSError, IndexError, AssertionError):
            return False

    def _lay_out(self, kit: Path) -> None:
        """What a package would: programs, units, user, settings."""
        opt, units = kit / "opt/diemcau", kit / "etc/systemd/system"
        for folder in (opt / "bin", opt / "lib", units, kit / "etc/diemcau", kit / "usr/lib/sysusers.d"):
            folder.mkdir(parents=True)
        for package in PACKAGES:
            shutil.copytree(REPOSITORY / package, opt / "lib" / Path(package).name)
        shutil.copy(signing.__file__, opt / "lib")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        home = "/usr" if sys.base_prefix == "/usr" else "/opt/diemcau/python"
        place = f"PYTHONHOME={home} LD_LIBRARY_PATH={home}/lib PYTHONPATH=/opt/diemcau/lib:/opt/diemcau/site"
        for name, more in (
            ("python", ""),
            ("diemcau-agent", "-m diemcau_agent "),
            ("diemcau-fleet", "-c 'from diemcau_fleet.cli import main; raise SystemExit(main())' "),
        ):
            program = opt / "bin" / name
            program.write_text(f'#!/bin/sh\nexport {place}\nexec {home}/bin/{version} {more}"$@"\n')
            program.chmod(0o755)
        for kind in ("service", "socket", "path"):
            for unit in (REPOSITORY / "systemd").glob(f"*.{kind}"):
                shutil.copy(unit, units)
        for users in ("diemcau", "diemcau-fleet"):
            shutil.copy(REPOSITORY / f"systemd/{users}.sysusers", kit / f"usr/lib/sysusers.d/{users}.conf")
        (kit / "etc/diemcau/agent.toml").write_text(SETTINGS)
        # A simulated room's reboot helper is elsewhere: here it is the real one.
        drop_in = units / "diemcau-agent.service.d"
        drop_in.mkdir()
        (drop_in / "simulated.conf").write_text(
            "[Service]\nEnvironment=DIEMCAU_REBOOT=/run/diemcau-reboot.sock\n"
        )
        (opt / "world.py").write_text(WORLD)
