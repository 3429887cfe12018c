"""A package of ours changed, and whole to dpkg all the same."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def repacked(deb: Path, folder: Path, *compression: str) -> Generator[Path]:
    """Its tree, to be changed; then the package of that name in ``folder``. ``compression``: dpkg-deb's."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], check=True)
    yield tree
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", *compression, "--build", str(tree), str(folder / deb.name)],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(tree)
