"""What the two PortAudio libraries share: which device, opened by what name, and what its errors mean.

A :class:`PortAudio` is an AudioBackend over a :class:`Library`. Devices are found anew at each use, by
stable identity: on the sound server where one answers, else among the kernel's cards. They are opened
for one transfer and let go again, PortAudio itself included: it lists the devices once, when it is
initialised, and would not see one that was plugged in later. Presence is asked again after a
transfer, since a sound server moves the stream of an unplugged device to another one in silence.

Raises: Absent, Busy, Broken, Unsupported (no such control), BadRequest (an identity that is none).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from diemcau_drivers.contract import Absent, Broken, Busy, DeviceError

from .alsa import KernelCards
from .soundcards import Wanted
from .soundroute import Route, SoundSystem
from .soundserver import NoServer, SoundServer

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Samples

RATE_HZ = 48_000
SETTLE_S = 0.3
"""What a stream gives first is not the room: zeros while the server links it, a card's click as it wakes."""
STALL_S = 4.0
"""A stream that is this late has stopped without a word."""
DEVICE_UNAVAILABLE = -9985  # paDeviceUnavailable: ALSA said EBUSY
INVALID_DEVICE = -9996  # paInvalidDevice: the list has it no more

os.environ.setdefault("PA_ALSA_PLUGHW", "1")  # PortAudio then lets ALSA convert rate and channels


class PortAudioFailed(Exception):
    """PortAudio's error code (portaudio.h, PaErrorCode) and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"PortAudio: {text} ({code})")
        self.code = code


class Library(Protocol):
    """One of the two libraries. Initialised by the first call, ended by ``release``."""

    def names(self) -> list[str]:
        """Of all devices; a device's place in the list is its index. Raises PortAudioFailed."""
        ...

    def transfer(self, inlet: int | None, outlet: int | None, samples: Samples | None, count: int) -> Samples:
        """Play ``samples`` at ``outlet`` while recording ``count`` samples at ``inlet``, both from the
        same moment on; returns when both are done. Raises PortAudioFailed."""
        ...

    def release(self) -> None: ...


class PortAudio:
    def __init__(self, options: Mapping[str, Any], library: Library, root: Path = Path("/")) -> None:
        self._library = library
        self._wanted = {device: Wanted.parse(options.get(device)) for device in ("microphone", "speaker")}
        self._server = SoundServer(root)
        self._cards = KernelCards(root)

    def microphone(self) -> Mapping[str, str]:
        return self._find("microphone")[1].identity

    def speaker(self) -> Mapping[str, str]:
        return self._find("speaker")[1].identity

    def holder(self, device: str) -> str | None:
        system, route = self._find(device)
        return system.holder(route)

    def shares(self) -> bool:
        return self._find("microphone")[0].shared

    def mixer(self, device: str) -> Mapping[str, Any]:
        system, route = self._find(device)
        return system.mixer(route)

    def set_mixer(self, device: str, **values: Any) -> None:
        system, route = self._find(device)
        system.set_mixer(route, values)

    def record(self, seconds: float) -> Samples:
        return self._settled(None, seconds)

    def play(self, samples: Samples) -> None:
        self._transfer(samples, 0)

    def play_and_record(self, samples: Samples, seconds: float) -> Samples:
        return self._settled(samples, seconds)

    def close(self) -> None:
        self._library.release()

    def _find(self, device: str) -> tuple[SoundSystem, Route]:
        try:
            return self._server, self._server.find(device, self._wanted[device])
        except NoServer:
            return self._cards, self._cards.find(device, self._wanted[device])

    def _settled(self, samples: Samples | None, seconds: float) -> Samples:
        """Playing and recording both begin once the streams have settled."""
        import numpy as np

        settle = round(SETTLE_S * RATE_HZ)
        late = None if samples is None else np.concatenate((np.zeros(settle, np.float32), samples))
        return self._transfer(late, settle + round(seconds * RATE_HZ))[settle:]

    def _transfer(self, samples: Samples | None, count: int) -> Samples:
        devices = (["microphone"] if count else []) + (["speaker"] if samples is not None else [])
        found = {device: self._find(device) for device in devices}
        for _, route in found.values():
            os.environ.update(route.environment)
        try:
            names = self._library.names()
            indexes = {device: _index(names, route.pcm) for device, (_, route) in found.items()}
            heard = self._library.transfer(indexes.get("microphone"), indexes.get("speaker"), samples, count)
        except PortAudioFailed as error:
            self._confirm(found)
            raise self._meaning(error, found) from error
        finally:
            self._library.release()
        self._confirm(found)
        return heard

    def _confirm(self, found: Mapping[str, tuple[SoundSystem, Route]]) -> None:
        """Raises Absent where a device was unplugged meanwhile."""
        for device, (_, route) in found.items():
            now = self._find(device)[1]
            if now.identity != route.identity:
                raise Absent(f"{route.identity.get('name', device)} was unplugged while in use")

    @staticmethod
    def _meaning(error: PortAudioFailed, found: Mapping[str, tuple[SoundSystem, Route]]) -> DeviceError:
        if error.code == DEVICE_UNAVAILABLE:
            holders = (system.holder(route) for system, route in found.values())
            return Busy(str(error), in_use_by=next(filter(None, holders), None))
        if error.code == INVALID_DEVICE:
            return Absent(str(error))
        return Broken(str(error))


def _index(names: list[str], pcm: str) -> int:
    """Where PortAudio lists the PCM: by its own name, or as "USB Audio: - (plughw:1,0)"."""
    for index, name in enumerate(names):
        bracketed = re.search(r"\((?:plug)?(hw:\d+,\d+)\)$", name)
        if pcm in (name, bracketed[1] if bracketed else None):
            return index
    if pcm == "pulse":
        raise Broken(
            'ALSA has no PCM "pulse", so PortAudio cannot reach the sound server: install libasound2-plugins'
        )
    raise Absent(f"PortAudio does not list {pcm}; it lists: {', '.join(names) or 'nothing'}")
