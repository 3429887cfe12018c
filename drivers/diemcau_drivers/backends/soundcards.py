"""The kernel's sound cards (ALSA), by what stays the same across reboots and sockets. Standard library only.

Card numbers and names such as ``hw:1`` change with the order in which things are plugged in, so a card
is named ``usb:VVVV:PPPP`` (USB vendor and product), ``usb:VVVV:PPPP:PORT`` where two of a kind are
plugged in (PORT as the kernel writes it, ``1-1.3``: bus, then port path), or by its ALSA id or name.
Everything is read below an injectable root: ``/proc/asound`` and ``/sys/class/sound``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from diemcau_drivers.contract import BadRequest

_USB = re.compile(r"usb:([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?::(\d+-\d+(?:\.\d+)*))?")
_CARD_LINE = re.compile(r"^\s*(\d+) \[(.{1,16}?) *\]: \S+ - (.+?) *$", re.MULTILINE)
_PCM = re.compile(r"pcm(\d+)([pc])")
_LETTER = {"microphone": "c", "speaker": "p"}


@dataclass(frozen=True, slots=True)
class Card:
    number: int
    id: str
    """ALSA's short name, ``Device``."""
    name: str
    vendor_product: str | None
    """``0d8c:0014``, lower case; None where the card is not on USB."""
    port: str | None
    pcms: tuple[tuple[int, str], ...]
    """(device number, "p" for playback or "c" for capture)."""

    def pcm(self, device: str) -> int | None:
        """The number of its first PCM for "microphone" or "speaker"."""
        return min((number for number, letter in self.pcms if letter == _LETTER[device]), default=None)

    @property
    def usb(self) -> str | None:
        """What to write into the settings to mean this very card."""
        if self.vendor_product is None:
            return None
        return f"usb:{self.vendor_product}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which device the settings ask for; all None takes the default."""

    name: str | None = None
    vendor_product: str | None = None
    port: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Wanted:
        """Raises BadRequest where ``usb:`` is not followed by what it should be."""
        if text is None:
            return cls()
        if not text.startswith("usb:"):
            return cls(name=text)
        match = _USB.fullmatch(text)
        if match is None:
            raise BadRequest(f'audio: got "{text}", expected "usb:VVVV:PPPP[:PORT]", as usb:0d8c:0014:1-1.3')
        return cls(vendor_product=f"{match[1]}:{match[2]}".lower(), port=match[3])

    @property
    def anything(self) -> bool:
        return self.name is None and self.vendor_product is None

    def is_card(self, card: Card) -> bool:
        if self.vendor_product is not None:
            return card.vendor_product == self.vendor_product and self.port in (None, card.port)
        return self.name in (None, card.id, card.name)

    def __str__(self) -> str:
        if self.vendor_product is not None:
            return f"usb:{self.vendor_product}" + (f":{self.port}" if self.port else "")
        return self.name or "any"


def cards(root: Path = Path("/")) -> list[Card]:
    """Every card there is now, by number. None where the kernel has no ALSA."""
    try:
        listing = (root / "proc/asound/cards").read_text(errors="replace")
    except OSError:
        return []
    return [
        _card(root, int(number), short.strip(), name.strip())
        for number, short, name in _CARD_LINE.findall(listing)
    ]


def holder(card: Card, device: str, root: Path = Path("/")) -> str | None:
    """The program that holds the card's PCM so that nobody else can open it; None while one of its
    substreams is free. "other" where its name cannot be read."""
    number = card.pcm(device)
    if number is None:
        return None
    pcm = root / f"proc/asound/card{card.number}/pcm{number}{_LETTER[device]}"
    owners: list[str] = []
    for status in pcm.glob("sub*/status"):
        owner = re.search(r"owner_pid\s*:\s*(\d+)", _text(status))
        if owner is None:
            return None  # "closed"
        owners.append(_text(root / f"proc/{owner[1]}/comm").strip() or "other")
    return owners[0] if owners else None


def _card(root: Path, number: int, short: str, name: str) -> Card:
    proc = root / f"proc/asound/card{number}"
    usb_id = _text(proc / "usbid").strip().lower() or None
    port = None
    if usb_id is not None:
        # .../usb1/1-1/1-1.3/1-1.3:1.0 is the card's USB interface; what stands before the colon is its port.
        interface = (root / f"sys/class/sound/card{number}/device").resolve().name
        port = interface.partition(":")[0] or None
    pcms = tuple(
        (int(match[1]), match[2])
        for entry in (sorted(proc.iterdir()) if proc.is_dir() else ())
        if (match := _PCM.fullmatch(entry.name))
    )
    return Card(number, short, name, usb_id, port, pcms)


def _text(path: Path) -> str:
    """ "" where it is gone or may not be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
