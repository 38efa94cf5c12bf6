# SPDX-License-Identifier: MIT
"""Keep the collections of garbage short in a thousand runs."""

from tests.harness.quick_collections import quick_collections as quick_collections
