"""What diemcau-agent.service says, held against what its devices need."""

from __future__ import annotations

import re
from pathlib import Path

UNIT = (Path(__file__).parents[2] / "systemd/diemcau-agent.service").read_text()
NAMED_BY = {"video4linux": "videodev", "media": "mc", "alsa": "snd", "cec": "cec", "drm": "drm"}
"""A kind of character device in /proc/devices, and the module that gives it its name."""
BUILT_IN = {"gpiochip", "fb", "dma_heap"}
"""In Debian's kernels and in Raspberry Pi OS's (GPIO_CDEV, FB, DMABUF_HEAPS: y)."""
OF_WHOEVER_WANTS_IT = {"i2c"}
"""i2c-dev opens every bus of the kit, and is of use with ddcutil alone: it is loaded at boot, or never."""


def words(name: str) -> set[str]:
    return {word for line in re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE) for word in line.split()}


def test_each_kind_of_device_has_its_name_before_the_agent_starts() -> None:
    kinds = {word.removeprefix("char-") for word in words("DeviceAllow") if word.startswith("char-")}
    assert kinds == NAMED_BY.keys() | BUILT_IN | OF_WHOEVER_WANTS_IT
    loaded = {f"modprobe@{module}.service" for module in NAMED_BY.values()}
    for name in ("Wants", "After"):
        assert {word for word in words(name) if word.startswith("modprobe@")} == loaded
