# SPDX-License-Identifier: MIT
"""Keeps garbage collections short in a thousand runs."""

from tests.harness.quick_collections import quick_collections as quick_collections
