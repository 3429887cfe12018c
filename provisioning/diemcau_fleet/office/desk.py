"""What the office's commands share: where the fleet is, and how an error is told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from diemcau_agent.exits import NOT, OK, USAGE

DIRECTORY = Path("/var/lib/diemcau-fleet")


class WrongUsage(Exception):
    """What argparse cannot see."""


def add_directory(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dir",
        type=Path,
        default=DIRECTORY,
        metavar="DIR",
        help="where the fleet's registry and keys are; default: %(default)s",
    )


def carry_out(command: str, work: Callable[[], object]) -> int:
    """The exit code of ``work``; what went wrong is one line on stderr."""
    from diemcau_agent.database import DatabaseError
    from diemcau_fleet.authority import AuthorityError
    from diemcau_fleet.key_list import KeyListError
    from diemcau_fleet.registry_file import RegistryError
    from diemcau_fleet.signing_key import SigningKeyError

    failures = (AuthorityError, DatabaseError, KeyListError, RegistryError, SigningKeyError)
    try:
        work()
    except WrongUsage as error:
        return _told(command, error, USAGE)
    except failures as error:
        return _told(command, error, NOT)
    except OSError as error:
        return _told(command, f"{error.filename}: {error.strerror}" if error.filename else error, NOT)
    return OK


def moment(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _told(command: str, error: object, code: int) -> int:
    print(f"diemcau-fleet {command}: {error}", file=sys.stderr)
    return code
