"""What the commands' options share: argparse names the option and shows the message."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def add_output(command: argparse.ArgumentParser, language: str) -> None:
    """``language``: whose it is, where none is given."""
    command.add_argument("--json", action="store_true", help="JSON, for programs")
    command.add_argument("--language", choices=("vi", "en"), help=f"default: {language}")


def number(kind: Callable[[str], float], least: float, most: float, what: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {what} from {least} to {most}")
        return value

    return read
