"""People read their own language: no message without its words, no words without a message."""

from __future__ import annotations

import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

import diemcau_agent.text as text
import spoken
from diemcau_agent.codes import CODES
from diemcau_agent.selftest.plan import CHECKS
from diemcau_agent.text import CatalogueError, cause, expectation, remedy, translate
from diemcau_agent.thresholds import Baseline

PO = text.LOCALE_DIR / "vi" / "LC_MESSAGES" / "diemcau.po"


@pytest.fixture(scope="module")
def catalogue() -> dict[str, str]:
    with PO.open("rb") as file:
        words: Catalog = read_po(file, locale="vi", abort_invalid=True)
    assert not [message.id for message in words if message.fuzzy]
    return {str(message.id): str(message.string) for message in words if message.id}


@pytest.fixture(scope="module")
def spoken_here() -> set[str]:
    return spoken.literals() | spoken.tabled()


def test_nothing_is_said_without_its_translation(catalogue: dict[str, str], spoken_here: set[str]) -> None:
    assert sorted(spoken_here - {message for message, words in catalogue.items() if words}) == []


def test_no_translation_is_left_over(catalogue: dict[str, str], spoken_here: set[str]) -> None:
    assert sorted(set(catalogue) - spoken_here) == []


def test_the_compiled_catalogue_is_that_of_the_source(catalogue: dict[str, str]) -> None:
    """`python hatch_build.py` compiles it again."""
    assert {message: translate(message, "vi") for message in catalogue} == catalogue


def test_placeholders_and_numbers_survive_translation(catalogue: dict[str, str]) -> None:
    for message, words in catalogue.items():
        assert _fields(words) == _fields(message), message
        assert set(re.findall(r"\d+", message)) <= set(re.findall(r"\d+", words)), message


def _fields(message: str) -> list[tuple[str | None, str | None]]:
    return sorted((name, spec) for _, name, spec, _ in string.Formatter().parse(message) if name is not None)


def test_a_sentence_stays_a_sentence(catalogue: dict[str, str]) -> None:
    for message, words in catalogue.items():
        assert message.endswith(".") == words.endswith("."), message
        if message != "decimal point":
            assert message[0].isupper() == words[0].isupper() or not words[0].isalpha(), message


def test_vietnamese_bears_its_diacritics(catalogue: dict[str, str]) -> None:
    """Words of more than two syllables without a single mark are a keyboard without Vietnamese."""
    bare = [words for words in catalogue.values() if len(words.split()) > 2 and words.isascii()]
    assert bare == []


@pytest.mark.parametrize("name", CODES)
def test_every_code_has_its_remedy_in_both_languages(name: str) -> None:
    told = remedy(name)
    assert told.en == CODES[name].remedy
    assert told.vi != told.en
    assert cause(name, "vi") != cause(name, "en") == CODES[name].cause


def test_english_is_the_source() -> None:
    assert translate("Self-test", "en") == "Self-test"
    assert translate("", "vi") == ""
    assert translate("a word of a newer version", "vi") == "a word of a newer version"


def test_an_expectation_has_the_rooms_own_numbers() -> None:
    template = CHECKS["camera_picture"].expected
    normal = Baseline(time="", readings={"camera": {"sharpness": 1000.0}})
    assert expectation(template, "en", normal).endswith("sharpness at least 400")
    assert expectation(template, "vi", normal).endswith("độ nét ít nhất 400")


def test_a_missing_catalogue_is_an_error_not_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LOCALE_DIR", tmp_path)
    loader: Any = text._catalogue
    loader.cache_clear()
    try:
        with pytest.raises(CatalogueError, match="hatch_build"):
            translate("Self-test", "vi")
    finally:
        loader.cache_clear()


def test_gettext_is_loaded_with_the_first_word_only() -> None:
    """The daemon's memory: what nobody reads yet costs nothing."""
    script = (
        "import sys, diemcau_agent.text as t; assert 'gettext' not in sys.modules;"
        "t.translate('Self-test', 'vi'); assert 'gettext' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=15)
