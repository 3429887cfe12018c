"""``--as DIR``: who we are, by the files that ``operator add --out DIR`` and ``service add --out DIR`` wrote.

Each stands for an option that was not given: an operator types one word in place of six options.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SIGNING_KEY = "signing.key"
FILES = {
    "ca_file": "ca.pem",
    "cert_file": "cert.pem",
    "key_file": "key.pem",
    "key": SIGNING_KEY,
    "signing_key": SIGNING_KEY,
}
NAMES = ("iss", "client_id")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as",
        dest="folder",
        type=Path,
        metavar="DIR",
        help=f"who we are: its ca.pem, cert.pem, key.pem and {SIGNING_KEY}, where no other file is named",
    )


def unfold(arguments: argparse.Namespace) -> None:
    """Raises ValueError where the folder holds no certificate: its CN is our id."""
    folder: Path | None = arguments.folder
    if folder is None:
        return
    for option, file in FILES.items():
        if hasattr(arguments, option) and getattr(arguments, option) is None:
            setattr(arguments, option, folder / file)
    for option in NAMES:
        if hasattr(arguments, option) and getattr(arguments, option) is None:
            setattr(arguments, option, _common_name(folder / "cert.pem"))


def _common_name(path: Path) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        subject = x509.load_pem_x509_certificate(path.read_bytes()).subject
        return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    except OSError as error:
        raise ValueError(f"--as: {path}: {error.strerror}") from None
    except (ValueError, IndexError):
        raise ValueError(f"--as: {path}: got no certificate with a common name") from None
