"""What our own scripts make: a package, an image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def made(script: str, **environment: str) -> Path:
    """The last line that one of our scripts prints is where it put its work."""
    done = subprocess.run(
        (script,), cwd=REPOSITORY, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}: ended with {done.returncode}"
    return REPOSITORY / done.stdout.splitlines()[-1]
