# SPDX-License-Identifier: MIT
"""What the service says: the correct words, all of them recorded."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.speech.channel_language import all_languages, language_of
from fastagi.speech.language import LARGEST, Language, Unit, grouped
from fastagi.speech.prompts import FOLDER, Phrase, Words

SOUNDS: Final = Path(__file__).resolve().parents[2] / "sounds"
EN: Final = all_languages()["en"]
RU: Final = all_languages()["ru"]
TODAY: Final = date(2026, 12, 24)
A_YEAR_ON: Final = [TODAY + timedelta(days=days) for days in range(-1, 370)]
#: The sound files that settings, queues.conf and dialplan name.
BY_NAME: Final = frozenset(
    (
        *("offer", "accepted", "already-registered", "cannot-call", "closed"),
        *("hold-on", "member-alert", "noted"),
    )
)

each_language = pytest.mark.parametrize(
    "language", all_languages().values(), ids=list(all_languages())
)


def spoken(words: Words) -> str:
    return " ".join(word.removeprefix(f"{FOLDER}/") for word in words)


def everything(language: Language) -> Iterator[Words]:
    """Yield every text that is put together from words."""
    yield tuple(Phrase)
    yield from (language.key(key) for key in "0123456789*#")
    yield language.number("+0123456789*#")
    yield from (language.cardinal(number) for number in range(3 * LARGEST))
    for unit in Unit:
        yield from (language.count(number, unit) for number in range(3 * LARGEST))
    for minutes in (*range(-1, 121), *range(120, 60 * 24 * 120, 59)):
        yield language.ago(timedelta(minutes=minutes))
        yield language.duration(timedelta(minutes=minutes))
    for minute in range(24 * 60):
        yield language.clock(time(minute // 60, minute % 60))
    for days in range(7):
        yield language.day(TODAY + timedelta(days=days + 3), TODAY + timedelta(days))
    for day in A_YEAR_ON:
        yield language.day(day, TODAY)
        at = datetime.combine(day, time(9, 30), UTC)
        yield language.moment(at, datetime.combine(TODAY, time(), UTC))


def files_of(language: Language) -> set[str]:
    folder = SOUNDS / language.code / FOLDER
    return {path.stem for path in folder.glob("*.wav")}


@each_language
def test_every_word_that_may_be_said_is_recorded_and_no_other(
    language: Language,
) -> None:
    said = {word for words in everything(language) for word in words}
    names = {word.removeprefix(f"{FOLDER}/") for word in said}
    assert names | BY_NAME == files_of(language), names ^ files_of(language)


@each_language
@given(number=st.from_regex(r"\+?[0-9*#]{1,32}", fullmatch=True))
def test_every_number_is_read_digit_by_digit(language: Language, number: str) -> None:
    read = [word for word in language.number(number) if word != Phrase.PAUSE]
    assert read == [word for digit in number for word in language.key(digit)]


@each_language
@pytest.mark.parametrize("number", ["", "anna@example.com", "+", "12 34", "٣٤٥"])
def test_what_no_phone_can_dial_is_not_read(language: Language, number: str) -> None:
    assert language.number(number) == ()


@pytest.mark.parametrize(
    ("digits", "groups"),
    [
        ("1", ["1"]),
        ("12", ["12"]),
        ("123", ["123"]),
        ("1234", ["12", "34"]),
        ("12345", ["123", "45"]),
        ("4930123456", ["493", "012", "34", "56"]),
        ("79161234567", ["791", "612", "345", "67"]),
    ],
)
def test_digits_are_read_in_groups(digits: str, groups: list[str]) -> None:
    assert grouped(digits) == groups


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "less-than-a-minute"),
        (59, "less-than-a-minute"),
        (60, "about number-1 minute"),
        (61, "about number-2 minutes"),
        (5 * 60, "about number-5 minutes"),
        (11 * 60, "about number-15 minutes"),
        (51 * 60, "about number-1 hour"),
        (60 * 60, "about number-1 hour"),
        (61 * 60, "more-than-an-hour"),
    ],
)
def test_a_wait_is_rounded_up(seconds: int, words: str) -> None:
    assert spoken(EN.duration(timedelta(seconds=seconds))) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "number-1-f minute"),
        (2, "number-2-f minutes-2"),
        (4, "number-4 minutes-2"),
        (5, "number-5 minutes"),
        (11, "number-11 minutes"),
        (12, "number-12 minutes"),
        (14, "number-14 minutes"),
        (20, "number-20 minutes"),
        (21, "number-20 number-1-f minute"),
        (22, "number-20 number-2-f minutes-2"),
        (111, "number-1 number-1 number-1-f minute"),
    ],
)
def test_russian_minutes_agree_with_their_number(number: int, words: str) -> None:
    assert spoken(RU.count(number, Unit.MINUTE)) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "number-0 hours"),
        (1, "number-1 hour"),
        (2, "number-2 hours-2"),
        (11, "number-11 hours"),
        (21, "number-20 number-1 hour"),
        (23, "number-20 number-3 hours-2"),
    ],
)
def test_russian_hours_agree_with_their_number(number: int, words: str) -> None:
    assert spoken(RU.count(number, Unit.HOUR)) == words


@pytest.mark.parametrize(
    ("past", "english", "russian"),
    [
        (timedelta(seconds=30), "less-than-a-minute ago", "less-than-a-minute ago"),
        (
            timedelta(minutes=21),
            "number-20 number-1 minutes ago",
            "number-20 number-1-f-acc minute-acc ago",
        ),
        (timedelta(hours=1), "number-1 hour ago", "number-1 hour ago"),
        (
            timedelta(hours=47),
            "number-40 number-7 hours ago",
            "number-40 number-7 hours ago",
        ),
        (timedelta(days=2), "number-2 days ago", "number-2 days-2 ago"),
        (
            timedelta(days=400),
            "number-90 number-9 days ago",
            "number-90 number-9 days ago",
        ),
    ],
)
def test_how_long_ago(past: timedelta, english: str, russian: str) -> None:
    assert spoken(EN.ago(past)) == english
    assert spoken(RU.ago(past)) == russian


@pytest.mark.parametrize(
    ("at", "english", "russian"),
    [
        (time(0, 0), "number-12 am", "number-0 hours"),
        (
            time(9, 5),
            "number-9 oh number-5 am",
            "number-9 hours number-5 minutes",
        ),
        (
            time(12, 30),
            "number-12 number-30 pm",
            "number-12 hours number-30 minutes",
        ),
        (
            time(21, 1),
            "number-9 oh number-1 pm",
            "number-20 number-1 hour number-1-f-acc minute-acc",
        ),
    ],
)
def test_time_of_day(at: time, english: str, russian: str) -> None:
    assert spoken(EN.clock(at)) == english
    assert spoken(RU.clock(at)) == russian


@pytest.mark.parametrize(
    ("day", "english", "russian"),
    [
        (TODAY, "today", "today"),
        (date(2026, 12, 25), "tomorrow", "tomorrow"),
        (date(2026, 12, 26), "weekday-6", "weekday-6"),
        (date(2026, 12, 30), "weekday-3", "weekday-3"),
        (date(2026, 12, 31), "month-12 number-30 day-1", "number-30 day-1 month-12"),
        (date(2027, 1, 20), "month-1 day-20", "day-20 month-1"),
        (date(2026, 12, 23), "month-12 number-20 day-3", "number-20 day-3 month-12"),
    ],
)
def test_day(day: date, english: str, russian: str) -> None:
    assert spoken(EN.day(day, TODAY)) == english
    assert spoken(RU.day(day, TODAY)) == russian


def test_day_and_time() -> None:
    at, now = datetime(2026, 12, 25, 9, tzinfo=UTC), datetime(2026, 12, 24, tzinfo=UTC)
    assert spoken(EN.moment(at, now)) == "tomorrow at number-9 am"


@pytest.mark.parametrize(
    ("language", "code"),
    [("ru", "ru"), ("en_GB", "en"), ("ru_RU_f", "ru"), ("de", "en"), ("", "en")],
)
def test_a_channel_without_a_known_language_hears_english(
    language: str, code: str
) -> None:
    assert language_of(language).code == code
