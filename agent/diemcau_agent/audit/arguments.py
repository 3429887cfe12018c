"""The command line of ``diemcau-agent audit``; what it does is in :mod:`.page`, imported when it runs."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diemcau_agent.arguments import add_output


def add_parser(commands: Any) -> None:
    audit = commands.add_parser("audit", help="the record of what was done to this room from afar")
    actions = audit.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("verify", help="whether it is whole; exit code 0 only where it is")
    check.add_argument(
        "--head",
        type=_head,
        metavar="N:HASH",
        help="an entry that it must hold: the newest `audit` that an event of this point has carried",
    )
    show = actions.add_parser("show", help="print its entries, oldest first")
    show.add_argument(
        "--since",
        type=_moment,
        metavar="TIME",
        help="from then on, UTC: 2026-11-27, or 2026-11-27T07:30:00Z",
    )
    for command in (check, show):
        add_output(command, "the settings', then LANG's")
        where = command.add_mutually_exclusive_group()
        where.add_argument(
            "--state-dir",
            type=Path,
            default=Path("/var/lib/diemcau"),
            metavar="DIR",
            help="where it is; default: /var/lib/diemcau",
        )
        where.add_argument("--config", type=Path, metavar="FILE", help="the settings of the agent")


def _head(text: str) -> tuple[int, str]:
    number, _, digest = text.partition(":")
    if not number.isdigit() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected a number, a colon and 64 of 0-9 and a-f, as in the events' data.audit"
        )
    return int(number), digest


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected a date or a time such as 2026-11-27T07:30:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
