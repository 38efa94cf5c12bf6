# SPDX-License-Identifier: MIT
"""The types of values of settings, and what each of them may contain.

Texts that reach Asterisk contain no line break, no quote, none of ``, & ; |`` and no
``${``, so they are safe in an AMI header, in the arguments of an application and in a
dial string. Independent of single settings and of places in a file.

Each ``parse_...`` function takes any value from the file and returns the parsed value,
or raises ``BadValue``. It also accepts its own result, so that code can build settings
from values.
"""

from __future__ import annotations

import enum
import ipaddress
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from difflib import get_close_matches
from itertools import pairwise
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import SecretStr

from fastagi.config.addresses import check_server
from fastagi.config.durations import format_duration, parse_duration
from fastagi.config.errors import BadValue, shown
from fastagi.config.zones import zone_meant
from fastagi.domain.hours import CLOSED, DAY, DayHours, Range, SpecialDay
from fastagi.domain.numbers import EVERYWHERE, REGIONS, REGIONS_OF_CODE
from fastagi.history.cdr import lacking_columns

E = TypeVar("E", bound=enum.Enum)
#: A country calling code, given by mistake instead of two letters.
_COUNTRY_CODE = re.compile(r"(?:\+|00)?([0-9]{1,3})")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# main/manager.c:get_input takes lines of 1022 bytes; the longest header name we
# send before one of these texts leaves far more room than this.
_LONGEST_TEXT = 200
#: In place of a duration: there is no limit.
FOREVER = "forever"
#: The keys of a telephone.
_KEYS = frozenset("0123456789*#")
_LONGEST_SECRET_BYTES = 512
_LONGEST_SOCKET_PATH_BYTES = 107  # sun_path is 108 bytes with its closing NUL

_DEVICE_CHARS = r"A-Za-z0-9_.@+*#:/-"
_TECH = r"[A-Za-z][A-Za-z0-9_]*"
_TECHNOLOGY = re.compile(_TECH)
_DEVICE = re.compile(rf"{_TECH}/[{_DEVICE_CHARS}]+")
_STATE_INTERFACE = re.compile(rf"{_TECH}[/:][{_DEVICE_CHARS}]+")
_CHANNEL = re.compile(rf"{_TECH}/[{{}}{_DEVICE_CHARS}]+")
_QUEUE_NAME_MARKS = frozenset("_.+-/")
#: apps/app_queue.c: a name has 80 bytes with its closing NUL.
_LONGEST_QUEUE_NAME_BYTES = 79
# include/asterisk/channel.h: AST_MAX_CONTEXT is 80 with its closing NUL.
_CONTEXT = re.compile(r"[A-Za-z0-9_.@+-]+")
_LONGEST_NODE_NAME = 32
_NODE_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,{_LONGEST_NODE_NAME - 1}}}")
_USERNAME = re.compile(r"[A-Za-z0-9_.@+-]+")
_LETTERS = re.compile(r"[A-Za-z]*")
_LANGUAGE = re.compile(r"(?:[A-Za-z]{2,8}(?:[_-][A-Za-z0-9]{1,8})*)?")
_SOUND = re.compile(r"/?[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_SOUND_EXTENSION = re.compile(
    r"\.(?:wav|wav16|wav49|gsm|ulaw|alaw|mulaw|pcm|al|ul|sln[0-9]*|slin|g722|g729|g723"
    r"|ogg|opus|mp3|siren7|siren14|vox|au)",
    re.IGNORECASE,
)
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_ALL_DIGITS = re.compile(r"[0-9.]+")
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9_.-]+):([0-9]+)")
_CALLER_NUMBER = re.compile(r"\+?[0-9]{1,20}")
_CALLER_ID = re.compile(r'"([^"]*)" *<([^<>]*)>')
_BARE_CALLER_ID = re.compile(r"([^\"<>]*[^\"<> ]) *<(\+?[0-9]{1,20})>")
_NAME_PUNCTUATION = frozenset(" .'-_/+*#:!")
_SQLITE_FILE = re.compile(r"sqlite:////[^\s?#]*[^\s?#/]")
_POSTGRESQL = re.compile(r"postgresql(?:\+psycopg)?://[!-~]+")
_HISTORY_SERVER = re.compile(
    r"(?:mysql(?:\+pymysql)?|mariadb(?:\+pymysql)?|postgresql(?:\+psycopg)?)"
    r"://[!-~]+/[^/?#\s]+(?:\?[!-~]*)?"
)
_TABLE = re.compile(r"[A-Za-z0-9_$-]+(?:\.[A-Za-z0-9_$-]+)?")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_TIME = r"([0-9]{1,2})(?::([0-9]{2}))?"
_RANGE = re.compile(rf" *{_TIME} *[-\u2013] *{_TIME} *")
_DATE = re.compile(r"(?:([0-9]{4})-)?([0-9]{2})-([0-9]{2})")
#: A date with the day before the month, as in many countries.
_DAY_FIRST = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.?([0-9]{4})?")
_SOME_HOURS = "must be hours such as 09:00-17:00 or 09:00-12:00, 13:00-17:00, or closed"
_SOME_DAY = "must be a day such as 2026-12-24 or, for every year, 12-24"


