# SPDX-License-Identifier: MIT
"""Where operators and programs come in: bytes in, commands out, answers back."""
