"""A card that is full to the last byte, read-only, or answers with I/O errors: the agent is up, commands
work, and what could not be kept is told.

Real file systems with real errors: a tmpfs of 2 MB; ext4 mounted read-only; ext4 on a device that has no room
for what is written to it (EIO, whereupon ext4 turns read-only by itself); ext4 on a device that ends in the
middle of the spool (EIO when it is read). Root mounts them.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from door import Door
from filling import fill
from kits import Failed, Kit, Shelf, until
from supervisor import Supervisor

import cards
from diemcau_sim.mosquitto import PrivateMosquitto
from witness import Witness

UP_S = 10.0
ONLINE_S = 45.0
"""The agent has been refused a few times before the door opens."""
TEND_S = 75.0
"""A card that is well again is tried within a minute."""
DRAIN_S = 60.0
WORKS_S = 20.0
TELEMETRY = 60
FLOOD, PINGS_PER_S = 1100, 50.0
"""Memory holds 1000 documents."""
PROBE = {"host_s": 1, "line_s": 1, "presence_s": 1}
BLOCK = 4096
EXTENT = re.compile(r"^ *\d+: +\d+\.\. +\d+: +(\d+)\.\. +(\d+):", re.MULTILINE)
"""filefrag(8): the first and the last block on the device."""
VERBS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("ping", {}),
    ("identify", {"seconds": 1}),
    ("config", {"get": True}),
    ("ping", {}),
)
MENDED = 1
"""fsck(8): errors were corrected."""


class Room:
    """A kit on ``card``, behind a door, with somebody who hears what it says."""

    def __init__(self, name: str, card: Path, place: Path, stack: ExitStack) -> None:
        port = stack.enter_context(PrivateMosquitto()).port or 0
        self.witness = Witness(port)
        stack.callback(self.witness.close)
        self.door = Door(port)
        stack.callback(self.door.close)
        self.point = f"xp-disk-{name}"
        self.kit = stack.enter_context(Kit(self.point, self.door.port, place, state=card, probe=PROBE))

    @contextmanager
    def living(self) -> Generator[Supervisor]:
        """The agent is up in time, and nobody has to restart it."""
        with Supervisor(self.kit) as supervisor:
            supervisor.until_ready(UP_S)
            yield supervisor
            if supervisor.ended or supervisor.found:
                raise self.failed(f"ended with {supervisor.ended}, unfed {len(supervisor.found)} times")

    def online(self) -> None:
        if not self.witness.until(lambda: self.point in self.witness.nonces, ONLINE_S):
            raise self.failed("not online")

    def works(self, *, events: bool) -> set[str]:
        """Commands are done; with ``events``, theirs come. Their ids."""
        witness, orders = self.witness, set[str]()
        for verb, args in VERBS:
            ident = str(uuid.uuid4())
            orders.add(ident)
            witness.order(self.point, verb, dict(args), ident)
        if not witness.until(lambda: orders <= witness.done.keys(), WORKS_S):
            raise self.failed(f"commands: {[witness.answers.get(ident) for ident in orders]}")
        if events and not witness.until(lambda: orders <= witness.told, DRAIN_S):
            raise self.failed(f"{len(orders - witness.told)} commands were done, and no event tells")
        return orders

    @property
    def came(self) -> int:
        return len(self.witness.of(self.point))

    def lost(self) -> dict[str, int]:
        """Reason -> documents told lost, once every number is heard or told. Raises Failed."""
        self.witness.until(lambda: not self._unaccounted(), DRAIN_S)
        if gaps := self._unaccounted():
            raise self.failed(f"{len(gaps)} documents neither came nor are lost: {gaps[:5]}")
        if conflicts := [name for name in self.witness.conflicts if name[0] == self.point]:
            raise self.failed(f"two documents of one name: {conflicts[:5]}")
        lost: dict[str, int] = defaultdict(int)
        for event in self.witness.kinds(self.point, "dropped"):
            lost[event["data"]["reason"]] += event["data"]["count"]
        return dict(lost)

    def _unaccounted(self) -> list[tuple[str, str, int]]:
        """(spool, stream, seq)."""
        known: dict[tuple[str, str], set[int]] = defaultdict(set)
        for _, spool, stream, seq in self.witness.of(self.point):
            known[spool, stream].add(seq)
        for event in self.witness.kinds(self.point, "dropped"):
            data = event["data"]
            if data["from"] is not None:  # else they never had a number
                known[data["spool"], data["stream"]] |= {*range(data["from"], data["to"] + 1)}
        return [
            (spool, stream, seq)
            for (spool, stream), numbers in known.items()
            for seq in range(1, max(numbers) + 1)
            if seq not in numbers
        ]

    def failed(self, what: str) -> Failed:
        return Failed(f"{self.point}: {what}: {self.kit.words()}")


def full(place: Path, *, from_start: bool = True) -> str:
    """2 MB, a part of them telemetry that waits, the rest somebody else's, to the last byte; from before the
    agent's start, or from when it is up."""
    with ExitStack() as stack:
        card = stack.enter_context(cards.tmpfs(place / "card", "2m"))
        room = Room("full" if from_start else "filling", card, place, stack)
        fill(room.kit.spool, room.point, ["telemetry"] * TELEMETRY, size=10_000)
        room.door.go("refusing")
        if from_start:
            _let_go(card)
            cards.fill(card)
        with room.living():
            if not from_start:
                cards.fill(card)
            room.kit.world.set_fault("too_hot", True)
            if not until(lambda: "the oldest documents are dropped" in room.kit.words(), WORKS_S):
                raise room.failed("nothing was dropped on a full card")
            room.door.go("open")
            room.online()
            ends_s = time.monotonic() + DRAIN_S
            while not room.witness.kinds(room.point, "dropped") and time.monotonic() < ends_s:
                room.works(events=True)
            lost = room.lost()
        if set(lost) != {"spool_full"}:
            raise room.failed(f"on a full card, told lost {lost}")
        return f"{room.point}: {room.came} documents came, told lost {lost}"


