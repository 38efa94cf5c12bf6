# SPDX-License-Identifier: MIT
"""The shipped prompts are fit for Asterisk, equally loud and as their texts say.

No speech engine and no sox: the files as they are in the repository, and arithmetic.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import struct
import sys
import unicodedata
import wave
from array import array
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from fastagi.config.queue_layers import Sounds

SOUNDS: Final = Path(__file__).resolve().parents[2] / "sounds"
LANGUAGES: Final = ("en", "ru")
FILES: Final = sorted(SOUNDS.glob("*/callback-queue/*"))
RATE_HZ: Final = 8000
FULL_SCALE: Final = 32768
#: Below this a file is one word or two. Then the measures of loudness differ more, and
#: a word with few letters may take long.
SHORT_S: Final = 1.5
#: All but the silent one.
SPOKEN: Final = [path for path in FILES if path.stem != "pause"]

each_file = pytest.mark.parametrize(
    "path", SPOKEN, ids=[f"{path.parts[-3]}-{path.stem}" for path in SPOKEN]
)


def _load_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sounds_build", SOUNDS / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _load_build()
PROMPTS: Final = {SOUNDS / prompt.file: prompt for prompt in build.read_prompts(SOUNDS)}


def samples_of(path: Path) -> array[int]:
    with wave.open(str(path)) as sound:
        samples = array("h", sound.readframes(sound.getnframes()))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def frame_levels_db(samples: array[int], frame_s: float) -> list[float]:
    """Level of each whole frame in dBFS; a floor stands for digital silence."""
    size = int(frame_s * RATE_HZ)
    frames = (samples[i : i + size] for i in range(0, len(samples) - size + 1, size))
    return [
        10 * math.log10(max(sum(s * s for s in frame) / size, 1e-3) / FULL_SCALE**2)
        for frame in frames
    ]


def speech_level_db(samples: array[int]) -> float:
    """RMS of the 20 ms frames with speech: within 25 dB of the loudest.

    Simpler than the measure that the script sets, so that one checks the other.
    """
    levels = frame_levels_db(samples, 0.02)
    speech = [level for level in levels if level > max(levels) - 25]
    return 10 * math.log10(sum(10 ** (db / 10) for db in speech) / len(speech))


def silence_s(samples: array[int]) -> tuple[float, float, float]:
    """Return the silence at the start, at the end and the longest in between."""
    frame_s = 0.005
    quiet = [level < -60 for level in frame_levels_db(samples, frame_s)]
    runs = [(key, frame_s * sum(1 for _ in run)) for key, run in groupby(quiet)]
    start = runs.pop(0)[1] if runs[0][0] else 0.0
    end = runs.pop()[1] if runs[-1][0] else 0.0
    return start, end, max((length for silent, length in runs if silent), default=0.0)


def length_s(path: Path) -> float:
    with wave.open(str(path)) as sound:
        return float(sound.getnframes() / sound.getframerate())


# -- Which files there are


def test_every_text_has_a_file_and_every_file_a_text() -> None:
    assert set(PROMPTS) == set(FILES)
    assert {prompt.language for prompt in PROMPTS.values()} == set(LANGUAGES)


def test_every_sound_of_the_settings_is_shipped() -> None:
    # What is None is put together from words.
    for sound in filter(None, Sounds().model_dump().values()):
        for language in LANGUAGES:
            assert (SOUNDS / language / f"{sound}.wav").exists()


def test_all_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 6_500_000


# -- What they were made from


def test_no_file_is_out_of_date() -> None:
    assert build.faults(SOUNDS, list(PROMPTS.values())) == {}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(SOUNDS, tmp_path / "sounds")


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_changed_text_makes_its_file_stale(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(copy / "texts/en.yaml", "Please wait.", "Please hold.")
    assert build.main(["--check"], copy) == 1
    assert capsys.readouterr().out == (
        "en/callback-queue/hold-on.wav: its text or the way of making it has changed\n"
    )


def test_another_voice_makes_the_whole_language_stale(copy: Path) -> None:
    rewrite(copy / "texts/en.yaml", "voice: rms", "voice: slt")
    faults = build.faults(copy, build.read_prompts(copy))
    assert faults == {
        f"en/callback-queue/{path.name}": build.Fault.STALE
        for path in FILES
        if path.parts[-3] == "en"
    }


def test_a_file_made_elsewhere_is_noticed_and_left_alone(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "ru/callback-queue/offer.wav"
    path.write_bytes(b"a recording of my own")
    assert build.main([], copy) == 1
    assert path.read_bytes() == b"a recording of my own"
    assert "offer.wav: is not what this script made" in capsys.readouterr().out


def test_a_missing_file_and_one_too_many_are_noticed(copy: Path) -> None:
    folder = copy / "ru/callback-queue"
    (folder / "offer.wav").rename(folder / "other.wav")
    assert build.faults(copy, build.read_prompts(copy)) == {
        "ru/callback-queue/offer.wav": build.Fault.MISSING,
        "ru/callback-queue/other.wav": build.Fault.UNKNOWN,
    }


def test_a_misspelt_key_in_a_text_is_refused(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(copy / "texts/en.yaml", "tempo: 0.9", "temp: 0.9")
    assert build.main(["--check"], copy) == 1
    assert capsys.readouterr().err == "en.yaml: hold-on: unknown key temp\n"


def test_each_text_is_in_its_own_alphabet() -> None:
    for prompt in PROMPTS.values():
        if prompt.silence_s:
            assert not prompt.text + prompt.say
            continue
        letters = filter(str.isalpha, prompt.text + prompt.say)
        alphabets = {unicodedata.name(letter).split()[0] for letter in letters}
        assert alphabets == {"CYRILLIC" if prompt.language == "ru" else "LATIN"}
        assert prompt.text.endswith("."), prompt.file


# -- How they sound


@each_file
def test_the_header_is_the_plain_one(path: Path) -> None:
    data = path.read_bytes()
    fields = struct.unpack("<4sI4s4sIHHIIHH4sI", data[:44])
    pcm, mono, rate, align, bits = 1, 1, RATE_HZ, 2, 16
    sizes = len(data) - 8, len(data) - 44
    assert fields == (
        *(b"RIFF", sizes[0], b"WAVE"),
        *(b"fmt ", 16, pcm, mono, rate, rate * align, align, bits),
        *(b"data", sizes[1]),
    )


@each_file
def test_it_does_not_clip(path: Path) -> None:
    peak = max(abs(sample) for sample in samples_of(path))
    assert 20 * math.log10(peak / FULL_SCALE) < -1


@each_file
def test_it_has_no_offset(path: Path) -> None:
    samples = samples_of(path)
    assert abs(sum(samples) / len(samples)) < 1


@each_file
def test_it_starts_and_ends_in_silence_but_not_for_long(path: Path) -> None:
    samples = samples_of(path)
    start, end, between = silence_s(samples)
    assert abs(samples[0]) <= 1 and abs(samples[-1]) <= 1
    assert start <= 0.1 and end <= 0.1
    assert between <= 0.5


def test_all_are_equally_loud() -> None:
    for path in SPOKEN:
        least = -20 if length_s(path) > SHORT_S else -21.5
        assert least < speech_level_db(samples_of(path)) < -18.9, path


def test_the_pause_between_groups_of_digits_is_silent_and_short() -> None:
    for language in LANGUAGES:
        path = SOUNDS / language / "callback-queue" / "pause.wav"
        assert not any(samples_of(path))
        assert length_s(path) == 0.25


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("name", "limit_s"), [("cannot-call", 4.5), ("closed", 4.5), ("hold-on", 0.8)]
)
def test_a_caller_who_goes_back_in_line_is_not_kept(
    language: str, name: str, limit_s: float
) -> None:
    length = length_s(SOUNDS / language / "callback-queue" / f"{name}.wav")
    assert 0.4 < length <= limit_s


@each_file
def test_its_length_fits_its_text(path: Path) -> None:
    letters_per_s = len(PROMPTS[path].text) / length_s(path)
    assert (8 if length_s(path) > SHORT_S else 5) < letters_per_s < 21
