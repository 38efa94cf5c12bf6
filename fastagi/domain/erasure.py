# SPDX-License-Identifier: MIT
"""What remains of numbers and names when they are erased: pure functions.

Reasons are kept, with their codes and numbers, because histories and reports need them.
Of the texts in their parameters only those remain that never contain a client's number
or name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from fastagi.domain.numbers import NumberPlan

#: What takes the place of a number or a text.
ERASED: Final = "erased"

#: Parameters of reasons whose texts remain: queues, agents, operators, times, and words
#: of a fixed list.
KEPT_PARAMS: Final = frozenset(
    {
        *("queue", "before", "found", "source", "interface", "who", "rung", "actor"),
        *("chosen_at", "again_at", "due_at", "until"),
        *("amd_cause", "kind", "region", "allowed", "setting", "trunk"),
        *("channel_id", "node", "other"),
    }
)
_NO_DIGIT: Final = re.compile(r"\D+")
#: Number of digits at the end of a number that are the same in all its forms.
_LAST_DIGITS: Final = 5
#: Fewer digits may be part of anything.
_MIN_DIGITS: Final = 6


def keys_of(number: str, plan: NumberPlan) -> frozenset[str]:
    """Return all number keys under which a number may be stored.

    Another number plan may have been in force when it was stored.
    """
    forms = plan.forms(number) | {number}
    return frozenset({plan.key(number), *map(_digits, forms)})


def has_key(number: str, keys: Collection[str], plan: NumberPlan) -> bool:
    """Whether a number has one of some keys.

    To read a number with the plan takes long, so that is only done if its last digits
    are right, or if it is more than digits.
    """
    digits = number.removeprefix("+")
    if digits.isascii() and digits.isdecimal():
        last = digits[-_LAST_DIGITS:]
        if not any(key.endswith(last) or last.endswith(key) for key in keys):
            return False
    return bool(number) and plan.key(number) in keys


def mentions(text: str, keys: Collection[str]) -> bool:
    """Whether a text contains a number, in one of its forms."""
    digits = _digits(text)
    return any(
        key in digits if len(key) >= _MIN_DIGITS else key == digits for key in keys
    )


def erased_params(params: str, keys: Collection[str] | None = None) -> str:
    """Return the JSON of a reason's parameters without texts that may name a client.

    Args:
        params: the JSON of the parameters.
        keys: erase only texts that contain this number; None: all.
    """
    try:
        values = json.loads(params)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        # A damaged row may contain anything.
        return "{}" if keys is None or mentions(params, keys) else params
    erased = _erased(values, lambda text: keys is None or mentions(text, keys))
    if erased == values:
        return params
    return json.dumps(erased, ensure_ascii=False, separators=(",", ":"))


def _erased(
    values: Mapping[str, Any], is_erased: Callable[[str], bool]
) -> dict[str, Any]:
    return {
        name: _erased_value(name, value, is_erased) for name, value in values.items()
    }


def _erased_value(name: str, value: Any, is_erased: Callable[[str], bool]) -> Any:
    if isinstance(value, Mapping):
        # Another reason.
        inner = value.get("params")
        params = _erased(inner, is_erased) if isinstance(inner, Mapping) else {}
        return {"code": value.get("code"), "params": params}
    if isinstance(value, str) and name not in KEPT_PARAMS and is_erased(value):
        return ERASED
    if isinstance(value, list):
        return []
    return value


def _digits(text: str) -> str:
    return _NO_DIGIT.sub("", text)
