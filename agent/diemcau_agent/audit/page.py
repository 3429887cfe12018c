"""``diemcau-agent audit``: whether the record is whole, and what is in it. Reads files; needs no agent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from diemcau_agent import wording
from diemcau_agent.exits import NOT, OK
from diemcau_agent.wording import Say

from .chain import BREAKS_LIMIT, Entry, Head, Verdict, read, verify
from .file import TAIL_BYTES, paths

Files = Iterable[tuple[str, Iterable[bytes]]]


def run(arguments: argparse.Namespace, directory: Path, language: str) -> int:
    say = wording.speaking(language)
    try:
        if not (arguments.json or paths(directory)):
            print(say("There is no record in {directory}.").format(directory=directory), file=sys.stderr)
            return NOT
        with _opened(directory) as files:
            if arguments.action == "verify":
                return _verify(
                    files,
                    None if arguments.head is None else Head(*arguments.head),
                    say,
                    as_json=arguments.json,
                )
            return _show(files, arguments.since, as_json=arguments.json)
    except OSError as error:
        print(f"{say('The record cannot be read')}: {error}", file=sys.stderr)
        return NOT


@contextmanager
def _opened(directory: Path) -> Generator[Files]:
    """All are open before the first is read: a full one may be renamed meanwhile."""
    with ExitStack() as stack:
        opened = [(path.name, stack.enter_context(path.open("rb"))) for path in paths(directory)]
        yield [(name, _lines(file)) for name, file in opened]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """As a file's own, but none without end: a damaged one has no lines at all."""
    while line := file.readline(TAIL_BYTES):
        yield line


def _verify(files: Files, head: Head | None, say: Say, *, as_json: bool) -> int:
    found = verify(files, head)
    if as_json:
        whole = {"whole": found.whole, **msgspec.to_builtins(found)}
        print(json.dumps(whole, ensure_ascii=False, indent=2))
    else:
        for line in verdict_lines(found, say):
            print(wording.printable(line))
    return OK if found.whole else NOT


def verdict_lines(found: Verdict, say: Say) -> Iterator[str]:
    """The verdict in plain words."""
    yield say("The record is whole.") if found.whole else say("The record is NOT whole.")
    yield say("{count} entries").format(count=found.entries)
    if found.first is not None and found.last is not None and found.head is not None:
        yield say("from {first} to {last}").format(first=found.first.time, last=found.last.time)
        yield say("newest entry: {head}").format(head=f"{found.head.n}:{found.head.hash}")
    told: dict[str, Callable[[], str]] = {
        "continued": lambda: say("a new file after a full one"),
        "torn": lambda: say("a last line torn by a power cut"),
        "lost": lambda: say("entries that the card would not take"),
        "damaged": lambda: say("a damaged file that was set aside"),
    }
    for kind, count in found.told.items():
        yield f"  {count} × {told[kind]()}"
    reasons: dict[str, Callable[[], str]] = {
        "not_an_entry": lambda: say("this line is no entry"),
        "cut_off": lambda: say("this line is cut off"),
        "changed_before": lambda: say("the line before it was changed"),
        "missing_before": lambda: say("lines before it are missing"),
        "out_of_order": lambda: say("it is not in its place"),
        "damaged": lambda: say("a damaged file that was set aside"),
        "beginning_missing": lambda: say("the beginning is missing"),
        "beginning_returned": lambda: say("what was dropped is there again"),
    }
    for broken in found.breaks:
        where = "" if broken.n is None else f" (n {broken.n})"
        yield f"  {broken.file}:{broken.line}{where}: {reasons[broken.reason]()}"
    if found.broken > BREAKS_LIMIT:
        yield say("and {count} more").format(count=found.broken - BREAKS_LIMIT)
    if found.head_found is not None:
        yield (
            say("The entry that was asked for is in it.")
            if found.head_found
            else say("The entry that was asked for is NOT in it: it was cut off, or written anew.")
        )


def _show(files: Files, since: datetime | None, *, as_json: bool) -> int:
    for _, lines in files:
        for line in lines:
            entry = read(line.removesuffix(b"\n"))
            if entry is None or (since is not None and _earlier(entry, since)):
                continue
            if as_json:
                print(line.decode().removesuffix("\n"))
            else:
                print(wording.printable(entry_line(entry)))
    return OK


def entry_line(entry: Entry) -> str:
    mark = "" if entry.clock == "synced" else " (?)"
    data = json.dumps(entry.data, ensure_ascii=False)
    return f"{entry.n:>6}  {entry.time}{mark}  {entry.session:>4}  {entry.kind}  {data}"


def _earlier(entry: Entry, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(entry.time) < since
    except (ValueError, TypeError):
        return False
