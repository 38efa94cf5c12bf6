# SPDX-License-Identifier: MIT
"""One Asterisk, and all that ends with the link to its manager interface."""
