# SPDX-License-Identifier: MIT
"""The languages of the console: gettext catalogues, read when they are first used.

To add a language: a folder in ``locale/``, made by ``python tools/translate.py es``,
and its name in `LANGUAGES`.
"""

from __future__ import annotations

import gettext
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LOCALE: Final = Path(__file__).parent / "locale"
#: The language of the texts in the code.
SOURCE: Final = "en"
#: Each language by its own name.
LANGUAGES: Final = {"en": "English", "ru": "Русский"}
_LONGEST_HEADER: Final = 500


def N_(text: str) -> str:
    """Mark a text for translation where it is defined; it is translated where shown."""
    return text


def catalogue(language: str) -> Path:
    """Return the path of the translations into a language."""
    return LOCALE / language / "LC_MESSAGES" / "console.po"


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Return the translations into a language."""
    if language == SOURCE or language not in LANGUAGES:
        return gettext.NullTranslations()
    with catalogue(language).open("rb") as file:
        catalog = read_po(file, locale=language)
    compiled = BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def best_language(accepted: str) -> str:
    """Return the language that fits a header ``Accept-Language`` best."""
    wanted: list[tuple[float, int, str]] = []
    for place, item in enumerate(accepted[:_LONGEST_HEADER].split(",")):
        name, _, weight = item.partition(";")
        language = name.strip().partition("-")[0].lower()
        if language in LANGUAGES:
            try:
                quality = float(weight.strip().removeprefix("q=") or 1)
            except ValueError:
                quality = 0.0
            wanted.append((-quality, place, language))
    return min(wanted)[2] if wanted else SOURCE
