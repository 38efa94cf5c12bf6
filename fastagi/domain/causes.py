# SPDX-License-Identifier: MIT
"""The meaning of Asterisk's hangup causes (ITU-T Q.850) and of final SIP responses.

Independent of tasks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fastagi.domain.reason import Code

#: The number does not exist: unallocated, changed, or of an invalid format.
INVALID_NUMBER: Final = frozenset({1, 22, 28})
USER_BUSY: Final = 17
NO_ANSWER: Final = 19
#: A fault of the network, not of the number: no route, exchange out of order, and all
#: causes of the classes "resource unavailable" to "protocol error".
NETWORK: Final = frozenset({2, 3, 27, 29, *range(34, 112)})

#: Causes without information: none, and "normal clearing", which also remains if an
#: outbound route ends in Congestion() or Busy().
_SILENT: Final = frozenset({0, 16})
#: Final SIP responses to causes, as Asterisk 16.28 and 22.10 translate them.
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
#: The lowest SIP response that is not a success.
_FIRST_REFUSAL: Final = 300
#: SIP responses that name another destination, such as 302.
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
    """Return the cause that counts; 0 if none is known.

    Args:
        cause: the variable HANGUPCAUSE after Dial().
        sip: final responses to all calls that were tried. If several trunks responded
            differently, none counts: one trunk may know a number that another does not.
    """
    if cause not in _SILENT:
        return cause
    refusals = {code for code in sip if code >= _FIRST_REFUSAL}
    return _OF_SIP.get(refusals.pop(), 0) if len(refusals) == 1 else 0


def says_moved(sip: Collection[int]) -> bool:
    """Whether all calls that were tried got another destination as response."""
    refusals = [code for code in sip if code >= _FIRST_REFUSAL]
    return bool(refusals) and all(code in _MOVED for code in refusals)


def code(cause: int) -> Code | None:
    """Return the reason code of a cause; None if it has none."""
    return _CODES.get(cause)


def source(cause: int, sip: Collection[int]) -> str:
    """Return the cause and SIP responses in words, for troubleshooting."""
    if refusals := sorted(code for code in sip if code >= _FIRST_REFUSAL):
        return f"SIP {', '.join(map(str, refusals))}"
    return "" if cause in _SILENT else f"cause {cause}"
