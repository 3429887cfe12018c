"""What a verb is: its arguments, whom it disturbs, and what it does. One module a verb in ``verbs/``.

A verb *disturbs* where a meeting would see or hear it: restarts, self-test, rehearsal, lights and words
that call out "here", an announcement, moving or switching the camera, raising a microphone, switching,
re-routing or covering the screen. It is refused ``frozen`` while a conference freezes the room, unless
forced. ``update`` asks for itself: it waits for every conference, and yields to no force. Muting a
microphone, the speaker's volume, a message, a snapshot, ``ping``, ``logs`` and ``config`` disturb nobody, or
are what an operator needs most just then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from diemcau_agent.model import Claims

from .context import Context
from .journal import Journal
from .outcome import Done, Failed

Seconds = Annotated[float, Meta(ge=0, le=3600)]


class Args(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of every verb."""


class GroupArgs(Args, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of a verb that a whole group may be sent: the points spread themselves over ``spread_s``."""

    spread_s: Seconds = 0.0


A = TypeVar("A", bound=Args)


class Call(msgspec.Struct, frozen=True):
    """One command on its way. ``payload``: as it came, signature and all, for whoever verifies it on his own;
    empty once the agent was restarted. ``progress(data)``: a ``running`` reply, at most one a second.
    ``told()``: wait, bounded, until the replies so far have left."""

    context: Context
    journal: Journal
    claims: Claims
    progress: Callable[[Any], None]
    told: Callable[[], Awaitable[None]]
    payload: bytes = b""


class Verb(ABC, Generic[A]):
    name: ClassVar[str]
    args: type[A]
    group: ClassVar[bool] = False
    """Marked * in docs/wire.md: may be sent to a group."""
    harmless: ClassVar[bool] = False
    """Changes nothing and answers at once: it is answered first, then written down with its answer, so it
    tells of a live agent even where the card takes no more."""
    deadline_s: ClassVar[float] = 60.0
    unsaid: ClassVar[tuple[str, ...]] = ()
    """Arguments that the audit names but does not keep: what could be a secret, or somebody's words."""

    resumes_beside: ClassVar[bool] = False
    """:meth:`resume` may take minutes: what else was left is not kept waiting."""

    def holds(self, args: A) -> tuple[str, ...]:
        """Devices and other parts that no other command may touch meanwhile; failures are of the first."""
        return ()

    def disturbs(self, args: A) -> bool:
        return False

    async def permit(self, call: Call, args: A) -> None:
        """Raises Refused where the room's policy, or a sense of proportion, forbids it."""

    def intent(self, call: Call, args: A) -> Mapping[str, Any] | None:
        """What has to be on the card before it happens, for :meth:`resume`."""
        return None

    @abstractmethod
    async def run(self, call: Call, args: A) -> Done:
        """Do it. Raises Refused, Failed, or DeviceError."""

    async def resume(self, call: Call, intent: Mapping[str, Any]) -> Done:
        """From the far side of a restart: the proof, or Failed."""
        raise Failed("interrupted", "the agent was stopped meanwhile")


def given(args: Struct, *names: str) -> dict[str, Any]:
    """Those of the named arguments that were given."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}
