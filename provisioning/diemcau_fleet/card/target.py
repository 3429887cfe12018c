"""Which boot partition is meant: a mounted one, a card in its reader, an image. Never this machine's disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from .boot import Boot, Fat, Mounted
from .errors import CardError

SYS = Path("/sys")
PROC = Path("/proc")
_FAT_TYPES = (0x04, 0x06, 0x0B, 0x0C, 0x0E)
_SECTOR = 512


def boot_partition(target: Path, agreed: Callable[[str], None]) -> Boot:
    """``agreed`` is told which device it is before that is touched; it raises CardError where it is not
    the one. Raises CardError, OSError."""
    try:
        kind = target.stat().st_mode
    except FileNotFoundError:
        raise CardError(f"{target}: no such directory, device or image") from None
    if stat.S_ISDIR(kind):
        _refuse_own(target)
        found: Boot = Mounted(target)
    else:
        if stat.S_ISBLK(kind):
            agreed(card_in_reader(target))
        elif not stat.S_ISREG(kind):
            raise CardError(f"{target}: expected a directory, a block device or an image")
        found = Fat(target, fat_offset(target))
    missing = sorted({"cmdline.txt", "config.txt"} - found.names())
    if missing:
        raise CardError(
            f"{target}: has no {' and no '.join(missing)}; expected Raspberry Pi OS's boot partition"
        )
    return found


def fat_offset(target: Path) -> int:
    """By the first sector: a partition's own, or the table of a whole card. Raises CardError, OSError."""
    with target.open("rb") as file:
        sector = file.read(_SECTOR)
    if sector.startswith((b"\xfd7zXZ", b"\x1f\x8b", b"PK")):
        raise CardError(f"{target}: is compressed; unpack it first (xz --decompress --keep)")
    if len(sector) < _SECTOR or sector[510:512] != b"\x55\xaa":
        raise CardError(
            f"{target}: no partition table and no FAT; expected a card with Raspberry Pi OS on it"
        )
    if sector[82:87] == b"FAT32" or sector[54:58] == b"FAT1":
        return 0
    first = sector[446:462]
    if first[4] not in _FAT_TYPES:
        raise CardError(
            f"{target}: its first partition is of type 0x{first[4]:02x}, expected FAT (Raspberry Pi OS)"
        )
    return int.from_bytes(first[8:12], "little") * _SECTOR


def card_in_reader(device: Path) -> str:
    """What this device is, for people; refused where it may be a disk of this machine. Raises CardError."""
    number = device.stat().st_rdev
    node = (SYS / "dev/block" / f"{os.major(number)}:{os.minor(number)}").resolve()
    disk = node.parent if (node / "partition").exists() else node
    parts = [disk, *(path for path in sorted(disk.iterdir()) if (path / "partition").exists())]
    for part in parts:
        numbers = (part / "dev").read_text().strip()
        if (where := _mounted(numbers)) is not None:
            raise CardError(
                f"{device}: {part.name} is mounted at {where}; if it is the card, give that directory"
            )
        if part.name in _swaps():
            raise CardError(f"{device}: {part.name} is this machine's swap")
        if (holders := part / "holders").is_dir() and (held := [path.name for path in holders.iterdir()]):
            raise CardError(f"{device}: {part.name} is part of {held[0]} (LVM, RAID or encryption): no card")
    if (disk / "ro").read_text().strip() == "1":
        raise CardError(f"{device}: is write-protected; look at the switch of the card or its adapter")
    removable = (disk / "removable").read_text().strip() == "1"
    if not removable and not disk.name.startswith(("mmcblk", "loop")):
        raise CardError(f"{device}: {disk.name} is a fixed disk, expected a card in a reader")
    size = int((disk / "size").read_text()) * _SECTOR
    model = disk / "device/model"
    name = model.read_text().strip() if model.exists() else (disk / "device/name")
    told = name if isinstance(name, str) else name.read_text().strip() if name.exists() else "no model"
    return f"{device}: {told}, {size / 2**30:.1f} GiB"


def _refuse_own(folder: Path) -> None:
    """The boot partition of the machine that this runs on, which may be a Pi itself."""
    if folder.resolve() in (Path("/"), Path("/boot"), Path("/boot/firmware"), Path("/boot/efi")):
        raise CardError(f"{folder}: is this machine's own; expected where the card is mounted")
    if folder.stat().st_dev == Path("/boot").stat().st_dev != Path("/").stat().st_dev:
        raise CardError(f"{folder}: is on this machine's own boot partition")


def _mounted(numbers: str) -> str | None:
    for line in (PROC / "self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == numbers:
            return fields[4]
    return None


def _swaps() -> list[str]:
    return [Path(line.split()[0]).name for line in (PROC / "swaps").read_text().splitlines()[1:]]
