# SPDX-License-Identifier: MIT
"""Bring the translations of the console up to date: ``python tools/translate.py``.

Collects the texts of the pages, of the web process, and of the reasons, and writes them
into each catalogue: new ones without a translation, those that are gone are removed.
``python tools/translate.py es`` begins a new language.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from fastagi.domain import reason
from fastagi.reports import DEFINITIONS
from fastagi.web.console.languages import LANGUAGES, SOURCE, catalogue

WEB = Path(reason.__file__).parents[1] / "web"
_KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None,
    "N_": None,
    "gettext": None,
    "ngettext": (1, 2),
}
_WIDTH = 88


def texts() -> Iterator[str | tuple[str, ...]]:
    """Yield every text that is translated; with its plural if there is one."""
    for path in sorted(WEB.rglob("*.py")):
        yield from _texts_in(path, "python")
    for path in sorted(WEB.rglob("*.html")):
        yield from _texts_in(path, "jinja2.ext:babel_extract")
    for templates in reason.TEMPLATES.values():
        yield from templates
    yield from (reason.ACTOR, reason.ENDINGS)
    yield from reason.KINDS.values()
    yield from reason.HISTORIES.values()
    for definition in DEFINITIONS.values():
        yield from (definition.title, definition.text)


def _texts_in(path: Path, method: str) -> Iterator[str | tuple[str, ...]]:
    with path.open("rb") as file:
        for _line, message, _comments, _context in extract(
            method, file, keywords=_KEYWORDS, options={"silent": "false"}
        ):
            yield message


def template() -> Catalog:
    """Return a catalogue with all texts and no translation."""
    made = Catalog(fuzzy=False, charset="utf-8")
    for text in texts():
        made.add(text)
    return made


def updated(language: str) -> bytes:
    """Return the contents that the catalogue of a language should have."""
    path = catalogue(language)
    if path.exists():
        with path.open("rb") as file:
            known = read_po(file, locale=language)
    else:
        known = Catalog(locale=language, fuzzy=False, charset="utf-8")
    made = Catalog(locale=language, fuzzy=False, charset="utf-8")
    made.header_comment = "# Translations of the console. Made by tools/translate.py."
    for message in template():
        if not message.id:
            continue
        former = known.get(message.id)
        python = [flag for flag in message.flags if flag == "python-format"]
        made.add(message.id, former.string if former else None, flags=python)
    written = io.BytesIO()
    write_po(written, made, width=_WIDTH, sort_output=True, no_location=True)
    # Without the head's times and names of tools, which change without a reason.
    head, _, body = written.getvalue().partition(b"\n\n")
    kept = [
        line
        for line in head.split(b"\n")
        if not line.startswith(
            (
                b'"POT-Creation',
                b'"PO-Rev',
                b'"Generated',
                b'"Last-T',
                b'"Project-Id',
                b'"Report-',
                b'"Language-Team',
            )
        )
    ]
    return b"\n".join(kept) + b"\n\n" + body.strip() + b"\n"


def untranslated(language: str) -> list[str]:
    """Return the texts without a translation."""
    with catalogue(language).open("rb") as file:
        known = read_po(file, locale=language)
    return [
        str(message.id)
        for message in known
        if message.id
        and not all(
            [message.string] if isinstance(message.string, str) else message.string
        )
    ]


def main(arguments: list[str]) -> int:
    """Update all catalogues, or begin that of a language."""
    for language in arguments or [name for name in LANGUAGES if name != SOURCE]:
        contents = updated(language)
        catalogue(language).parent.mkdir(parents=True, exist_ok=True)
        catalogue(language).write_bytes(contents)
        missing = untranslated(language)
        print(f"{language}: {len(missing)} texts without a translation")
        for text in missing:
            print(f"  {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
