# SPDX-License-Identifier: MIT
"""Finds the language in which to speak on a channel."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import Final

from fastagi.speech import languages
from fastagi.speech.language import Language

#: The language if no other fits, as in Asterisk.
DEFAULT: Final = "en"


@cache
def all_languages() -> dict[str, Language]:
    """Return every language by its code."""
    found = {}
    for module in pkgutil.iter_modules(languages.__path__):
        language = import_module(f"{languages.__name__}.{module.name}").LANGUAGE
        assert isinstance(language, Language) and language.code == module.name
        found[language.code] = language
    return found


def language_of(channel_language: str) -> Language:
    """Return the language for the language of a channel, such as ``en_GB``.

    English if it is not known.
    """
    known = all_languages()
    while channel_language:
        if channel_language in known:
            return known[channel_language]
        channel_language = channel_language.rpartition("_")[0]
    return known[DEFAULT]
