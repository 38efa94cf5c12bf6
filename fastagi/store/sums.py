# SPDX-License-Identifier: MIT
"""Remembers sums of stored counts, for reports that are read again.

Decoding the rows of a year and adding them up takes half the processor time of its
report, and the rows of past days hardly change. A sum is found by a digest of the rows,
which every report still reads from the database, so it can not be out of date.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Collection
from threading import Lock

from fastagi.domain.tally import Tally, add

_DIGEST_BYTES = 16


class Sums:
    """The sums that were asked for last. Safe in several threads."""

    def __init__(self, most: int) -> None:
        """Keep at most so many sums, each of up to a hundred kilobytes."""
        self._most = most
        self._kept: OrderedDict[bytes, Tally] = OrderedDict()
        self._lock = Lock()

    def of(self, rows: Collection[str]) -> Tally:
        """Return the sum of some tallies in JSON. It must not be changed."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        # The database returns them in any order.
        for row in sorted(rows):
            encoded = row.encode()
            digest.update(b"%d:" % len(encoded))
            digest.update(encoded)
        key = digest.digest()
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        total: Tally = Counter()
        for row in rows:
            add(total, json.loads(row))
        with self._lock:
            self._kept[key] = total
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return total