def parse_text(value: object) -> str:
    """Parse a text; for any other value say how to write it as a text."""
    match value:
        case str():
            return value
        case bool():
            word = shown(value)
            raise BadValue(f"must be text (got {word})", f'put it in quotes: "{word}"')
        case int():
            raise BadValue(
                f"must be text (got the number {value})",
                f'put it in quotes: "{value}"',
            )
        case dict():
            raise BadValue(
                f"must be text (got {shown(value)})",
                "put the text in quotes if it starts with {",
            )
        case list():
            raise BadValue(
                "must be one text (got a list)",
                "put the text in quotes if it starts with [ or -",
            )
        case _:
            raise BadValue(f"must be text (got {shown(value)})")


def parse_number(value: object, lowest: int, highest: int) -> int:
    """Parse a whole number within limits."""
    if isinstance(value, bool) or not isinstance(value, int):
        remedy = ""
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            remedy = f"write {int(value)} without quotes or leading zeros"
        raise BadValue(f"must be a whole number (got {shown(value)})", remedy)
    if value < lowest:
        raise BadValue(f"must be {lowest} or more (got {value})")
    if value > highest:
        raise BadValue(f"must be {highest} or less (got {value})")
    return value


def parse_span(value: object, shortest: timedelta, longest: timedelta) -> timedelta:
    """Parse a duration within limits."""
    span = value if isinstance(value, timedelta) else parse_duration(value)
    if span < shortest:
        raise BadValue(
            f"must be {format_duration(shortest)} or more (got {_span(value)})"
        )
    if span > longest:
        raise BadValue(
            f"must be {format_duration(longest)} or less (got {_span(value)})"
        )
    return span


def parse_span_or_forever(
    value: object, shortest: timedelta, longest: timedelta
) -> timedelta | None:
    """Parse a duration within limits; None: for ever."""
    if value is None:
        return None
    if isinstance(value, str) and value.lower() == FOREVER:
        return None
    try:
        return parse_span(value, shortest, longest)
    except BadValue as error:
        raise BadValue(
            error.problem.what, error.problem.remedy or f"write {FOREVER} for no limit"
        ) from None


def parse_switch(value: object) -> bool:
    """Parse true or false."""
    if isinstance(value, bool):
        return value
    remedy = ""
    if isinstance(value, Mapping):
        meant = "false" if value.get("enabled") is False else "true"
        remedy = f"write {meant} after the colon, in place of the group"
    elif isinstance(value, str):
        known = {"yes": "true", "on": "true", "no": "false", "off": "false"}
        if value.lower() in known:
            remedy = f"write {known[value.lower()]}"
        elif value.lower() in ("true", "false"):
            remedy = f"write {value.lower()} without quotes"
    raise BadValue(f"must be true or false (got {shown(value)})", remedy)


