# SPDX-License-Identifier: MIT
"""Keep the collections of garbage short in a thousand runs."""

from tests.support.quick_collections import quick_collections as quick_collections
