"""Onto the boot partition, in such an order that a pulled plug leaves a card that says it is not whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from diemcau_agent import files

from . import contents, seed
from .errors import CardError

FOLDER = "diemcau"
_SPARE = 8 * 2**20
"""The first boot writes what became of it."""


def write(root: Path, kit: seed.Kit, pieces: Mapping[str, bytes]) -> str:
    """The instance that the card is now. Raises CardError, OSError."""
    if (root / FOLDER / "result.txt").exists():
        raise CardError(
            f"{root / FOLDER}: this card has been a kit's already; write Raspberry Pi OS onto it anew"
        )
    summed = contents.sums(pieces)
    digest = contents.digest(summed)
    network, user = seed.network_config(kit.network), seed.user_data(kit, digest)
    instance = seed.instance(
        kit.point, [summed, pieces.get(contents.TOKEN, b""), network.encode(), user.encode()]
    )
    wanted = {f"{FOLDER}/{name}": data for name, data in [*pieces.items(), ("SHA256SUMS", summed)]}
    _expect_room(root, wanted)
    _forget(root, wanted)
    for name, data in wanted.items():
        _put(root, name, data)
    # Only now may cloud-init find it. Cut short before, the digest in an older user-data does not fit.
    _put(root, "network-config", network.encode())
    _put(root, "user-data", user.encode())
    _put(root, "meta-data", seed.meta_data(instance).encode())
    line = (root / "cmdline.txt").read_text(encoding="utf-8")
    _put(root, "cmdline.txt", seed.kernel_line(line, instance, kit.network.wifi is not None).encode())
    return instance


def _put(root: Path, name: str, data: bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        files.replace(path, data, 0o644)


def _forget(root: Path, wanted: Mapping[str, bytes]) -> None:
    """What an earlier preparation left: another kit's token above all."""
    folder = root / FOLDER
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(root).as_posix() not in wanted:
            path.unlink()
            files.settle(path.parent)


def _expect_room(root: Path, wanted: Mapping[str, bytes]) -> None:
    room = os.statvfs(root)
    free = room.f_bavail * room.f_frsize
    there = sum(path.stat().st_size for path in (root / FOLDER).rglob("*") if path.is_file())
    need = sum(map(len, wanted.values())) + _SPARE
    if need > free + there:
        raise CardError(
            f"{root}: {free / 2**20:.0f} MiB free on the boot partition, expected {need / 2**20:.0f} at least"
        )
