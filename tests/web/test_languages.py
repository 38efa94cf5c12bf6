# SPDX-License-Identifier: MIT
"""The translations are complete, current, and fit their texts."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.pofile import read_po

import fastagi
from fastagi.domain import reason
from fastagi.domain.attempt import Disposition
from fastagi.domain.task import Kind, Status
from fastagi.web.console import languages
from fastagi.web.console.languages import LANGUAGES, SOURCE, best_language, catalogue
from fastagi.web.console.say import Say
from fastagi.web.console.terms import TERMS
from tests.web.live_state import NOW

OTHERS = [language for language in LANGUAGES if language != SOURCE]
_PYTHON = re.compile(r"%\((\w+)\)[a-z]")
_BRACES = re.compile(r"\{(\w+)(?::[^}]*)?\}")


@pytest.fixture(scope="module")
def translate() -> ModuleType:
    """The program that brings the catalogues up to date."""
    path = Path(fastagi.__file__).parents[1] / "tools/translate.py"
    spec = importlib.util.spec_from_file_location("translate", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", OTHERS)
def test_the_catalogue_has_exactly_the_texts_of_the_console(
    translate: ModuleType, language: str
) -> None:
    """If it fails: python tools/translate.py, and translate what it lists."""
    assert catalogue(language).read_bytes() == translate.updated(language)


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated(translate: ModuleType, language: str) -> None:
    """If it fails: python tools/translate.py, and translate what it lists."""
    assert translate.untranslated(language) == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_placeholders_of_its_text(language: str) -> None:
    with catalogue(language).open("rb") as file:
        messages = [one for one in read_po(file, locale=language) if one.id]
    for message in messages:
        plural = not isinstance(message.id, str)
        text = message.id[-1] if plural else message.id
        for translated in message.string if plural else [message.string]:
            for placeholder in (_PYTHON, _BRACES):
                found = set(placeholder.findall(translated))
                assert found == set(placeholder.findall(text)), translated
            assert translated.count("[") == translated.count("]"), translated


def test_every_word_of_the_database_has_words_for_people() -> None:
    for kind, members in (
        ("status", Status),
        ("kind", Kind),
        ("disposition", Disposition),
    ):
        assert set(members) <= set(TERMS[kind]), kind


def test_parameters_of_reasons_are_said_as_in_the_log_but_in_the_zone() -> None:
    say = Say("ru", NOW, masked=False, region="DE")
    assert set(reason._SAID) <= set(say._words(None).say)
    why = reason.because(
        reason.Code.CALLED_TOO_OFTEN, times=3, again_at="2026-03-04T17:05Z"
    )
    words = say.reason(why, "Europe/Berlin")
    assert "3 раза" in words
    assert words.endswith("18:05")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("de,en;q=0.3,ru;q=0.4", "ru"),
        ("ru;q=x,en;q=0.1", "en"),
        ("*", "en"),
        ("ru" * 100_000, "en"),
    ],
)
def test_the_browser_says_which_language(header: str, language: str) -> None:
    assert best_language(header) == language


def test_an_unknown_language_is_english() -> None:
    assert languages.translations("xx").gettext("Tasks") == "Tasks"
