# SPDX-License-Identifier: MIT
"""Hours of work on a real Asterisk, trouble by chance, and a strict book-keeper."""
