"""The real libraries, each behind the interfaces of :mod:`diemcau_drivers.contract`.

A backend is named in the configuration and loaded in the device's own process only. The names
below ship; others come as an entry point of the group ``diemcau.backends``, whose module has
a dict ``BACKENDS`` (process -> factory). There is no fallback from one backend to another.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from diemcau_drivers.contract import BadRequest

Factory = Callable[[Mapping[str, Any]], Any]

SHIPPED: dict[str, dict[str, str]] = {
    "camera": {
        "picamera2": "diemcau_drivers.backends.picamera2:Picamera2Camera",
        "v4l2": "diemcau_drivers.backends.v4l2:V4l2Camera",
    },
    "audio": {
        "sounddevice": "diemcau_drivers.backends.sounddevice:SounddeviceAudio",
        "pyaudio": "diemcau_drivers.backends.pyaudio:PyaudioAudio",
    },
    "display": {"cec": "diemcau_drivers.backends.cec:CecDisplay"},
    "panel": {"gpio": "diemcau_drivers.backends.gpio:GpioPanel"},
    "presence": {"sysfs": "diemcau_drivers.backends.sysfs:SysfsPresence"},
}


def load(process: str, name: str) -> Factory:
    """The factory of backend ``name`` for ``process``. Raises BadRequest naming what there is."""
    place = SHIPPED.get(process, {}).get(name)
    if place is not None:
        module, _, attribute = place.partition(":")
        return getattr(importlib.import_module(module), attribute)
    for entry in entry_points(group="diemcau.backends", name=name):
        factory = entry.load().BACKENDS.get(process)
        if factory is not None:
            return factory
    known = ", ".join(sorted(SHIPPED.get(process, {}))) or "none shipped"
    raise BadRequest(f"no backend {name!r} for {process}; there is: {known}")
