# SPDX-License-Identifier: MIT
"""Let a thousand runs leave little behind."""

from tests.support.quick_collections import quick_collections as quick_collections
