#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the prompts from their texts.

    sounds/build.py            make what is missing or stale
    sounds/build.py --all      make everything, also over files made elsewhere
    sounds/build.py --check    list what is missing, stale or foreign; exit 1 if any
    sounds/build.py --verify   make everything aside and compare it byte for byte

Speech engines and sox are asked for only when something is made. This file owns how a
text becomes a WAV file; it knows nothing of the service.
"""

from __future__ import annotations

import argparse
import enum
import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import yaml

HERE: Final = Path(__file__).resolve().parent
#: The folder in Asterisk's sounds directory: Playback(callback-queue/offer).
FOLDER: Final = "callback-queue"
#: What each file was made from, and what came out.
RECORD: Final = "built.json"

RATE_HZ: Final = 8000
#: Loudness while somebody speaks; Asterisk's own sounds have -16 to -20.
LEVEL_DBFS: Final = -19.0
PEAK_DBFS: Final = -1.0
#: How much a single word with a high peak may be below LEVEL_DBFS.
QUIETER_DB: Final = 0.5
#: Frames this far below the speech are pauses (the margin of ITU-T P.56).
PAUSE_MARGIN_DB: Final = 15.9
#: Frames this far below the speech are silence at the ends.
SILENCE_MARGIN_DB: Final = 35.0
#: Silence left at each end; the fades happen in it.
EDGE_S: Final = 0.04
TIGHT_EDGE_S: Final = 0.015
#: What is put between two sentences; flite hardly draws breath.
PAUSE_S: Final = 0.3
#: The telephone's band, with steep edges; 100 dB down before half of RATE_HZ.
BAND: Final = ("sinc", "-a", "100", "-t", "200", "300-3400", "-t", "400")
#: Raise it after a change below that is heard and that no constant above shows.
METHOD: Final = 1

#: Debian packages per program, for the message when one is not there.
PACKAGES: Final = {
    "sox": "sox",
    "flite": "flite",
    "text2wave": "festival festvox-ru",
}


class BuildError(Exception):
    """A prompt cannot be made."""


@attrs.frozen(kw_only=True)
class Prompt:
    """One text in one language."""

    language: str
    engine: str
    voice: str
    name: str
    #: As a person would write it.
    text: str
    #: As the engine must read it.
    say: str
    #: How much faster than the voice's own pace.
    tempo: float
    #: The longest it may last.
    limit_s: float | None
    #: Silence of this length instead of a text; 0 for a text.
    silence_s: float = 0.0

    @property
    def file(self) -> str:
        """The WAV file's path below the sounds folder."""
        return f"{self.language}/{FOLDER}/{self.name}.wav"

    @property
    def edge_s(self) -> float:
        """The silence at each end."""
        return EDGE_S if self.limit_s is None else TIGHT_EDGE_S

    def fingerprint(self) -> str:
        """Hash all that decides how it sounds."""
        fields = attrs.asdict(self)
        if not self.silence_s:
            del fields["silence_s"]
        recipe = {
            **fields,
            "edge_s": self.edge_s,
            "pause_s": PAUSE_S,
            "level_dbfs": LEVEL_DBFS,
            "pause_margin_db": PAUSE_MARGIN_DB,
            "silence_margin_db": SILENCE_MARGIN_DB,
            "band": BAND,
            "rate_hz": RATE_HZ,
            "method": METHOD,
        }
        canonical = json.dumps(recipe, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def read_prompts(root: Path) -> list[Prompt]:
    """Read all texts below ``root``, ordered by file.

    Raises:
        BuildError: a text file is not as en.yaml describes.
    """
    prompts = []
    for path in sorted((root / "texts").glob("*.yaml")):
        page = yaml.safe_load(path.read_text(encoding="utf-8"))
        if page["language"] != path.stem:
            raise BuildError(f"{path.name}: language must be {path.stem}")
        for name, entry in page["prompts"].items():
            unknown = entry.keys() - {"text", "say", "tempo", "limit", "silence"}
            if unknown:
                raise BuildError(f"{path.name}: {name}: unknown key {unknown.pop()}")
            prompts.append(
                Prompt(
                    language=page["language"],
                    engine=page["engine"],
                    voice=page["voice"],
                    name=name,
                    text="" if "silence" in entry else entry["text"],
                    say=entry.get("say", entry.get("text", "")),
                    tempo=float(entry.get("tempo", 1)),
                    limit_s=entry.get("limit"),
                    silence_s=float(entry.get("silence", 0)),
                )
            )
    return sorted(prompts, key=lambda prompt: prompt.file)


def read_record(root: Path) -> dict[str, dict[str, str]]:
    """Read what was built, by file."""
    path = root / RECORD
    if not path.exists():
        return {}
    record: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return record


class Fault(enum.Enum):
    """Why a file is not what its text would give."""

    MISSING = "is missing"
    STALE = "its text or the way of making it has changed"
    FOREIGN = "is not what this script made"
    UNKNOWN = "has no text"


def faults(root: Path, prompts: Sequence[Prompt]) -> dict[str, Fault]:
    """Say which files are not what their texts would give, by file."""
    record = read_record(root)
    found = {}
    for prompt in prompts:
        path, built = root / prompt.file, record.get(prompt.file)
        if not path.exists():
            found[prompt.file] = Fault.MISSING
        elif built is None or built["wav"] != _file_hash(path):
            found[prompt.file] = Fault.FOREIGN
        elif built["recipe"] != prompt.fingerprint():
            found[prompt.file] = Fault.STALE
    files = {prompt.file for prompt in prompts}
    for path in root.glob(f"*/{FOLDER}/*.wav"):
        file = path.relative_to(root).as_posix()
        if file not in files:
            found[file] = Fault.UNKNOWN
    return found


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- From text to samples --------------------------------------------------------------


def _run(command: Sequence[str], said: str = "") -> bytes:
    program = command[0]
    if shutil.which(program) is None:
        raise BuildError(f"{program} is missing: apt-get install {PACKAGES[program]}")
    done = subprocess.run(
        command, input=said.encode(), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise BuildError(f"{program} failed: {done.stderr.decode(errors='replace')}")
    return done.stdout


def _speak(prompt: Prompt, sentence: str, out: Path) -> float:
    """Let the engine speak into ``out``; return the tempo still to be made up."""
    match prompt.engine:
        case "flite":
            stretch = f"duration_stretch={1 / prompt.tempo:.4f}"
            voice = ("-voice", prompt.voice, "--setf", stretch)
            _run(("flite", *voice, "-t", sentence, "-o", str(out)))
            return 1.0
        case "festival":
            # Chosen units keep the length they were recorded with.
            choose = f"(voice_{prompt.voice})"
            _run(("text2wave", "-eval", choose, "-o", str(out)), said=sentence)
            return prompt.tempo
        case _:
            raise BuildError(f"{prompt.file}: unknown engine {prompt.engine}")


def _to_telephone(recorded: Path, tempo: float) -> list[float]:
    """Limit the band and resample; full scale is 1.0."""
    pace = () if tempo == 1.0 else ("tempo", "-s", str(tempo))
    # 6 dB down, so that no filter can overshoot; the level is set later anyway.
    effects = ("gain", "-6", *pace, *BAND, "rate", "-v", str(RATE_HZ))
    shape = ("-t", "raw", "-e", "signed", "-b", "32", "-L", "-c", "1")
    raw = _run(("sox", "-D", str(recorded), *shape, "-", *effects))
    samples = array("i", raw)
    if sys.byteorder == "big":
        samples.byteswap()
    return [sample / 2**31 for sample in samples]


# -- Level and ends --------------------------------------------------------------------


def _powers(samples: Sequence[float], frame_s: float) -> list[float]:
    size = round(frame_s * RATE_HZ)
    starts = range(0, len(samples) - size + 1, size)
    return [sum(s * s for s in samples[i : i + size]) / size for i in starts]


def speech_power(samples: Sequence[float]) -> float:
    """Mean power of the 20 ms frames in which somebody speaks, pauses left out."""
    frames = _powers(samples, 0.02)
    while True:
        mean = sum(frames) / len(frames)
        speech = [p for p in frames if p > mean * 10 ** (-PAUSE_MARGIN_DB / 10)]
        if len(speech) == len(frames):
            return mean
        frames = speech


def _trim(samples: Sequence[float], edge_s: float) -> list[float]:
    """Cut the silence at both ends down to ``edge_s`` and fade within it."""
    frame_s = 0.005
    size = round(frame_s * RATE_HZ)
    edge = round(edge_s * RATE_HZ)
    least = speech_power(samples) * 10 ** (-SILENCE_MARGIN_DB / 10)
    loud = [i for i, p in enumerate(_powers(samples, frame_s)) if p > least]
    first, last = loud[0] * size, (loud[-1] + 1) * size
    padded = [0.0] * edge + list(samples) + [0.0] * edge
    kept = padded[first : last + 2 * edge]
    for i in range(edge):
        factor = 0.5 - 0.5 * math.cos(math.pi * i / edge)
        kept[i] *= factor
        kept[-1 - i] *= factor
    return kept


def _to_pcm(samples: Sequence[float], file: str) -> array[int]:
    level = 10 ** (LEVEL_DBFS / 20) / math.sqrt(speech_power(samples))
    # Rounding must not exceed the peak.
    highest = (10 ** (PEAK_DBFS / 20) * 32768 - 1) / 32768
    gain = min(level, highest / max(map(abs, samples)))
    if gain < level * 10 ** (-QUIETER_DB / 20):
        raise BuildError(f"{file}: too peaky, LEVEL_DBFS must be lower")
    return array("h", (round(s * gain * 32768) for s in samples))


def make(prompt: Prompt, root: Path) -> None:
    """Make the WAV file of ``prompt`` below ``root``.

    Raises:
        BuildError: a program is missing or failed, or the result is too long or loud.
    """
    if prompt.silence_s:
        _write(root / prompt.file, array("h", [0] * round(prompt.silence_s * RATE_HZ)))
        return
    spoken: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / "spoken.wav"
        for sentence in re.split(r"(?<=[.!?])\s+", prompt.say):
            tempo = _speak(prompt, sentence, recorded)
            if spoken:
                spoken += [0.0] * round(PAUSE_S * RATE_HZ)
            spoken += _trim(_to_telephone(recorded, tempo), prompt.edge_s)
    pcm = _to_pcm(spoken, prompt.file)
    length_s = len(pcm) / RATE_HZ
    if prompt.limit_s is not None and length_s > prompt.limit_s:
        raise BuildError(
            f"{prompt.file}: lasts {length_s:.2f} s, limit {prompt.limit_s} s:"
            " raise its tempo or say it shorter"
        )
    _write(root / prompt.file, pcm)


def _write(path: Path, pcm: array[int]) -> None:
    if sys.byteorder == "big":
        pcm.byteswap()
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(pcm.tobytes())


# -- Commands --------------------------------------------------------------------------


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _write_record(root: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(record, indent=2, sort_keys=True)
    (root / RECORD).write_text(text + "\n", encoding="utf-8")


def build(root: Path, *, everything: bool = False) -> int:
    """Make what is stale, or everything; return how many faults are left.

    What somebody else made is left alone, unless everything is to be made.
    """
    prompts = read_prompts(root)
    found = faults(root, prompts)
    record = read_record(root)
    for prompt in prompts:
        if everything or found.get(prompt.file) in (Fault.MISSING, Fault.STALE):
            make(prompt, root)
            record[prompt.file] = {
                "recipe": prompt.fingerprint(),
                "wav": _file_hash(root / prompt.file),
            }
            _write_record(root, record)
            _say(f"made {prompt.file}")
    files = {prompt.file for prompt in prompts}
    _write_record(root, {file: record[file] for file in files & record.keys()})
    return check(root)


def check(root: Path) -> int:
    """List what is not as its text would give; return how many files that are."""
    found = faults(root, read_prompts(root))
    for file, fault in sorted(found.items()):
        _say(f"{file}: {fault.value}")
    return len(found)


def verify(root: Path) -> int:
    """Make everything aside; return how many files came out different."""
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        for prompt in read_prompts(root):
            make(prompt, Path(folder))
            if (Path(folder) / prompt.file).read_bytes() != (
                root / prompt.file
            ).read_bytes():
                _say(f"{prompt.file}: came out different")
                different += 1
    return different


def main(arguments: Sequence[str], root: Path = HERE) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the prompts from their texts.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--all", action="store_true", help="make everything")
    choice.add_argument("--check", action="store_true", help="only list faults")
    choice.add_argument(
        "--verify", action="store_true", help="make everything aside and compare"
    )
    options = parser.parse_args(arguments)
    try:
        if options.check:
            return 1 if check(root) else 0
        if options.verify:
            return 1 if verify(root) else 0
        return 1 if build(root, everything=options.all) else 0
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
