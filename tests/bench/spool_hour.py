"""A room at rest, hour after hour on a clock of its own: the real outbox on the real spool, in this process
alone, so that its write accounting is theirs.

``python spool_hour.py FOLDER online|offline HOURS TELEMETRY``: TELEMETRY is a document of a real room, whose
series each minute's has. Prints the bytes of ``write_bytes`` (/proc/self/io) while the hours passed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from itertools import count
from pathlib import Path
from typing import cast

import msgspec

from diemcau_agent.model import Series, Telemetry
from diemcau_agent.mqtt import Connection
from diemcau_agent.outbox import Outbox
from diemcau_agent.spool import Spool
from diemcau_agent.stamp import Stamp
from diemcau_agent.telemetry import Window
from fakeclock import FakeClock, settle

EVENTS_AN_HOUR = 4
STEP_S = 30.0


class RoomAtRest(Window):
    """The same series each minute, with other numbers."""

    def __init__(self, series: dict[str, Series]) -> None:
        super().__init__()
        self._series = series
        self._minutes = count(1)

    def take(self) -> dict[str, Series]:
        drift = next(self._minutes) % 97 / 1e4
        return {
            name: msgspec.structs.replace(each, mean=each.mean + drift, max=each.max + drift)
            for name, each in self._series.items()
        }


class Air:
    """A broker that acknowledges at once."""

    async def publish(self, topic: str, payload: bytes) -> None:
        await asyncio.sleep(0)


def write_bytes() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


async def live(folder: Path, online: bool, hours: int, telemetry: Telemetry) -> int:
    clock = FakeClock()
    spool = await Spool.open(folder / "spool.sqlite3")
    stamp = Stamp(telemetry.point, telemetry.boot, await spool.next_session(), clock)
    outbox = Outbox(spool, stamp, clock, RoomAtRest(telemetry.series))
    work = [outbox.run(), outbox.measure()]
    if online:
        work.append(outbox.drain(cast("Connection", Air())))
    tasks = [asyncio.create_task(each, name="room") for each in work]
    card = os.open(folder, os.O_RDONLY)
    libc = ctypes.CDLL(None)

    async def pass_time(seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            await clock.advance(STEP_S)
            for _ in range(3):
                await asyncio.wrap_future(spool._thread.submit(lambda: None))
                await settle()
        libc.syncfs(card)  # as the kernel does by itself every half minute, in which here half an hour passes

    await pass_time(3600)  # what a start and the first log write is no part of it
    libc.syncfs(card)
    before = write_bytes()
    print("begins", flush=True)
    sys.stdin.readline()
    for minute in range(hours * 60):
        if minute % (60 // EVENTS_AN_HOUR) == 0:
            outbox.tell("state", device="camera", code="frame_dark", from_="ok", to="degraded")
        await pass_time(60)
    libc.syncfs(card)
    written = write_bytes() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    left = len(await spool.pending(1_000_000))
    if (left > 60) is online:
        raise RuntimeError(f"{left} documents are left of a room that is {'on' if online else 'off'}line")
    return written


def main() -> None:
    folder, state, hours, document = sys.argv[1:]
    telemetry = msgspec.json.decode(document, type=Telemetry)
    written = asyncio.run(live(Path(folder), state == "online", int(hours), telemetry))
    print("written", written, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
