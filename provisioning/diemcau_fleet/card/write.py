"""Onto the boot partition, in such an order that a pulled plug leaves a card that says it is not whole."""

from __future__ import annotations

from collections.abc import Mapping

from . import contents, seed
from .boot import Boot
from .errors import CardError

FOLDER = "diemcau"
RESULT = "diemcau/result.txt"
"""first-boot.sh leaves it when all is done."""
_SPARE = 8 * 2**20
"""The first boot writes what became of it."""


def write(boot: Boot, kit: seed.Kit, pieces: Mapping[str, bytes]) -> str:
    """The instance that the card is now. Raises CardError, OSError."""
    there = boot.names()
    if RESULT in there:
        raise CardError("this card has been a kit's already; write Raspberry Pi OS onto it anew")
    summed = contents.sums(pieces)
    network, user = seed.network_config(kit.network), seed.user_data(kit, contents.digest(summed))
    parts = (summed, pieces.get(contents.TOKEN, b""), network.encode(), user.encode())
    instance = seed.instance(kit.point, parts)
    wanted = {f"{FOLDER}/{name}": data for name, data in [*pieces.items(), ("SHA256SUMS", summed)]}
    for name in sorted(
        there - wanted.keys()
    ):  # what an earlier preparation left: another kit's token above all
        if name.startswith(f"{FOLDER}/"):
            boot.forget(name)
    changed = {name: data for name, data in wanted.items() if name not in there or boot.read(name) != data}
    need, free = sum(map(len, changed.values())) + _SPARE, boot.free()
    if need > free:
        raise CardError(
            f"{free / 2**20:.0f} MiB free on the boot partition, expected {need / 2**20:.0f} at least"
        )
    for name, data in changed.items():
        boot.put(name, data)
    # Only now may cloud-init find it. Cut short before, the digest in an older user-data does not fit.
    line = seed.kernel_line(boot.read("cmdline.txt").decode(), instance, kit.network.wifi is not None)
    for name, text in (
        ("network-config", network),
        ("user-data", user),
        ("meta-data", seed.meta_data(instance)),
        ("cmdline.txt", line),
    ):
        if name not in there or boot.read(name) != text.encode():
            boot.replace(name, text.encode())
    return instance
