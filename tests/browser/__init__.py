# SPDX-License-Identifier: MIT
"""The console in a browser, on a real service and a real Asterisk."""
