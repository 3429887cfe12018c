"""SECURITY.md names the test that shows each thing: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+(?:\.py)?/?)(?:::(\w+))?`", PAGE)))
LINKED = sorted(set(re.findall(r"\]\(((?!https?:|#)[^)#]+)", PAGE)))
PROVISIONS = [f"5.{chapter}-" for chapter in range(1, 14)] + ["6-"]


@pytest.mark.parametrize(("place", "test"), NAMED, ids=[f"{place}::{test}" for place, test in NAMED])
def test_what_is_named_as_proof_is_there(place: str, test: str) -> None:
    path = ROOT / place
    assert path.exists()
    if test:
        assert re.search(rf"def {test}\(", path.read_text(encoding="utf-8")), f"{place} has no {test}"


@pytest.mark.parametrize("link", LINKED)
def test_no_link_leads_nowhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_every_chapter_of_en_303_645_has_its_rows() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    for chapter in PROVISIONS:
        assert any(re.match(rf"\| {re.escape(chapter)}\d", line) for line in rows), chapter
