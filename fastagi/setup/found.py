# SPDX-License-Identifier: MIT
"""What setup finds on a machine, and how it is found in files and answers of Asterisk.

Only reads. ``machine`` has what depends on the running system.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from fastagi.checks.conf import Conf, ConfUnreadable, Section, read_conf
from fastagi.checks.trunks import NO_CALLER_ID
from fastagi.domain.names import folded
from fastagi.domain.trunk import trunk_of
from fastagi.errors import Problem
from fastagi.setup.material import page
from fastagi.setup.paths import Root

#: Programs that write Asterisk's files themselves: their names, files of theirs, and
#: what to do, and the page that says it. IssabelPBX has the files of FreePBX.
_WRITERS: Final = (
    (
        "FreePBX",
        ("extensions_additional.conf", "queues_additional.conf"),
        "install the FreePBX module callbackqueue, or do by hand what {page} says",
        "freepbx.md",
    ),
    (
        "VitalPBX",
        ("vitalpbx", "ombutel"),
        "do by hand what {page} says, in files that VitalPBX leaves alone",
        "install.md",
    ),
)
#: Names of the lines of "core show settings".
_SETTINGS: Final = {
    "Version": "version",
    "Configuration directory": "config_dir",
    "Data directory": "data_dir",
    "Log directory": "log_dir",
    "VarLib directory": "varlib_dir",
}
#: Directories of asterisk.conf by the same names.
_DIRECTORIES: Final = {
    "astdatadir": "data_dir",
    "astlogdir": "log_dir",
    "astvarlibdir": "varlib_dir",
}
#: Where the data of Asterisk is if nothing says it: Debian's package, and the source.
_DATA_DIRS: Final = ("/usr/share/asterisk", "/var/lib/asterisk")


class Style(StrEnum):
    """A way in which a dialplan is written."""

    CONF = "extensions.conf"
    AEL = "extensions.ael"
    LUA = "extensions.lua"
    DATABASE = "a database"


@attrs.frozen
class FoundQueue:
    """A queue of Asterisk.

    Attributes:
        name: its name.
        where: "FILE:LINE" of its section; empty if it is kept in a database.
    """

    name: str
    where: str = ""


@attrs.frozen(kw_only=True)
class Found:
    """An Asterisk, and who uses its files and the port of the service.

    Attributes:
        runs: whether its console answers.
        version: what it says of itself, such as "22.10.1"; empty if it does not run.
        config_dir: the directory of its configuration.
        data_dir: the directory above that of its sounds.
        log_dir: the directory of queue_log.
        uid: the user as whom it runs.
        gid: the group as which it runs.
        writer: the program that writes its files, such as FreePBX; what to do then.
        styles: how its dialplan is written.
        queues: its queues.
        realtime: whether it reads queues from a database.
        trunks: ways outside, as outbound_channel takes them.
        without_number: endpoints, such as PJSIP/trunk, whose calls show no number.
        languages: the languages that files give to channels.
        endpoints: the PJSIP endpoints; None if not all of them are in files.
    """

    runs: bool
    version: str
    config_dir: Path
    data_dir: Path
    log_dir: Path
    uid: int
    gid: int
    writer: tuple[str, str] | None
    styles: tuple[Style, ...]
    queues: tuple[FoundQueue, ...]
    realtime: bool
    trunks: tuple[str, ...]
    without_number: frozenset[str] = frozenset()
    languages: tuple[str, ...] = ()
    endpoints: frozenset[str] | None = None

    def lacks_endpoint(self, outbound: str) -> str:
        """Return the endpoint of a way outside if there is none of that name; or ""."""
        name = trunk_of(outbound)
        if not name or self.endpoints is None or folded(name) in self.endpoints:
            return ""
        return name

    def shows_no_number(self, outbound: str) -> bool:
        """Whether clients would see no number of calls through a way outside."""
        sip = re.fullmatch(r"SIP/(?:\{number\}@)?([^/{}@]+)(?:/\{number\})?", outbound)
        endpoint = f"SIP/{sip[1]}" if sip else f"PJSIP/{trunk_of(outbound)}"
        return folded(endpoint) in self.without_number

    @property
    def sounds_dir(self) -> Path:
        """The directory with a folder for each language."""
        return self.data_dir / "sounds"


#: Runs a command on Asterisk's console; None if there is none.
Console = Callable[[str], str | None]
#: Returns user and group of the running Asterisk; None if it is not known.
RunsAs = Callable[[], tuple[int, int] | None]


def discover(
    root: Root, config_dir: Path, console: Console, runs_as: RunsAs
) -> Found | Problem:
    """Look at an Asterisk.

    Args:
        root: the root directory of its machine.
        config_dir: the directory of its configuration there.
        console: runs a command on its console.
        runs_as: its user and group.

    Returns:
        What was found; a problem if there is no Asterisk.
    """
    directory = root.inside(config_dir)
    if not directory.is_dir():
        return Problem(
            str(config_dir),
            "there is no such directory, so no Asterisk",
            "install Asterisk first; if its files are elsewhere, give the directory"
            " with --asterisk-config; if it is on another machine, use --files-to",
        )
    told = console("core show settings")
    said = settings_of(told or "")
    places = {**_from_conf(root, config_dir), **said}
    data_dir = places.get("data_dir") or _data_dir(root)
    if data_dir is None:
        return Problem(
            str(config_dir / "asterisk.conf"),
            "where Asterisk's sounds are is not known: Asterisk does not run, and"
            " [directories] does not say it",
            "start Asterisk, then run setup again",
        )
    queues, realtime = _queues(root, config_dir, console)
    uid, gid = _user(root, config_dir, places, runs_as)
    return Found(
        runs=told is not None,
        version=places.get("version", ""),
        config_dir=config_dir,
        data_dir=Path(data_dir),
        log_dir=Path(places.get("log_dir", "/var/log/asterisk")),
        uid=uid,
        gid=gid,
        writer=_writer(root, config_dir),
        styles=tuple(_styles(root, config_dir)),
        queues=queues,
        realtime=realtime,
        trunks=tuple(dict.fromkeys(_trunks(root, config_dir))),
        without_number=frozenset(_without_number(root, config_dir)),
        languages=tuple(dict.fromkeys(_languages(root, config_dir))),
        endpoints=_all_endpoints(root, config_dir),
    )


def settings_of(told: str) -> dict[str, str]:
    """Return what "core show settings" says of versions and directories."""
    found = {}
    for line in told.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in _SETTINGS:
            found[_SETTINGS[name.strip()]] = value.strip()
    if "version" in found:
        number = re.search(r"\d+(?:\.\d+)*", found["version"])
        found["version"] = number[0] if number else ""
    # It is the one that the caller has named.
    found.pop("config_dir", None)
    return found


def conf_of(
    root: Root,
    config_dir: Path,
    name: str,
    changed: Mapping[Path, bytes] | None = None,
) -> Conf | None:
    """Return a configuration file; None if there is none, or it can not be read."""
    try:
        return read_conf(
            root.inside(config_dir), name, changed=changed, root=root.directory
        )
    except ConfUnreadable:
        return None


def _from_conf(root: Root, config_dir: Path) -> dict[str, str]:
    conf = conf_of(root, config_dir, "asterisk.conf")
    # Debian's [directories](!) is a template, which Asterisk ignores.
    section = conf.section("directories") if conf else None
    if section is None:
        return {}
    options = {name: section.get(name) for name in _DIRECTORIES}
    return {_DIRECTORIES[name]: one.value for name, one in options.items() if one}


def _data_dir(root: Root) -> str | None:
    for place in _DATA_DIRS:
        # Asterisk does not start without its documentation.
        if (root.inside(Path(place)) / "documentation").is_dir():
            return place
    return None


def _user(
    root: Root, config_dir: Path, places: Mapping[str, str], runs_as: RunsAs
) -> tuple[int, int]:
    """Return Asterisk's user and group: of its process, or those of its own files."""
    if (running := runs_as()) is not None:
        return running
    conf = conf_of(root, config_dir, "asterisk.conf")
    options = conf.section("options") if conf else None
    option = options.get("runuser") if options else None
    if option is not None and (known := root.user(option.value)) is not None:
        return known
    # Its database is written by Asterisk itself.
    own = root.inside(Path(places.get("varlib_dir", "/var/lib/asterisk")))
    for path in (own / "astdb.sqlite3", own, root.inside(config_dir)):
        if path.exists():
            return path.stat().st_uid, path.stat().st_gid
    return 0, 0