def parse_choice(value: object, choices: type[E]) -> E:
    """Parse one of several words."""
    if isinstance(value, choices):
        return value
    words = [str(choice.value) for choice in choices]
    if isinstance(value, str) and value in words:
        return choices(value)
    near = (
        get_close_matches(value.lower(), words, n=1) if isinstance(value, str) else []
    )
    remedy = f"did you mean {near[0]}?" if near else _yes_or_no(value, words)
    raise BadValue(f"must be {_one_of(words)} (got {shown(value)})", remedy)


def _yes_or_no(value: object, words: Sequence[str]) -> str:
    """Return which of several words to write for yes or no, if one of them is no."""
    no = next((word for word in words if word in {"never", "none"}), "")
    if not no or not isinstance(value, bool | str):
        return ""
    said = str(value).lower()
    if said in {"false", "no", "off"}:
        return f"write {no}"
    if said in {"true", "yes", "on", "all", "always"}:
        return f"write {', or '.join(word for word in words if word != no)}"
    return ""


def parse_list(value: object) -> object:
    """Parse a list; pydantic checks its items."""
    if isinstance(value, list | tuple):
        return tuple(value)
    remedy = ""
    if isinstance(value, str | int):
        text = shown(value) if isinstance(value, str) else f'"{value}"'
        remedy = f"write [{text}]"
    raise BadValue(f"must be a list (got {shown(value)})", remedy)


def parse_queue_name(value: object) -> str:
    """Parse the name of a queue that queues.conf may contain."""
    name = parse_text(value)
    if "," in name:
        raise BadValue(
            f"must not hold a comma (got {shown(name)})",
            "Asterisk cuts QUEUENAME at it: name the queue otherwise in queues.conf",
        )
    for word in name.split(" "):
        if not word or not all(map(_may_be_in_queue_name, word)):
            raise BadValue(
                "may hold only letters, digits, single spaces and _ . + - /"
                f" (got {shown(name)})"
            )
    if len(name.encode("utf-8")) > _LONGEST_QUEUE_NAME_BYTES:
        raise BadValue(
            f"must be no longer than {_LONGEST_QUEUE_NAME_BYTES} bytes, which is all"
            " that Asterisk reads"
        )
    if name.lower() == "general":
        raise BadValue("is not a queue: [general] holds settings for all queues")
    return name


def _may_be_in_queue_name(char: str) -> bool:
    # Marks (M) are part of a letter, as in Hindi.
    return (
        char.isalnum()
        or char in _QUEUE_NAME_MARKS
        or unicodedata.category(char)[0] == "M"
    )


def parse_node_name(value: object) -> str:
    """Parse the name of a node, which is a part of an address in the dialplan."""
    return _short_name(value, "give the Asterisk a short name such as pbx1")


def parse_instance_name(value: object) -> str:
    """Parse the name of one of several services on one database."""
    return _short_name(value, "give this service a short name such as a")


