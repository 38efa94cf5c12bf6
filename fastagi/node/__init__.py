# SPDX-License-Identifier: MIT
"""One Asterisk: all parts that depend on the link to its manager interface."""
