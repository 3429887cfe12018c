"""Ordering the kit's restart from whoever may do it: the daemon itself has no such right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

ANSWER_S = 5.0


def ordered_reboot(helper: Path) -> Callable[[str | None], Awaitable[None]]:
    """A function that asks the helper on the Unix socket ``helper`` for a restart.

    One JSON line out, ``{"do": "reboot"}``, one back. Raises OSError where it refuses or does not answer.
    """

    async def restart(reboot_nonce: str | None) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(str(helper))
                try:
                    writer.write(json.dumps({"do": "reboot", "reboot_nonce": reboot_nonce}).encode() + b"\n")
                    await writer.drain()
                    answer = await reader.readline()
                finally:
                    writer.close()
        except TimeoutError:
            raise OSError(f"the reboot helper did not answer in {ANSWER_S:g} s") from None
        if b'"error"' in answer or not answer:
            raise OSError(
                f"the reboot helper refused: {answer.decode(errors='replace').strip() or 'no answer'}"
            )

    return restart
