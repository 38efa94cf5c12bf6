# SPDX-License-Identifier: MIT
"""Countries: as people write them, and as a machine tells its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastagi.setup import countries
from fastagi.setup.countries import country, suggested_country
from fastagi.setup.errors import WrongAnswer
from tests.setup.layouts import installation, machine

_NAMES = (
    "# comment\nDE\tGermany\nGB\tBritain (UK)\nKP\tKorea (North)\nKR\tKorea (South)\n"
    "TF\tFrench S. Terr.\n"
)


@pytest.fixture(autouse=True)
def _names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "iso3166.tab"
    table.write_text(_NAMES)
    monkeypatch.setattr(countries, "NAMES", table)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        *(("DE", "DE"), ("de", "DE"), (" De ", "DE"), ("Germany", "DE")),
        *(("germany", "DE"), ("+49", "DE"), ("49", "DE"), ("0049", "DE")),
        *(("UK", "GB"), ("britain", "GB"), ("Britain (UK)", "GB"), ("NO", "NO")),
        ("Korea (South)", "KR"),
    ],
)
def test_common_ways_to_write_a_country(text: str, letters: str) -> None:
    assert country(text) == letters


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "a country is needed - write its two letters, such as DE for Germany"),
        ("XX", "XX is no country that setup knows"),
        ("Korea", "Korea is no country that setup knows"),
        ("999", "999 is no country that setup knows"),
        # No number begins with its code.
        ("TF", "TF is no country that setup knows"),
        (
            "+7",
            "+7 is the calling code of several countries - write the two letters of",
        ),
    ],
)
def test_what_is_no_country_or_several(text: str, what: str) -> None:
    with pytest.raises(WrongAnswer) as wrong:
        country(text)
    assert str(wrong.value).startswith(what)


def test_names_are_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(countries, "NAMES", tmp_path / "nowhere")
    assert country("de") == "DE"
    with pytest.raises(WrongAnswer):
        country("Germany")


@pytest.mark.parametrize(
    ("zone", "files", "locale", "letters"),
    [
        ("Europe/Berlin", {"indications.conf": "[general]\ncountry=at\n"}, "", "DE"),
        ("Etc/UTC", {"indications.conf": "[general]\ncountry=at\n"}, "", "AT"),
        ("Etc/UTC", {"indications.conf": "[general]\ncountry=uk\n"}, "", "GB"),
        # Asterisk's sample has us.
        ("Etc/UTC", {"indications.conf": "[general]\ncountry=us\n"}, "", ""),
        ("Etc/UTC", {"asterisk.conf": "[options]\ndefaultlanguage = de\n"}, "", "DE"),
        ("Etc/UTC", {"sip.conf": "[general]\nlanguage = pt_BR\n"}, "", "BR"),
        # Swedish is not spoken in SV, El Salvador.
        ("Etc/UTC", {"sip.conf": "[general]\nlanguage = sv\n"}, "", ""),
        ("Etc/UTC", {}, 'LANG="de_CH.UTF-8"\n', "CH"),
        ("Etc/UTC", {}, "LANG=en_US.UTF-8\n", ""),
        ("Etc/UTC", {}, "", ""),
    ],
)
def test_a_machine_tells_its_country(
    tmp_path: Path, zone: str, files: dict[str, str], locale: str, letters: str
) -> None:
    root = machine(tmp_path / "root", files)
    zones = tmp_path / "root/usr/share/zoneinfo"
    (zones / zone).parent.mkdir(parents=True)
    (zones / zone).touch()
    (zones / "zone.tab").write_text("# comment\nDE\t+5230+01322\tEurope/Berlin\tmost\n")
    (tmp_path / "root/etc/localtime").symlink_to(f"/usr/share/zoneinfo/{zone}")
    if locale:
        (tmp_path / "root/etc/default").mkdir()
        (tmp_path / "root/etc/default/locale").write_text(locale)
    assert suggested_country(root, installation(root).look_only()) == letters
