"""Who holds the clock, and how well: chrony by ``chronyc``, systemd-timesyncd by ``busctl``.

Both print for programs (CSV, JSON), ask for no privilege and come with what they ask; so no protocol of
chrony's nor of D-Bus is spoken here. ``timedatectl`` prints whole seconds only, hence busctl.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
from collections.abc import Sequence
from typing import Any

DEADLINE_S = 2.0
STEPPED_MS = 400.0
"""timesyncd's NTP_MAX_ADJUST: an offset beyond it was stepped away at once, what is left nobody knows."""
_CHRONY = ("chronyc", "-c", "-n", "tracking")
_TIMESYNCD = (
    "busctl", "--json=short", "--auto-start=no", "get-property", "org.freedesktop.timesync1",
    "/org/freedesktop/timesync1", "org.freedesktop.timesync1.Manager", "ServerAddress", "NTPMessage",
)  # fmt: skip
_CHRONY_FIELDS = 14
_MESSAGE = "(uuuuittayttttbtt)"
"""NTPMessage of org.freedesktop.timesync1: leap, version, mode, stratum, precision, root delay, root
dispersion, reference, then the four timestamps in us, whether it was ignored, packet count, jitter."""


def time_source() -> dict[str, Any]:
    """``clock_source`` ("chrony", "timesyncd", "none"), ``clock_offset_ms`` and ``clock_server``.

    The offset is NTP's (RFC 5905, section 8): positive where our clock is behind. Without a server that has
    answered there is neither offset nor server. Empty where whoever holds the clock did not answer in 2 s.
    """
    late = False
    for argv, read in ((_CHRONY, read_chrony), (_TIMESYNCD, read_timesyncd)):
        try:
            said = _output(argv)
        except subprocess.TimeoutExpired:
            late = True
            continue
        facts = None if said is None else read(said)
        if facts is not None:
            return facts
    return {} if late else {"clock_source": "none"}


def read_chrony(text: str) -> dict[str, Any] | None:
    """From ``chronyc -c -n tracking``; None where that is no report (chronyd does not run)."""
    fields = text.strip().split(",")
    if len(fields) != _CHRONY_FIELDS:
        return None
    try:
        offset_ms = float(fields[4]) * 1000
    except ValueError:
        return None
    facts: dict[str, Any] = {"clock_source": "chrony"}
    if fields[13] != "Not synchronised" and fields[1] and math.isfinite(offset_ms):
        facts |= {"clock_offset_ms": round(offset_ms, 3), "clock_server": fields[1]}
    return facts


def read_timesyncd(text: str) -> dict[str, Any] | None:
    """From ``busctl --json=short get-property``, a property a line: ServerAddress and NTPMessage."""
    try:
        (family, address), message = (_data(line) for line in text.splitlines())
        origin_us, receive_us, transmit_us, destination_us, ignored, packets = message[8:14]
        offset_ms = (receive_us - origin_us + transmit_us - destination_us) / 2000
        server = socket.inet_ntop(family, bytes(address)) if packets else None
    except (ValueError, TypeError, KeyError, OverflowError, OSError):
        return None
    facts: dict[str, Any] = {"clock_source": "timesyncd"}
    if server is not None:
        facts["clock_server"] = server
        if not ignored and abs(offset_ms) < STEPPED_MS:
            facts["clock_offset_ms"] = round(offset_ms, 3)
    return facts


def _data(line: str) -> Any:
    entry = json.loads(line)
    if entry["type"] not in ("(iay)", _MESSAGE):
        raise ValueError(entry["type"])
    return entry["data"]


def _output(argv: Sequence[str]) -> str | None:
    """None where the program is not there, or says no. Raises subprocess.TimeoutExpired."""
    try:
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except OSError:
        return None
    return ended.stdout.decode(errors="replace") if ended.returncode == 0 else None
