"""The tree of a package as ``dpkg-deb --build`` wants it, from what dpkg has installed.

But for its conffiles: what was in the package is not kept anywhere, and what the technician has made of it
must never be taken for that, or the next version would put its own in its place. Left out, they stay.
"""

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
    control.mkdir(parents=True)
    for made in (folder, control):
        made.chmod(0o755)  # whatever the umask of this process is: in the package it is everybody's
    status = _stanza(run(("dpkg-query", "--status", PACKAGE)))
    own = {name: value for name, value in status.items() if name not in _NOT_OF_THE_PACKAGE}
    (control / "control").write_text("".join(f"{name}:{value}\n" for name, value in own.items()))
    for name in run(("dpkg-query", "--control-list", PACKAGE)).split():
        if name not in _MADE_ANEW:
            shutil.copy(run(("dpkg-query", "--control-path", PACKAGE, name)).strip(), control / name)
    conffiles = {line.split()[0] for line in status.get("Conffiles", "").split("\n") if line.strip()}
    listed = [line for line in run(("dpkg-query", "--listfiles", PACKAGE)).split("\n") if line[:1] == "/"]
    above = {str(parent) for line in listed for parent in Path(line).parents}
    for line in sorted(set(listed) - conffiles - {"/."}):
        place, copied = root / line[1:], folder / line[1:]
        # /lib of a package is /usr/lib here: where others lie below it, it is a folder, whatever leads there.
        if line in above or (place.is_dir() and not place.is_symlink()):
            copied.mkdir(parents=True, exist_ok=True)
            copied.chmod(place.stat().st_mode & 0o7777 if place.exists() else 0o755)
        elif place.is_symlink() or place.exists():
            shutil.copy2(place, copied, follow_symlinks=False)


def _stanza(text: str) -> dict[str, str]:
    """Field -> its value with the lines that belong to it. Raises StepFailed unless it is installed."""
    found, name = dict[str, str](), ""
    for line in text.rstrip().split("\n"):
        if line.startswith((" ", "\t")):
            found[name] += f"\n{line}"
        else:
            name, _, value = line.partition(":")
            found[name] = value
    if (got := found.get("Status", "").strip()) != "install ok installed":
        raise StepFailed(f"{PACKAGE}: got status {got!r}, expected install ok installed")
    return found
