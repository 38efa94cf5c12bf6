# SPDX-License-Identifier: MIT
"""What a real Asterisk said, and the programs that recorded it."""
