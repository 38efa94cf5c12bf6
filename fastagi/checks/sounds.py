# SPDX-License-Identifier: MIT
"""Checks that Asterisk has each prompt in each language that it may need."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from fastagi.checks.asterisk_machine import AsteriskMachine, NotVisible
from fastagi.checks.finding import Notes
from fastagi.checks.process import User, asterisk_user
from fastagi.config.queue_layers import QueueSettings
from fastagi.config.sections import Settings
from fastagi.speech import agent, client
from fastagi.speech.channel_language import all_languages, language_of
from fastagi.speech.prompts import CALLER_CHOICES, CALLER_TIMES, Phrase, Words

#: File name extensions of Asterisk's formats, whether their modules are loaded or not.
_FORMATS: Final = frozenset(
    {
        *("wav", "wav16", "WAV", "wav49", "gsm", "ulaw", "ul", "mu", "ulw", "pcm"),
        *("alaw", "al", "alw", "sln", "sln8", "sln12", "sln16", "sln24", "sln32"),
        *("sln44", "sln48", "sln96", "sln192", "raw", "slin", "slin16", "g722"),
        *("g729", "g723", "g726", "g719", "ilbc", "ogg", "opus", "mp3", "siren7"),
        *("siren14", "vox", "au"),
    }
)
#: The default language of channels, also used if a prompt has no other language.
_DEFAULT_LANGUAGE: Final = "en"
_OWN: Final = "callback-queue"
#: The option of queues.conf with the announcement for waiting callers.
_ANNOUNCEMENT: Final = "periodic-announce"
#: Phrases of which an offer consists.
_OFFER: Final = (
    Phrase.ALL_BUSY,
    Phrase.ALL_AWAY,
    Phrase.CLOSING,
    Phrase.YOU_WILL_WAIT,
    Phrase.CALL_BACK_PRESS,
    Phrase.OR_STAY,
)
_ONE_DAY: Final = timedelta(days=1)
#: An example of how long ago a client asked.
_AGO: Final = timedelta(minutes=5)
#: Languages of the prompts that come with this service.
SHIPPED: Final = frozenset(all_languages())


def check_sounds(settings: Settings, machine: AsteriskMachine) -> Notes:
    """Check each prompt of each queue."""
    notes = Notes("sounds")
    prompts = {pair for queue in settings.queues.values() for pair in _prompts(queue)}
    wanted = sorted({*prompts, *_announcements(settings, machine)})
    try:
        directory = machine.sounds()
        _check_directory(directory, machine, notes)
    except NotVisible as error:
        notes.skip(
            "sounds",
            str(error),
            f"look there, below {machine.sounds_dir}, for: "
            + ", ".join(dict.fromkeys(name for _, name, _ in wanted)),
        )
        return notes
    if not directory.is_dir():
        return notes
    user = asterisk_user(machine)
    languages = _languages(directory)
    wanted += sorted(
        {
            words
            for queue in settings.queues.values()
            for language in languages
            for words in _times(queue, language)
        }
    )
    for setting, name, language in wanted:
        for one in [language] if language else languages:
            _check_sound(directory, setting, name, one, user, notes)
    return notes


def _check_sound(
    directory: Path,
    setting: str,
    name: str,
    language: str,
    user: User | None,
    notes: Notes,
) -> None:
    found = _files(directory, name, language)
    if found:
        _check_right(found, setting, user, notes)
        return
    where = name if name.startswith("/") else str(directory / language / name)
    remedy = _remedy(directory, setting, name, language)
    if _files(directory, name, _DEFAULT_LANGUAGE):
        notes.warn(
            where,
            f"there is no such sound file for {setting}, so it is heard in English",
            remedy,
        )
    else:
        notes.fault(where, f"there is no such sound file for {setting}", remedy)


def _prompts(queue: QueueSettings) -> Iterator[tuple[str, str, str]]:
    """Yield each prompt's setting, its name, and its language ("" if any)."""
    for setting, name in dict(queue.sounds).items():
        if name is None:
            continue
        language = queue.member_language if setting == "member_alert" else ""
        yield f"sounds.{setting}", name, language
    for setting, words in _words_to_agent(queue):
        yield from ((setting, name, queue.member_language) for name in words)
    if queue.offers.enabled and queue.sounds.offer is None:
        for phrase in _OFFER:
            yield "offers", phrase, ""
    if queue.may_call_client_first:
        yield "first", Phrase.NO_AGENT_FREE, ""
        yield "first", Phrase.CALL_AGAIN, ""
    if queue.may_ask_client:
        to_client = {
            name
            for language in all_languages().values()
            for asked in (True, False)
            for name in client.confirm(
                language, queue.client_key.key, queue.client_key.who, asked=asked
            )
        }
        yield from (("client_key", name, "") for name in sorted(to_client))
    if queue.choices.any:
        yield from (("choices", name, "") for name in CALLER_CHOICES)
    if queue.choices.times:
        yield from (("choices.times", name, "") for name in CALLER_TIMES)


