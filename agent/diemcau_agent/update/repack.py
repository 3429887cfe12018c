"""The tree of a package as ``dpkg-deb --build`` wants it, from what dpkg has installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from .release import PACKAGE
from .steps import StepFailed

Run = Callable[[Sequence[str]], str]
_NOT_OF_THE_PACKAGE = ("Status", "Conffiles", "Config-Version")
"""What dpkg adds to a package's own fields."""
_MADE_ANEW = ("list", "md5sums")


def tree(folder: Path, root: Path, run: Run) -> None:
    """``root``: of the file system that it is installed in. Raises StepFailed, OSError."""
    control = folder / "DEBIAN"
    control.mkdir(mode=0o755, parents=True)
    (control / "control").write_text(fields(run(("dpkg-query", "--status", PACKAGE))))
    for name in run(("dpkg-query", "--control-list", PACKAGE)).split():
        if name not in _MADE_ANEW:
            shutil.copy(run(("dpkg-query", "--control-path", PACKAGE, name)).strip(), control / name)
    listed = [line for line in run(("dpkg-query", "--listfiles", PACKAGE)).split("\n") if line[:1] == "/"]
    above = {str(parent) for line in listed for parent in Path(line).parents}
    for line in sorted(set(listed) - {"/."}):
        place, copied = root / line[1:], folder / line[1:]
        # /lib of a package is /usr/lib here: where others lie below it, it is a folder, whatever leads there.
        if line in above or (place.is_dir() and not place.is_symlink()):
            copied.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif place.is_symlink() or place.exists():
            shutil.copy2(place, copied, follow_symlinks=False)
    _conffiles(control / "conffiles", folder)


def fields(status: str) -> str:
    """A package's control fields from ``dpkg-query --status``. Raises StepFailed where it is not
    installed."""
    kept, keep = list[str](), True
    for line in status.strip().split("\n"):
        if not line.startswith((" ", "\t")):
            name, _, value = line.partition(":")
            keep = name not in _NOT_OF_THE_PACKAGE
            if name == "Status" and value.strip() != "install ok installed":
                raise StepFailed(f"{PACKAGE}: got status{value}, expected install ok installed")
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _conffiles(path: Path, folder: Path) -> None:
    """One that the technician has deleted cannot be in the package; it stays deleted."""
    if not path.exists():
        return
    there = [line for line in path.read_text().split("\n") if line and (folder / line[1:]).exists()]
    path.write_text("".join(f"{line}\n" for line in there))