def _writer(root: Root, config_dir: Path) -> tuple[str, str] | None:
    directory = root.inside(config_dir)
    for name, files, remedy, about in _WRITERS:
        if any((directory / file).exists() for file in files):
            return name, remedy.format(page=page(about))
    return None


def _styles(root: Root, config_dir: Path) -> Iterator[Style]:
    directory = root.inside(config_dir)
    for style in (Style.CONF, Style.AEL, Style.LUA):
        if (directory / style).is_file():
            yield style
    conf = conf_of(root, config_dir, "extconfig.conf")
    section = conf.section("settings") if conf else None
    if section is not None and section.get("extensions"):
        yield Style.DATABASE


def _queues(
    root: Root, config_dir: Path, console: Console
) -> tuple[tuple[FoundQueue, ...], bool]:
    """Return the queues, and whether others are kept in a database."""
    conf = conf_of(root, config_dir, "queues.conf")
    found: dict[str, FoundQueue] = {}
    for section in conf.sections if conf else ():
        if not section.is_template and folded(section.name) != "general":
            found.setdefault(
                folded(section.name), FoundQueue(section.name, section.where)
            )
    mapped = conf_of(root, config_dir, "extconfig.conf")
    settings = mapped.section("settings") if mapped else None
    realtime = settings is not None and settings.get("queues") is not None
    if realtime:
        for line in (console("queue show") or "").splitlines():
            named = re.match(r"(\S.*?) +has \d+ calls", line)
            if named and folded(named[1]) not in found:
                found[folded(named[1])] = FoundQueue(named[1])
    return tuple(found.values()), realtime