def _short_name(value: object, remedy: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    name = parse_text(value)
    if not _NODE_NAME.fullmatch(name):
        raise BadValue(
            "must begin with a letter and hold only letters, digits, _ and -, at most"
            f" {_LONGEST_NODE_NAME} (got {shown(name)})",
            remedy,
        )
    return name


def parse_context(value: object) -> str:
    """Parse the name of a context of the dialplan."""
    return _plain(value, _CONTEXT, 79, "letters, digits and _ . + - @")


def parse_region(value: object) -> str:
    """Parse a country, as two letters of ISO 3166-1."""
    if code := _COUNTRY_CODE.fullmatch(str(value)):
        found = REGIONS_OF_CODE.get(int(code[1]), ())
        raise BadValue(
            f"must be a country, such as DE or RU (got {shown(value)})",
            f"write the two letters of yours: {', '.join(found[:4])}"
            + (", ..." if len(found) > 4 else "")
            if len(found) > 1
            else f"did you mean {found[0]}?"
            if found
            else "write its two letters as in ISO 3166-1, UK being GB",
        )
    region = parse_text(value).upper()
    if region not in REGIONS:
        raise BadValue(
            f"must be a country, such as DE or RU (got {shown(value)})",
            "write its two letters as in ISO 3166-1, UK being GB",
        )
    return region


def parse_region_or_all(value: object) -> str:
    """Parse a country, or the word for all of them."""
    everywhere = isinstance(value, str) and value.lower() == EVERYWHERE
    return EVERYWHERE if everywhere else parse_region(value)


def parse_username(value: object) -> str:
    """Parse the name of a user in manager.conf."""
    return _plain(value, _USERNAME, 79, "letters, digits and _ . + - @")


def parse_secret(value: object) -> SecretStr:
    """Parse a secret; no message ever shows it."""
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        raise BadValue("must be text", "put the secret in quotes")
    return SecretStr(check_secret(value))


def check_secret(text: str) -> str:
    """Check that a secret can be sent in an AMI header."""
    if not text:
        raise BadValue("is empty")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise BadValue("holds a line break or another control character")
    if text != text.strip(" "):
        raise BadValue("has a space at its beginning or end")
    if any("\ud800" <= char <= "\udfff" for char in text):
        # Surrogates: Python's form of bytes in the environment that are not UTF-8.
        raise BadValue("is no UTF-8 text")
    if len(text.encode("utf-8")) > _LONGEST_SECRET_BYTES:
        raise BadValue(f"is longer than {_LONGEST_SECRET_BYTES} bytes")
    return text


def parse_path(value: object) -> str:
    """Parse the full path of a file."""
    path = parse_text(value)
    if not path.startswith("/"):
        raise BadValue(
            f"must be a full path which starts with / (got {shown(path)})",
        )
    if not path.isprintable() or path.endswith("/"):
        raise BadValue(f"must be the path of a file (got {shown(path)})")
    return path


def parse_path_or_none(value: object) -> str:
    """Parse the full path of a file, or nothing."""
    if value is False:
        raise BadValue("must be text (got false)", 'write "" if there is none')
    return parse_path(value) if value != "" else ""


def parse_directory(value: object) -> str:
    """Parse the full path of a directory."""
    path = parse_text(value)
    return parse_path(path.rstrip("/") or path)


def parse_socket_path(value: object) -> str:
    """Parse the full path of a Unix socket."""
    path = parse_path(value)
    if len(path.encode("utf-8")) > _LONGEST_SOCKET_PATH_BYTES:
        raise BadValue(
            f"must be no longer than {_LONGEST_SOCKET_PATH_BYTES} bytes, which is all "
            f"the system allows (got {shown(path)})"
        )
    return path


def parse_host(value: object) -> str:
    """Parse a host name or an IP address."""
    host = parse_text(value)
    if _is_address(host):
        return host
    if len(host) <= 253 and _HOST.fullmatch(host) and not _ALL_DIGITS.fullmatch(host):
        return host
    remedy = ""
    if found := _HOST_AND_PORT.fullmatch(host):
        remedy = f"write host: {found[1]} and port: {found[2]}"
    raise BadValue(f"must be a host name or an IP address (got {shown(host)})", remedy)


def parse_address(value: object) -> str:
    """Parse an IP address of this machine."""
    address = parse_text(value)
    if _is_address(address):
        return address
    remedy = ""
    if address == "localhost":
        remedy = "write 127.0.0.1"
    elif found := _HOST_AND_PORT.fullmatch(address):
        remedy = f"write listen: {found[1]} and port: {found[2]}"
    raise BadValue(
        f"must be an IP address such as 127.0.0.1 or 0.0.0.0 (got {shown(address)})",
        remedy,
    )


def parse_network(value: object) -> Network:
    """Parse an IP address, or a network with the length of its prefix."""
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    text = parse_text(value)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadValue(
            f"must be an IP address or a network such as 10.0.0.0/8 (got {shown(text)})"
        ) from None
    machine, slash, _ = text.partition("/")
    if slash and ipaddress.ip_address(machine) != network.network_address:
        raise BadValue(
            f"is one machine, not a network (got {shown(text)})",
            f'write "{network}" for the network or "{machine}" for the machine',
        )
    return network


def parse_networks(value: object) -> object:
    """Parse a list of networks that is not empty."""
    networks = parse_list(value)
    if not networks:
        raise BadValue("must name at least one address", 'write ["127.0.0.0/8"]')
    return networks


def parse_database_url(value: object) -> str:
    """Parse the URL of a database that outlives the service.

    No message shows it, as it may contain a password.
    """
    if not isinstance(value, str):
        raise BadValue("must be text such as sqlite:////var/lib/callback-queue/cb.db")
    if _SQLITE_FILE.fullmatch(value):
        return value
    if _POSTGRESQL.fullmatch(value):
        return check_server(value)
    scheme = value.partition(":")[0].lower()
    if scheme.startswith("sqlite"):
        if "memory" in value or value.rstrip("/") == "sqlite:":
            raise BadValue(
                "must name a file: requests in memory would be lost at a restart",
                "write sqlite:////var/lib/callback-queue/callback-queue.db",
            )
        raise BadValue(
            "must name a file by its full path",
            "write four slashes: sqlite:////var/lib/callback-queue/callback-queue.db",
        )
    if scheme.startswith("postgres"):
        raise BadValue(
            "is no address of a PostgreSQL database",
            "write postgresql://USER:PASSWORD@HOST/DATABASE",
        )
    raise BadValue("must start with sqlite://// or postgresql://")


def parse_history_url(value: object) -> str:
    """Parse the URL of a database into which Asterisk writes CDRs or queue_log.

    No message shows it, as it may contain a password.
    """
    if not isinstance(value, str):
        raise BadValue("must be text such as mysql://USER@127.0.0.1/asteriskcdrdb")
    if _SQLITE_FILE.fullmatch(value):
        return value
    if _HISTORY_SERVER.fullmatch(value):
        return check_server(value)
    scheme = value.partition(":")[0].lower()
    if scheme.startswith("sqlite"):
        raise BadValue(
            "must name a file by its full path",
            "write four slashes: sqlite:////var/log/asterisk/master.db",
        )
    for kind in ("mysql", "mariadb", "postgresql"):
        if scheme.startswith(kind[:5]):
            raise BadValue(
                "is no address of a database", f"write {kind}://USER@HOST/DATABASE"
            )
    raise BadValue("must start with sqlite:////, mysql://, mariadb:// or postgresql://")


def parse_table(value: object) -> str:
    """Parse the name of a table, with its schema before a dot if it needs one."""
    return _plain(value, _TABLE, 130, "letters, digits and _ $ -, and one dot")


def parse_column(value: object) -> str:
    """Parse the name of a column of CDRs, by Asterisk's name of the property in it."""
    return _plain(value, _COLUMN, 64, "letters, digits and _")


def parse_columns(value: object) -> object:
    """Parse the columns of a file of CDRs; the required ones must be among them."""
    columns = parse_list(value)
    assert isinstance(columns, tuple)
    lacking = lacking_columns(str(column) for column in columns) if columns else []
    if lacking:
        raise BadValue(
            f"must name the column {lacking[0]}: nothing can be told without it",
            "have Asterisk write it, and name the columns in the order of the file",
        )
    return columns


def parse_technology(value: object) -> str:
    """Parse the technology of channels, as ``core show channeltypes`` names it."""
    technology = _plain(value, _TECHNOLOGY, 40, "letters, digits and _")
    if technology.lower() == "local":
        raise BadValue(
            "must not be Local: such a channel only connects others", "delete it"
        )
    return technology


def parse_device(value: object) -> str:
    """Parse a dial string of one device."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    device = str(value) if is_number else parse_text(value)
    if len(device) <= _LONGEST_TEXT and _DEVICE.fullmatch(device):
        return device
    remedy = ""
    if re.fullmatch(r"[0-9A-Za-z_]+", device):
        remedy = f"write PJSIP/{device} if that is its kind"
    raise BadValue(
        f"must be one device such as PJSIP/101 (got {shown(device)})", remedy
    )


def parse_state_interface(value: object) -> str:
    """Parse a device whose state Asterisk knows."""
    device = parse_text(value)
    if is_local(device):
        raise BadValue(
            f"must not be a Local/ channel (got {shown(device)})",
            "Asterisk cannot tell whether it is free; name the phone behind it",
        )
    if len(device) <= _LONGEST_TEXT and _STATE_INTERFACE.fullmatch(device):
        return device
    raise BadValue(
        "must be a device such as PJSIP/101 or a hint such as "
        f"hint:101@from-internal (got {shown(device)})"
    )


def is_local(device: str) -> bool:
    """Whether a device is a Local channel (Asterisk ignores case)."""
    return device.lower().startswith("local/")


def parse_channel_template(value: object) -> str:
    """Parse a dial string with ``{number}`` in place of the client's number."""
    template = parse_text(value)
    got = f"(got {shown(template)})"
    rest = template.replace("{number}", "")
    count = (len(template) - len(rest)) // len("{number}")
    if "{" in rest or "}" in rest:
        raise BadValue(
            f"may hold nothing but {{number}} in braces {got}",
            "dialplan variables are not known here"
            if "${" in rest
            else "write {number} where the client's number goes",
        )
    if count != 1:
        raise BadValue(
            f"must hold {{number}} exactly once {got}",
            "write {number} where the client's number goes",
        )
    if bad := re.search(rf"[^{{}}{_DEVICE_CHARS}]", template):
        raise BadValue(f"must not hold {_character(bad[0])} {got}")
    if not _CHANNEL.fullmatch(template) or len(template) > _LONGEST_TEXT:
        raise BadValue(f"must look like PJSIP/{{number}}@trunk {got}")
    return template


def parse_caller_id(value: object) -> str:
    """Parse ``"Name" <number>``, a number, or nothing."""
    text = parse_text(value)
    if not text or _CALLER_NUMBER.fullmatch(text):
        return text
    form = f"""must be '"Name" <number>' or a number (got {shown(text)})"""
    found = _CALLER_ID.fullmatch(text)
    if not found:
        bare = _BARE_CALLER_ID.fullmatch(text)
        remedy = f"""write '"{bare[1]}" <{bare[2]}>'""" if bare else ""
        raise BadValue(form, remedy)
    if not _CALLER_NUMBER.fullmatch(found[2]):
        raise BadValue(form, "the number may hold only digits, with + before them")
    _check_name(found[1], 80)
    return f'"{found[1]}" <{found[2]}>'


def parse_display_prefix(value: object) -> str:
    """Parse a few characters for the display of a phone."""
    text = parse_text(value)
    _check_name(text, 20)
    return text


def parse_queue_options(value: object) -> str:
    """Parse letters of Queue() options that need no argument."""
    return _plain(value, _LETTERS, 30, "letters, as Queue() takes them")


def parse_key(value: object) -> str:
    """Parse one key of a telephone."""
    # YAML reads a digit without quotes as a number.
    digit = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9
    key = str(value) if digit else parse_text(value)
    if len(key) == 1 and key in _KEYS:
        return key
    raise BadValue(
        f"must be one key of a telephone (got {shown(key)})",
        'write one of 0 to 9, "*" and "#", in quotes',
    )


def parse_keys(value: object) -> str:
    """Take one or more keys of a telephone, written as one text."""
    # YAML reads digits without quotes as a number.
    is_number = isinstance(value, int) and not isinstance(value, bool)
    keys = str(value) if is_number else parse_text(value)
    if not keys or not set(keys) <= _KEYS:
        raise BadValue(
            f"must be keys of a telephone (got {shown(keys)})",
            'write one or more of 0 to 9, "*" and "#", in quotes, such as "12"',
        )
    if len(set(keys)) < len(keys):
        raise BadValue(f"must have each key once (got {shown(keys)})")
    return keys


def parse_keys_to_read(value: object) -> str:
    """Take keys that Read() of Asterisk returns: ``#`` ends its input."""
    keys = parse_keys(value)
    if "#" in keys:
        raise BadValue(
            f"must be keys other than # (got {shown(keys)})",
            "# ends the input; choose another key",
        )
    return keys


def parse_key_or_none(value: object) -> str:
    """Parse one key of a telephone, or empty text for no key."""
    return "" if value == "" else parse_key(value)


def parse_language(value: object) -> str:
    """Parse a language as Asterisk names it, or nothing."""
    text = parse_text(value)
    # include/asterisk/channel.h: MAX_LANGUAGE is 40 with its closing NUL.
    if len(text) < 40 and _LANGUAGE.fullmatch(text):
        return text
    raise BadValue(f"must be a language such as en or pt_BR (got {shown(text)})")


def parse_sound(value: object) -> str:
    """Parse the name of one sound file, as for Playback()."""
    name = parse_text(value)
    got = f"(got {shown(name)})"
    if not name:
        raise BadValue("must name a sound file", "write silence/1 to play nothing")
    if "&" in name:
        raise BadValue(f"must name one sound file, not several {got}")
    stem, dot, extension = name.rpartition(".")
    if dot and _SOUND_EXTENSION.fullmatch(dot + extension):
        raise BadValue(
            f"must be without extension {got}",
            f"write {stem}; Asterisk looks for the best format by itself",
        )
    if len(name) > _LONGEST_TEXT or not _SOUND.fullmatch(name):
        raise BadValue(
            "must be the name of a sound file, of letters, digits and _ . - / "
            f"only {got}"
        )
    return name


def parse_number_pattern(value: object) -> re.Pattern[str]:
    """Parse a regular expression for telephone numbers."""
    if isinstance(value, re.Pattern):
        return value
    text = parse_text(value)
    got = f"(got {shown(text)})"
    if not text:
        raise BadValue("must be a regular expression, not empty text")
    if len(text) > _LONGEST_TEXT:
        raise BadValue(f"must be no longer than {_LONGEST_TEXT} characters {got}")
    if text.startswith("_"):
        raise BadValue(
            f"must be a regular expression, not a pattern of the dialplan {got}",
            "write 0049[0-9]+ instead of _0049X.",
        )
    try:
        with warnings.catch_warnings():
            # Python warns of forms whose meaning may change in a later version.
            warnings.simplefilter("ignore")
            return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        reason = error.msg if isinstance(error, re.error) else "it is too large"
        remedy = r"write \+ for a plus sign" if text.startswith("+") else ""
        raise BadValue(
            f"must be a regular expression {got}: {reason}", remedy
        ) from None


def parse_zone(value: object) -> ZoneInfo:
    """Parse the name of a time zone."""
    if isinstance(value, ZoneInfo):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 100:
        # An offset, such as +3.
        value = f"{value:+d}"
    name = parse_text(value)
    form = f"must be a time zone such as Europe/Berlin (got {shown(name)})"
    # ZoneInfo() would take some of the rest for the path of a file.
    if len(name) <= _LONGEST_TEXT and _ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise BadValue(form, zone_meant(name[:_LONGEST_TEXT]))


def parse_day_hours(value: object) -> DayHours:
    """Parse the hours of a day: ranges with commas between them, or ``closed``."""
    if isinstance(value, DayHours):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        meant = _hours_meant(", ".join(value))
        raise BadValue(f"{_SOME_HOURS} (got a list)", meant and f'write "{meant}"')
    if not isinstance(value, str):
        raise BadValue(f"{_SOME_HOURS} (got {shown(value)})")
    if value == "closed":
        return CLOSED
    ranges = sorted(_range(part, value) for part in value.split(","))
    for before, after in pairwise(ranges):
        if after.begin < before.end:
            raise BadValue(
                f"has two ranges that overlap: {before} and {after}",
                "make one of them, or correct a time",
            )
    return DayHours(tuple(ranges))


def _range(text: str, whole: str) -> Range:
    found = _RANGE.fullmatch(text)
    if not found:
        word = whole.strip().lower()
        remedy = "write closed" if word in ("closed", "none", "off", "") else ""
        if word in ("open", "always", "24h", "24/7", "all day"):
            remedy = "write 00:00-24:00"
        raise BadValue(f"{_SOME_HOURS} (got {shown(whole)})", remedy)
    hour, minute, end_hour, end_minute = found.groups()
    begin = _minutes(hour, minute, DAY - 1, text)
    end = _minutes(end_hour, end_minute, DAY, text)
    if minute is None or end_minute is None:
        meant = _hours_meant(whole)
        raise BadValue(
            f"{_SOME_HOURS} (got {shown(whole)})", meant and f"write {meant}"
        )
    if begin == end:
        raise BadValue(
            f"has a range that ends when it begins: {text.strip()}",
            "write 00:00-24:00 for the whole day, or closed",
        )
    # Past midnight.
    return Range(begin, end if end > begin else end + DAY)


def _hours_meant(text: str) -> str:
    """Return the hours of a day with all their minutes; "" if that is not valid."""
    if text == "closed":
        return text
    ranges = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if not found:
            return ""
        hour, minute, end_hour, end_minute = found.groups("00")
        ranges.append(f"{int(hour):02}:{minute}-{int(end_hour):02}:{end_minute}")
    meant = ", ".join(ranges)
    try:
        parse_day_hours(meant)
    except BadValue:
        return ""
    return meant


def _minutes(hour: str, minute: str | None, most: int, text: str) -> int:
    minutes = 60 * int(hour) + int(minute or 0)
    if int(minute or 0) > 59 or minutes > most:
        last = f"{most // 60:02}:{most % 60:02}"
        wrong = hour if minute is None else f"{hour}:{minute}"
        raise BadValue(
            f"holds {wrong} in {text.strip()}; times go from 00:00 to {last}"
        )
    return minutes


def parse_special_days(value: object) -> object:
    """Parse days with their own hours; pydantic checks each."""
    if isinstance(value, Mapping):
        return dict(value)
    raise BadValue(
        "must be a group of days, one `12-24: closed` on each line "
        f"(got {shown(value)})"
    )


def parse_special_day(value: object) -> SpecialDay:
    """Parse one day of a year, or of every year."""
    if isinstance(value, SpecialDay):
        return value
    text = parse_text(value)
    found = _DATE.fullmatch(text)
    if not found:
        remedy = ""
        if other := _DAY_FIRST.fullmatch(text):
            year = f"{other[3]}-" if other[3] else ""
            meant = f"{year}{int(other[2]):02}-{int(other[1]):02}"
            with suppress(BadValue):
                parse_special_day(meant)
                remedy = f"write {meant}"
        raise BadValue(f"{_SOME_DAY} (got {shown(text)})", remedy)
    try:
        return SpecialDay(int(found[1] or 0), int(found[2]), int(found[3]))
    except ValueError:
        raise BadValue(f"is no day of the calendar (got {shown(text)})") from None


def _plain(value: object, pattern: re.Pattern[str], longest: int, may_hold: str) -> str:
    text = parse_text(value)
    if not pattern.fullmatch(text):
        raise BadValue(f"may hold only {may_hold} (got {shown(text)})")
    if len(text) > longest:
        raise BadValue(f"must be no longer than {longest} characters")
    return text


def _check_name(name: str, longest: int) -> None:
    for char in name:
        if not (char.isalnum() or char in _NAME_PUNCTUATION):
            raise BadValue(
                f"must not hold {_character(char)} in the text (got {shown(name)})",
                "letters, digits, spaces and . ' - _ / + * # : ! may stand there",
            )
    if len(name) > longest:
        raise BadValue(f"must be no longer than {longest} characters")


def _character(char: str) -> str:
    names = {",": "a comma", " ": "a space", '"': "a quote", "\n": "a line break"}
    return names.get(char) or shown(char)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _one_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _span(value: object) -> str:
    return format_duration(value) if isinstance(value, timedelta) else str(value)
