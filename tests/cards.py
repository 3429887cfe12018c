"""Cards of a test's own: small, read-only, full, failing. For root, since they are mounted; all of it goes
away with the ``with`` block."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_COMMAND_S = 15.0


def run(*command: str) -> str:
    """Its output. Raises CalledProcessError, with what it said in its notes."""
    program = shutil.which(command[0], path=SEARCH_PATH) or command[0]
    try:
        done = subprocess.run(
            [program, *command[1:]], check=True, capture_output=True, text=True, timeout=_COMMAND_S
        )
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
    return done.stdout


@contextmanager
def tmpfs(at: Path, size: str) -> Generator[Path]:
    """A card that is full to the last byte once ``size`` ("2m") is used up."""
    at.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at))
    try:
        yield at
    finally:
        run("umount", "-l", str(at))


@contextmanager
def ext4(at: Path, image: Path, size: str) -> Generator[Path]:
    """A card with Raspberry Pi OS's file system, as root without reserve, on a loop device."""
    run("truncate", "-s", size, str(image))
    run("mkfs.ext4", "-q", "-m", "0", str(image))
    at.mkdir()
    device = run("losetup", "--find", "--show", str(image)).strip()
    try:
        run("mount", "-o", "errors=remount-ro", device, str(at))
        try:
            yield at
        finally:
            run("umount", "-l", str(at))
    finally:
        run("losetup", "--detach", device)


def remount(at: Path, *options: str) -> None:
    run("mount", "-o", ",".join(("remount", *options)), str(at))


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all that is left but ``leave`` bytes; its path."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        room = os.statvfs(folder)
        for size in (max(0, room.f_bavail * room.f_frsize - leave), *((4096, 512, 1) if not leave else ())):
            with suppress(OSError):
                while size and file.write(bytes(size)):
                    if leave:
                        break
    return filler
