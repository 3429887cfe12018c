"""Compiles the catalogues of words (*.po to *.mo) when the package is built or installed, editable or not.

``python hatch_build.py`` does it by hand, after a change of words in a checkout.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LOCALE_DIR = Path("agent/diemcau_agent/locale")


def compile_catalogues(root: Path) -> list[Path]:
    """Write a .mo beside each .po below ``root``'s locale folder; the files written, relative to ``root``."""
    written: list[Path] = []
    for source in sorted((root / LOCALE_DIR).glob("*/LC_MESSAGES/*.po")):
        target = source.with_suffix(".mo")
        with source.open("rb") as words:
            catalogue = read_po(words, locale=source.parts[-3], abort_invalid=True)
        revised = catalogue.revision_date
        if not isinstance(revised, datetime):
            raise ValueError(f"{source}: PO-Revision-Date: got {revised!r}, expected YYYY-MM-DD HH:MM+ZONE")
        catalogue.creation_date = revised  # else the minute of the build: no two would be alike
        with target.open("wb") as compiled:
            write_mo(compiled, catalogue)
        written.append(target.relative_to(root))
    if not written:
        raise FileNotFoundError(f"no catalogue below {root / LOCALE_DIR}")
    return written


class CatalogueHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build_data["artifacts"] += [path.as_posix() for path in compile_catalogues(Path(self.root))]


if __name__ == "__main__":
    for path in compile_catalogues(Path(__file__).parent):
        print(path)