def filling(place: Path) -> str:
    return full(place, from_start=False)


def read_only(place: Path, flood: int = FLOOD) -> str:
    """From the start on, and mended while the agent runs. ``flood``: pings meanwhile, for more events than
    memory holds."""
    with ExitStack() as stack:
        card = stack.enter_context(cards.ext4(place / "card", place / "image", "32m"))
        room = Room("read-only", card, place, stack)
        fill(room.kit.spool, room.point, ["event", "telemetry"] * 10)
        cards.remount(card, "ro")
        with room.living():
            room.online()
            orders = room.works(events=False) | {str(uuid.uuid4()) for _ in range(flood)}
            for ident in sorted(orders - room.witness.done.keys()):
                room.witness.order(room.point, "ping", {}, ident)
            if not room.witness.until(
                lambda: orders <= room.witness.done.keys(), WORKS_S + flood / PINGS_PER_S
            ):
                raise room.failed(f"{len(orders - room.witness.done.keys())} pings have no answer")
            cards.remount(card, "rw")
            if not until(lambda: "takes documents again" in room.kit.words(), TEND_S):
                raise room.failed(f"the card is not used again {TEND_S:g} s after it is well")
            orders |= room.works(events=True)
            lost = room.lost()
        if len(orders - room.witness.told) != lost.get("io_error", 0) or bool(flood) != bool(lost):
            raise room.failed(f"{len(orders - room.witness.told)} events did not come, told lost {lost}")
        return f"read-only: {len(orders)} commands, {room.came} documents came, told lost {lost}"


def io_error(place: Path) -> str:
    """Writes end in EIO; the card is mended, and the agent started again. What was acknowledged comes."""
    with ExitStack() as stack:
        below = stack.enter_context(cards.tmpfs(place / "below", "8m"))
        card, image = place / "card", below / "image"
        card.mkdir()
        _format(image, "64m")
        room = Room("io-error", card, place, stack)
        shelf = Shelf(room.kit)
        with _mounted(image, card, "errors=remount-ro"):
            fill(room.kit.spool, room.point, ["event", "telemetry"] * 10)
            with room.living():
                room.online()
                room.works(events=True)
                shelf.look()
                filler = cards.fill(below)
                ends_s = time.monotonic() + WORKS_S
                while "documents wait in memory" not in room.kit.words():
                    if time.monotonic() > ends_s:
                        raise room.failed("the card does not fail")
                    room.works(events=False)
                room.works(events=False)
        filler.unlink()
        _mend(image)
        with _mounted(image, card):
            shelf.look()
            with room.living():
                room.witness.nonces.pop(room.point)
                room.online()
                room.works(events=True)
                lost = room.lost()
        missing = shelf.committed.keys() - room.witness.of(room.point).keys()
        if missing or room.witness.kinds(room.point, "spool_replaced"):
            raise room.failed(f"{len(missing)} acknowledged documents are lost: {sorted(missing)[:5]}")
        return f"I/O errors when writing: {room.came} documents came, told lost {lost}"


