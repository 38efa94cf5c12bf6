# SPDX-License-Identifier: MIT
"""The installation beside an Asterisk: ``callback-queue setup``.

``discover`` looks at the Asterisk, ``planning`` decides what to write, ``journal``
writes it and takes it back. Asterisk's files are changed by lines between two markers.
"""
