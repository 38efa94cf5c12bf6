# SPDX-License-Identifier: MIT
"""The country of an Asterisk: as people write it, and as its machine tells it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fastagi.domain.numbers import REGIONS, REGIONS_OF_CODE
from fastagi.setup.errors import WrongAnswer
from fastagi.setup.found import Found, conf_of
from fastagi.setup.paths import Root

#: The English names of all countries, as the time zone database has them.
NAMES: Final = Path("/usr/share/zoneinfo/iso3166.tab")
_CODE: Final = re.compile(r"(?:\+|00)?([1-9][0-9]{0,2})", re.ASCII)
#: What people write in place of the two letters.
_ALSO: Final = {
    "UK": "GB",
    "UNITED KINGDOM": "GB",
    "GREAT BRITAIN": "GB",
    "USA": "US",
    "CZECHIA": "CZ",
    "SOUTH KOREA": "KR",
    "IVORY COAST": "CI",
}
_FEW: Final = 4
#: The country in Asterisk's sample of indications.conf, which tells nothing.
_SAMPLE: Final = "US"
#: Countries with the letters of their language. Those of others are another country's,
#: such as SV, which is El Salvador and not Sweden.
_NATIONAL: Final = frozenset(
    ("BG", "DE", "ES", "FI", "FR", "HR", "HU", "IT", "NL", "NO", "PL", "RO", "RU")
)


#: Languages, with the countries in which nearly all callers speak them.
_SPOKEN: Final = {
    "Arabic": ("AE", "BH", "EG", "JO", "KW", "LY", "OM", "QA", "SA"),
    "Bulgarian": ("BG",),
    "Chinese": ("CN", "TW"),
    "Croatian": ("HR",),
    "Czech": ("CZ",),
    "Danish": ("DK",),
    "Dutch": ("NL",),
    "Estonian": ("EE",),
    "Finnish": ("FI",),
    "French": ("FR", "MC"),
    "German": ("AT", "DE", "LI"),
    "Greek": ("GR",),
    "Hebrew": ("IL",),
    "Hungarian": ("HU",),
    "Icelandic": ("IS",),
    "Indonesian": ("ID",),
    "Italian": ("IT", "SM"),
    "Japanese": ("JP",),
    "Korean": ("KR",),
    "Latvian": ("LV",),
    "Lithuanian": ("LT",),
    "Norwegian": ("NO",),
    "Polish": ("PL",),
    "Portuguese": ("BR", "PT"),
    "Romanian": ("MD", "RO"),
    "Serbian": ("RS",),
    "Slovak": ("SK",),
    "Slovenian": ("SI",),
    "Spanish": (
        *("AR", "CL", "CO", "CR", "CU", "DO", "EC", "ES", "GT", "HN", "MX", "NI"),
        *("PA", "PE", "SV", "UY", "VE"),
    ),
    "Swedish": ("SE",),
    "Thai": ("TH",),
    "Turkish": ("TR",),
    "Ukrainian": ("UA",),
    "Vietnamese": ("VN",),
}


def language_of(letters: str) -> str:
    """Return the English name of a country's language; "" if it has several."""
    return next((name for name, all_of in _SPOKEN.items() if letters in all_of), "")


def country(text: str) -> str:
    """Return the two letters of a country.

    Takes the letters in any case, the English name, and the calling code of one country
    only, such as +49.

    Raises:
        WrongAnswer: it is none, or several.
    """
    text = text.strip()
    if not text:
        raise WrongAnswer(
            "a country is needed", "write its two letters, such as DE for Germany"
        )
    letters = _ALSO.get(text.upper(), text.upper())
    if letters in REGIONS:
        return letters
    if code := _CODE.fullmatch(re.sub(r"\s", "", text)):
        found = [one for one in REGIONS_OF_CODE.get(int(code[1]), ()) if one in REGIONS]
        if len(found) == 1:
            return found[0]
        if found:
            more = ", ..." if len(found) > _FEW else ""
            raise WrongAnswer(
                f"+{code[1]} is the calling code of several countries",
                f"write the two letters of yours: {', '.join(found[:_FEW])}{more}",
            )
    named = {code for name, code in _names() if name == text.casefold()}
    if len(named) == 1:
        return named.pop()
    raise WrongAnswer(
        f"{text} is no country that setup knows",
        "write its two letters, such as DE for Germany",
    )


def country_name(letters: str) -> str:
    """Return the English name of a country; "" if it is not known."""
    return next((name for code, name in _rows() if code == letters), "")


def _names() -> Iterator[tuple[str, str]]:
    """Yield English names of countries, folded, with their letters."""
    for code, name in _rows():
        yield name.casefold(), code
        # Such as "Britain (UK)".
        yield name.casefold().partition(" (")[0], code


def _rows() -> Iterator[tuple[str, str]]:
    """Yield the letters of countries, with their English names."""
    try:
        lines = NAMES.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        code, tab, name = line.partition("\t")
        if tab and code in REGIONS:
            yield code, name


def suggested_country(root: Root, found: Found | None) -> str:
    """Return the country that a machine seems to be in; "" if it does not tell one.

    The time zone tells it, else Asterisk's tones (indications.conf), else a language.
    """
    tellers = (
        _of_time_zone(root),
        _of_tones(root, found),
        *(_of_language(one) for one in (found.languages if found else ())),
        _of_locale(root),
    )
    return next((one for one in tellers if one in REGIONS), "")


def _of_time_zone(root: Root) -> str:
    local = root.inside(Path("/etc/localtime"))
    zone = re.sub(r"^.*/zoneinfo/", "", os.path.realpath(local))
    for line in _text(root, "/usr/share/zoneinfo/zone.tab").splitlines():
        fields = line.split("\t")
        if len(fields) > 2 and fields[2] == zone and not line.startswith("#"):
            return fields[0]
    return ""


def _of_tones(root: Root, found: Found | None) -> str:
    conf = conf_of(root, found.config_dir, "indications.conf") if found else None
    general = conf.section("general") if conf else None
    option = general.get("country") if general else None
    letters = option.value.upper() if option else ""
    return "" if letters == _SAMPLE else _ALSO.get(letters, letters)


def _of_language(language: str) -> str:
    """Return the country of a language of Asterisk, such as de or de_AT."""
    first, _, second = language.partition("_")
    if re.fullmatch("[A-Z]{2}", second[:2]):
        return second[:2]
    return first.upper() if first.upper() in _NATIONAL else ""


def _of_locale(root: Root) -> str:
    found = re.search(
        r"(?m)^LANG=[\"']?([a-z]{2})_([A-Z]{2})", _text(root, "/etc/default/locale")
    )
    # Installers choose en_US for whoever chooses nothing.
    return "" if found is None or found[0].endswith("en_US") else found[2]


def _text(root: Root, path: str) -> str:
    try:
        return root.inside(Path(path)).read_text("utf-8", "replace")
    except OSError:
        return ""
