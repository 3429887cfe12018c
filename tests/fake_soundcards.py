"""Trees like /proc/asound and /sys/class/sound, and programs that answer like pactl and amixer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class SoundTree:
    """A root directory with sound cards in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lines: list[str] = []
        (root / "proc/asound").mkdir(parents=True)
        (root / "proc/asound/cards").write_text("--- no soundcards ---\n")

    def plug(
        self,
        number: int,
        short: str,
        name: str,
        pcms: str,
        *,
        usb: str | None = None,
        port: str | None = None,
    ) -> None:
        """``pcms``: as "0c 0p 3p"."""
        proc = self.root / f"proc/asound/card{number}"
        for pcm in pcms.split():
            (proc / f"pcm{pcm}/sub0").mkdir(parents=True)
            (proc / f"pcm{pcm}/sub0/status").write_text("closed\n")
        (proc / "id").write_text(f"{short}\n")
        device = self.root / f"sys/devices/platform/soc/{short}"
        if usb is not None:
            (proc / "usbid").write_text(f"{usb}\n")
            device = self.root / f"sys/devices/pci0000:00/usb1/{port}/{port}:1.0"
        device.mkdir(parents=True, exist_ok=True)
        card = self.root / f"sys/class/sound/card{number}"
        card.mkdir(parents=True)
        (card / "device").symlink_to(device)
        driver = "USB-Audio" if usb else "vc4-hdmi"
        self._lines.append(f"{number:2d} [{short:<15}]: {driver} - {name}\n{'':22}{name} at somewhere\n")
        (self.root / "proc/asound/cards").write_text("".join(self._lines))

    def hold(self, pcm: str, pid: int, comm: str | None) -> None:
        """``pcm``: as "card1/pcm0c"."""
        status = self.root / f"proc/asound/{pcm}/sub0/status"
        status.write_text(f"state: RUNNING\nowner_pid   : {pid}\ntrigger_time: 93.3\n")
        if comm is not None:
            (self.root / f"proc/{pid}").mkdir(exist_ok=True)
            (self.root / f"proc/{pid}/comm").write_text(f"{comm}\n")


def program(directory: Path, name: str, answers: Mapping[str, str]) -> Path:
    """A program that prints ``answers[its arguments]``, and writes down each call in ``name.calls``."""
    cases = "".join(
        f"  {_quoted(arguments)}) cat <<'END'\n{answer.rstrip()}\nEND\n  ;;\n"
        for arguments, answer in answers.items()
    )
    calls = directory / f"{name}.calls"
    path = directory / name
    path.write_text(
        f'#!/bin/sh\necho "$*" >> {_quoted(str(calls))}\ncase "$*" in\n{cases}'
        "  *) echo 'Failure: No such entity' >&2; exit 1 ;;\nesac\n"
    )
    path.chmod(0o755)
    calls.touch()
    return calls


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
