"""The kernel's cards where there is no sound server: found in /proc/asound, mixed by ``amixer``."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diemcau_drivers.contract import Absent, Broken, Unsupported

from .soundcards import Wanted, cards, holder
from .soundroute import Route

AMIXER_DEADLINE_S = 5.0
_CONTROL = re.compile(r"^Simple mixer control '(.+)',(\d+)$", re.MULTILINE)
_VALUE = re.compile(r"(Playback |Capture )?-?\d+ \[(\d+)%\](?: \[(-?[\d.]+)dB\])?(?: \[(on|off)\])?")
_SWITCH_ONLY = re.compile(r"(Playback|Capture) \[(on|off)\]")
_DIRECTION = {"microphone": "Capture", "speaker": "Playback"}
_USUAL = {
    "microphone": ("Mic", "Capture", "Headset Mic", "Line"),
    "speaker": ("Master", "Speaker", "PCM", "Headphone", "HDMI"),
}
"""What the makers call the control that counts, the likeliest first; else the first of its kind."""


class KernelCards:
    shared = False

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def find(self, device: str, wanted: Wanted) -> Route:
        """Raises Absent."""
        present = [card for card in cards(self._root) if card.pcm(device) is not None]
        for card in present:
            if wanted.is_card(card):
                identity = {"name": card.name, "id": card.id} | ({"usb": card.usb} if card.usb else {})
                return Route(device, f"hw:{card.number},{card.pcm(device)}", identity, card=card)
        names = ", ".join(card.usb or card.id for card in present)
        raise Absent(f"no {device} {wanted} among the sound cards; there is: {names or 'none'}")

    def holder(self, route: Route) -> str | None:
        return None if route.card is None else holder(route.card, route.device, self._root)

    def mixer(self, route: Route) -> Mapping[str, Any]:
        return CardMixer(_control_device(route)).read(route.device)

    def set_mixer(self, route: Route, values: Mapping[str, Any]) -> None:
        CardMixer(_control_device(route)).set(route.device, values)


@dataclass(frozen=True, slots=True)
class Control:
    """One simple mixer control as ``amixer scontents`` shows it, in one direction."""

    name: str
    percent: float | None
    db: float | None
    on: bool | None


class CardMixer:
    """``amixer`` on one control device, "hw:1"."""

    def __init__(self, ctl: str) -> None:
        self._ctl = ctl

    def read(self, device: str) -> Mapping[str, Any]:
        """muted and gain_db or volume_percent, as far as the card has controls for them."""
        control = self._control(device)
        if control is None:
            return {}
        read: dict[str, Any] = {}
        if control.on is not None:
            read["muted"] = not control.on
        if device == "microphone" and control.db is not None:
            read["gain_db"] = control.db
        if device == "speaker" and control.percent is not None:
            read["volume_percent"] = control.percent
        return read

    def set(self, device: str, values: Mapping[str, Any]) -> None:
        """Raises Unsupported where the card has no such control."""
        control = self._control(device)
        for key, value in values.items():
            if control is None or key not in self.read(device):
                raise Unsupported(f"this card has no control for the {device}'s {key}")
            if key == "muted":
                on, off = ("cap", "nocap") if device == "microphone" else ("unmute", "mute")
                word = off if value else on
            elif key == "gain_db":
                word = f"{value:.2f}dB"
            else:
                word = f"{value:.0f}%"
            # "--": a gain of -6.00dB is no option of amixer's.
            self._amixer("-M", "--", "sset", control.name, _DIRECTION[device].lower(), word)

    def _control(self, device: str) -> Control | None:
        there = {control.name: control for control in controls(self._amixer("-M", "scontents"), device)}
        usual = (there[f"{name},0"] for name in _USUAL[device] if f"{name},0" in there)
        return next(usual, next(iter(there.values()), None))

    def _amixer(self, *arguments: str) -> str:
        command = ["amixer", "-D", self._ctl, *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                encoding="utf-8",
                errors="replace",
                timeout=AMIXER_DEADLINE_S,
            )
        except FileNotFoundError as error:
            raise Broken("amixer is not installed (package alsa-utils)") from error
        except subprocess.TimeoutExpired as error:
            raise Broken(f"{' '.join(command)}: no answer in {AMIXER_DEADLINE_S:g} s") from error
        except subprocess.CalledProcessError as error:
            raise Broken(f"{' '.join(command)}: {str(error.stderr).strip()}") from error
        return done.stdout


def controls(listing: str, device: str) -> Iterable[Control]:
    """The controls of ``amixer scontents`` that act on "microphone" or "speaker"."""
    direction = _DIRECTION[device]
    letter = direction[0].lower()
    heads = list(_CONTROL.finditer(listing))
    ends = [head.start() for head in heads[1:]] + [len(listing)]
    for head, end in zip(heads, ends, strict=False):
        body = listing[head.end() : end]
        capabilities = re.search(r"Capabilities:(.*)", body)
        words = set(capabilities[1].split()) if capabilities else set[str]()
        volume = {f"{letter}volume", f"{letter}volume-joined", "volume", "volume-joined"} & words
        switch = {f"{letter}switch", f"{letter}switch-joined", f"{letter}switch-exclusive"} & words
        if not volume and not switch:
            continue
        ours = (direction, "")
        values = [value for value in _VALUE.findall(body) if value[0].strip() in ours]
        switches = [value[3] for value in values if value[3]]
        switches += [state for side, state in _SWITCH_ONLY.findall(body) if side == direction]
        percents = [float(value[1]) for value in values]
        levels_db = [float(value[2]) for value in values if value[2]]
        yield Control(
            name=f"{head[1]},{head[2]}",
            percent=max(percents) if volume and percents else None,
            db=max(levels_db) if volume and levels_db else None,
            on=any(state == "on" for state in switches) if switch and switches else None,
        )


def _control_device(route: Route) -> str:
    if route.card is None:
        raise Broken(f"{route.pcm} is no sound card")
    return f"hw:{route.card.number}"
