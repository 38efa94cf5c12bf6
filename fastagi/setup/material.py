# SPDX-License-Identifier: MIT
"""Where the dialplan, the prompts, the samples and the units of this version are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import fastagi
from fastagi.errors import CallbackError

#: A file that the material always has.
_DIALPLAN: Final = "dialplan/callback-queue.conf"


#: The environment of the Debian package, and where Debian's users look for its pages.
_PACKAGE: Final = Path("/usr/lib/callback-queue")
_PACKAGE_PAGES: Final = Path("/usr/share/doc/callback-queue/docs")


class NoMaterial(CallbackError):
    """The dialplan, the prompts and the samples of this version are not installed."""


def material() -> Path:
    """Return the directory with ``dialplan``, ``etc`` and ``sounds``.

    It is the checkout from which this program runs, or else the directory into which
    the wheel and the package put these files.

    Raises:
        NoMaterial: it is not there.
    """
    places = (
        Path(fastagi.__file__).parents[1],
        Path(sys.prefix, "share/callback-queue"),
    )
    for place in places:
        if (place / _DIALPLAN).is_file():
            return place
    raise NoMaterial(
        f"there is no {_DIALPLAN} in {' or '.join(map(str, places))}",
        "install callback-queue again: its wheel and its package contain these files",
    )


def page(name: str) -> str:
    """Return the path of a page of the documentation on this machine.

    Args:
        name: the name of its file, such as "setup.md".
    """
    place = material()
    if place.is_relative_to(_PACKAGE) and (_PACKAGE_PAGES / name).exists():
        return str(_PACKAGE_PAGES / name)
    return str(place / "docs" / name)
