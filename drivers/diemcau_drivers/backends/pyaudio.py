"""Sound through PortAudio's blocking streams: the library ``pyaudio``, imported at the first sound.

For cards whose driver stalls callbacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from .portaudio import RATE_HZ, PortAudio, PortAudioFailed

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Samples

BLOCK = 4800
"""Samples a call, 100 ms. PortAudio keeps four of them, so a busy Pi may be late without tearing the sound:
half of that was torn on the virtual kit, whose every instruction is emulated."""
_FLOAT32 = 1  # paFloat32


class PyaudioAudio(PortAudio):
    def __init__(self, options: Mapping[str, Any], root: Path = Path("/")) -> None:
        super().__init__(options, Pyaudio(), root)


class _Stream(Protocol):
    def get_write_available(self) -> int: ...
    def read(self, num_frames: int, exception_on_overflow: bool) -> bytes: ...
    def write(self, frames: bytes) -> None: ...
    def stop_stream(self) -> None: ...
    def close(self) -> None: ...


class _Library(Protocol):
    """The narrow surface of the (untyped) library that is used here."""

    def get_device_count(self) -> int: ...
    def get_device_info_by_index(self, index: int) -> dict[str, Any]: ...
    def open(self, **settings: Any) -> _Stream: ...
    def terminate(self) -> None: ...


class Pyaudio:
    def __init__(self) -> None:
        self._library: _Library | None = None

    def names(self) -> list[str]:
        try:
            pa = self._initialise()
            return [str(pa.get_device_info_by_index(index)["name"]) for index in range(pa.get_device_count())]
        except OSError as error:
            raise _failed(error) from error

    def transfer(self, inlet: int | None, outlet: int | None, samples: Samples | None, count: int) -> Samples:
        import numpy as np

        sound: Samples = np.zeros(0, np.float32) if samples is None else samples
        heard: list[bytes] = []
        try:
            stream = self._initialise().open(
                rate=RATE_HZ,
                channels=1,
                format=_FLOAT32,
                input=inlet is not None,
                output=outlet is not None,
                input_device_index=inlet,
                output_device_index=outlet,
                frames_per_buffer=BLOCK,
            )
            try:
                # Playing begins with as much silence as the card's buffer takes, or the first late
                # wake-up would tear the sound; the same stretch of the recording is then left out.
                ahead = stream.get_write_available() if outlet is not None else 0
                length = ahead + max(count, sound.size)
                padded = np.zeros(length + BLOCK, np.float32)
                padded[ahead : ahead + sound.size] = sound
                if ahead:
                    stream.write(padded[:ahead].tobytes())
                for begin in range(0, length, BLOCK):
                    if outlet is not None:
                        stream.write(padded[ahead + begin : ahead + begin + BLOCK].tobytes())
                    if inlet is not None:
                        heard.append(stream.read(BLOCK, exception_on_overflow=False))
                stream.stop_stream()  # plays to the end what is still queued
            finally:
                stream.close()
        except OSError as error:
            raise _failed(error) from error
        return np.frombuffer(b"".join(heard), np.float32)[ahead : ahead + count].copy()

    def release(self) -> None:
        if self._library is not None:
            self._library.terminate()
            self._library = None

    def _initialise(self) -> _Library:
        if self._library is None:
            import pyaudio

            self._library = cast("Callable[[], _Library]", pyaudio.PyAudio)()
        return self._library


def _failed(error: OSError) -> PortAudioFailed:
    """PyAudio raises OSError(code, text), or OSError(text, code) where a stream broke."""
    code = next((part for part in error.args if isinstance(part, int)), 0)
    text = next((part for part in error.args if isinstance(part, str)), "failed")
    return PortAudioFailed(code, text)
