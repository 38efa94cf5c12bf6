# SPDX-License-Identifier: MIT
"""The prompts as brief sounds, for tests in which many are played."""

from __future__ import annotations

import wave
from typing import Final

from tests.lab.lab import Lab
from tests.lab.processes import wait_until

#: The language of the brief sounds.
LANGUAGE: Final = "brief"


def record_brief_words(lab: Lab) -> None:
    """Record the prompts in a language of brief sounds, which saves minutes."""
    sounds = lab.asterisk.home / "data/sounds"
    folder = sounds / LANGUAGE / "callback-queue"
    if folder.exists():
        return
    folder.mkdir(parents=True)
    for path in (sounds / "en/callback-queue").glob("*.wav"):
        with wave.open(str(folder / path.name), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(8000)
            out.writeframes(bytes(2 * 800))


def said(lab: Lab, sound: str, count: int = 1) -> None:
    """Wait until a sound was played so often."""
    wait_until(
        lambda: lab.asterisk.log.count(f"Playing 'callback-queue/{sound}.") >= count,
        30,
        f"{count} times {sound}",
    )
