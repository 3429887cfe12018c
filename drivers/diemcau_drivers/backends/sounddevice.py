"""Sound through PortAudio's callback streams: the library ``sounddevice``, imported at the first sound."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol, cast

from .portaudio import RATE_HZ, STALL_S, PortAudio, PortAudioFailed

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Samples


LATENCY_S = 0.2
"""Nobody waits for this sound, and a busy Pi that is late must not tear it."""


class SounddeviceAudio(PortAudio):
    def __init__(self, options: Mapping[str, Any], root: Path = Path("/")) -> None:
        super().__init__(options, Sounddevice(), root)


class _Stream(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


class _Module(Protocol):
    """The narrow surface of the (untyped) library that is used here."""

    PortAudioError: type[Exception]
    CallbackStop: type[Exception]
    Stream: Callable[..., _Stream]
    InputStream: Callable[..., _Stream]
    OutputStream: Callable[..., _Stream]

    def query_devices(self) -> list[dict[str, Any]]: ...


class Sounddevice:
    def __init__(self) -> None:
        self._module: _Module | None = None  # while PortAudio is initialised

    def names(self) -> list[str]:
        sd = self._initialise()
        return [str(device["name"]) for device in sd.query_devices()]

    def transfer(self, inlet: int | None, outlet: int | None, samples: Samples | None, count: int) -> Samples:
        sd = self._initialise()
        take = _Take(samples, count, sd.CallbackStop)
        settings: dict[str, Any] = {
            "samplerate": RATE_HZ,
            "dtype": "float32",
            "latency": LATENCY_S,
            "finished_callback": take.finished.set,
        }
        try:
            if outlet is None:
                stream = sd.InputStream(device=inlet, channels=1, callback=take.listen, **settings)
            elif inlet is None:
                stream = sd.OutputStream(device=outlet, channels=1, callback=take.speak, **settings)
            else:
                stream = sd.Stream(device=(inlet, outlet), channels=1, callback=take.both, **settings)
            try:
                stream.start()
                if not take.finished.wait(take.seconds + STALL_S):
                    stream.abort()
                    raise PortAudioFailed(-9987, "the stream stalled")  # paTimedOut
                stream.stop()
            finally:
                stream.close()
        except sd.PortAudioError as error:
            raise _failed(error) from error
        return take.heard

    def release(self) -> None:
        if self._module is not None:
            # The library's own way to see devices plugged in later (its documentation, "Hot-plugging").
            cast("Any", self._module)._terminate()
            self._module = None

    def _initialise(self) -> _Module:
        if self._module is None:
            first = "sounddevice" not in sys.modules
            import sounddevice

            module = cast("_Module", sounddevice)
            if not first:  # the first import does it by itself
                try:
                    cast("Any", sounddevice)._initialize()
                except module.PortAudioError as error:
                    raise _failed(error) from error
            self._module = module
        return self._module


class _Take:
    """One transfer's state, filled and emptied by PortAudio's thread."""

    def __init__(self, samples: Samples | None, count: int, stop: type[Exception]) -> None:
        import numpy as np

        self._samples: Samples = np.zeros(0, np.float32) if samples is None else samples
        self._stop = stop
        self._played = 0
        self._recorded = 0
        self.heard: Samples = np.zeros(count, np.float32)
        self.finished = Event()
        self.seconds = max(count, self._samples.size) / RATE_HZ

    def listen(self, indata: Any, frames: int, time: Any, status: Any) -> None:
        self._take(indata)
        self._stop_when_done()

    def speak(self, outdata: Any, frames: int, time: Any, status: Any) -> None:
        self._give(outdata)
        self._stop_when_done()

    def both(self, indata: Any, outdata: Any, frames: int, time: Any, status: Any) -> None:
        self._take(indata)
        self._give(outdata)
        self._stop_when_done()

    def _take(self, indata: Any) -> None:
        chunk = indata[: self.heard.size - self._recorded, 0]
        self.heard[self._recorded : self._recorded + chunk.size] = chunk
        self._recorded += chunk.size

    def _give(self, outdata: Any) -> None:
        chunk = self._samples[self._played : self._played + outdata.shape[0]]
        outdata[: chunk.size, 0] = chunk
        outdata[chunk.size :, 0] = 0
        self._played += chunk.size

    def _stop_when_done(self) -> None:
        if self._recorded == self.heard.size and self._played == self._samples.size:
            raise self._stop


def _failed(error: Exception) -> PortAudioFailed:
    """sounddevice's error carries text and code as its arguments."""
    code = next((part for part in error.args if isinstance(part, int)), 0)
    return PortAudioFailed(code, str(error.args[0]) if error.args else "failed")
