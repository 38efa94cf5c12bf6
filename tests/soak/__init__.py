# SPDX-License-Identifier: MIT
"""Hours of calls on a real Asterisk with random trouble, and a strict comparison."""