def _times(queue: QueueSettings, language: str) -> Iterator[tuple[str, str, str]]:
    """Yield the words of which the slots of a queue are said in a language."""
    if not queue.choices.times:
        return
    spoken, length = language_of(language), queue.choices.slot_length
    today = date(2027, 1, 1)
    said = [spoken.day(today + n * _ONE_DAY, today) for n in range(366)]
    midnight = datetime.combine(today, time())
    for number in range(_ONE_DAY // length):
        said.append(spoken.at((midnight + number * length).time()))
    for word in sorted({word for words in said for word in words}):
        yield "choices.times", word, language


def _words_to_agent(queue: QueueSettings) -> Iterator[tuple[str, Words]]:
    """Yield the prompts that agents hear besides the alert, by their setting."""
    language, whisper, keys = (
        language_of(queue.member_language),
        queue.whisper,
        queue.agent_keys,
    )
    if keys.enabled:
        yield "agent_keys", agent.keys(language, keys.accept, keys.later, keys.cannot)
    if keys.enabled or whisper.asked:
        setting = "whisper.asked" if whisper.asked else "agent_keys"
        ago = _AGO if whisper.asked else None
        yield setting, agent.asked(language, ago, missed=False)
        yield setting, agent.asked(language, ago, missed=True)
    if whisper.attempt:
        yield "whisper.attempt", agent.attempt(language, 1)
    if whisper.queue:
        yield "whisper.queue", agent.queue(whisper.queue)


def _check_directory(directory: Path, machine: AsteriskMachine, notes: Notes) -> None:
    """Compare the setting with asterisk.conf."""
    conf = machine.conf_or_none("asterisk.conf")
    directories = conf.section("directories") if conf else None
    option = directories.get("astdatadir") if directories else None
    remedy = "write the directory of Asterisk's sounds as asterisk.sounds_dir"
    if option is not None and Path(option.value, "sounds").resolve() != (
        directory.resolve()
    ):
        notes.fault(
            option.where,
            f"Asterisk's sounds are in {option.value}/sounds, the settings say"
            f" {directory}",
            f"write asterisk.sounds_dir: {option.value}/sounds",
        )
    elif not directory.is_dir():
        notes.fault(directory, "there is no such directory", remedy)


def _languages(directory: Path) -> list[str]:
    """Return the languages that have prompts of ours, English always.

    Debian makes en a link to en_US_f_Allison: each directory counts once, by its
    shortest name.
    """
    found = [path.parent for path in directory.glob(f"*/{_OWN}") if path.is_dir()]
    found.append(directory / _DEFAULT_LANGUAGE)
    by_place: dict[Path, str] = {}
    for path in sorted(found, key=lambda path: (len(path.name), path.name)):
        by_place.setdefault(path.resolve(), path.name)
    return sorted(by_place.values())


def _files(directory: Path, name: str, language: str) -> list[Path]:
    """Return the files of a prompt, in Asterisk's search order.

    Follows main/file.c:fileexists_core, without its last step, the search for English.
    """
    if name.startswith("/"):
        return _formats_of(Path(name))
    places = []
    while language:
        places.append(directory / language / name)
        # For example en_GB_male, then en_GB, then en.
        language = language.rpartition("_")[0]
    places.append(directory / name)
    return next(filter(None, map(_formats_of, places)), [])


def _formats_of(path: Path) -> list[Path]:
    # A name may contain dots, so it is not split.
    return [
        found
        for found in sorted(path.parent.glob(f"{glob.escape(path.name)}.*"))
        if found.name[len(path.name) + 1 :] in _FORMATS and found.is_file()
    ]


def _check_right(
    files: list[Path], setting: str, user: User | None, notes: Notes
) -> None:
    """Check that Asterisk may read a prompt in at least one format."""
    if user is None or any(user.may("r", file) for file in files):
        return
    notes.fault(
        files[0],
        f"Asterisk runs as {user.name}, who may not read this sound file for {setting}",
        f"chmod a+r {files[0]}; and let {user.name} pass to its directory, e.g. chmod"
        f" a+rx {files[0].parent}",
    )


def _announcements(
    settings: Settings, machine: AsteriskMachine
) -> Iterator[tuple[str, str, str]]:
    """Yield the announcements in queues.conf, in the form of `_prompts`."""
    conf = machine.conf_or_none("queues.conf")
    for queue in settings.queues.values():
        section = conf.section(queue.name) if conf else None
        option = section.get(_ANNOUNCEMENT) if section else None
        for name in option.value.split(",") if option else ():
            if name := name.strip():
                yield f"{_ANNOUNCEMENT} of [{queue.name}]", name, ""


def _remedy(directory: Path, setting: str, name: str, language: str) -> str:
    if name.startswith(f"{_OWN}/"):
        target = directory / language
        spoken = language.partition("_")[0]
        if spoken not in SHIPPED:
            return "record it and put it there; sounds/README.md tells what it says"
        return (
            f"in the source of this service: mkdir -p {target};"
            f" cp -r sounds/{spoken}/{_OWN} {target}/"
        )
    file = "queues.conf" if setting.startswith(_ANNOUNCEMENT) else "the settings"
    return f"put the file there, or correct the name in {file}"
