"""The microphone's and speaker's device logic over an AudioBackend.

Nothing is opened where a look is passive, or where another program uses the device and it cannot be
shared; a shared microphone is listened to, and its look is passive all the same. The speaker's look never
plays: tones are for the self-test and for announcements, and not while another program uses either. The
mixer is no opening: it is read at each look, and a set is answered with what was read back.

A microphone that was muted in the room is unmuted there, and by nothing that this process can be asked.

Raises: Busy (held by another program, no ``force``), Unsupported (the card has no such control), Forbidden
(it was muted in the room), BadRequest (arguments), Absent and Broken from the backend.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .arguments import Answer, Arguments, Asked
from .contract import ANNOUNCEMENTS, Broken, Busy, DeviceError, Forbidden, Look
from .interfaces import AudioBackend
from .mark import Mark

Tell = Callable[[str, Mapping[str, Any]], None]

PROBE_S = 2.0
"""Silence is judged over 2 s."""
LOOP_S = 2.0
LEAD_S = 0.5
"""The room is heard this long before the sweep: its noise is what the sweep is measured against."""
LATEST_ARRIVAL_S = 0.5
"""The recording is never so short that a sweep this late would be cut off."""
MAX_S = 10.0
GAIN_DB = (-60.0, 40.0)
CAPABILITIES = {"microphone": ("mute", "gain"), "speaker": ("volume", "mute", "announce")}
_CONTROLS = {"muted": "mute", "gain_db": "gain", "volume_percent": "volume"}


def open_device(backend: AudioBackend, options: Mapping[str, Any], tell: Tell) -> Audio:
    # numpy comes later: its OpenBLAS would start a thread a core, for products that are not asked of it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return Audio(backend, options)


class Audio(Asked):
    def __init__(self, backend: AudioBackend, options: Mapping[str, Any]) -> None:
        self._backend = backend
        self._muted_by_kit = Mark(options.get("runtime_dir"), "microphone-muted")
        self._verbs: Mapping[str, Answer] = {
            "probe": self._probe,
            "loop": self._loop,
            "microphone": self._microphone,
            "speaker": self._speaker,
            "announce": self._announce,
        }

    def close(self) -> None:
        self._backend.close()

    def _probe(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = Arguments(args, "seconds", "passive")
        seconds = asked.number("seconds", 0.1, MAX_S, PROBE_S)
        passive = asked.flag("passive", False)
        return {
            "microphone": self._look("microphone", passive, seconds).to_dict(),
            "speaker": self._look("speaker", passive, None).to_dict(),
        }

    def _look(self, device: str, passive: bool, seconds: float | None) -> Look:
        """``seconds``: how long to listen; None for a device that nothing is heard of."""
        try:
            identity = self._backend.microphone() if device == "microphone" else self._backend.speaker()
            holder = self._backend.holder(device)
            readings = dict(self._backend.mixer(device))
            if device == "microphone":
                readings |= self._whose(readings)
            free = holder is None or self._backend.shares()
            if seconds is not None and not passive and free:
                try:
                    readings |= self._levels(seconds)
                except Busy as error:  # taken between the look around and the opening
                    holder = error.in_use_by
        except DeviceError as error:
            return Look(error=error, capabilities=CAPABILITIES[device])
        return Look(
            readings=readings,
            passive=passive or holder is not None,
            in_use_by=holder,
            identity=identity,
            capabilities=_capabilities(device, readings),
        )

    def _levels(self, seconds: float) -> dict[str, Any]:
        from .measure import sound  # numpy: 0.3 s that a passive look need not pay

        return sound.levels(self._backend.record(seconds)).readings()

    def _loop(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        from .measure import signals, sound

        asked = Arguments(args, "seconds", "level_dbfs", "force")
        sweep = signals.Sweep(level_dbfs=asked.number("level_dbfs", -60.0, signals.LOUDEST_DBFS, -20.0))
        shortest_s = LEAD_S + sweep.seconds + LATEST_ARRIVAL_S
        seconds = asked.number("seconds", shortest_s, MAX_S, LOOP_S)
        self._refuse_if_held(asked, "microphone", "speaker")
        played = signals.after_silence(LEAD_S, sweep.samples)
        return sound.hear(self._backend.play_and_record(played, seconds), sweep, LEAD_S).readings()

    def _microphone(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = Arguments(args, "mute", "gain_db")
        wanted: dict[str, Any] = {}
        if asked.has("mute"):
            wanted["muted"] = asked.flag("mute", False)
        if asked.has("gain_db"):
            wanted["gain_db"] = asked.number("gain_db", *GAIN_DB)
        if wanted.get("muted") is False:
            self._allow_unmuting(wanted)
        if wanted.get("muted"):
            before = self._backend.mixer("microphone").get("muted")
            read = self._set_mixer("microphone", wanted)
            if before is False and read.get("muted"):
                with suppress(Broken):  # muted it is; an order that cannot be kept counts as the room's
                    self._muted_by_kit.put(True)
        else:
            read = self._set_mixer("microphone", wanted)
        return {**read, **self._whose(read)}

    def _allow_unmuting(self, wanted: dict[str, Any]) -> None:
        """The look and the set are one request: a button pressed between two of the daemon's wins. One that
        is open already is not set, lest a button pressed since the look be undone."""
        now = self._backend.mixer("microphone")
        if self._whose(now).get("muted_by") == "room":
            raise Forbidden("it was muted in the room, and only there is it unmuted")
        if now.get("muted") is False:
            del wanted["muted"]

    def _whose(self, read: Mapping[str, Any]) -> dict[str, str]:
        """Who muted the microphone: "kit" (an order from afar) or "room" (its own button, or whoever else).

        A microphone that was seen open since the order was muted by the room.
        """
        if read.get("muted") is not True:
            if self._muted_by_kit:
                self._muted_by_kit.put(False)
            return {}
        return {"muted_by": "kit" if self._muted_by_kit else "room"}

    def _speaker(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = Arguments(args, "volume_percent", "mute")
        wanted: dict[str, Any] = {}
        if asked.has("volume_percent"):
            wanted["volume_percent"] = asked.number("volume_percent", 0.0, 100.0)
        if asked.has("mute"):
            wanted["muted"] = asked.flag("mute", False)
        return self._set_mixer("speaker", wanted)

    def _set_mixer(self, device: str, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        if wanted:
            self._backend.set_mixer(device, **wanted)
        return self._backend.mixer(device)

    def _announce(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        from .measure import signals

        asked = Arguments(args, "name", "force")
        name = asked.choice("name", ANNOUNCEMENTS)
        self._refuse_if_held(asked, "speaker")
        samples = signals.announcement(name)
        self._backend.play(samples)
        return {"name": name, "seconds": samples.size / signals.RATE_HZ}

    def _refuse_if_held(self, asked: Arguments, *devices: str) -> None:
        force = asked.flag("force", False)
        for device in devices:
            holder = self._backend.holder(device)
            if holder is not None and not force:
                raise Busy(f"{holder} holds the {device}", in_use_by=holder)


def _capabilities(device: str, mixer: Mapping[str, Any]) -> tuple[str, ...]:
    """What this card's mixer can do, and what needs no mixer."""
    controls = {_CONTROLS[reading] for reading in mixer if reading in _CONTROLS}
    return tuple(name for name in CAPABILITIES[device] if name in controls or name == "announce")
