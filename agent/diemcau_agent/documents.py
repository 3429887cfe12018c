"""The retained documents, built afresh each time from what is known now."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping

import msgspec

from diemcau_drivers.contract import PROCESS_OF, Look

from . import __version__, host
from .book import HealthBook
from .config import Settings
from .model import Birth, DeviceBirth, Hardware, Health, Selftest, Software, encode
from .stamp import Stamp


def expected_devices(settings: Settings) -> tuple[str, ...]:
    """The devices that this room should have."""
    return tuple(device for device in PROCESS_OF if getattr(settings.expected, device))


def birth(settings: Settings, stamp: Stamp, looks: Mapping[str, Look]) -> Birth:
    """Who this is, what it should have, what it can do. ``looks``: the newest of each device, if any."""
    backends = settings.backend_table
    devices: dict[str, DeviceBirth] = {}
    for device, process in PROCESS_OF.items():
        look = looks.get(device, Look())
        devices[device] = DeviceBirth(
            expected=getattr(settings.expected, device),
            backend=getattr(backends, process),
            identity=dict(look.identity),
            capabilities=tuple(look.capabilities),
        )
    serial = host.serial()
    return Birth(
        **stamp.fields(Birth),
        name=settings.name,
        place=settings.place,
        level=settings.level,
        groups=settings.all_groups,
        software=Software(version=__version__, python=platform.python_version(), os=host.os_name()),
        hardware=Hardware(
            model=host.model(),
            # A serial number names a thing that was bought; its hash is enough to tell two kits apart.
            serial_hash=None if serial is None else hashlib.sha256(serial.encode()).hexdigest()[:16],
        ),
        devices=devices,
        commands=settings.commands,
        policy=settings.policy,
    )


def health(stamp: Stamp, book: HealthBook) -> Health:
    parts = dict(book.judged())
    readiness, reasons = book.readiness()
    host_part, line_part = parts.pop("host"), parts.pop("line")
    return Health(
        **stamp.fields(Health),
        readiness=readiness,
        reasons=reasons,
        devices=parts,
        host=host_part,
        line=line_part,
    )


class Retained:
    """Those of this room, encoded. ``settings()``: those in force. ``online()``: as
    :meth:`.broker.Broker.online`."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        stamp: Stamp,
        book: HealthBook,
        looks: Mapping[str, Look],
        online: Callable[[], bytes],
    ) -> None:
        self._settings = settings
        self._stamp = stamp
        self._book = book
        self._looks = looks
        self._online = online

    def birth(self) -> bytes:
        return encode(birth(self._settings(), self._stamp, self._looks))

    def health(self) -> bytes:
        return encode(health(self._stamp, self._book))

    def greeting(self, last: Selftest | None) -> list[tuple[str, bytes]]:
        """After each connect: birth, status, health, selftest, in this order."""
        documents = [("birth", self.birth()), ("status", self._online()), ("health", self.health())]
        if last is not None:
            report = msgspec.structs.replace(last, connection=self._stamp.connection)
            documents.append(("selftest", encode(report)))
        return documents
