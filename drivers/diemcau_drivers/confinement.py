"""What each device's process may reach, and how it shuts itself in. Standard library only.

A camera's library with a hole in it must not read the kit's key or open the microphone. So each process
names, before it imports any library, what its own kind needs (docs/confinement.md has the table); the
kernel refuses it all else from then on: files by Landlock, the network and the calls that no device needs by
seccomp. Where the kernel has one of them only, or none, the process goes on with what there is, and health
says so. A kernel that has it and refuses is a fault: the process ends.

Rules hold for inodes, not names: a camera that was pulled out and comes back is another file. A process
whose rules name something that was not there when it shut itself in has outgrown its confinement; it leaves,
and the next one reaches it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import landlock, seccomp
from .landlock import DEVICE, KEEP, READ, RUN, WRITE, Access

Rule = tuple[Path, Access]

PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64")
"""Libraries, and what is run: cec-ctl, ddcutil, pactl, amixer, libcamera's IPA proxies."""
SYSTEM = (
    "sys",  # which devices there are
    "proc",  # sound cards, locks, memory; what is another process's own the kernel keeps (ptrace)
    "run/udev",  # libcamera's and linuxpy's list of devices
    *(f"etc/{name}" for name in ("ld.so.cache", "ld.so.preload", "ld.so.conf", "ld.so.conf.d")),
    *(f"etc/{name}" for name in ("localtime", "machine-id", "nsswitch.conf", "passwd", "group")),
    *(f"etc/{name}" for name in ("alsa", "asound.conf", "pulse", "pipewire", "libcamera", "fonts", "udev")),
)
DEVICES: dict[str, tuple[str, ...]] = {
    "camera": ("video*", "media*", "v4l-subdev*", "dma_heap/*", "udmabuf", "dri/renderD*"),
    "audio": ("snd/*",),
    "display": ("cec*", "fb*", "dri/card*", "i2c-*"),
    "panel": ("gpiochip*",),
}
"""Below /dev, of which kind which; presence and host open none."""
HEARS_OF_DEVICES = ("camera",)
"""libcamera asks udev for its cameras; udev's library begins by hearing of those that come and go."""
HARMLESS = ("null", "zero", "full", "random", "urandom")


class Confinement:
    """``abi``: of the Landlock in force, 0 = none. ``filtered``: whether seccomp's filter is in force.
    ``root``: where /dev, /sys and the rest are."""

    def __init__(self, abi: int, process: str, options: Mapping[str, Any], root: Path) -> None:
        self.abi = abi
        self.filtered = False
        self._named = (process, options, root)
        self._fixed = tuple(str(path) for path, _ in _everyone(root))  # looked at before each request
        # The kernel keeps the inodes that its rules name, so no other file comes to have their numbers.
        self._reached = self._inodes()

    def outgrown(self) -> bool:
        """Whether a place that its rules name is now one that it cannot reach: a device that was plugged in,
        a file of the system that an upgrade has replaced."""
        return self.abi > 0 and not self._inodes() <= self._reached

    def _inodes(self) -> set[tuple[int, int]]:
        found: set[tuple[int, int]] = set()
        for path in (*self._fixed, *(str(path) for path, _ in _own(*self._named))):
            try:
                status = os.stat(path)  # noqa: PTH116 - twice as fast
            except OSError:
                continue  # not there
            found.add((status.st_dev, status.st_ino))
        return found


def confine(process: str, options: Mapping[str, Any], root: Path = Path("/")) -> Confinement:
    """Shut this process in, for good. ``options``: its own, as the daemon sent them.

    Raises LandlockError, OSError where seccomp refuses or its own directory cannot be made, ValueError or
    NotImplementedError where the option ``devices`` is no pattern below /dev.
    """
    for place in _own_directories(options):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (kept := options.get("runtime_dir")) is not None:
        os.environ["TMPDIR"] = str(kept)  # what a library writes for the moment has no other place either
    confinement = Confinement(landlock.abi(), process, options, root)
    if confinement.abi:
        landlock.seal((*_everyone(root), *_own(process, options, root)), confinement.abi)
    confinement.filtered = seccomp.seal(uevents=process in HEARS_OF_DEVICES)
    return confinement


def _everyone(root: Path) -> Iterator[Rule]:
    yield from ((root / name, RUN) for name in PROGRAMS)
    yield from ((root / name, READ) for name in SYSTEM)
    yield from ((Path(place), READ) for place in _python())
    yield root / "dev", Access.READ_DIR
    yield from ((root / "dev" / name, Access.READ_FILE | Access.WRITE_FILE) for name in HARMLESS)


def _python() -> set[str]:
    """Where this Python and its packages are. The working directory, which ``python -m`` puts first unless
    it was started with -P, is no place of packages: of a unit it is "/".
    """
    path = sys.path if sys.flags.safe_path else sys.path[1:]
    return {*path, sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix} - {"", "/"}


def _own(process: str, options: Mapping[str, Any], root: Path) -> Iterator[Rule]:
    """What this kind needs beyond what all need."""
    dev = root / "dev"
    # ``devices``: of a backend that is not one of ours and drives something else ("ttyUSB*").
    patterns = (*DEVICES.get(process, ()), *str(options.get("devices", "")).split())
    yield from ((node, DEVICE) for pattern in patterns for node in dev.glob(pattern))
    if process == "audio":
        yield from ((place, READ) for place in _sound())
    if process == "display":
        yield Path(str(options.get("cec_device", dev / "cec0"))), DEVICE
        yield from ((node, READ | WRITE) for node in (root / "sys/class/backlight").glob("*/brightness"))
    yield from ((place, KEEP) for place in _own_directories(options))


def _own_directories(options: Mapping[str, Any]) -> Iterator[Path]:
    """In memory, and on the card where something has to outlive a boot."""
    yield from (Path(options[name]) for name in ("runtime_dir", "state_dir") if options.get(name) is not None)


def _sound() -> Iterator[Path]:
    """What ALSA's and the sound server's client library read of a user; the server's socket needs no rule."""
    env = os.environ
    if "HOME" in env:
        yield from (Path(env["HOME"]) / name for name in (".asoundrc", ".config/pulse"))
    yield from (Path(place) for place in env.get("ALSA_CONFIG_PATH", "").split(":") if place)
    runtime = Path(env.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    yield Path(env.get("PULSE_RUNTIME_PATH", runtime / "pulse"))
