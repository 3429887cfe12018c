"""What people read, in Vietnamese and English: gettext, domain ``diemcau``.

English is the source and needs no catalogue; ``locale/vi/LC_MESSAGES/diemcau.po`` is compiled to .mo when the
package is built or installed (hatch_build.py). gettext is loaded when the first word is translated.

Errors::

    LookupError
    └── CatalogueError    a language without its compiled catalogue
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .codes import CODES
from .model import Remedy
from .thresholds import DEFAULTS, Baseline, Thresholds, calibrated

if TYPE_CHECKING:
    from gettext import NullTranslations

DOMAIN = "diemcau"
LANGUAGES = ("vi", "en")
LOCALE_DIR = Path(__file__).parent / "locale"


class CatalogueError(LookupError):
    """No compiled catalogue for a language: the package was put together without its build hook."""


@cache
def _catalogue(language: str) -> NullTranslations:
    import gettext

    if language == "en":
        return gettext.NullTranslations()
    try:
        return gettext.translation(DOMAIN, LOCALE_DIR, [language])
    except FileNotFoundError as error:
        raise CatalogueError(
            f"no catalogue for {language!r} in {LOCALE_DIR}: run `python hatch_build.py` or install again"
        ) from error


def translate(message: str, language: str) -> str:
    """``message`` (English) in ``language``; as it is where it has no translation. "" stays ""."""
    return _catalogue(language).gettext(message) if message else ""


def remedy(code: str) -> Remedy:
    """What to do about ``code``, in a technician's words. KeyError: no such code."""
    english = CODES[code].remedy
    return Remedy(vi=translate(english, "vi"), en=english)


def cause(code: str, language: str) -> str:
    """What ``code`` means. KeyError: no such code."""
    return translate(CODES[code].cause, language)


def expectation(
    template: str, language: str, baseline: Baseline | None = None, limits: Thresholds = DEFAULTS
) -> str:
    """A self-test check's expectation (plan.py) with its numbers: "at least -52 dBFS"."""
    return translate(template, language).format(**msgspec.structs.asdict(calibrated(baseline, limits)))
