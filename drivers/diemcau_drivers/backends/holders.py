"""Which program holds a device: read from /proc, nothing is opened. Standard library only.

Seen by an unprivileged agent, another user's open files stay hidden unless the unit grants
CAP_SYS_PTRACE. So a file that cannot be looked into proves nothing, and None means "none that
can be seen": an opening that is then refused says Busy, held by "other".
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from diemcau_drivers.contract import Busy

OTHER = "other"
PROGRAMS = (
    "chromium", "chrome", "firefox", "zoom", "teams", "webex", "skype", "jitsi", "trueconf", "linphone",
    "baresip", "codec", "obs", "vlc", "mpv", "ffmpeg", "gst-launch", "libcamera", "rpicam", "motion",
    "python", "arecord", "aplay", "pipewire", "wireplumber", "pulseaudio", "xorg", "labwc", "wayfire",
    "weston", "sway", "gnome-shell", "kwin",
)  # fmt: skip
"""Whose names leave the room. Any other is "other": a program may bear the name of who wrote or runs it."""
PROC = Path("/proc")


def known(program: str) -> str:
    """The name of :data:`PROGRAMS` in what a process or a stream calls itself, else "other"."""
    said = program.casefold()
    return next((name for name in PROGRAMS if name in said), OTHER)


def file_holder(nodes: Collection[Path], proc: Path = PROC, *, own_pid: int | None = None) -> str | None:
    """The name (see :func:`known`) of a process other than this one that has one of ``nodes`` open."""
    wanted = {str(node) for node in nodes} | {str(node.resolve()) for node in nodes}
    own = str(os.getpid() if own_pid is None else own_pid)
    for process in _processes(proc):
        if process.name != own and _holds(process, wanted):
            return _comm(process)
    return None


def lock_holder(nodes: Collection[Path], proc: Path = PROC, *, own_pid: int | None = None) -> str | None:
    """The name of a process other than this one that holds a POSIX lock on one of ``nodes``.

    libcamera locks a camera's media node while it has it acquired (MediaDevice::lock, lockf(3)); the
    same node merely open is no more than a program that enumerates cameras, as sound servers do.
    ``/proc/locks`` is world-readable, so this needs no privilege; a pid that cannot be seen is "other".
    """
    inodes: set[tuple[int, int, int]] = set()
    for node in nodes:
        try:
            status = node.stat()
        except OSError:
            continue
        inodes.add((os.major(status.st_dev), os.minor(status.st_dev), status.st_ino))
    try:
        lines = (proc / "locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        held = _lock(line)
        if held is None or held[1] not in inodes or held[0] == (own_pid or os.getpid()):
            continue
        return _comm(proc / str(held[0])) if held[0] > 0 else OTHER
    return None


def refuse_if_drawn(dri: Path, proc: Path = PROC) -> None:
    """Raises Busy where a compositor has the screen: the console's framebuffer is then not what is seen."""
    holder = file_holder(sorted(dri.glob("card*")), proc)
    if holder is not None:
        raise Busy(f"{holder} draws on the screen", in_use_by=holder)


def _lock(line: str) -> tuple[int, tuple[int, int, int]] | None:
    """pid and (major, minor, inode) of ``1: POSIX  ADVISORY  WRITE 917 00:06:1234 0 EOF``.

    A line of a process that waits ("1: -> POSIX ...") is none that holds.
    """
    fields = line.split()
    if len(fields) < 6 or fields[1] not in ("POSIX", "OFDLCK", "FLOCK"):
        return None
    try:
        major, minor, inode = fields[5].split(":")
        return int(fields[4]), (int(major, 16), int(minor, 16), int(inode))
    except ValueError:
        return None


def _processes(proc: Path) -> list[Path]:
    try:
        return [entry for entry in proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        with os.scandir(process / "fd") as entries:
            for entry in entries:
                try:
                    if os.readlink(entry.path) in wanted:  # noqa: PTH115 (a string is what is compared)
                        return True
                except OSError:
                    continue  # closed meanwhile
    except OSError:
        return False  # gone, or another user's
    return False


def _comm(process: Path) -> str:
    try:
        return known((process / "comm").read_text())
    except OSError:
        return OTHER
