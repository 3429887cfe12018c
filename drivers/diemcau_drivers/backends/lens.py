"""Zoom and presets by cropping, for cameras that have no zoom of their own, and the JPEG at the end.

Raises: BadRequest (no such preset), Broken (the view cannot be kept).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diemcau_drivers.contract import BadRequest, Broken

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class View:
    """A part of the whole picture: ``zoom`` >= 1 (1 = all of it), centre in 0 to 1 of width and height."""

    zoom: float = 1.0
    cx: float = 0.5
    cy: float = 0.5
    preset: str | None = None

    def crop(self, width_px: int, height_px: int) -> tuple[int, int, int, int]:
        """(left, top, width, height) in pixels, even numbers, inside the picture."""
        width = max(2, round(width_px / self.zoom) // 2 * 2)
        height = max(2, round(height_px / self.zoom) // 2 * 2)
        left = min(max(0, round(self.cx * width_px - width / 2)), width_px - width)
        top = min(max(0, round(self.cy * height_px - height / 2)), height_px - height)
        return left // 2 * 2, top // 2 * 2, width, height


def presets(options: Mapping[str, Any]) -> dict[str, View]:
    """``options["presets"]``: name -> (zoom, cx, cy)."""
    table: Mapping[str, Any] = options.get("presets") or {}
    return {name: View(float(zoom), float(cx), float(cy), name) for name, (zoom, cx, cy) in table.items()}


class Lens:
    """The view in force; kept in ``options["runtime_dir"]`` so that it outlives an idle process."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.presets = presets(options)
        directory = options.get("runtime_dir")
        self._path = None if directory is None else Path(directory) / "camera-view.json"
        self.view = self._load()

    def zoom_to(self, ratio: float) -> None:
        self._take(View(ratio, self.view.cx, self.view.cy))

    def go_to(self, preset: str) -> None:
        view = self.presets.get(preset)
        if view is None:
            raise BadRequest(f"preset: got {preset!r}, expected one of {', '.join(self.presets) or 'none'}")
        self._take(view)

    def _take(self, view: View) -> None:
        self.view = view
        if self._path is None:
            return
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(json.dumps(asdict(view)))
            beside.replace(self._path)
        except OSError as error:
            raise Broken(f"the camera's view cannot be kept in {self._path}: {error}") from error

    def _load(self) -> View:
        """The kept view, or the whole picture where there is none that can be read."""
        if self._path is None:
            return View()
        try:
            kept = json.loads(self._path.read_text())
            view = View(float(kept["zoom"]), float(kept["cx"]), float(kept["cy"]), kept["preset"])
        except (OSError, ValueError, TypeError, KeyError):
            return View()
        sound = view.zoom >= 1 and 0 <= view.cx <= 1 and 0 <= view.cy <= 1
        return view if sound and (view.preset is None or view.preset in self.presets) else View()


def jpeg(picture: Image, quality: int, max_width_px: int) -> tuple[bytes, int, int]:
    """The picture, at most ``max_width_px`` wide, as JPEG with width and height; no metadata is kept."""
    if picture.width > max_width_px:
        height_px = max(1, round(picture.height * max_width_px / picture.width))
        picture = picture.resize((max_width_px, height_px))
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue(), picture.width, picture.height
