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
