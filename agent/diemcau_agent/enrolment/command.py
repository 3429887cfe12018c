"""``diemcau-agent enrol`` and ``set-clock``: one enrolment or renewal, and the clock that it needs, each
told in one line or as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from diemcau_agent.clock import rfc3339
from diemcau_agent.config import Settings
from diemcau_agent.exits import NOT, OK, USAGE
from diemcau_agent.wording import Say, speaking

from .errors import EnrolError
from .est import Est
from .steps import Enrolling, Notes, Outcome
from .store import Store
from .timekeeping import KernelClock, SettableClock, WaitingClock, set_forward
from .token import TokenFile

_MISSING = "enrolment: missing, expected [enrolment] with the url of an EST server"


def enrol(
    settings: Settings, *, renew: bool, as_json: bool, language: str, clock: WaitingClock | None = None
) -> int:
    """The program's exit code: OK where there is a good identity and nothing is left to do."""
    wanted = settings.enrolment
    if wanted is None:
        print(_MISSING, file=sys.stderr)
        return USAGE
    owner = _foreign_owner(Path(settings.state_dir))
    if owner is not None:
        print(
            f"state_dir: {settings.state_dir} belongs to uid {owner}, this process is uid {os.geteuid()}; "
            "expected the same: systemctl start diemcau-enrol.service",
            file=sys.stderr,
        )
        return USAGE
    enrolling = Enrolling(
        settings.point,
        wanted,
        Store(Path(settings.identity_dir)),
        clock or KernelClock(),
        TokenFile.of(wanted.token_file),
        Est(wanted.url, wanted.ca_file),
    )
    say = speaking(language)
    code, document, line = OK, dict[str, Any](point=settings.point), ""
    try:
        outcome = enrolling.run(renew=renew)
    except EnrolError as error:
        code, line = NOT, failure(error, settings.point, say)
        document |= {"result": "failed", "code": error.code, "detail": error.detail}
    else:
        line = success(outcome, settings.point, say)
        document |= {
            "result": outcome.result,
            "not_after": rfc3339(outcome.not_after_s),
            "renew_after": rfc3339(outcome.due_s),
        }
    if as_json:
        notes = enrolling.notes
        document |= {name: getattr(notes, name) for name in Notes.__slots__ if getattr(notes, name)}
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return code
    for words in beside(enrolling.notes, say):
        print(words, file=sys.stderr)
    print(line, file=sys.stderr if code else sys.stdout)
    return code


def set_clock(settings: Settings, *, as_json: bool, language: str, clock: SettableClock | None = None) -> int:
    """The program's exit code: OK where the clock is not before this kit's certificate, or is kept."""
    wanted = settings.enrolment
    if wanted is None:
        print(_MISSING, file=sys.stderr)
        return USAGE
    clock, store = clock or KernelClock(), Store(Path(settings.identity_dir))
    say = speaking(language)
    code, document = OK, dict[str, Any](point=settings.point, result="nothing")
    line = say("The clock was left alone: it is kept, or not before this kit's certificate.")
    try:
        set_to_s = set_forward(settings.point, wanted.ca_file, store, clock)
    except EnrolError as error:
        code = NOT
        line = f"{say('The clock is wrong, and was left alone. Set it.')} ({error.detail})"
        document |= {"result": "failed", "code": error.code, "detail": error.detail}
    else:
        if set_to_s is not None:
            line = f"{say('The clock was set forward.')} ({rfc3339(set_to_s)})"
            document |= {"result": "set", "clock_set": rfc3339(set_to_s)}
    text = json.dumps(document, ensure_ascii=False, indent=2) if as_json else line
    print(text, file=sys.stderr if code and not as_json else sys.stdout)
    return code


def _foreign_owner(directory: Path) -> int | None:
    """Whose ``directory`` is where it is not ours: what we write there the agent could not read."""
    try:
        owner = directory.stat().st_uid
    except OSError:
        return None  # it is not there yet, or the store will tell
    return None if owner == os.geteuid() else owner


def success(outcome: Outcome, point: str, say: Say) -> str:
    until, due = _day(outcome.not_after_s), _day(outcome.due_s)
    match outcome.result:
        case "enrolled":
            return say("Enrolled: this kit is {point}, until {until}.").format(point=point, until=until)
        case "renewed":
            return say("Renewed: this kit is {point}, until {until}.").format(point=point, until=until)
        case "nothing":
            words = say("Nothing to do: this kit is {point}, until {until}; it renews itself from {due}.")
            return words.format(point=point, until=until, due=due)


def failure(error: EnrolError, point: str, say: Say) -> str:
    """What is wrong, what to do, and in brackets what was found."""
    return f"{_what(error, say).format(point=point)} ({error.detail})"


def _what(error: EnrolError, say: Say) -> str:
    match error.code:
        case "token_missing":
            return say("This kit needs a token: ask the centre for one for {point} and put it in the file.")
        case "token_unreadable":
            return say("The token cannot be read: write it into the file again, on one line.")
        case "token_refused":
            return say(
                "The server refuses the token: it was used already, is too old, or is not for {point}. "
                "Ask the centre for a new one."
            )
        case "certificate_expired":
            return say("The certificate of {point} has run out. Ask the centre for a new token.")
        case "certificate_refused":
            return say(
                "The server refuses the certificate of {point}: it may be revoked. "
                "Ask the centre, which may give a new token."
            )
        case "name":
            return say(
                "The name of the server is not known. Check the network, the name server and enrolment.url."
            )
        case "unreachable":
            return say("The server cannot be reached. Check the network cable and the firewall; try again.")
        case "server_certificate":
            return say(
                "The server is not believed: its certificate is not the right one. "
                "Check enrolment.url and enrolment.ca_file."
            )
        case "clock":
            return say(
                "The clock is wrong, and this program may not set it. Set it, or run diemcau-agent set-clock "
                "as root; then try again."
            )
        case "not_approved":
            return say("The server has not approved {point} yet. Try again later.")
        case "server":
            return say("The server has failed. Try again later; if it stays so, tell the centre.")
        case "answer":
            return say("The server gave a wrong answer. Tell the centre; a new token may be needed.")
        case "storage":
            return say("The identity cannot be kept on the memory card.")
        case "busy":
            return say("Another enrolment is under way. Wait for it.")


def beside(notes: Notes, say: Say) -> list[str]:
    lines: list[str] = []
    if notes.damaged:
        lines.append(f"{say('The identity on the memory card is damaged.')} ({notes.damaged})")
    if notes.clock_set:
        lines.append(f"{say('The clock was set forward.')} ({notes.clock_set})")
    if notes.token_old:
        lines.append(say("The token in the file was used already: delete it."))
    if notes.token_left:
        lines.append(f"{say('The used token could not be deleted: delete it.')} ({notes.token_left})")
    return lines


def _day(wall_s: float) -> str:
    return rfc3339(wall_s)[:10]
