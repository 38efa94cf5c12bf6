# SPDX-License-Identifier: MIT
"""Which digits of a client's number are hidden: one rule for logs, pages and programs.

The last digits are hidden everywhere. So two texts that hide digits of one number, such
as a log and a page of the console, never show the whole of it together.
"""

from __future__ import annotations

import re
from typing import Final

#: Number of digits at the end that are hidden wherever a number is masked.
HIDDEN: Final = 3
#: Number of digits at the beginning that a log shows.
_SHOWN_IN_LOG: Final = 3
#: A possible telephone number in a log: five digits or more, perhaps with separators,
#: and not part of a longer word such as an id.
_IN_LOG: Final = re.compile(r"(?<![\w.:-])\+?\d(?:[ ()/-]{0,2}\d){4,}(?![\w.:-]*\w)")


def hide(number: str, sign: str, most_shown: int | None = None) -> str:
    """Return a number with a sign in place of each hidden digit.

    Args:
        number: the number, perhaps with separators.
        sign: the sign.
        most_shown: maximum number of digits that are shown; None: all but the last.
    """
    shown = max(0, sum(map(str.isdigit, number)) - HIDDEN)
    if most_shown is not None:
        shown = min(shown, most_shown)
    masked = []
    for char in number:
        if char.isdigit():
            shown -= 1
        masked.append(sign if char.isdigit() and shown < 0 else char)
    return "".join(masked)


def hide_in_log(text: str) -> str:
    """Return a text in which each number shows its first three digits at most."""
    return _IN_LOG.sub(lambda found: hide(found[0], "*", _SHOWN_IN_LOG), text)
