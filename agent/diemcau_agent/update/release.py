"""What the release key has signed: one package, by its hash. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from diemcau_agent import jws
from diemcau_agent.commands.outcome import Refused
from diemcau_agent.explain import explain_json

MAX_TEXT_BYTES = 4096
MAX_PACKAGE_BYTES = 256 * 1024 * 1024
PACKAGE = "diemcau"

Version = Annotated[
    str, Meta(pattern=r"^[0-9][0-9A-Za-z.+~-]{0,63}\Z", description='a version such as "1.4.2"')
]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 of 0-9 and a-f")]


class Release(Struct, frozen=True, kw_only=True):
    """``serial`` grows with each release: no older one is taken, whatever its version is called.
    ``downgrade``: it may take the place of a higher version."""

    schema: Literal["diemcau.release/1"] = "diemcau.release/1"
    package: Literal["diemcau"] = PACKAGE
    version: Version
    arch: Literal["amd64", "arm64"]
    sha256: Sha256
    size: Annotated[int, Meta(ge=1, le=MAX_PACKAGE_BYTES)]
    serial: Annotated[int, Meta(ge=1, le=2**53)]
    downgrade: bool = False


def sign(release: Release, seed: bytes) -> bytes:
    """The compact JWS that lies beside the package, as ``URL.jws``."""
    return jws.sign(msgspec.json.encode(release), seed)


def read(text: bytes, trusted: Sequence[str]) -> Release:
    """What one of the keys ``trusted`` has signed. Raises Refused (``not_permitted``)."""
    text = text.strip()
    if len(text) > MAX_TEXT_BYTES:
        raise _refused(f"got {len(text)} bytes, expected at most {MAX_TEXT_BYTES}")
    try:
        letter = jws.parse(text)
        signed = letter.signed_by_one_of(trusted)
    except jws.JwsError as error:
        raise _refused(str(error)) from None
    if not signed:
        raise _refused("it is signed by none of this kit's release_keys")
    try:
        data = msgspec.json.decode(letter.payload)
        # Spelled out: to be signed is not enough, it must say that it is a release.
        if not isinstance(data, dict) or not {"schema", "package"} <= set(data):  # pyright: ignore[reportUnknownArgumentType]
            raise _refused("schema, package: expected both")
        return msgspec.convert(data, Release)
    except msgspec.ValidationError as error:
        raise _refused("; ".join(explain_json(Release, letter.payload)) or str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(str(error)) from None


def _refused(why: str) -> Refused:
    return Refused("not_permitted", f"the release: {why}")
