"""Documents put on a kit's card while its agent does not run, as one without a broker would leave them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diemcau_agent.spool import Spool


def fill(path: Path, point: str, streams: Iterable[str], size: int = 0) -> None:
    """One document for each of ``streams``, in that order, ``size`` bytes longer than it has to be."""
    asyncio.run(_fill(path, point, streams, size))


async def _fill(path: Path, point: str, streams: Iterable[str], size: int) -> None:
    spool = await Spool.open(path)
    try:
        for stream in streams:
            await spool.append(stream, _document(point, stream, size))
        await spool.flush()
    finally:
        await spool.close()


def _document(point: str, stream: str, size: int) -> Any:
    def build(spool: str, seq: int) -> bytes:
        said: dict[str, Any] = {
            "schema": f"diemcau.{stream}/1", "point": point, "boot": "filled", "session": 0,
            "connection": "filled",
            "time": "2026-11-22T07:30:00.000Z", "clock": "synced", "mono_ms": seq, "spool": spool, "seq": seq,
        }  # fmt: skip
        if stream == "event":
            said |= {"kind": "filled", "device": None, "code": None, "from": None, "to": None, "data": {}}
        else:
            said |= {"window_s": 60, "series": {"fps": {"n": 1, "min": 1, "mean": 1, "p95": 1, "max": 1}}}
        return json.dumps(said | {"fill": "x" * size}).encode()

    return build