def unreadable(place: Path) -> str:
    """The device ends in the middle of the spool: what lies behind answers EIO to whoever reads it."""
    with ExitStack() as stack:
        card, image = place / "card", place / "image"
        card.mkdir()
        _format(image, "64m", "-O", "^has_journal")  # what the file system itself needs stays readable
        room = Room("unreadable", card, place, stack)
        with _mounted(image, card):
            fill(room.kit.spool, room.point, ["event", "telemetry"] * 100, size=10_000)
            cards.run("sync", "-f", str(card))
            blocks = _blocks(room.kit.spool)
        with _mounted(image, card):
            os.truncate(image, blocks[len(blocks) // 2] * BLOCK)
            with room.living():
                room.online()
                room.works(events=True)
                kept = [event["data"] for event in room.witness.kinds(room.point, "spool_replaced")]
                lost = room.lost()
            if len(kept) != 1 or not (card / kept[0]["kept"]).exists():
                raise room.failed(f"half of the spool cannot be read, told {kept}")
        return f"I/O errors when reading: {room.came} documents came, told lost {lost}, new spool told"


CASES: Mapping[str, Callable[[Path], str]] = MappingProxyType(
    {"full": full, "filling": filling, "read_only": read_only, "io_error": io_error, "unreadable": unreadable}
)


def run(count: int, seed: int, place: Path, flood: int = FLOOD) -> str:
    """The first ``count`` of :data:`CASES`, side by side: they wait most of the time. Raises Failed."""
    cases = {**CASES, "read_only": partial(read_only, flood=flood)}
    chosen = list(cases.items())[:count]
    for name, _ in chosen:
        (place / name).mkdir()
    with ThreadPoolExecutor(len(chosen), "card") as pool:
        futures = [pool.submit(case, place / name) for name, case in chosen]
        return "; ".join(future.result() for future in futures)


def _let_go(card: Path) -> None:
    """Until what was deleted on this tmpfs is gone, and leaves no room later: a process that another thread
    starts holds what was open here until its exec."""

    def held() -> int:
        room = os.statvfs(card)
        return (room.f_blocks - room.f_bfree) * room.f_frsize - sum(
            file.stat().st_blocks * 512 for file in card.iterdir()
        )

    if not until(lambda: held() == 0, WORKS_S):
        raise Failed(f"{card}: {held()} bytes belong to no file")


def _format(image: Path, size: str, *options: str) -> None:
    cards.run("truncate", "-s", size, str(image))
    cards.run("mkfs.ext4", "-q", "-m", "0", "-b", str(BLOCK), *options, str(image))


@contextmanager
def _mounted(image: Path, at: Path, options: str = "defaults") -> Generator[None]:
    device = cards.run("losetup", "--find", "--show", str(image)).strip()
    try:
        cards.run("mount", "-o", options, device, str(at))
        try:
            yield
        finally:
            cards.run("umount", "-l", str(at))
    finally:
        cards.run("losetup", "--detach", device)


def _blocks(path: Path) -> list[int]:
    """Where on its device each block of a file lies, in the file's order."""
    found = re.findall(
        r"^ *\d+: +\d+\.\. +\d+: +(\d+)\.\. +(\d+):", cards.run("filefrag", "-e", str(path)), re.MULTILINE
    )
    return [block for first, last in found for block in range(int(first), int(last) + 1)]


def _mend(image: Path) -> None:
    try:
        cards.run("fsck.ext4", "-p", str(image))
    except subprocess.CalledProcessError as error:
        if error.returncode != MENDED:
            raise
