# SPDX-License-Identifier: MIT
"""Checks that nothing outlives its test."""

from tests.harness import quiet_log as quiet_log
from tests.harness.quick_collections import quick_collections as quick_collections
