# SPDX-License-Identifier: MIT
"""What the network says of a call that it did not put through.

Owns the meaning of Asterisk's causes (those of ITU-T Q.850) and of SIP's final answers.
Must not know what becomes of the task.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fastagi.domain.reason import Code

#: There is no such number: unallocated, changed, of a wrong form.
INVALID_NUMBER: Final = frozenset({1, 22, 28})
USER_BUSY: Final = 17
NO_ANSWER: Final = 19
#: The way to the number is in trouble, not the number: no route, a broken exchange, and
#: the classes "resource unavailable" to "protocol error" as a whole.
NETWORK: Final = frozenset({2, 3, 27, 29, *range(34, 112)})

#: These tell nothing: none at all, and "normal clearing", which is also what is left
#: where an outbound route ends in Congestion() or Busy().
_SILENT: Final = frozenset({0, 16})
#: SIP's final answers as Asterisk 16.28 and 22.10 translate them.
_OF_SIP: Final = {
    400: 127,
    401: 21,
    403: 21,
    404: 1,
    408: 18,
    410: 22,
    480: 19,
    484: 28,
    486: 17,
    488: 58,
    500: 38,
    502: 27,
    503: 34,
    504: 102,
    600: 17,
    603: 21,
    604: 1,
}
#: Below that, SIP's answers are no refusal.
_FIRST_REFUSAL: Final = 300
#: The phone that was called names another destination, as with 302.
_MOVED: Final = range(300, 400)
_CODES: Final = {
    1: Code.NO_SUCH_NUMBER,
    2: Code.NO_ROUTE,
    3: Code.NO_ROUTE,
    18: Code.PHONE_DID_NOT_RESPOND,
    20: Code.PHONE_NOT_IN_NETWORK,
    21: Code.CALL_REFUSED,
    22: Code.NUMBER_CHANGED,
    27: Code.EXCHANGE_OUT_OF_ORDER,
    28: Code.NUMBER_INCOMPLETE,
    34: Code.NETWORK_CONGESTED,
}


def told(cause: int, sip: Collection[int]) -> int:
    """Return the cause that counts, 0 if none was told.

    Args:
        cause: the variable HANGUPCAUSE after Dial().
        sip: the answers of all calls that were tried. Where several trunks gave
            different ones, none is believed: a number unknown to one of them may be
            known to the other.
    """
    if cause not in _SILENT:
        return cause
    refusals = {code for code in sip if code >= _FIRST_REFUSAL}
    return _OF_SIP.get(refusals.pop(), 0) if len(refusals) == 1 else 0


def says_moved(sip: Collection[int]) -> bool:
    """Whether all calls that were tried were answered with another destination."""
    refusals = [code for code in sip if code >= _FIRST_REFUSAL]
    return bool(refusals) and all(code in _MOVED for code in refusals)


def code(cause: int) -> Code | None:
    """Return what a cause means; None for one that has no code of its own."""
    return _CODES.get(cause)


def source(cause: int, sip: Collection[int]) -> str:
    """Return where it comes from, for an admin who looks for the fault."""
    if refusals := sorted(code for code in sip if code >= _FIRST_REFUSAL):
        return f"SIP {', '.join(map(str, refusals))}"
    return "" if cause in _SILENT else f"cause {cause}"
