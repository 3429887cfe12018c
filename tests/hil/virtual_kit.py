"""A kit whose hardware the kernel plays, in QEMU: started, spoken to over ssh, its plug pulled.

The disk is a layer over the image's (provisioning/virtual-kit), so the image stays as it was made. What the
machine had written and not flushed is lost at a power cut: its own page cache, and what QEMU holds back
of the layer. This machine's loopback is 10.0.2.2 inside, by a line that is left alone, and 10.0.3.2 by one
that a test may spoil.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from diemcau_sim.mosquitto import free_port

CENTRE = "10.0.2.2"
PROGRAMS = ("qemu-system-x86_64", "qemu-img", "ssh", "scp")
BOOT_S = 120.0
"""Some 20 s where nothing else runs."""
CALL_S = 120.0
# Stock kernels do not boot under the KVM of the machines that this was made on; TCG does everywhere.
MACHINE = (
    "-M", "q35,usb=off", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "Nehalem",
    "-smp", "2", "-m", "1536",
    "-display", "none", "-vga", "none", "-nodefaults", "-monitor", "none",
    "-device", "virtio-rng-pci", "-device", "i6300esb",
)  # fmt: skip
KERNEL_LINE = (
    "console=ttyS0 quiet loglevel=4 rw net.ifnames=0 mitigations=off audit=0 random.trust_cpu=1 "
    "systemd.show_status=0 clocksource=tsc tsc=reliable"
)
UP = "KIT-READY"


class KitError(AssertionError):
    """It did not start, or what it was told failed."""


class VirtualKit:
    """``disk``: the layer that it writes to; made over ``over`` where there is none."""

    def __init__(self, image: Path, folder: Path, over: Path | None = None) -> None:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            raise KitError(
                f"{', '.join(missing)}: not installed, expected for a kit: provisioning/packages.sh kit"
            )
        self.image = image
        self.folder = folder
        self.disk = folder / "disk.qcow2"
        self._serial = folder / "serial.log"
        self._said_until = 0
        self._port = free_port()
        self._hand = tempfile.mkdtemp(prefix="kit-")  # a socket's path may have 107 characters
        self._process: subprocess.Popen[bytes] | None = None
        if not self.disk.exists():
            below = over or image / "disk.raw"
            kind = "raw" if over is None else "qcow2"
            command = (
                "qemu-img",
                "create",
                "-q",
                "-f",
                "qcow2",
                "-b",
                str(below),
                "-F",
                kind,
                str(self.disk),
            )
            subprocess.run(command, check=True)

    def __enter__(self) -> VirtualKit:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.power_cut()
        shutil.rmtree(self._hand, ignore_errors=True)

    def start(self) -> float:
        """Returns once it is up: its own uptime then, in seconds."""
        self._said_until = len(self._heard())
        command = (
            "qemu-system-x86_64", *MACHINE,
            "-kernel", str(self.image / "vmlinuz"), "-initrd", str(self.image / "initrd.gz"),
            "-append", KERNEL_LINE,
            "-chardev", f"file,id=serial,path={self._serial},append=on", "-serial", "chardev:serial",
            "-drive", f"file={self.disk},format=qcow2,if=virtio,cache=writeback",
            "-netdev", f"user,id=near,hostfwd=tcp:127.0.0.1:{self._port}-:22",
            "-device", "virtio-net-pci,netdev=near,mac=52:54:00:00:00:02",
            "-netdev", "user,id=far,net=10.0.3.0/24",
            "-device", "virtio-net-pci,netdev=far,mac=52:54:00:00:00:03",
        )  # fmt: skip
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.up()

    def up(self) -> float:
        """Waits until it is up, from where it was last so (it may restart itself)."""
        ends_s = time.monotonic() + BOOT_S
        while True:
            said = self._heard()[self._said_until :]
            found = said.find(UP)
            line, end, _ = said[found:].partition("\n") if found >= 0 else ("", "", "")
            if end:
                self._said_until += found + len(line)
                self._let_go()
                return float(line.split()[1])
            if self._process is None or self._process.poll() is not None:
                raise KitError(f"QEMU has ended: {(self.folder / 'qemu.log').read_text()}")
            if time.monotonic() > ends_s:
                raise KitError(f"not up within {BOOT_S:.0f} s; its console: {said[-2000:]}")
            time.sleep(0.1)

    def run(self, *command: str, timeout_s: float = CALL_S, check: bool = True) -> str:
        """What the command, of root, prints; with its errors where it fails, which raises KitError."""
        done = subprocess.run(
            ("ssh", *self._options("-p"), "root@127.0.0.1", "--", shlex.join(command)),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise KitError(f"{shlex.join(command)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def shell(self, script: str, *, timeout_s: float = CALL_S, check: bool = True) -> str:
        return self.run("sh", "-euc", script, timeout_s=timeout_s, check=check)

    def copy(self, source: Path, to: str) -> None:
        """A file, or a folder with all that is in it."""
        done = subprocess.run(
            ("scp", "-q", "-r", *self._options("-P"), str(source), f"root@127.0.0.1:{to}"),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CALL_S * 3, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise KitError(f"copy {source} to {to}: {done.stderr}")

    def until(self, true: Callable[[], bool], within_s: float, what: str) -> None:
        """Looks again and again; a command that fails meanwhile counts as no."""
        ends_s = time.monotonic() + within_s
        while True:
            try:
                if true():
                    return
                trouble = ""
            except (KitError, subprocess.TimeoutExpired) as error:
                trouble = f": {error}"
            if time.monotonic() > ends_s:
                raise KitError(f"not within {within_s:.0f} s: {what}{trouble}")
            time.sleep(0.2)

    def unit_property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def journal(self, unit: str, lines: int = 60) -> str:
        return self.run("journalctl", "--no-pager", "--unit", unit, "-n", str(lines))

    def uptime_s(self) -> float:
        return float(self.run("cut", "-d ", "-f1", "/proc/uptime"))

    def power_cut(self) -> None:
        """The plug. What was not on the disk is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        self._let_go()

    def shut_down(self) -> None:
        """In good order; the disk is whole then."""
        assert self._process is not None
        self.run("systemctl", "poweroff", check=False)
        self._process.wait(BOOT_S)
        self.power_cut()

    @property
    def console(self) -> str:
        return self._heard()

    def _heard(self) -> str:
        return self._serial.read_text(errors="replace") if self._serial.exists() else ""

    def _options(self, port: str) -> tuple[str, ...]:
        return (
            "-i", str(self.image / "key"), port, str(self._port), "-o", "LogLevel=ERROR",
            "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=90",
            "-o", "ControlMaster=auto", "-o", f"ControlPath={self._hand}/ssh", "-o", "ControlPersist=yes",
        )  # fmt: skip

    def _let_go(self) -> None:
        """Of a connection to a machine that is no more."""
        if (Path(self._hand) / "ssh").exists():
            subprocess.run(
                ("ssh", "-O", "exit", *self._options("-p"), "root@127.0.0.1"),
                capture_output=True,
                check=False,
            )
