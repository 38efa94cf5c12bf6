# SPDX-License-Identifier: MIT
"""Let nothing outlive its test."""

from tests.support import quiet_log as quiet_log
from tests.support.quick_collections import quick_collections as quick_collections