def why_no_queue(root: Root, config_dir: Path) -> list[Problem]:
    """Return why queues.conf has no queue."""
    conf = conf_of(root, config_dir, "queues.conf")
    if conf is not None and conf.stops:
        return [stop.problem for stop in conf.stops]
    return [
        Problem(
            str(config_dir / "queues.conf"),
            "there is no queue",
            "write one with its members there, then run setup again",
        )
    ]


def _trunks(root: Root, config_dir: Path) -> Iterator[str]:
    """Yield the ways outside that the files of the channel drivers show."""
    pjsip = conf_of(root, config_dir, "pjsip.conf")
    sections = [one for one in (pjsip.sections if pjsip else []) if not one.is_template]
    endpoints = {folded(one.name) for one in sections if _is(one, "type", "endpoint")}
    for section in sections:
        named = section.get("endpoint")
        leads_outside = _is(section, "type", "identify") or _is(
            section, "type", "registration"
        )
        registers = _is(section, "type", "endpoint") and section.get("outbound_auth")
        name = named.value if leads_outside and named else ""
        if registers:
            name = section.name
        if folded(name) in endpoints:
            yield f"PJSIP/{{number}}@{name}"
    wizard = conf_of(root, config_dir, "pjsip_wizard.conf")
    for section in wizard.sections if wizard else ():
        if not section.is_template and (
            section.get("remote_hosts") or _is(section, "sends_registrations", "yes")
        ):
            yield f"PJSIP/{{number}}@{section.name}"
    sip = conf_of(root, config_dir, "sip.conf")
    for section in sip.sections if sip else ():
        host = section.get("host")
        if (
            not section.is_template
            and host is not None
            and folded(host.value) != "dynamic"
            and folded(section.name) != "general"
        ):
            yield f"SIP/{section.name}/{{number}}"


def _endpoints(root: Root, config_dir: Path) -> Iterator[tuple[str, str, Section]]:
    """Yield each endpoint: "PJSIP" or "SIP", the prefix of its options, its section."""
    for name, prefix in (("pjsip.conf", ""), ("pjsip_wizard.conf", "endpoint/")):
        conf = conf_of(root, config_dir, name)
        for section in conf.sections if conf else ():
            kind = "wizard" if prefix else "endpoint"
            if not section.is_template and _is(section, "type", kind):
                yield "PJSIP", prefix, section
    sip = conf_of(root, config_dir, "sip.conf")
    for section in sip.sections if sip else ():
        if not section.is_template and folded(section.name) != "general":
            yield "SIP", "", section


def _all_endpoints(root: Root, config_dir: Path) -> frozenset[str] | None:
    """Return the names of all PJSIP endpoints; None if there may be others."""
    conf = conf_of(root, config_dir, "pjsip.conf")
    extconfig = conf_of(root, config_dir, "extconfig.conf")
    mapped = extconfig.section("settings") if extconfig else None
    sorcery = conf_of(root, config_dir, "sorcery.conf")
    made = sorcery.section("res_pjsip") if sorcery else None
    if conf is None or conf.gaps or conf.stops:
        return None
    if (mapped and mapped.get("ps_endpoints")) or (made and made.get("endpoint")):
        return None
    return frozenset(
        folded(section.name)
        for driver, _, section in _endpoints(root, config_dir)
        if driver == "PJSIP"
    )


def _without_number(root: Root, config_dir: Path) -> Iterator[str]:
    """Yield the endpoints that give calls no number of their own."""
    sip = conf_of(root, config_dir, "sip.conf")
    general = sip.section("general") if sip else None
    for driver, prefix, section in _endpoints(root, config_dir):
        shown = [section.get(f"{prefix}callerid"), section.get(f"{prefix}from_user")]
        if driver == "SIP":
            shown = [section.get("callerid"), section.get("fromuser")]
            shown += [general.get("callerid")] if general else []
        if all(one is None or one.value in NO_CALLER_ID for one in shown):
            yield folded(f"{driver}/{section.name}")


def _languages(root: Root, config_dir: Path) -> Iterator[str]:
    """Yield the languages of channels, the default of all of them first."""
    conf = conf_of(root, config_dir, "asterisk.conf")
    options = conf.section("options") if conf else None
    sip = conf_of(root, config_dir, "sip.conf")
    general = sip.section("general") if sip else None
    named = [
        options.get("defaultlanguage") if options else None,
        general.get("language") if general else None,
    ]
    for _, prefix, section in _endpoints(root, config_dir):
        named.append(section.get(f"{prefix}language"))
    for option in named:
        if option is not None and option.value:
            yield option.value


def _is(section: Section, name: str, value: str) -> bool:
    option = section.get(name)
    return option is not None and folded(option.value) == value
