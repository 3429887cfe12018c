"""The camera's device logic: looks, view (zoom, presets), privacy and snapshots over a CameraBackend.

The camera is opened for as short as it can be, and not at all where another program holds it, where
the look is to be passive, or where it is switched off. Off is a promise about privacy, kept here and
not by any library: nothing opens the camera until it is switched on again. A file in
``options["runtime_dir"]`` keeps the promise after this process has left, one in ``options["state_dir"]``
after a boot.

Raises: Busy (held by another program, no ``force``), Unsupported (switched off, or the camera cannot),
BadRequest (arguments), Absent and Broken from the backend.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from .arguments import Answer, Arguments, Asked
from .contract import BadRequest, Broken, Busy, DeviceError, Look, Unsupported
from .interfaces import CameraBackend
from .mark import Mark

Tell = Callable[[str, Mapping[str, Any]], None]

PROBE_FRAMES = 5
"""Enough that a live sensor's noise moves between them; a frozen picture is confirmed by the next probe."""
MAX_ZOOM = 10.0
SNAPSHOT_MAX_BYTES = 200 * 1024
"""The wire's limit of a snapshot (docs/wire.md, Commands)."""
SNAPSHOT_STEPS = (
    *((quality, 1920) for quality in (85, 70, 55, 40)),
    *((40, width_px) for width_px in (960, 640, 480, 320, 160)),
)
"""(JPEG quality, width in pixels) tried in turn until the picture fits."""


def open_device(backend: CameraBackend, options: Mapping[str, Any], tell: Tell) -> Camera:
    return Camera(backend, options)


class Privacy:
    """Whether the camera may be opened at all. Held in each of ``directories``, and off where one of them
    says so; in memory only without any."""

    def __init__(self, *directories: str | None) -> None:
        places = [place for place in directories if place is not None] or [None]
        self._off = [Mark(place, "camera-off") for place in places]

    @property
    def on(self) -> bool:
        return not any(self._off)

    def switch(self, on: bool) -> None:
        """Raises Broken where it cannot be written down in every place; it is then on only where it was so
        and none took it. A card that takes nothing any more leaves it off until the next boot."""
        broken: Broken | None = None
        for mark in self._off:
            try:
                mark.put(not on)
            except Broken as error:
                broken = error
        if broken is not None:
            raise broken


class Camera(Asked):
    def __init__(self, backend: CameraBackend, options: Mapping[str, Any]) -> None:
        self._backend = backend
        self._presets = tuple(options.get("presets", {}))
        self._privacy = Privacy(options.get("runtime_dir"), options.get("state_dir"))
        self._capabilities: tuple[str, ...] = ("power",)  # the rest is known once it has been open
        self._verbs: Mapping[str, Answer] = {
            "probe": self._probe,
            "state": self._state,
            "set": self._set,
            "snapshot": self._snapshot,
        }

    def close(self) -> None:
        self._backend.close()

    def _probe(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        passive = Arguments(args, "passive").flag("passive", False)
        try:
            return self._look(passive).to_dict()
        except DeviceError as error:
            return Look(error=error, capabilities=self._capabilities).to_dict()

    def _look(self, passive: bool) -> Look:
        identity = self._backend.identity()
        holder = self._backend.holder()
        if not self._privacy.on:
            return self._unopened(identity, holder, {"power": False})
        if passive or holder is not None:
            return self._unopened(identity, holder, {})
        try:
            with self._opened():
                if not self._powered():
                    return self._unopened(identity, None, {"power": False})
                frames, fps = self._backend.grab(PROBE_FRAMES)
        except Busy as error:  # taken between the look around and the opening
            return self._unopened(identity, error.in_use_by, {})
        from .measure import picture  # numpy: 0.3 s that a passive look need not pay

        return Look(readings=picture.look(frames, fps), identity=identity, capabilities=self._capabilities)

    def _unopened(self, identity: Mapping[str, str], holder: str | None, readings: Mapping[str, Any]) -> Look:
        return Look(
            readings=readings,
            passive=True,
            in_use_by=holder,
            identity=identity,
            capabilities=self._capabilities,
        )

    def _state(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        force = Arguments(args, "force").flag("force", False)
        if not self._privacy.on:
            return self._read_back(None)
        self._refuse_if_held(force)
        with self._opened():
            return self._read_back(self._backend.state())

    def _set(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = Arguments(args, "power", "zoom", "preset", "force")
        force = asked.flag("force", False)
        power = asked.flag("power", True) if asked.has("power") else None
        zoom = asked.number("zoom", 1.0, MAX_ZOOM) if asked.has("zoom") else None
        preset = asked.choice("preset", self._presets) if asked.has("preset") else None
        if power is None and zoom is None and preset is None:
            raise BadRequest("set: got nothing, expected any of power, zoom, preset")
        moving = zoom is not None or preset is not None
        if moving and (power is False or (power is None and not self._privacy.on)):
            raise Unsupported("the camera is switched off: nothing moves it")
        self._refuse_if_held(force)
        if power is not None:
            self._privacy.switch(power)
        if power is False:  # kept at once, whether or not there is a camera that could be opened
            return self._read_back(None)
        with self._opened():
            capabilities = self._backend.capabilities()
            if power and "power" in capabilities:  # a switch of the camera's own
                self._backend.set_power(True)
            for name, wanted in (("preset", preset), ("zoom", zoom)):
                if wanted is not None and name not in capabilities:
                    raise Unsupported(f"this camera has no {name}")
            if preset is not None:
                self._backend.set_preset(preset)
            if zoom is not None:
                self._backend.set_zoom(zoom)
            return self._read_back(self._backend.state())

    def _snapshot(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = Arguments(args, "max_bytes", "force")
        max_bytes = int(asked.number("max_bytes", 1, SNAPSHOT_MAX_BYTES, SNAPSHOT_MAX_BYTES))
        if not self._privacy.on:
            raise Unsupported("the camera is switched off: it takes no picture")
        self._refuse_if_held(asked.flag("force", False))
        with self._opened():
            if not self._powered():
                raise Unsupported("the camera is switched off: it takes no picture")
            size_bytes = 0
            for quality, max_width_px in SNAPSHOT_STEPS:
                jpeg, width_px, height_px = self._backend.jpeg(quality, max_width_px)
                size_bytes = len(jpeg)
                if size_bytes <= max_bytes:
                    return {
                        "jpeg_base64": base64.b64encode(jpeg).decode(),
                        "width_px": width_px,
                        "height_px": height_px,
                        "bytes": size_bytes,
                    }
        raise BadRequest(f"max_bytes: got {max_bytes}, expected at least {size_bytes} for this picture")

    def _refuse_if_held(self, force: bool) -> None:
        holder = self._backend.holder()
        if holder is not None and not force:
            raise Busy(f"{holder} holds the camera", in_use_by=holder)

    def _powered(self) -> bool:
        """A camera that has a switch of its own may be off though nobody asked us."""
        has_switch = "power" in self._backend.capabilities()
        return not has_switch or bool(self._backend.state().get("power", True))

    def _read_back(self, state: Mapping[str, Any] | None) -> Mapping[str, Any]:
        read = dict(state or {})
        return read | {
            "power": self._privacy.on and bool(read.get("power", True)),
            "capabilities": list(self._capabilities),
        }

    @contextmanager
    def _opened(self) -> Generator[None]:
        self._backend.open()
        try:
            self._capabilities = tuple(dict.fromkeys(("power", *self._backend.capabilities())))
            yield
        finally:
            self._backend.close()
