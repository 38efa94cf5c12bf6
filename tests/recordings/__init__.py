# SPDX-License-Identifier: MIT
"""Output of a real Asterisk, and the programs that recorded it."""
